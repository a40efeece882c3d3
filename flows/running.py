"""``arriero run``: services, the pipeline through its deployment, progress, summary, Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from flows import client, stack
from flows.preflight import require_room, require_sources
from flows.problems import flow_message
from flows.services import ServiceFailed, Stack
from flows.shown import shown
from flows.signals import StopSignals
from registry.database import open_registry, upgrade
from registry.settings import Settings, load_settings

POLL_S = 1.0
SETTLE_S = 120.0  # for what an automation started; a process that imports torch, on a busy machine
PATIENCE_S = 300.0  # of a server that does not answer, for example while its disk is busy
SHOWN = 3000  # characters of an error; some hold the tail of a log
# How Prefect's logs repeat an error that is also in the state.
_ECHOES = (
    "Task run failed with exception",
    "Finished in state",
    "Encountered exception during execution",
    "Engine execution exited",
)


def run_pipeline(
    *,
    preset: str,
    data: Path | None,
    once: bool,
    overrides: list[str],
    allow_missing_sources: bool,
    strict: bool,
    out: Console,
    say: Callable[[str], None],
) -> int:
    """Run the pipeline deployment to its end.

    Returns:
        0 when the flow run completed, else 1. What this call started is stopped again: at the
        end with ``once``, at Ctrl-C without.
    """
    parameters = _parameters(preset, data, overrides, allow_missing_sources, strict)
    settings = load_settings()
    require_room(settings)
    upgrade(settings.registry_address)
    open_registry(settings)
    stop = StopSignals()
    say = _surviving(say)
    services, started = stack.start(settings, say, interrupted=lambda: stop.requested)
    status = 1
    try:
        began = time.monotonic()
        flow_run = client.trigger(
            services.prefect_api, "pipeline/pipeline", {"parameters": parameters}
        )
        say(
            f"flow run {flow_run['name']}: {services.url('prefect')}/runs/flow-run/{flow_run['id']}"
        )
        final = _follow(services, flow_run["id"], stop, say)
        status = 0 if final == "COMPLETED" else 1
        if status == 0:
            _print_summary(settings, flow_run["id"], out)
        else:
            _print_failure(services, flow_run["id"], final, settings, out)
        out.print(f"pipeline {final.lower()} in {time.monotonic() - began:.0f} s")
        _print_urls(services, flow_run["id"], out)
        if not once and not stop.requested:
            out.print("services stay up; Ctrl-C stops them" if started else "services stay up")
            if started:
                stop.wait()
    finally:
        if started:
            say("stopping the services; Ctrl-C again does not wait for anything")
            # The first signal asked for this end; every further one is impatience.
            asked = min(stop.count, 1)
            # With --once, what the automation started for a new model may still be at work.
            settle_s = SETTLE_S if once and status == 0 else 0.0
            stack.stop(settings, say, settle_s=settle_s, hurry=lambda: stop.count > asked)
    return status


def _surviving(say: Callable[[str], None]) -> Callable[[str], None]:
    """``say`` that a closed terminal does not turn into an end without stopping the services."""

    def speak(line: str) -> None:
        with suppress(OSError):
            say(line)

    return speak


def _parameters(
    preset: str,
    data: Path | None,
    overrides: list[str],
    allow_missing_sources: bool,
    strict: bool,
) -> dict[str, Any]:
    """The deployment's form, checked here first, so that a mistake costs no start of services."""
    from flows.parameters import PipelineParameters, Preset, load_preset, resolve

    load_preset(preset)
    name = {member.value.lower(): member for member in Preset}[preset.lower()]
    if data is not None and not (data / "corpus").is_dir():
        raise ValueError(
            f"data folder {data.resolve()} has no 'corpus' folder. Expected: corpus/<source>/,"
            " bench/<benchmark>/, instruct/<dataset>/ (docs/running.md)"
        )
    form = PipelineParameters(
        preset=name,
        data=str(data.resolve()) if data else None,
        allow_missing_sources=allow_missing_sources,
        strict=strict,
        overrides=overrides,
    )
    config = resolve(form)
    folder = data or load_settings().data
    if folder is not None:
        require_sources(folder, config.corpus)
    return form.model_dump(mode="json")


@dataclass
class _Progress:
    """Prints every task's changes of state and its progress lines, once each."""

    services: Stack
    run_id: str
    say: Callable[[str], None]
    seen: dict[str, str] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)

    def look(self) -> str:
        """Print what is new; returns the type of the run's state."""
        api = self.services.prefect_api
        run = client.flow_run(api, self.run_id)
        flows = [run, *client.child_flow_runs(api, self.run_id)]
        # Prefect makes a task run for every subflow; the subflow's own tasks say more.
        subflows = {row["parent_task_run_id"] for row in flows}
        for task in client.task_runs(api, [row["id"] for row in flows]):
            state = task["state_name"] or task["state_type"]
            if self.seen.get(task["id"]) != state and task["id"] not in subflows:
                self.seen[task["id"]] = state
                if state not in ("Pending", "Scheduled"):
                    self.say(f"  {task['name']:32} {state}")
        for flow_id in [row["id"] for row in flows]:
            lines = client.run_logs(api, flow_id, self.offsets.get(flow_id, 0))
            self.offsets[flow_id] = self.offsets.get(flow_id, 0) + len(lines)
            for line in lines:
                if " % " in line["message"] or _is_news(line):
                    self.say(f"    {line['message'].splitlines()[0][:160]}")
        return str(run["state_type"])


def _follow(
    services: Stack,
    run_id: str,
    stop: StopSignals,
    say: Callable[[str], None],
    *,
    patience_s: float = PATIENCE_S,
) -> str:
    """Tell the run's progress until it ends or a signal comes; returns its last state's type.

    A server that does not answer for a while is no reason to end a healthy run.

    Raises:
        ServiceFailed: it did not answer for ``patience_s`` seconds.
        ApiError: it refused a request.
    """
    progress = _Progress(services, run_id, say)
    silent_since: float | None = None
    while True:
        try:
            state = progress.look()
        except (client.ApiError, httpx.HTTPError) as error:
            if isinstance(error, client.ApiError) and error.status < 500:
                raise
            reason = str(error) or type(error).__name__
            if silent_since is None:
                silent_since = time.monotonic()
                say(f"Prefect does not answer ({reason}); the run goes on, asking again")
            elif time.monotonic() - silent_since > patience_s:
                raise ServiceFailed(
                    f"Prefect has not answered for {patience_s:.0f} s ({reason}). See the log"
                    " prefect.log of the home folder; `arriero run` with the same settings goes on"
                    " from what is finished"
                ) from error
        else:
            if silent_since is not None:
                say("Prefect answers again")
            silent_since = None
            if state in client.FINAL:
                return state
        if stop.wait(POLL_S):
            _cancel(services, run_id, say)
            return "CANCELLED"


def _cancel(services: Stack, run_id: str, say: Callable[[str], None]) -> None:
    # Services that somebody else started stay, and would go on with it.
    say("stopping: cancelling the flow run")
    try:
        client.cancel_run(services.prefect_api, run_id)
    except (client.ApiError, httpx.HTTPError) as error:
        say(f"the flow run could not be cancelled ({error}); `arriero down` ends it")


def _is_news(line: dict[str, Any]) -> bool:
    """An error that the end of the run does not tell: Prefect logs each one in five wordings."""
    echoed = line["message"].startswith(_ECHOES) and "Retry" not in line["message"]
    return line["level"] >= 40 and not echoed


def _print_summary(settings: Settings, run_id: str, out: Console) -> None:
    from flows.summary import load_summary

    summary = load_summary(settings, run_id)
    for table in summary.tables():
        out.print(table)
    for note in summary.notes:
        out.print(f"- {shown(note)}", highlight=False, soft_wrap=True)


def _print_failure(
    services: Stack, run_id: str, final: str, settings: Settings, out: Console
) -> None:
    """The error's own message with the task it came from; the traceback stays in the logs."""
    if final == "CANCELLED":
        out.print("[red]cancelled[/red] on request; what was finished is kept")
        return
    run = client.flow_run(services.prefect_api, run_id)
    flows = [run, *client.child_flow_runs(services.prefect_api, run_id)]
    subflows = {row["parent_task_run_id"] for row in flows}
    tasks = [
        task
        for task in client.task_runs(services.prefect_api, [row["id"] for row in flows])
        if task["state_type"] in ("FAILED", "CRASHED") and task["id"] not in subflows
    ]
    # The task's state says the same as the flow's, but first: a crashed flow knows no reason.
    first = tasks[0] if tasks else run
    message = flow_message((first.get("state") or {}).get("message") or "no reason was given")
    place = f" in {first['name']}" if tasks else ""
    text = message if len(message) <= SHOWN else message[:SHOWN] + " ..."
    # Brackets in a message are text, no markup.
    out.print(f"[red]{final.lower()}[/red]{place}: {shown(text)}", highlight=False, soft_wrap=True)
    log = settings.home / "logs" / "worker.log"
    out.print(f"traceback: {log}, and the flow run's page", highlight=False, soft_wrap=True)


def _print_urls(services: Stack, run_id: str, out: Console) -> None:
    # No table: it would cut the addresses where there is no wide terminal.
    for name, url in (
        ("Prefect", f"{services.url('prefect')}/runs/flow-run/{run_id}"),
        ("MLflow", f"{services.url('mlflow')}/#/experiments?workflowType=machine_learning"),
        ("Dashboard", services.url("dashboard")),
    ):
        out.print(f"{name:10} {url}", highlight=False, soft_wrap=True)

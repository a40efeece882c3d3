"""The runs of the deployment ``shards`` that share a step: started, watched and ended together."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.states import Cancelling, Crashed

DEPLOYMENT = "shards/shards"
POLL_S = 2.0
# For the runs to end once they are cancelled: a worker asks every 10 s at most, then gives 30 s.
END_S = 60.0
# Who is cancelled or interrupted has 30 s himself.
HURRIED_END_S = 20.0


class ShardGroupFailed(RuntimeError):
    """A run of the deployment ``shards`` did not complete; names it and its state."""


@dataclass
class _Run:
    """A run that has not ended. beat: file it touches. sign, since: its last sign of life."""

    name: str
    beat: Path
    sign: tuple[Any, ...] = ()
    since: float = 0.0
    lost: bool = False


Runs = dict[uuid.UUID, _Run]


def run_groups(
    form: Mapping[str, Any],
    place: Path,
    folder: str,
    groups: int,
    silent_s: float,
    pending_s: float,
) -> None:
    """Have a run work on each group, until all have completed.

    Args:
        form: parameters of the runs, beside folder and group. place: the folder, here.
        silent_s: longest time without a sign of life of a run that works. pending_s: longest time
            in which a run that a worker took waits for its machine: for a pod, its image, a queue.

    Raises:
        ShardGroupFailed: a run ended otherwise, or fell silent. The others are cancelled and have
            ended then; what went wrong with that is in the notes of the error.
    """
    runs: Runs = {}
    try:
        for group in range(groups):
            made = run_deployment(
                DEPLOYMENT,
                parameters={"parameters": {**form, "folder": folder, "group": group}},
                timeout=0,
                flow_run_name=f"{place.name} {group + 1} of {groups}",
            )
            assert isinstance(made, FlowRun)
            runs[made.id] = _Run(made.name, beat_file(place, group), since=time.monotonic())
        _wait(runs, silent_s, pending_s)
    except BaseException as error:
        for problem in _end(runs, END_S if isinstance(error, Exception) else HURRIED_END_S):
            error.add_note(problem)
        raise


def beat_file(place: Path, group: int) -> Path:
    """What a group's run touches as long as it works: see `tasks.corpus.fan_out.run_group`.

    The server settles a run without heartbeats itself, if its worker was started with Prefect's
    heartbeats on and the automation is; this does not depend on either.
    """
    return place / f"beat-{group}"


def _wait(runs: Runs, silent_s: float, pending_s: float) -> None:
    with get_client(sync_client=True) as client:
        while runs:
            for identity, run in list(runs.items()):
                state = client.read_flow_run(identity).state
                if state is None:
                    continue
                if state.is_final():
                    del runs[identity]
                    if not state.is_completed():
                        raise ShardGroupFailed(
                            f"the run {run.name!r} of the deployment {DEPLOYMENT} ended as"
                            f" {state.name}: {state.message or 'see its log'}. {_GO_ON}"
                        )
                    continue
                bound = pending_s if _awaits_machine(run, state) else silent_s
                if _is_silent(run, state, bound):
                    run.lost = True
                    raise ShardGroupFailed(
                        f"the run {run.name!r} of the deployment {DEPLOYMENT} is {state.name} and"
                        f" gave no sign of life for {bound:g} s: its machine is gone, or never"
                        f" came, or cannot write in the store. {_GO_ON}"
                    )
            if runs:
                time.sleep(POLL_S)


_GO_ON = "The shards it had finished stay; start the flow again to go on with the others."


def _awaits_machine(run: _Run, state: State[Any]) -> bool:
    """Whether a worker took the run and nothing of it works yet."""
    return state.is_pending() and not run.beat.is_file()


def _is_silent(run: _Run, state: State[Any], silent_s: float) -> bool:
    """Whether a run that is begun did not show for so long; by this machine's clock alone.

    One that waits for a worker, or was paused by somebody, may wait. One that is being cancelled
    may not: with its machine gone nobody ends it.
    """
    now = time.monotonic()
    beat = run.beat.stat().st_mtime_ns if run.beat.is_file() else 0
    sign = (state.type, beat)
    if sign != run.sign or state.is_scheduled() or state.is_paused():
        run.sign, run.since = sign, now
    return now - run.since > silent_s


def _end(runs: Runs, seconds: float) -> list[str]:
    """End what still runs and wait for it; what could not be done, for the first error's notes."""
    problems: list[str] = []
    open_ = dict(runs)
    try:
        with get_client(sync_client=True) as client:
            for identity, run in runs.items():
                try:
                    if run.lost:
                        gone: State[Any] = Crashed(message="No sign of life: its machine is gone.")
                        client.set_flow_run_state(identity, gone, force=True)
                    else:  # without force: one that has ended meanwhile stays as it is
                        client.set_flow_run_state(identity, Cancelling())
                except Exception as error:  # told beside the error that led here
                    problems.append(f"the run {run.name!r} could not be cancelled: {error!r}")
                    del open_[identity]
            until = time.monotonic() + seconds
            while open_:
                for identity in list(open_):
                    state = client.read_flow_run(identity).state
                    if state is not None and state.is_final():
                        del open_[identity]
                if not open_ or time.monotonic() > until:
                    break
                time.sleep(POLL_S)
    except Exception as error:  # as above
        problems.append(f"the server did not say whether they ended: {error!r}")
    for run in open_.values():
        problems.append(f"the run {run.name!r} was cancelled and had not ended {seconds:g} s later")
    return problems

"""``arriero``: a thin command line over what the Prefect UI calls, and over the registry.

Reading commands take ``--json``: one object on standard output, everything else on standard
error. A user's mistake ends in one message and exit status 2, a failed run in 1.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from flows.shown import shown, visible

app = typer.Typer(
    name="arriero",
    help="From raw dumps to a promoted Llama-I, with every number traceable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
show_app = typer.Typer(help="Look into artifacts.", no_args_is_help=True)
app.add_typer(show_app, name="show")
out = Console()
err = Console(stderr=True)

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

JsonFlag = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")
]


def fail(message: str, status: int = 2) -> NoReturn:
    """End with one message."""
    err.print(f"[red]error:[/red] {message}", highlight=False, soft_wrap=True)
    raise typer.Exit(status)


def say(line: str) -> None:
    """Progress for a person."""
    err.print(f"[dim]{line}[/dim]", highlight=False, soft_wrap=True)


def emit(value: dict[str, Any], as_json: bool, render: Callable[[], Any]) -> None:
    """Print the JSON object, or what ``render`` returns."""
    if as_json:
        sys.stdout.write(json.dumps(value, indent=2, default=str, sort_keys=True) + "\n")
    else:
        made = render()
        # A tree's lines are for reading and for piping: never folded, never read as markup.
        plain = isinstance(made, str)
        made = visible(made) if plain else made
        out.print(made, soft_wrap=plain, markup=not plain, highlight=not plain)


@app.command()
def run(
    preset: Annotated[str, typer.Option(help="Settings of every stage.")] = "nano",
    data: Annotated[
        Path | None, typer.Option(help="Folder with corpus/, bench/, instruct/; else the sample.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End with the pipeline's status; leave nothing running.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="stage.field=value over the preset.")
    ] = None,
    allow_missing_sources: Annotated[bool, typer.Option(help="Go on without a source.")] = False,
    strict: Annotated[bool, typer.Option(help="End at the first unreadable file.")] = False,
) -> None:
    """Start the services, trigger the pipeline through its deployment, follow it, sum up."""
    from flows.preflight import require_installation

    require_installation()  # before anything that a wrong version would break is imported
    from flows.running import run_pipeline

    raise typer.Exit(
        run_pipeline(
            preset=preset,
            data=data,
            once=once,
            overrides=set_ or [],
            allow_missing_sources=allow_missing_sources,
            strict=strict,
            out=out,
            say=say,
        )
    )


@app.command()
def up() -> None:
    """Start Prefect, MLflow, worker and dashboard on 127.0.0.1; does nothing when they run."""
    from flows.preflight import require_installation, require_room

    require_installation()
    from flows import stack
    from flows.signals import StopSignals
    from registry.database import upgrade
    from registry.settings import load_settings

    settings = load_settings()
    require_room(settings)
    upgrade(settings.registry_address)
    signals = StopSignals()
    running, _ = stack.start(settings, say, interrupted=lambda: signals.requested)
    for name in ("prefect", "mlflow", "dashboard"):
        out.print(f"{name:10} {running.url(name)}")


@app.command()
def down() -> None:
    """Stop the services; flow runs under way are cancelled, trainers write a checkpoint."""
    from flows import stack
    from flows.signals import StopSignals
    from registry.settings import load_settings

    settings = load_settings()
    signals = StopSignals()
    stopped = stack.stop(settings, say, hurry=lambda: signals.requested)
    out.print("stopped" if stopped else "nothing was running")


@app.command()
def plan(
    preset: Annotated[str, typer.Option(help="Model shape, for example 7B.")] = "7B",
    tokens: Annotated[float | None, typer.Option(help="Training tokens, for example 1e12.")] = None,
    gpus: Annotated[int | None, typer.Option(help="Number of GPUs.")] = None,
    gpu: Annotated[str | None, typer.Option(help="Kind of GPU: a100, h100, v100, ...")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of a sequence.")] = None,
    sharding: Annotated[str | None, typer.Option(help="auto, ddp, fsdp or hsdp.")] = None,
    recompute: Annotated[
        str | None, typer.Option(help="Activation checkpointing: auto, none, selective or full.")
    ] = None,
    micro_batch: Annotated[int | None, typer.Option(help="Sequences of a forward pass.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, bf16, fp16 or fp32.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Does it run on one such GPU?")] = False,
    as_json: JsonFlag = False,
) -> None:
    """What a run would cost: layout, memory, GPU hours, energy, carbon; or what serving needs."""
    from tasks.emissions.forecast import plan as forecast
    from tasks.planning.parameters import PlanParameters
    from tasks.planning.serving import plan_serving
    from tasks.planning.tables import render_plan, render_serving

    given = {
        "tokens": tokens,
        "gpus": gpus,
        "gpu": gpu,
        "context": context,
        "sharding": sharding,
        "recompute": recompute,
        "micro_batch": micro_batch,
        "precision": precision,
    }
    wanted = {name: value for name, value in given.items() if value is not None}
    parameters = PlanParameters.model_validate({"preset": preset, "serve": serve, **wanted})
    if serve:
        served = plan_serving(parameters)
        emit(served.model_dump(mode="json"), as_json, lambda: render_serving(served))
        return
    report = forecast(parameters)
    emit(report.model_dump(mode="json"), as_json, lambda: render_plan(report))


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Services, the last runs, the champion, energy and carbon so far."""
    from flows.reading import render_status, status_report

    report = status_report()
    emit(report, as_json, lambda: render_status(report))


@app.command()
def lineage(
    artifact: Annotated[str, typer.Argument(help="champion, latest, or a digest.")] = "champion",
    as_json: JsonFlag = False,
) -> None:
    """The tree from an artifact down to the fingerprints of the raw dumps."""
    from flows.reading import lineage_report

    tree, text = lineage_report(artifact)
    emit(tree, as_json, lambda: text)


@app.command()
def generate(
    model: Annotated[
        str, typer.Argument(help="champion, latest, a name or a digest.")
    ] = "champion",
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be repeated.")] = None,
    file: Annotated[Path | None, typer.Option(help="Prompts, one in each line.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.", min=1)] = 64,
    temperature: Annotated[float, typer.Option(help="0 = greedy.", min=0.0)] = 0.0,
    top_p: Annotated[float, typer.Option(help="Nucleus of sampling.", min=0.0, max=1.0)] = 1.0,
    stop: Annotated[list[str] | None, typer.Option(help="Ends an answer; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Of sampling.", min=0)] = 0,
    batch: Annotated[int, typer.Option(help="Prompts at a time.", min=1)] = 16,
    as_json: JsonFlag = False,
) -> None:
    """Continue prompts with a model; one prompt's text is shown as it comes."""
    from flows.generating import Sampling, continued

    prompts = [*(prompt or ()), *(file.read_text("utf-8").splitlines() if file else ())]
    how = Sampling(max_new_tokens, temperature, top_p, tuple(stop or ()), seed, batch)
    alone = len(prompts) == 1 and not as_json

    def show(row: int, text: str) -> None:
        if alone:
            sys.stdout.write(visible(text))
            sys.stdout.flush()

    answers = []
    for answer in continued(model, prompts, how, show):
        answers.append(answer)
        if not alone and not as_json:
            out.print(shown(answer["prompt"]), style="dim", highlight=False, soft_wrap=True)
            out.print(shown(answer["text"]), highlight=False, soft_wrap=True)
    if alone:
        sys.stdout.write("\n")
    if as_json:
        emit({"answers": answers}, True, lambda: None)


@app.command()
def reproduce(
    model: Annotated[
        str, typer.Argument(help="A model or checkpoint: champion, latest, a digest.")
    ],
    steps: Annotated[str, typer.Option(help="First and last optimizer step, as a:b.")] = "1:20",
    as_json: JsonFlag = False,
) -> None:
    """Train a stretch of a run again and compare its losses; exit status 1 when they differ."""
    from flows.reproducing import render_reproduction, reproduce_report

    report = reproduce_report(model, steps, say=say)
    emit(report, as_json, lambda: render_reproduction(report))
    if not report["same"]:
        raise typer.Exit(1)


@show_app.command("batch")
def show_batch(
    run_id: Annotated[str, typer.Argument(help="Checkpoint digest, or `latest`.")],
    step: Annotated[int, typer.Argument(help="Optimizer step, from 1.", min=1)],
    as_json: JsonFlag = False,
) -> None:
    """The documents that a training step saw."""
    from flows.reading import batch_report, render_batch

    report = batch_report(run_id, step)
    emit(report, as_json, lambda: render_batch(report))


@show_app.command("document")
def show_document(
    document: Annotated[str, typer.Argument(help="Id of a document or reject, or its address.")],
    corpus: Annotated[str, typer.Option(help="Digest of a corpus, or `latest`.")] = "latest",
    as_json: JsonFlag = False,
) -> None:
    """Where a document came from, the rules it passed, or the one that rejected it."""
    from flows.reading import document_report, render_document

    report = document_report(document, corpus)
    emit(report, as_json, lambda: render_document(report))


@show_app.command("artifact")
def show_artifact(
    artifact: Annotated[str, typer.Argument(help="Digest of an artifact, or its start.")],
    as_json: JsonFlag = False,
) -> None:
    """The manifest of an artifact, and whether its files still hash to it."""
    from flows.reading import artifact_report, render_artifact

    report = artifact_report(artifact)
    emit(report, as_json, lambda: render_artifact(report))


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Check the installation and say what is wrong and what to do."""
    from flows.doctor import diagnose, render
    from registry.settings import load_settings

    checks = diagnose(load_settings(check=False))
    failed = [check for check in checks if check.status == "fail"]
    emit(
        {"ok": not failed, "checks": [check.model_dump(mode="json") for check in checks]},
        as_json,
        lambda: render(checks),
    )
    if failed:
        raise typer.Exit(1)


def _service_errors() -> tuple[type[Exception], ...]:
    """Imported only when something failed: a broken package must not keep this from speaking."""
    import httpx

    from flows.client import ApiError
    from flows.registration import RegistrationFailed
    from flows.services import ServiceFailed

    return ApiError, RegistrationFailed, ServiceFailed, httpx.HTTPError


def _exit_with(error: Exception) -> NoReturn:

    from flows.problems import message_of

    # Brackets in a message are text, no markup.
    err.print(f"[red]error:[/red] {shown(message_of(error))}", highlight=False, soft_wrap=True)
    sys.exit(2)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except ValueError as error:
        _exit_with(error)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        _exit_with(
            ValueError(
                f"{error.strerror}: {error.filename or 'a file of this run'}; free space or unlock"
                " it, or set ARRIERO_HOME to another folder"
            )
        )
    except KeyboardInterrupt:
        sys.exit(130)
    except _service_errors() as error:
        _exit_with(error)


if __name__ == "__main__":
    main()

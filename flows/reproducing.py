"""``arriero reproduce``: train a stretch of a run again and say if its losses are the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from registry import lineage
from registry.artifacts import ArtifactRef, Kind
from tasks.runner import Workplace, open_workplace

SHOWN = 20  # rows of the table


def steps_of(text: str) -> tuple[int, int]:
    """First and last step of ``a:b``.

    Raises:
        ValueError: it is none.
    """
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal()):
        raise ValueError(f"--steps {text!r}: give the first and the last step as a:b, 1:20 say")
    return int(first), int(last)


def reproduce_report(
    reference: str, steps: str, *, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Losses of a stretch then and now, and the verdict by the run's reproducibility class.

    reference: a model or a checkpoint; of a model the checkpoint it was exported from.

    Raises:
        ValueError: there is no such model, its inputs are gone, or the steps are not of its run.
    """
    from tasks.training.reproduce import bound_of, reproduce

    first, last = steps_of(steps)
    place = open_workplace()
    trained = _checkpoint_of(place, reference)
    manifest = place.store.manifest(trained)
    finetuned = trained.stage == "finetuning"
    data = _input(place, trained, "instructions" if finetuned else "tokens")
    work = place.store.root / "work" / trained.key / "checkpoints"
    with tempfile.TemporaryDirectory(prefix="reproduce-", dir=place.store.root / "work") as scratch:
        compared = reproduce(
            place.store.path(trained) / "logs",
            Path(scratch),
            data=data,
            init_from=_input(place, trained, "checkpoint") if finetuned else None,
            checkpoints=work if work.is_dir() else None,
            first=first,
            last=last,
            bound=bound_of(manifest.reproducibility),
            moved="of each change" in manifest.reproducibility,
            on_progress=lambda fraction, line: say(line),
        )
    return {
        "checkpoint": trained.digest,
        "stage": trained.stage,
        "steps": [first, last],
        "began_at": compared.began_at,
        "class": manifest.reproducibility,
        "bound": compared.bound,
        "furthest": compared.furthest,
        "same": compared.same,
        "rows": [{"step": s, "then": then, "now": now} for s, then, now in compared.rows],
    }


def render_reproduction(report: dict[str, Any]) -> Table:
    """The steps, those that differ most first in the caption."""
    what = "bit by bit" if report["bound"] == 0 else f"within {report['bound']:g} nats"
    verdict = "the same" if report["same"] else "NOT the same"
    table = Table(
        title=f"{report['stage']} {report['checkpoint'][:12]}, steps {report['steps'][0]} to"
        f" {report['steps'][1]} again from step {report['began_at']}",
        caption=f"{verdict} {what}; largest difference {report['furthest']:g}",
    )
    for name in ("step", "loss then", "loss now", "difference"):
        table.add_column(name, justify="right")
    rows = sorted(report["rows"], key=lambda row: -abs(row["then"] - row["now"]))[:SHOWN]
    for row in sorted(rows, key=lambda row: int(row["step"])):
        values = (row["then"], row["now"], row["now"] - row["then"])
        table.add_row(str(row["step"]), *(f"{value:.9g}" for value in values))
    return table


def _checkpoint_of(place: Workplace, reference: str) -> ArtifactRef:
    found = lineage.resolve(place.registry, reference)
    while found.kind is not Kind.CHECKPOINT:
        keys = place.store.manifest(found).input_keys
        if "checkpoint" not in keys:
            raise ValueError(
                f"{found.kind.value} {found.digest[:12]} was not trained: give a model or a"
                " checkpoint"
            )
        above = place.store.lookup(keys["checkpoint"])
        if above is None:
            raise ValueError(f"the checkpoint of model {found.digest[:12]} is not in the store")
        found = above
    return found


def _input(place: Workplace, ref: ArtifactRef, name: str) -> Path:
    found = place.store.lookup(place.store.manifest(ref).input_keys[name])
    if found is None:
        raise ValueError(
            f"checkpoint {ref.digest[:12]}: its {name} are no longer in the store; run the pipeline"
            " again to make them"
        )
    return place.store.path(found)

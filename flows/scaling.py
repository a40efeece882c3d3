"""A ladder of pretraining runs, the loss law through them, and the cheapest way to a loss."""

from __future__ import annotations

import json

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, ConfigDict, Field

from flows.references import find_artifact
from flows.session import recorded
from registry.artifacts import ArtifactRef, Kind
from tasks.emissions.parameters import EmissionsParameters
from tasks.runner import Workplace, open_workplace, settled
from tasks.scaling.parameters import ScalingParameters
from tasks.scaling.points import LadderParameters
from tasks.scaling.stage import fit_ladder
from tasks.training.stage import pretrain


class ScalingFlowParameters(BaseModel):
    """The form of the ``scaling`` deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Scaling study")

    tokens: str = Field(
        "latest", title="Tokens", description="`latest`, or the digest of a tokens artifact."
    )
    ladder: LadderParameters = Field(
        default_factory=LadderParameters,
        title="Ladder",
        description="Runs: every shape with every budget.",
    )
    law: ScalingParameters = Field(
        default_factory=ScalingParameters, title="Law", description="Fit, target loss and costs."
    )
    emissions: EmissionsParameters = Field(
        default_factory=EmissionsParameters,
        title="Emissions",
        description="Meter of the ladder; factors of the answers.",
    )


@flow(name="scaling")
def scaling_study(parameters: ScalingFlowParameters) -> ArtifactRef:
    """Train the ladder, fit the law, answer; runs and fits that are there are found.

    Each point is a pretraining run like any other, cached, metered and with its lineage: another
    target or another number of served tokens fits anew and trains nothing.
    """
    with recorded("scaling", parameters, model_size="ladder") as run:
        place = open_workplace()
        tokens = find_artifact(place, parameters.tokens, Kind.TOKENS, "tokens")
        require_validation(place, tokens)
        tokenizer = find_artifact(
            place, place.store.manifest(tokens).inputs["tokenizer"], Kind.TOKENIZER, "tokenizer"
        )
        checkpoints: dict[str, ArtifactRef] = {}
        runs = parameters.ladder.runs()
        for number, (name, point) in enumerate(runs.items(), 1):
            get_run_logger().info("ladder: run %s of %s, %s", number, len(runs), name)
            named = pretrain.with_options(task_run_name=f"pretraining {name}")
            checkpoints[name] = settled(named(point, tokens, tokenizer, run))
        report: ArtifactRef = settled(
            fit_ladder(parameters.law, parameters.emissions, checkpoints, run)
        )
        folder = place.store.path(report)
        for note in json.loads((folder / "law.json").read_text("utf-8"))["notes"]:
            get_run_logger().warning("%s", note)
        create_markdown_artifact(
            (folder / "report.md").read_text("utf-8"),
            key="scaling",
            description="Size and tokens that reach the target loss at least cost",
        )
        return report


def require_validation(place: Workplace, tokens: ArtifactRef) -> None:
    """Refuse token shards without held-out text before anything is trained on them.

    Raises:
        ValueError: there is no validation split to measure the losses on.
    """
    summary = json.loads((place.store.path(tokens) / "tokens.json").read_text("utf-8"))
    held_out = summary["splits"].get("validation", {})
    if not any(row["tokens"] > 1 for row in held_out.values()):
        raise ValueError(
            f"tokens {tokens.digest[:12]} hold no validation text, on which the ladder's losses are"
            " measured: make them from a corpus with a validation_fraction above 0"
        )

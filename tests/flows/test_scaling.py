"""The scaling study: ordinary pretraining runs under one flow, then the law; nothing done twice."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from flows import scaling
from flows.scaling import ScalingFlowParameters, require_validation, scaling_study
from model.flops import parameter_counts
from registry.artifacts import ArtifactRef, Kind, recipe_key
from registry.schema import Run
from tasks.context import StageContext, StageResult
from tasks.runner import Workplace
from tasks.scaling.parameters import ScalingParameters
from tasks.training import build
from tasks.training.parameters import PretrainingParameters
from tests.tasks.scaling.ladders import SMALL


@dataclasses.dataclass
class Task:
    """A Prefect task as the flow calls it, without Prefect's server."""

    fn: Callable[..., Any]

    def with_options(self, *, task_run_name: str) -> Callable[..., Any]:
        """The plain function."""
        return self.fn

    def __call__(self, *arguments: Any) -> Any:
        return self.fn(*arguments)


def publish(place: Workplace, kind: Kind, stage: str, text: str, **inputs: Any) -> ArtifactRef:
    staging = place.store.new_staging()
    (staging / f"{stage}.json").write_text(text)
    return place.store.publish(
        staging,
        key=recipe_key(stage, 1, {}, {"text": text}, {n: r.digest for n, r in inputs.items()}),
        kind=kind,
        stage=stage,
        stage_version=1,
        parameters={"text": text},
        inputs=inputs,
    )


@pytest.fixture
def study(
    place: Workplace, no_meter: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, Any]:
    """Tokens to study, a trainer that follows a known law, and what the flow showed."""
    seen: dict[str, Any] = {"trained": [], "markdown": None}

    def train(
        parameters: PretrainingParameters, tokens: Path, tokenizer: Path, context: StageContext
    ) -> StageResult:
        shape = parameters.shape
        assert shape is not None
        trained = parameters.steps * parameters.global_batch * parameters.context
        seen["trained"].append((shape.dim, parameters.steps))
        loss = SMALL.loss(parameter_counts(shape).without_embeddings, trained)
        summary = {
            "tokens": trained,
            "steps": parameters.steps,
            "loss": loss,
            "validation": {"c4": {"loss": loss, "tokens": 1000}},
        }
        (context.out / "summary.json").write_text(json.dumps(summary))
        (context.out / "config.json").write_text(shape.model_dump_json())
        return StageResult(counts={"epochs": {"c4": 0.1}})

    def markdown(text: str, **_: Any) -> None:
        seen["markdown"] = text

    monkeypatch.setattr(build, "build_pretraining", train)
    monkeypatch.setattr(scaling, "pretrain", Task(scaling.pretrain.fn))
    monkeypatch.setattr(scaling, "fit_ladder", Task(scaling.fit_ladder.fn))
    monkeypatch.setattr(scaling, "get_run_logger", lambda: logging.getLogger("study"))
    monkeypatch.setattr(scaling, "create_markdown_artifact", markdown)
    held_out = {"splits": {"validation": {"c4": {"tokens": 5000, "documents": 3}}}}
    tokenizer = publish(place, Kind.TOKENIZER, "tokenizer", "{}")
    seen["tokens"] = publish(
        place, Kind.TOKENS, "tokens", json.dumps(held_out), tokenizer=tokenizer
    )
    return seen


def attempts(place: Workplace) -> list[tuple[str, str]]:
    with place.registry.reading() as session:
        rows = session.scalars(select(Run).where(Run.stage.is_not(None))).all()
        return [(str(row.stage), row.status) for row in rows]


def test_twelve_runs_and_a_law_and_nothing_twice(place: Workplace, study: dict[str, Any]) -> None:
    parameters = ScalingFlowParameters(law=ScalingParameters(draws=100))
    report = scaling_study.fn(parameters)
    assert len(study["trained"]) == len(set(study["trained"])) == 12
    law = json.loads((place.store.path(report) / "law.json").read_text())["law"]
    assert law["alpha"]["value"] == pytest.approx(SMALL.alpha, rel=1e-6)
    assert "least" in study["markdown"] and "tCO2eq" in study["markdown"]
    assert set(place.store.manifest(report).inputs) == set(parameters.ladder.runs())
    with place.registry.reading() as session:
        (flow,) = session.scalars(select(Run).where(Run.stage.is_(None))).all()
        children = session.scalars(select(Run).where(Run.parent_id == flow.id)).all()
    assert flow.flow == "scaling" and flow.status == "completed" and len(children) == 13
    # Another question of the same ladder trains nothing.
    other = parameters.model_copy(
        update={"law": ScalingParameters(draws=100, served_tokens=(5_000_000,))}
    )
    assert scaling_study.fn(other).digest != report.digest
    assert scaling_study.fn(parameters) == report
    assert len(study["trained"]) == 12
    assert attempts(place).count(("pretraining", "cached")) == 24
    assert attempts(place).count(("scaling", "cached")) == 1


def test_extrapolation_is_told_in_the_log(
    study: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    law = ScalingParameters(draws=100, target_loss=3.2, served_tokens=(0,))
    with caplog.at_level(logging.WARNING, logger="study"):
        scaling_study.fn(ScalingFlowParameters(law=law))
    assert any("beyond the ladder's range (size" in line for line in caplog.messages)
    assert "beyond the ladder's range (size" in study["markdown"]


def test_tokens_without_held_out_text_are_refused_before_training(
    place: Workplace, study: dict[str, Any]
) -> None:
    none = publish(place, Kind.TOKENS, "tokens", json.dumps({"splits": {"train": {}}}))
    with pytest.raises(ValueError, match="no validation text"):
        scaling_study.fn(ScalingFlowParameters(tokens=none.digest))
    assert study["trained"] == []
    require_validation(place, study["tokens"])

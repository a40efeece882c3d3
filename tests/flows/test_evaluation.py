"""The night's list of models, and what one bad model does to the others."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import CancelledRun

from flows import evaluation
from flows.evaluation import NightlyParameters, last_parameters, models_to_check
from registry import runs
from registry.artifacts import ArtifactRef, Kind, recipe_key
from registry.database import upgrade
from registry.settings import load_settings
from tasks.evaluation.parameters import EvaluationParameters
from tasks.runner import RunContext, Workplace, open_workplace


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.setenv("ARRIERO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ARRIERO_REGISTRY_URL", raising=False)
    (tmp_path / "home").mkdir()
    upgrade(load_settings().registry_address)
    return open_workplace()


def put(
    place: Workplace, kind: Kind, stage: str, text: str, parameters: Any = None, **inputs: Any
) -> ArtifactRef:
    staging = place.store.new_staging()
    (staging / "file.txt").write_text(text)
    given = parameters or {"text": text}
    return place.store.publish(
        staging,
        key=recipe_key(stage, 1, {}, given, {name: ref.digest for name, ref in inputs.items()}),
        kind=kind,
        stage=stage,
        stage_version=1,
        parameters=given,
        inputs=inputs,
    )


def test_models_and_checkpoints_without_a_figure_are_checked(place: Workplace) -> None:
    base = put(place, Kind.CHECKPOINT, "pretraining", "base")
    tuned = put(place, Kind.CHECKPOINT, "finetuning", "tuned", base=base)
    model = put(place, Kind.MODEL, "export", "exported", checkpoint=tuned)
    assert models_to_check(place) == [
        ("no evaluation yet", model),
        ("checkpoint without evaluation", base),
    ]


def test_settings_of_the_last_evaluation_are_those_of_the_content(place: Workplace) -> None:
    first = put(place, Kind.MODEL, "export", "weights", {"seed": 1})
    again = put(place, Kind.MODEL, "export", "weights", {"seed": 2})
    assert first.digest == again.digest and first.key != again.key
    chosen = EvaluationParameters(benchmarks=["boolq"], item_limit=7)
    result = put(
        place, Kind.EVALUATION, "evaluation", "rows", chosen.model_dump(mode="json"), model=first
    )
    row = {"benchmark": "boolq", "metric": "acc", "value": 0.5, "n": 7}
    with place.registry.session() as session:
        runs.record_evaluations(session, artifact=result, model=first, rows=[row])
    assert last_parameters(place, again) == chosen


@pytest.fixture
def night(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The flow without Prefect and without computing: what was asked for and what it reported."""
    seen: dict[str, Any] = {"asked": [], "table": None, "errors": {}}

    @contextlib.contextmanager
    def recorded(flow: str, parameters: Any) -> Iterator[RunContext]:
        yield RunContext(run_id="r", flow=flow)

    def evaluate(_: Workplace, model: ArtifactRef, *rest: Any) -> tuple[ArtifactRef, bool]:
        seen["asked"].append(model)
        if model.digest in seen["errors"]:
            raise seen["errors"][model.digest]
        return model, False

    def table(rows: Any, **_: Any) -> None:
        seen["table"] = rows

    monkeypatch.setattr(evaluation, "recorded", recorded)
    monkeypatch.setattr(evaluation, "get_run_logger", lambda: logging.getLogger("night"))
    monkeypatch.setattr(evaluation, "folder_for", lambda place, model, named: named)
    monkeypatch.setattr(evaluation, "take_data", lambda place, run, folder, *rest, **how: folder)
    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    monkeypatch.setattr(evaluation, "create_table_artifact", table)
    return seen


def test_one_bad_model_does_not_end_the_night(place: Workplace, night: dict[str, Any]) -> None:
    models = [put(place, Kind.MODEL, "export", text) for text in ("a", "b", "c")]
    night["errors"] = {models[1].digest: ValueError("no tokenizer.model")}
    with pytest.raises(RuntimeError, match=r"1 of 3 were not evaluated.*no tokenizer\.model"):
        evaluation.nightly_evaluation.fn(NightlyParameters())
    assert night["asked"] == models
    assert [row["outcome"] for row in night["table"]] == [
        "evaluated",
        "failed: ValueError: no tokenizer.model",
        "evaluated",
    ]
    night["errors"] = {}
    rows = evaluation.nightly_evaluation.fn(NightlyParameters())
    assert [row["outcome"] for row in rows] == ["evaluated"] * 3


def test_a_cancelled_night_ends_at_once(place: Workplace, night: dict[str, Any]) -> None:
    models = [put(place, Kind.MODEL, "export", text) for text in ("a", "b")]
    night["errors"] = {models[0].digest: CancelledRun("by hand")}
    with pytest.raises(CancelledRun):
        evaluation.nightly_evaluation.fn(NightlyParameters())
    assert night["asked"] == models[:1]

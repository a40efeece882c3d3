"""The report: what it reads, what it says, and when it is made again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.artifacts import ArtifactRef, Kind, recipe_key
from tasks.context import StageContext, StageResult
from tasks.emissions.forecast import PlanParameters, plan
from tasks.emissions.parameters import EmissionsParameters
from tasks.runner import RunContext, Workplace, settled
from tasks.scaling.build import build_report
from tasks.scaling.ladder import read_ladder, validation_loss
from tasks.scaling.parameters import CostParameters, ScalingParameters
from tasks.scaling.report import charge
from tasks.scaling.stage import fit_ladder
from tests.tasks.scaling.ladders import SMALL, write_ladder

QUICK = ScalingParameters(draws=100)
PAPER = EmissionsParameters()


def made(
    tmp_path: Path, parameters: ScalingParameters = QUICK, **how: Any
) -> tuple[dict[str, Any], StageResult, Path]:
    out = tmp_path / "out"
    out.mkdir()
    folders = write_ladder(tmp_path / "ladder", **how)
    result = build_report(parameters, PAPER, folders, StageContext(out=out, work=tmp_path))
    return json.loads((out / "law.json").read_text()), result, out


def edit(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_report_holds_the_law_of_the_ladder_and_its_answers(tmp_path: Path) -> None:
    report, result, out = made(tmp_path)
    law = {name: figure["value"] for name, figure in report["law"].items()}
    assert [law[n] for n in ("E", "A", "alpha", "B", "beta")] == pytest.approx(
        SMALL.as_row(), rel=1e-6
    )
    assert law["size_exponent"] == pytest.approx(0.5 / 0.9)
    assert report["target_loss"] == pytest.approx(SMALL.loss(1_771_200, 367 * 2048))
    rows = json.loads((out / "ladder.json").read_text())
    assert len(rows) == 12 and all(abs(row["residual"]) < 1e-9 for row in rows)
    served = [answer["served_tokens"] for answer in report["answers"]]
    assert served == [0, 10_000_000, 100_000_000, 1_000_000_000]
    sizes = [answer["size"]["value"] for answer in report["answers"]]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0]
    for answer in report["answers"]:
        loss = SMALL.loss(answer["size"]["value"], answer["tokens"]["value"])
        assert loss == pytest.approx(report["target_loss"], abs=1e-6)
        low, high = answer["nearly"]
        assert low < answer["size"]["value"] < high
        total = answer["training"]["gpu_hours"] + answer["serving"]["gpu_hours"]
        assert answer["gpu_hours"]["value"] == pytest.approx(total)
    assert np.load(out / "draws.npy").shape == (100, 5)
    text = (out / "report.md").read_text()
    assert "| 1,000,000,000 |" in text and "N1771200-D" in text
    assert result.counts["alpha"] == pytest.approx(0.4) and result.seeds == {"seed": 0}


def test_costs_are_those_of_the_forecast() -> None:
    """Table 15's formula, as ``arriero plan`` has it, for the FLOPs of the paper's 7B."""
    report = plan(PlanParameters(preset="7B"))
    cost = charge(report.flops, report.mfu, ScalingParameters(), PAPER)
    assert (cost.gpu_hours, cost.kwh, cost.tco2eq) == pytest.approx(
        (report.gpu_hours, report.kwh, report.tco2eq)
    )
    h100 = plan(PlanParameters(preset="7B", gpu="H100-80GB"))
    other = ScalingParameters(cost=CostParameters(gpu="H100-80GB"))
    assert charge(h100.flops, h100.mfu, other, PAPER).kwh == pytest.approx(h100.kwh)
    with pytest.raises(ValueError, match="unknown GPU"):
        CostParameters(gpu="abacus")


def test_the_loss_is_the_mean_over_tokens() -> None:
    rows = {"c4": {"loss": 4.0, "tokens": 300}, "books": {"loss": 2.0, "tokens": 100}}
    assert validation_loss(rows) == (3.5, 400)
    assert validation_loss({})[1] == 0


def test_files_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    found = []
    for name in "ab":
        (tmp_path / name).mkdir()
        _, _, out = made(tmp_path / name)
        found.append({path.name: path.read_bytes() for path in sorted(out.iterdir())})
    assert found[0] == found[1] and len(found[0]) == 4


def test_what_lies_outside_the_ladder_is_said_with_its_factor(tmp_path: Path) -> None:
    parameters = QUICK.model_copy(update={"target_loss": 3.2, "served_tokens": (0,)})
    report, result, _ = made(tmp_path, parameters)
    (answer,) = report["answers"]
    factor = answer["size"]["value"] / 1_771_200
    assert factor > 1 and answer["beyond"]["size"] == pytest.approx(factor)
    first, second, *_ = result.notes
    assert "3.2 is" in first and "nats below the lowest" in first
    assert f"size {factor:.3g} times" in second and "tokens" in second


def test_a_size_below_the_ladders_is_beyond_it_too(tmp_path: Path) -> None:
    target = SMALL.loss(200_000, 400_000)
    served = {"target_loss": target, "served_tokens": (10**13,)}
    report, result, _ = made(tmp_path, QUICK.model_copy(update=served))
    (answer,) = report["answers"]
    factor = 106_816 / answer["size"]["value"]
    assert factor > 1 and answer["beyond"]["size"] == pytest.approx(factor)
    assert f"(size {factor:.3g} times" in result.notes[0]


def test_inside_the_ladder_nothing_is_said_of_extrapolation(tmp_path: Path) -> None:
    target = SMALL.loss(600_000, 400_000)
    parameters = QUICK.model_copy(update={"target_loss": target, "served_tokens": (0,)})
    report, result, _ = made(tmp_path, parameters)
    assert report["answers"][0]["beyond"] == {"size": 1.0, "tokens": 1.0}
    assert not any("beyond" in note or "below the lowest" in note for note in result.notes)


def test_a_target_that_no_model_reaches_is_refused(tmp_path: Path) -> None:
    parameters = QUICK.model_copy(update={"target_loss": 2.4})
    with pytest.raises(ValueError, match=r"no size and no number of tokens reach a loss of 2\.4"):
        made(tmp_path, parameters)


def test_uncertainty_reaches_the_answers(tmp_path: Path) -> None:
    folders = write_ladder(tmp_path / "ladder")
    for number, folder in enumerate(folders.values()):
        rows = json.loads((folder / "summary.json").read_text())["validation"]
        for row in rows.values():
            row["loss"] *= 1 + 0.01 * math.sin(7 * number)
        edit(folder, "summary.json", validation=rows)
    out = tmp_path / "out"
    out.mkdir()
    build_report(QUICK, PAPER, folders, StageContext(out=out, work=tmp_path))
    report = json.loads((out / "law.json").read_text())
    for answer in report["answers"]:
        for name in ("size", "tokens", "gpu_hours", "kwh", "tco2eq"):
            figure = answer[name]
            assert figure["low"] < figure["value"]
            assert figure["high"] is None or figure["high"] > figure["value"]
        size = answer["size"]
        assert size["high"] is None or size["high"] > 1.2 * size["low"]


def test_all_that_makes_runs_incomparable_is_told(tmp_path: Path) -> None:
    folders = list(write_ladder(tmp_path / "ladder").values())
    edit(folders[0], "summary.json", validation={})
    edit(folders[1], "manifest.json", inputs={"tokens": "b" * 64})
    edit(folders[2], "manifest.json", parameters={"context": 128})
    with pytest.raises(ValueError) as error:
        read_ladder({folder.name: folder for folder in folders})
    for text in ("no finite validation loss", "one of the token shards", "sequence lengths"):
        assert text in str(error.value)


def test_repeated_data_is_noted(tmp_path: Path) -> None:
    folders = write_ladder(tmp_path / "ladder")
    edit(next(iter(folders.values())), "manifest.json", counts={"epochs": {"c4": 5.5}})
    out = tmp_path / "out"
    out.mkdir()
    result = build_report(QUICK, PAPER, folders, StageContext(out=out, work=tmp_path))
    assert any("passed 5.5 times" in note for note in result.notes)


@pytest.fixture
def checkpoints(tmp_path: Path, place: Workplace) -> dict[str, ArtifactRef]:
    """The ladder's runs as published checkpoints."""
    refs = {}
    tokens = publish(place, Kind.TOKENS, "tokens", {}, {"tokens.json": "{}"}, {})
    for name, folder in write_ladder(tmp_path / "ladder").items():
        files = {f: (folder / f).read_text() for f in ("summary.json", "config.json")}
        refs[name] = publish(
            place,
            Kind.CHECKPOINT,
            "pretraining",
            {"context": 256, "name": name},
            files,
            {"tokens": tokens},
        )
    return refs


def publish(
    place: Workplace,
    kind: Kind,
    stage: str,
    parameters: dict[str, Any],
    files: dict[str, str],
    inputs: dict[str, ArtifactRef],
) -> ArtifactRef:
    staging = place.store.new_staging()
    for name, text in files.items():
        (staging / name).write_text(text)
    digests = {name: ref.digest for name, ref in inputs.items()}
    return place.store.publish(
        staging,
        key=recipe_key(stage, 1, {}, parameters, digests),
        kind=kind,
        stage=stage,
        stage_version=1,
        parameters=parameters,
        inputs=inputs,
    )


def test_the_stage_is_found_again_and_made_again_for_other_factors(
    place: Workplace, checkpoints: dict[str, ArtifactRef]
) -> None:
    run = RunContext(run_id=_started(place), flow="scaling")
    first = fit_ladder.fn(QUICK, PAPER, checkpoints, run)
    ref = settled(first)
    assert isinstance(first, ArtifactRef) and ref.kind == Kind.REPORT
    manifest = place.store.manifest(ref)
    assert manifest.inputs == {name: c.digest for name, c in checkpoints.items()}
    assert manifest.reproducibility.startswith("numeric")
    again = fit_ladder.fn(QUICK, PAPER, checkpoints, run)
    assert again.name == "Cached" and settled(again) == ref
    greener = EmissionsParameters(intensity=0.05, intensity_source="a river")
    other = settled(fit_ladder.fn(QUICK, greener, checkpoints, run))
    assert other.key != ref.key and other.digest != ref.digest
    slower = greener.model_copy(update={"measure_interval_s": 1.0})
    assert settled(fit_ladder.fn(QUICK, slower, checkpoints, run)) == other


def _started(place: Workplace) -> str:
    from registry import runs

    return runs.start_run(place.registry, flow="scaling", parameters={})

"""``arriero plan`` as it is typed, and the flow behind the same form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import planning
from flows.cli import app
from tasks.emissions.forecast import PlanReport
from tasks.planning.parameters import PlanParameters
from tasks.planning.serving import ServeReport

RUNNER = CliRunner(env={"COLUMNS": "200"})


def typed(*arguments: str) -> str:
    result = RUNNER.invoke(app, ["plan", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_papers_run_is_printed_beside_the_paper() -> None:
    text = typed("--preset", "65B", "--gpus", "2048", "--gpu", "a100")
    for part in (
        "65B on 2048 x A100-80GB",
        "333,786 of 4,194,304 tokens",
        "1,400,000,000,000",
        "paper 1,022,362",
        "paper 20.8",
        "paper 449 MWh",
        "paper 173 t",
        "FSDP2 full shard",
        "activations",
        "optimizer",
        "fits in 80 GiB",
    ):
        assert part in text, part


def test_json_is_one_object() -> None:
    report = json.loads(typed("--preset", "7B", "--gpus", "64", "--gpu", "h100", "--json"))
    assert (report["gpu"], report["sharding"]) == ("H100-80GB", "hsdp")
    assert PlanReport.model_validate(report).memory.optimizer > 0
    served = json.loads(typed("--serve", "--preset", "13B", "--gpu", "v100", "--json"))
    assert ServeReport.model_validate(served).fits


def test_serving_is_answered() -> None:
    text = typed("--serve", "--preset", "13B", "--gpu", "v100")
    for part in ("Runs on one V100-32GB", "yes", "fp16", "int8", "Largest batch", "Bound of tok"):
        assert part in text, part
    assert "NO" in typed("--serve", "--preset", "65B", "--gpu", "v100")


@pytest.mark.parametrize("serve", [False, True])
def test_the_flow_keeps_the_same_lines(serve: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}

    @contextmanager
    def recorded(*_: Any, **__: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(planning, "recorded", recorded)
    monkeypatch.setattr(
        planning, "create_markdown_artifact", lambda text, **names: kept.update(names, text=text)
    )
    parameters = PlanParameters(preset="13B", gpu="v100", gpus=64, serve=serve)
    report = planning.planning.fn(parameters)
    assert isinstance(report, ServeReport if serve else PlanReport)
    assert kept["key"] == "plan" and "13B" in kept["description"]
    assert ("Runs on one V100-32GB" if serve else "| Energy |") in kept["text"]

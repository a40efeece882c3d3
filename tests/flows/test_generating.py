"""``arriero generate`` on a model: batches, streams, stop strings, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from flows import generating
from flows.cli import app
from flows.generating import Sampling, continued
from model.config import ModelConfig
from model.llama import Llama
from model.tokenizer import Tokenizer
from model.weights import save_native
from tasks.runner import Workplace
from tests.model.conftest import _train

PROMPTS = ["one", "two and", "three or four", "x", "five"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    vocabulary = Tokenizer(_train(tmp_path / "tokenizer.model")).vocab_size
    shape = {"dim": 16, "layers": 2, "heads": 2, "ffn_hidden": 32, "context": 64}
    model = Llama(ModelConfig.model_validate({**shape, "vocab_size": vocabulary}))
    model.init_weights(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6.0 if parameter.ndim == 2 else 1.0)
    save_native(model, tmp_path)
    monkeypatch.setattr(generating, "model_folder", lambda reference: (tmp_path, "d" * 64))
    return tmp_path


def texts(how: Sampling) -> list[str]:
    return [answer["text"] for answer in continued("champion", PROMPTS, how)]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_answers_do_not_depend_on_the_batch(temperature: float) -> None:
    each = [texts(Sampling(12, temperature, seed=4, batch=size)) for size in (1, 2, 5)]
    assert each[0] == each[1] == each[2] and len(set(each[0])) > 1
    if temperature:
        assert texts(Sampling(12, temperature, seed=5)) != each[0]


@pytest.mark.usefixtures("folder")
def test_streams_make_up_the_answers() -> None:
    streamed = dict.fromkeys(range(len(PROMPTS)), "")

    def show(row: int, text: str) -> None:
        streamed[row] += text

    how = Sampling(12, 0.9, batch=2)
    answers = [answer["text"] for answer in continued("champion", PROMPTS, how, show)]
    assert list(streamed.values()) == answers
    stop = answers[1][3:5]
    streamed.update(dict.fromkeys(streamed, ""))
    again = list(continued("champion", PROMPTS, Sampling(12, 0.9, stop=(stop,), batch=2), show))
    assert [a["text"] for a in again] == list(streamed.values())
    assert again[1]["finish"] == "stop" and stop not in again[1]["text"]


@pytest.mark.usefixtures("folder")
def test_command(tmp_path: Path) -> None:
    def ran(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["generate", "--max-new-tokens", "9", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    (answer,) = json.loads(ran("--prompt", "one", "--json"))["answers"]
    assert answer["prompt"] == "one" and answer["model"] == "d" * 64 and answer["tokens"] <= 9
    assert ran("--prompt", "one").rstrip("\n").strip() == answer["text"].strip()
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    answers = json.loads(ran("--file", str(tmp_path / "prompts.txt"), "--json"))["answers"]
    assert [a["prompt"] for a in answers] == PROMPTS and answers[0]["text"] == answer["text"]


def test_what_is_no_model_is_refused(place: Workplace) -> None:
    with pytest.raises(ValueError, match="no prompt"):
        list(continued("champion", [], Sampling()))
    with pytest.raises(ValueError, match="no artifact matches 'champion'"):
        list(continued("champion", ["x"], Sampling()))

"""A data folder to write into, a small one, and a tokenizer."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import sentencepiece

from tests.tasks.instructions.support import Writer, lines


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def _write(name: str, text: str) -> Path:
        path = tmp_path / "data" / "instruct" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with the paper's flags, trained on lines (so no piece holds a line break)."""
    model = io.BytesIO()
    text = ["name the colour of the sky and of the grass", "blue green red answer instruction"] * 9
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        model_type="bpe",
        vocab_size=330,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(model.getvalue())
    return path


@pytest.fixture
def data(write: Writer, tmp_path: Path) -> Path:
    alpaca = [{"instruction": f"name colour {n}", "output": f"blue {n}"} for n in range(60)]
    write("alpaca/one.json", json.dumps([*alpaca, alpaca[0]]))
    write("alpaca/two.json", json.dumps(alpaca[:5]))
    write("flan_cot/gsm8k_train.tsv", "".join(f"sum {n}?\t{n}\tadd {n}\n" for n in range(20)))
    long = {"prompt": "x " * 300, "completion": "y<|endoftext|>"}
    write("t0/long.jsonl", lines(long, *({"prompt": f"p{n}", "completion": "c"} for n in range(4))))
    write("SOURCES.md", "notes")
    return tmp_path / "data"

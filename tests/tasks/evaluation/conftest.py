"""A tokenizer, a model and benchmark files, small enough for every test of the evaluator."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


class WordTokenizer:
    """One id per word; a word's id is the same wherever it stands. BOS is 0."""

    bos_id = 0

    def __init__(self) -> None:
        self.words: dict[str, int] = {}

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        ids = [self.words.setdefault(word, len(self.words) + 1) for word in text.split()]
        return [self.bos_id] * bos + ids

    def text(self, ids: Sequence[int]) -> str:
        names = {number: word for word, number in self.words.items()}
        return " ".join(names.get(number, "<s>") for number in ids)


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_bench(root: Path, count: int = 70) -> None:
    """HellaSwag, BoolQ and TriviaQA with ``count`` questions each, HumanEval with 3."""
    write_jsonl(
        root / "hellaswag" / "val_full_preprocessed.jsonl",
        [
            {
                "ind_in_val": n,
                "activity_label": "Counting",
                "ctx": f"A man counts to {n}. he",
                "endings": [f"says {n + k} aloud." for k in range(4)],
                "label": n % 4,
            }
            for n in range(count)
        ],
    )
    write_jsonl(
        root / "boolq" / "validation.jsonl",
        [
            {"question": f"is {n} even", "answer": n % 2 == 0, "passage": f"The number is {n}."}
            for n in range(count)
        ],
    )
    write_jsonl(
        root / "triviaqa" / "triviaqa_sm_sub.jsonl",
        [
            {
                "context": f"Question: What comes after {n}?\nAnswer:",
                "answer": str(n + 1),
                "aliases": [str(n + 1)],
            }
            for n in range(count)
        ],
    )
    problems = [
        {
            "task_id": f"Own/{n}",
            "prompt": f"def add_{n}(x):\n",
            "entry_point": f"add_{n}",
            "canonical_solution": f"    return x + {n}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n",
        }
        for n in range(3)
    ]
    (root / "humaneval").mkdir()
    with gzip.open(root / "humaneval" / "HumanEval.jsonl.gz", "wt", encoding="utf-8") as handle:
        handle.write("".join(json.dumps(row) + "\n" for row in problems))


def write_model(folder: Path, context: int = 128) -> None:
    """A random tiny Llama with a tokenizer trained on numbers and a few words."""
    import sentencepiece
    import torch

    from model.config import ModelConfig
    from model.llama import Llama
    from model.weights import save_native

    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"A man counts to {n}. he says {n} aloud. Question: is it even? yes no" for n in range(99)
    ]
    lines += [f"Answer these questions: Q: What comes after {n}? A: {n + 1}" for n in range(99)]
    with (folder / "tokenizer.model").open("wb") as handle:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=handle,
            vocab_size=350,
            model_type="bpe",
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            num_threads=1,
            minloglevel=2,
            hard_vocab_limit=False,
        )
    vocabulary = 350
    config = ModelConfig(dim=32, layers=2, heads=2, vocab_size=vocabulary, context=context)
    model = Llama(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    save_native(model, folder)


@pytest.fixture
def words() -> WordTokenizer:
    return WordTokenizer()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "model"
    write_model(folder)
    return folder


@pytest.fixture(scope="session")
def bench_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder ``bench`` with HellaSwag, BoolQ, TriviaQA and HumanEval; the others are absent."""
    root = tmp_path_factory.mktemp("data") / "bench"
    write_bench(root)
    return root

"""A tiny tokenizer trained from text of our own, and models small enough for a test each."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
import torch

from model.config import ModelConfig
from model.llama import Llama

# Threads of a shared machine would make tiny products slower, not faster.
torch.set_num_threads(1)

SENTENCES = (
    "The mule driver counted 12 sacks, 345 bells and one very old map.",
    "Every morning the caravan climbs, rests, and climbs again.",
    "naïve café, Überfahrt, piñata — words that need more than ASCII",
    "def load(sack):\n    return sack + 1",
    "    indented text,\tand a tab",
    "aaaa bbbb abab aabaab ababa aaaaaa bab ====  ------",
)


def _train(path: Path, **changes: object) -> Path:
    draw = random.Random(0)
    made = ["".join(draw.choice("ab c") for _ in range(40)) for _ in range(80)]
    settings: dict[str, object] = {
        "model_type": "bpe",
        "vocab_size": 512,
        "hard_vocab_limit": False,
        "byte_fallback": True,
        "split_digits": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "character_coverage": 0.99995,
        "num_threads": 1,
        "minloglevel": 2,
        **changes,
    }
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([*SENTENCES, *made] * 4), model_writer=file, **settings
        )
    return path


@pytest.fixture(scope="session")
def train_sentencepiece() -> Callable[..., Path]:
    """``train(path, **settings)``: the paper's settings (tokenizer_spec.csv) but 512 pieces."""
    return _train


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _train(tmp_path_factory.mktemp("tokenizer") / "tokenizer.model")


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Llama]:
    """``make(seed=0, **shape)``: two layers of width 32, weights large enough that logits differ
    clearly, norm weights that are not all ones (a forgotten one would show)."""

    def make(seed: int = 0, **changes: object) -> Llama:
        shape = {"dim": 32, "layers": 2, "heads": 4, "ffn_hidden": 48, "vocab_size": 97}
        model = Llama(ModelConfig.model_validate({"context": 64, **shape, **changes}))
        model.init_weights(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(5.0)
                else:
                    parameter.add_(torch.linspace(-0.3, 0.3, len(parameter)))
        return model.eval()

    return make

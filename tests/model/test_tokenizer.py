"""Text is text: no control ids from it, nothing lost in the round trip, clear errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizer import Tokenizer, TokenizerError

CONTROL_TEXTS = ["<s>", "</s>", "<unk>", " <s>", "a</s>b", "<s><s>", "<0x41>", "<pad>"]


@pytest.fixture(scope="module")
def tokenizer(tokenizer_path: Path) -> Tokenizer:
    return Tokenizer(tokenizer_path)


def test_ids(tokenizer: Tokenizer) -> None:
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2)
    assert 300 < tokenizer.vocab_size <= 512


@pytest.mark.parametrize("text", CONTROL_TEXTS)
def test_text_never_becomes_control_ids(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert not {0, 1, 2} & set(ids)
    assert all(not tokenizer.processor.is_control(token) for token in ids)
    assert tokenizer.decode(ids) == text


def test_bos_and_eos_come_from_the_caller(tokenizer: Tokenizer) -> None:
    plain = tokenizer.encode("a map")
    assert tokenizer.encode("a map", bos=True, eos=True) == [1, *plain, 2]
    assert tokenizer.decode([1, *plain, 2]) == "a map"
    assert tokenizer.encode("", bos=True) == [1]


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\u2581")))
def test_round_trip(tokenizer_path: Path, text: str) -> None:
    tokenizer = Tokenizer(tokenizer_path)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not {0, 1, 2} & set(ids)


def test_byte_fallback(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("🐎")
    assert len(ids) == 5  # the space in front and four bytes
    assert tokenizer.decode(ids) == "🐎"
    assert tokenizer.decode(ids[:3]) == "\ufffd\ufffd"


def test_digits_stand_alone(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("a1234")) == len(tokenizer.encode("a")) + 4


def test_continuation_keeps_its_first_space(tokenizer: Tokenizer) -> None:
    context = tokenizer.encode("Every morning")
    whole = tokenizer.encode("Every morning the caravan")
    continuation = whole[len(context) :]
    assert whole[: len(context)] == context
    assert tokenizer.decode(continuation) == "the caravan"
    assert tokenizer.decode_continuation(continuation) == " the caravan"


def test_bad_text_and_ids(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"character 1 .* lone surrogate .U\+D800"):
        tokenizer.encode("a\ud800")
    with pytest.raises(TokenizerError, match=f"id {tokenizer.vocab_size} is outside"):
        tokenizer.decode([5, tokenizer.vocab_size])


def test_missing_and_corrupt_files(tokenizer_path: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"no tokenizer at .*gone\.model"):
        Tokenizer(tmp_path / "gone.model")
    good = tokenizer_path.read_bytes()
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"")
    with pytest.raises(TokenizerError, match="is empty"):
        Tokenizer(broken)
    for content in (b"not a model", good[: len(good) // 2], good[:-3]):
        broken.write_bytes(content)
        with pytest.raises(TokenizerError, match=r"broken\.model .* no readable SentencePiece"):
            Tokenizer(broken)


def test_model_without_eos_is_refused(
    train_sentencepiece: Callable[..., Path], tmp_path: Path
) -> None:
    path = train_sentencepiece(tmp_path / "no_eos.model", eos_id=-1)
    with pytest.raises(TokenizerError, match="has no EOS"):
        Tokenizer(path)

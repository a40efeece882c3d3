"""Word by word, the ids are those that SentencePiece gives to whole documents."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from tasks.tokens.encoder import DocumentEncoder, token_dtype
from tests.model.strings import JOINERS, RUNS, SPACES, strings

# Settings beside the paper's, and whether documents may then be cut.
MODELS: dict[str, tuple[dict[str, object], bool]] = {
    "paper": ({}, True),
    "letters with signs": ({"split_by_unicode_script": False}, True),
    "digits together": ({"split_digits": False}, True),
    "digits with letters": ({"split_digits": False, "split_by_number": False}, True),
    "no runs of spaces": ({"allow_whitespace_only_pieces": False}, True),
    "spaces inside": ({"split_by_whitespace": False}, False),
    "spaces behind": ({"treat_whitespace_as_suffix": True}, False),
    "unigram": ({"model_type": "unigram"}, False),
    "a symbol of the user": ({"user_defined_symbols": ["\n\n"]}, False),
    "changes text": ({"normalization_rule_name": "nmt_nfkc"}, False),
    "trims text": ({"remove_extra_whitespaces": True}, False),
    "no space in front": ({"add_dummy_prefix": False}, False),
}


def train(path: Path, **changes: object) -> Path:
    learned = {*map(chr, range(0x20, 0x250)), *JOINERS, *SPACES, *"".join(RUNS)} - {*"\n\u2585"}
    lines = (
        "".join(filter(learned.__contains__, text))
        for text in strings(7, 8_000, ["the", "\u2581of", "ing", "\u2581(see", "12.5"])
    )
    settings: dict[str, object] = {
        "model_type": "bpe",
        "vocab_size": 1600,
        "byte_fallback": True,
        "split_digits": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "character_coverage": 1.0,
        "hard_vocab_limit": False,
        "num_threads": 2,
        "minloglevel": 2,
        **changes,
    }
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines, model_writer=file, **settings
        )
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder, made = tmp_path_factory.mktemp("models"), {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = train(folder / f"{name}.model", **MODELS[name][0])
        return made[name]

    return get


def ids(encoder: DocumentEncoder, text: str) -> list[int]:
    found: list[int] = np.frombuffer(b"".join(encoder.encode(text)), encoder.dtype).tolist()
    return found


def assert_same(encoder: DocumentEncoder, texts: list[str]) -> None:
    expected = encoder.tokenizer.processor.encode(texts, add_bos=True, add_eos=True)
    for text, row in zip(texts, expected, strict=True):
        assert ids(encoder, text) == row, repr(text)


@pytest.mark.parametrize("name", MODELS)
def test_ids_are_those_of_whole_documents(
    trained: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = DocumentEncoder(trained(name))
    assert (encoder._cuts is not None) == MODELS[name][1]
    processor = encoder.tokenizer.processor
    pieces = [processor.id_to_piece(token) for token in range(259, processor.vocab_size())]
    assert_same(encoder, list(strings(11, 4_000, pieces)))
    monkeypatch.setattr("tasks.tokens.encoder.WINDOW", 7)
    monkeypatch.setattr("tasks.tokens.encoder.RUN", 5)
    monkeypatch.setattr("tasks.tokens.encoder.KEPT_WORDS", 40)
    monkeypatch.setattr("tasks.tokens.encoder.KEPT_CHARACTERS", 6)
    encoder = DocumentEncoder(trained(name))
    assert_same(encoder, list(strings(12, 4_000, pieces)))
    assert len(encoder._words) <= 40 and len(encoder._words._old) <= 40


def test_few_letters_make_competing_merges(trained: Callable[[str], Path]) -> None:
    encoder = DocumentEncoder(trained("paper"))
    draw = random.Random(3)
    alphabets = ["ab ", "a \n", "aab  .", "the ,\n12", " \u2581a", "=- ", "e\u0301 "]
    texts = [
        "".join(draw.choices(alphabets[n % len(alphabets)], k=draw.randrange(200)))
        for n in range(7_000)
    ]
    assert_same(encoder, texts)


def test_every_character(trained: Callable[[str], Path]) -> None:
    encoder = DocumentEncoder(trained("paper"))
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    assert_same(encoder, ["".join(points[k : k + 300]) for k in range(0, len(points), 300)])
    assert_same(encoder, [f" {c}a{c}{c} {c}\n{c}" for c in points[:0x3100]])


def test_runs_without_an_end(trained: Callable[[str], Path]) -> None:
    encoder = DocumentEncoder(trained("paper"))
    units = ["a", " ", "=", "0", "\n", "ab", "q\u4e2dz", "\u2581", "\0", "\U0001f9c9"]
    assert_same(encoder, [f"x{unit * 150_000} y" for unit in units])


def test_words_digits_and_signs_are_cut_apart(built: dict[str, Path]) -> None:
    encoder = DocumentEncoder(built["tokenizer"] / "tokenizer.model")
    ids(encoder, "One word,  two (2026)\n\nthree. ")
    assert list(encoder._words) == [
        " One", " word", ",", "  two", " (", "2", "0", "6", ")", "\n\n", "three", ".", " ",
    ]  # fmt: skip


def test_width_follows_the_vocabulary() -> None:
    assert token_dtype(65_536).itemsize == 2 and token_dtype(65_537).itemsize == 4


@pytest.mark.slow
@pytest.mark.data
def test_real_novels(arriero_data: Path, built: dict[str, Path]) -> None:
    encoder = DocumentEncoder(built["tokenizer"] / "tokenizer.model")
    archive = arriero_data / "corpus" / "english" / "100_english_novels.part1of3.tar.gz"
    texts = []
    with tarfile.open(archive) as members:
        for member in members:
            if member.isfile() and len(texts) < 12 and (file := members.extractfile(member)):
                texts.append(file.read().decode("utf-8", "replace"))
    assert sum(map(len, texts)) > 5_000_000
    assert_same(encoder, texts)

"""Words and shingles as hashes, and the signatures that estimate similarity."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus import shingles, words
from tests.tasks.corpus.test_clusters import changed, prose


@settings(deadline=None)
@given(st.lists(st.text(st.characters(), max_size=60), max_size=6))
def test_words_are_what_the_regular_expression_finds(texts: list[str]) -> None:
    hashed = list(words.words(texts, 0))
    found = [re.findall(r"\w+", text.lower()) for text in texts]
    owner = [number for _, part in hashed for number in part.tolist()]
    assert owner == [number for number, words in enumerate(found) for _ in words]
    keys = [key for part, _ in hashed for key in part.tolist()]
    flat = [word for text in found for word in text]
    assert len(set(flat)) == len(set(keys)) == len(set(zip(flat, keys, strict=True)))


def test_shingles_are_sets_in_order_of_words() -> None:
    def hashes(text: str) -> set[int]:
        return set(shingles.shingle_hashes(text, 1).tolist())

    assert hashes("one two three four five six") == hashes("One, two; THREE\nfour five... six!")
    assert len(hashes("one two three four five six")) == 2
    assert not hashes("one two three four five") & hashes("two one three four five")
    assert not hashes("ab cd e f g") & hashes("db ca e f g")  # letters that changed their words
    assert len(hashes("one two")) == 2 and not hashes(" ... ")
    assert hashes("one two") != set(shingles.shingle_hashes("one two", 2).tolist())


def signature(text: str, seed: int) -> list[int]:
    """The least hash of a text in each bin."""
    least = [int(shingles.EMPTY)] * shingles.BINS
    for value in shingles.shingle_hashes(text, seed).tolist():
        place = value * shingles.BINS >> 64
        least[place] = min(least[place], value)
    return least


def test_signatures_of_a_batch_are_those_of_its_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["", "two words", " ".join(prose(1, 3000)), "é " * 400, "x" * 500, "\ud800 one"]
    batch = shingles.signatures(texts, 5)
    for text, found in zip(texts, batch, strict=True):
        assert signature(text, 5) == found.tolist()
    monkeypatch.setattr(words, "PIECE", 300)  # texts in pieces: the same words, but for one
    pieces = shingles.signatures(texts, 5)
    assert (pieces[:4] == batch[:4]).all() and (pieces[5] == batch[5]).all()


@pytest.mark.parametrize("length", [12, 60, 400, 3000])
def test_equal_bins_estimate_similarity_at_any_length(length: int) -> None:
    estimates, truths = [], []
    for seed in range(20):
        base = prose(seed, length)
        pair = [" ".join(base), changed(base, 25, seed)]
        first, second = (set(shingles.shingle_hashes(text, 0).tolist()) for text in pair)
        truths.append(len(first & second) / len(first | second))
        bins = shingles.filled(shingles.signatures(pair, 0))
        estimates.append(float((bins[0] == bins[1]).mean()))
    assert np.mean(estimates) == pytest.approx(np.mean(truths), abs=0.06)


@settings(deadline=None)
@given(st.lists(st.text(st.characters(), max_size=40), min_size=1, max_size=5), st.integers(0, 9))
def test_a_word_has_one_hash_whatever_stands_around_it(texts: list[str], seed: int) -> None:
    """Characters of one to four bytes, words of any length: alone or in company."""
    together = dict.fromkeys(range(len(texts)), b"")
    for hashes, owner in words.words([f"{text} x\u00e9" for text in texts], seed):
        for index in owner.tolist():
            together[index] = together[index] or hashes[owner == index].tobytes()
    for index, text in enumerate(texts):
        alone = [hashes for hashes, _ in words.words([f"{text} x\u00e9"], seed)]
        assert b"".join(part.tobytes() for part in alone) == together[index]


@pytest.mark.parametrize("place", [0, 7, 8, 9, 15, 16, 17, 40])
def test_every_letter_of_a_long_word_counts_and_so_does_its_place(place: int) -> None:
    word = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv"
    other = word[:place] + "_" + word[place + 1 :]
    swapped = word[8:16] + word[:8] + word[16:]
    moved = word[:8] + word[16:24] + word[8:16] + word[24:]
    found = [shingles.shingle_hashes(text, 0).tolist() for text in (word, other, swapped, moved)]
    assert len({tuple(hashes) for hashes in found}) == 4
    assert shingles.shingle_hashes(word[:place], 0).tolist() != found[0]


@pytest.mark.parametrize(
    "text",
    ["x" * 3_000_000, "\u00e9" * 1_500_000, "a " * 1_500_000, " " * 3_000_000, "\u4e00 " * 10**6],
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    began = time.process_time()
    shingles.shingle_hashes(text, 0)
    assert time.process_time() - began < 5


def test_letters_that_change_in_number_or_by_their_place_when_lowered() -> None:
    """The Turkish dotted I becomes two characters, the Greek sigma depends on what follows."""
    for upper in (
        "\u0130stanbul",
        "\u039f\u0394\u039f\u03a3 \u03a3\u039f\u03a6",
        "STRA\u1e9eE",
        "\u212aelvin",
    ):
        lower = upper.lower()
        assert (shingles.shingle_hashes(upper, 3) == shingles.shingle_hashes(lower, 3)).all()

"""Samples by hash: the same whatever the order, and never more than asked for."""

from __future__ import annotations

import random

import pytest

from tasks.corpus.quality.sampling import document_hash, hold_lowest


@pytest.mark.parametrize("most", [0, 1, 7, 100, 1000])
def test_the_lowest_hashes_stay_whatever_the_order(most: int) -> None:
    entries = [(-document_hash(3, f"page {n}"), f"page {n}") for n in range(100)]
    expected = sorted(entries, reverse=True)[:most]
    for seed in range(3):
        random.Random(seed).shuffle(entries)
        held: list[tuple[int, str]] = []
        for entry in entries:
            hold_lowest(held, entry, most)
        assert sorted(held, reverse=True) == expected


def test_of_equal_hashes_the_later_name_stays() -> None:
    """A matter of definition: heaps compare what follows the hash."""
    held: list[tuple[int, str]] = []
    for name in "bca":
        hold_lowest(held, (-5, name), 2)
    assert sorted(held) == [(-5, "b"), (-5, "c")]


def test_the_hash_is_the_same_in_every_process_and_another_for_each_seed() -> None:
    assert document_hash(0, "page 1") == 0x6D4FC6F872DA071C
    assert document_hash(1, "page 1") != document_hash(0, "page 1") < 1 << 64

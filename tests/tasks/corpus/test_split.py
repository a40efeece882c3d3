"""The validation split, by files: what is meant by it, and that files give the same as memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tasks.corpus import partitions, split
from tasks.corpus.split import Keys, OfSource, choose_validation, cluster_keys, split_key
from tests.tasks.corpus import split_reference


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def chosen(
    place: Path, keys: Sequence[Keys], fraction: float, minimum: int, step: int = 50
) -> list[list[bool]]:
    """Which documents of each source are held out, their keys shown ``step`` at a time."""

    def scan() -> Iterator[OfSource]:
        for number, key_N in enumerate(keys):
            for start in range(0, len(key_N), step):
                yield number, key_N[start : start + step]

    held = choose_validation(scan, len(keys), fraction, minimum, place, memory_mb=1)
    assert held.wanted == [min(minimum, len(key_N) // 2) for key_N in keys]
    return [held.holds(key_N).tolist() for key_N in keys]


def held_out(place: Path, keys: list[int], fraction: float, minimum: int) -> list[bool]:
    return chosen(place, [np.array(keys, dtype=np.uint64)], fraction, minimum)[0]


def test_validation_is_a_function_of_content(place: Path) -> None:
    keys = [split_key(b"%d" % i, 1) for i in range(20_000)]
    held = held_out(place, keys, 0.02, 1)
    assert 300 < sum(held) < 500
    order = np.random.default_rng(0).permutation(len(keys)).tolist()
    assert held_out(place, [keys[i] for i in order], 0.02, 1) == [held[i] for i in order]
    assert split_key(b"x", 1) != split_key(b"x", 2)
    assert sum(held_out(place, keys[:10], 0.0, 1)) == 1
    assert sum(held_out(place, keys[:1], 0.9, 1)) == 0  # never all of a source
    assert sum(held_out(place, keys[:10], 0.999, 1)) == 5
    # Equal keys are one cluster: what would be more than half stays, the next is taken.
    assert held_out(place, [5, 5, 5, 7, 9], 0.0, 1) == [False] * 3 + [True, False]
    assert held_out(place, [5, 5, 7, 9], 0.0, 1) == [True, True, False, False]


def test_a_cluster_is_held_out_of_all_sources_or_none(place: Path) -> None:
    keys = [[5, 6, 7, 8], [5, 5, 6, 9], [6, 6, 6, 10], []]
    # 5 for the first is half of the second; 6 would be most of the third, whose next is 10.
    assert chosen(place, [np.array(own, dtype=np.uint64) for own in keys], 0.0, 1) == [
        [True, False, False, False],
        [True, True, False, False],
        [False, False, False, True],
        [],
    ]


def keys_of_clusters(
    place: Path, key_N: Keys, digest_N: Keys, labels: Sequence[int], step: int = 2
) -> list[int]:
    """Every document's key by its cluster, whatever number that has here."""
    first = {label: place for place, label in reversed(list(enumerate(labels)))}
    label_N = np.array([first[label] for label in labels], dtype=np.int64)
    scan = (
        (start, digest_N[start : start + step], key_N[start : start + step])
        for start in range(0, len(labels), step)
    )
    found: list[int] = cluster_keys(scan, label_N, place)[label_N].tolist()
    return found


def test_key_of_a_cluster_is_that_of_its_least_digest(place: Path) -> None:
    key_N, digest_N = (np.array(row, dtype=np.uint64) for row in ([9, 1, 8, 3], [4, 5, 2, 7]))
    labels = np.array([0, 0, 2, 0])
    assert keys_of_clusters(place, key_N, digest_N, labels.tolist()) == [9, 9, 8, 9]
    order = [3, 2, 1, 0]
    found = keys_of_clusters(place, key_N[order], digest_N[order], labels[order].tolist())
    assert found == [9, 8, 9, 9]


@pytest.mark.parametrize("seed", range(40))
def test_keys_of_clusters_are_those_in_memory(place: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows = int(draw.integers(1, 300))
    # Few digests and keys, so that several members have the least one.
    top = (3, 50, 2**64 - 1)[seed % 3]
    key_N, digest_N = (draw.integers(0, top, rows, dtype=np.uint64, endpoint=True) for _ in "kd")
    labels = draw.integers(0, max(1, rows // int(draw.integers(1, 9))), rows)
    expected = split_reference.cluster_keys(key_N, digest_N, labels)
    for step in (1, 7, 1000):
        found = keys_of_clusters(place, key_N, digest_N, labels.tolist(), step)
        assert found == expected.tolist()


@pytest.mark.parametrize("seed", range(120))
def test_what_is_held_out_is_what_memory_gives(
    place: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whatever the partitions and slices: sources of any size, clusters in several of them."""
    draw = np.random.default_rng(seed)
    monkeypatch.setattr(split, "KEY_BYTES", int(draw.choice([150, 20_000, 200_000])))
    monkeypatch.setattr(split, "_CHUNK", int(draw.choice([1, 5, 1 << 14])))
    monkeypatch.setattr(partitions, "OPEN_FILES", int(draw.choice([3, 256])))
    clusters = draw.integers(0, 2**64, int(draw.choice([2, 20, 400])), dtype=np.uint64)
    if seed % 5 == 0:
        clusters[:2] = 0, 2**64 - 1
    sizes = draw.choice([0, 1, 2, 3, 10, 100, 600], int(draw.integers(1, 8)))
    keys = [draw.choice(clusters, size) for size in sizes]
    fraction = float(draw.choice([0.0, 0.01, 0.2, 0.45, 0.5, 0.7, 0.999]))
    minimum = int(draw.choice([0, 1, 5, 1000]))
    expected = split_reference.choose_validation(
        {str(n): key_N for n, key_N in enumerate(keys)}, fraction, minimum
    )
    found = chosen(place, keys, fraction, minimum, int(draw.choice([1, 50, 1000])))
    assert found == [own.tolist() for own in expected.values()]

"""Deduplication over files of shards: exact by digest, near by signature, in bounded memory."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import numpy as np
import pytest

from tasks.corpus import clusters, dedup, partitions, shingles
from tasks.corpus.clusters import SIGNED, cluster, estimated_similarity, sign_file, signed
from tasks.corpus.dedup import first_of_files, text_digest
from tasks.corpus.rules.dedup import DedupRules
from tests.tasks.corpus.test_clusters import changed, prose


def exact_similarity(one: str, other: str) -> float:
    first, second = (set(shingles.shingle_hashes(text, 0).tolist()) for text in (one, other))
    return len(first & second) / len(first | second)


def alike(similarity: float, seed: int, words: int = 600) -> list[str]:
    """Two texts of about that Jaccard similarity: a common part and one of each one's own."""
    shared = round(words * similarity)
    own = round((words - shared) / 2)
    common = prose(seed, shared)
    return [" ".join(common + prose(seed + n * 10**6, own)) for n in (1, 2)]


@pytest.mark.parametrize(("row_bytes", "open_files"), [(72, 256), (20_000, 2), (500_000, 3)])
def test_first_occurrences_over_files_are_those_of_a_dictionary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_bytes: int, open_files: int
) -> None:
    """Whatever the partitions, the passes and the slices: half of all rows are one text."""
    monkeypatch.setattr(dedup, "ROW_BYTES", row_bytes)
    monkeypatch.setattr(partitions, "OPEN_FILES", open_files)
    chooser = random.Random(1)
    files, expected, seen = [], [], set()
    for number, rows in enumerate((300, 0, 1, 150)):
        texts = [str(chooser.randrange(200) * chooser.randrange(2)) for _ in range(rows)]
        expected.append([text not in seen and not seen.add(text) for text in texts])
        files.append(tmp_path / f"{number}.digests")
        files[-1].write_bytes(b"".join(map(text_digest, texts)))
    place = tmp_path / "work"
    place.mkdir()
    found = first_of_files(files, place, memory_mb=1)
    assert [mask.tolist() for mask in found] == expected
    assert [path.name for path in place.iterdir()] == ["first"]


def test_digests_that_agree_in_their_first_half_are_two(tmp_path: Path) -> None:
    one, other = b"a" * 8 + b"b" * 8, b"a" * 8 + b"c" * 8
    (tmp_path / "x").write_bytes(one + other + one)
    (tmp_path / "work").mkdir()
    assert first_of_files([tmp_path / "x"], tmp_path / "work")[0].tolist() == [True, True, False]


def test_no_digests_no_masks(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert [len(mask) for mask in first_of_files([tmp_path / "x"], tmp_path)] == [0]
    assert first_of_files([], tmp_path) == []


def collection() -> list[str]:
    texts = ["", " -- "]
    for seed in range(40):
        base = prose(seed, 60 + 10 * seed)
        texts += [" ".join(base), *(changed(base, 60, copy) for copy in range(seed % 4))]
    texts += [" ".join(prose(7, 200))] * 30  # a key that many share
    random.Random(2).shuffle(texts)
    return texts


@pytest.mark.parametrize("similarity", [None, 0.8])
def test_clusters_of_shards_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, similarity: float | None
) -> None:
    """In any number of files, batches, partitions and slices."""
    texts = collection()
    found = []
    for name, cuts, key_bytes, batch in (
        ("one", [], 64, 256),
        ("two", [50], 20_000, 7),
        ("five", [1, 1, 30, 90], 30_000, 3),
        ("tight", [80], 200_000, 100),
    ):
        monkeypatch.setattr(clusters, "KEY_BYTES", key_bytes)
        monkeypatch.setattr(clusters, "BATCH_TEXTS", batch)
        monkeypatch.setattr(partitions, "OPEN_FILES", 64)
        place = tmp_path / name
        place.mkdir()
        bounds = [0, *cuts, len(texts)]
        files = []
        for number, start in enumerate(bounds[:-1]):
            files.append(tmp_path / f"{name}-{number}")
            assert sign_file(texts[start : bounds[number + 1]], 3, files[-1]) == len(
                texts[start : bounds[number + 1]]
            )
        found.append(np.array(cluster(files, place, 1, similarity)).tolist())
        assert [path.name for path in place.iterdir()] == ["labels"]
    assert all(labels == found[0] for labels in found)
    assert max(np.bincount(found[0])) >= 30


@pytest.mark.parametrize("words", [15, 40, 150, 1000, 3000])
def test_signatures_estimate_similarity_at_any_length(words: int) -> None:
    errors = []
    for seed in range(40):
        pair = alike(0.5 + seed % 5 / 10, seed, words)
        rows = signed(pair, 0)
        errors.append(float(estimated_similarity(rows[:1], rows[1:])[0]) - exact_similarity(*pair))
    assert abs(np.mean(errors)) < 0.015 and np.sqrt(np.mean(np.square(errors))) < 0.04
    nothing = signed(["", "one two"], 0)
    assert estimated_similarity(nothing[:1], nothing[:1]).tolist() == [0.0]
    assert nothing.dtype == SIGNED and SIGNED.itemsize == 544


def test_removal_is_confirmed_by_the_whole_signature(tmp_path: Path) -> None:
    """Bands alone join pairs of 0.6; confirmed, next to none under 0.8 less two standard errors."""
    pairs = [alike(0.45 + seed % 10 / 20, seed) for seed in range(200)]
    truth = [exact_similarity(*pair) for pair in pairs]
    sign_file([text for pair in pairs for text in pair], 0, tmp_path / "signed")
    joined = {}
    for similarity in (None, 0.8):
        label_N = np.array(cluster([tmp_path / "signed"], tmp_path, 64, similarity))
        joined[similarity] = label_N[::2] == label_N[1::2]
    value_P = np.array(truth)
    assert joined[None][value_P < 0.7].sum() > 10
    assert joined[0.8][value_P < 0.75].sum() == 0
    assert joined[0.8][value_P >= 0.85].all()


def test_near_misses_are_no_duplicates(tmp_path: Path) -> None:
    """Texts of one vocabulary and one distribution of words, as SimHash would join them."""
    words = prose(5, 800)
    shuffled = random.Random(1).sample(words, len(words))
    texts = [" ".join(words), " ".join(shuffled), " ".join(words[::-1])]
    sign_file(texts, 0, tmp_path / "signed")
    assert cluster([tmp_path / "signed"], tmp_path).tolist() == [0, 1, 2]


def test_the_rules_say_what_decides_the_result() -> None:
    fields = DedupRules.model_fields
    assert fields["dedup_memory_mb"].json_schema_extra == {"recipe": False}
    assert all(field.title and field.description for field in fields.values())


def test_a_second_result_in_the_same_folder_leaves_the_first(tmp_path: Path) -> None:
    pair = alike(0.7, 1)
    sign_file(pair, 0, tmp_path / "signed")
    confirmed = cluster([tmp_path / "signed"], tmp_path, similarity=0.9)
    taken = cluster([tmp_path / "signed"], tmp_path)
    assert confirmed.tolist() == [0, 1] and taken.tolist() == [0, 0]


def test_a_disk_without_room_is_told_and_ends_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = partitions.mapped(tmp_path / "rows", np.int64, 1000)
    assert (tmp_path / "rows").stat().st_blocks * 512 >= 8000 and not room.any()

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="no space left"):
        partitions.mapped(tmp_path / "rows", np.int64, 1000)


@pytest.mark.parametrize("unknown", [errno.EOPNOTSUPP, errno.EINVAL])
def test_room_is_made_where_the_file_system_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unknown: int
) -> None:
    def refused(descriptor: int, offset: int, length: int) -> None:
        raise OSError(unknown, "no such call")

    monkeypatch.setattr(os, "posix_fallocate", refused)
    monkeypatch.setattr(partitions, "_ZEROS", 4096)
    rows = partitions.mapped(tmp_path / "rows", np.int64, 10_001)
    stat = (tmp_path / "rows").stat()
    assert stat.st_size == 80_008 <= stat.st_blocks * 512 and not rows.any()

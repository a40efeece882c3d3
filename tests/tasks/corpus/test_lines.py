"""Keys of lines, and which of equal keys came first."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tracemalloc
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.sources import first_seen
from tasks.corpus.sources.lines import kept_lines, line_keys, normalise_line


def by_character(line: str) -> str:
    """The rule, one character at a time."""
    folded = ""
    for character in line.strip().lower():
        category = unicodedata.category(character)
        if category == "Nd":
            folded += "0"
        elif category[0] not in "PC":
            folded += character
    return folded.strip()


def key_of(line: str) -> int:
    normal = by_character(line)
    digest = hashlib.sha1(normal.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "little") if normal else 0


@pytest.mark.parametrize(
    ("line", "normal"),
    [
        ("  Posted: 12 May, 2019! ", "posted 00 may 0000"),
        ("Élan vital…", "élan vital"),
        ("E\u0301tude", "e\u0301tude"),
        ("٣ апреля ２０２０", "0 апреля 0000"),
        ("½ of 3²", "½ of 0²"),
        ("“Quoted” – «text»", "quoted  text"),
        ("a\tb\x00c\x7fd\x85e", "abcde"),
        ("\u00a0 \u3000padded\u2003", "padded"),
        ("$5 + 3 = £8 ^ `x`", "$0 + 0 = £0 ^ `x`"),
        ("ΟΔΟΣ", "οδος"),
        ("İstanbul", "i\u0307stanbul"),
        ("--- *** ...", ""),
        ("", ""),
    ],
)
def test_normal_form(line: str, normal: str) -> None:
    assert normalise_line(line) == normal == by_character(line)


def test_key_is_the_first_eight_bytes_of_sha1() -> None:
    digest = hashlib.sha1(b"posted 00 may 0000").digest()
    (key,) = line_keys("Posted: 12 May, 2019!").tolist()
    assert key.to_bytes(8, "little") == digest[:8]


@settings(max_examples=400, deadline=None)
@given(st.text(st.characters() | st.sampled_from(" \t\n\r\x0b\x1c\x85\u00a0\u2028\u3000Σσ'İ̇9٣-—")))
def test_keys_of_a_page_are_those_of_its_lines(text: str) -> None:
    assert line_keys(text).tolist() == [key_of(line) for line in text.split("\n")]


def test_kept_lines() -> None:
    text = "Menu 1\nText one  \n\nText two"
    flags = np.array([False, True, False, True])
    assert kept_lines(text, flags) == "Text one\nText two"
    assert kept_lines(text, np.zeros(4, dtype=bool)) == ""


def survey(folder: Path, files: list[list[int]]) -> Path:
    folder.mkdir(parents=True)
    names = [f"f{number}" for number in range(len(files))]
    with first_seen.KeyFile(folder, names) as keys:
        for name, row in zip(names, files, strict=True):
            keys.write(name, np.array(row[: len(row) // 2], dtype=np.uint64))
            keys.write(name, np.array(row[len(row) // 2 :], dtype=np.uint64))
    return folder


def expected(files: list[list[int]], group: int | None) -> list[list[bool]]:
    """One pass with a set for each group."""
    flags: list[list[bool]] = []
    seen: set[int] = set()
    for number, row in enumerate(files):
        if group and number % group == 0:
            seen = set()
        flags.append([])
        for key in row:
            flags[-1].append(key != 0 and key not in seen)
            seen.add(key)
    return flags


KEY = st.integers(0, 5).map(lambda n: n * ((1 << 62) // 5)) | st.integers(0, 2**64 - 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(KEY, max_size=12), min_size=1, max_size=7),
    st.lists(st.integers(1, 3), min_size=7, max_size=7),
    st.sampled_from([None, 1, 2, 3]),
    st.sampled_from([1, 3, 1000]),
)
def test_first_occurrences_are_those_of_one_pass(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[int]],
    sizes: list[int],
    group: int | None,
    partition: int,
) -> None:
    work = tmp_path_factory.mktemp("decide")
    surveys, shards = [], []
    at = 0
    for number, size in enumerate(sizes):
        part = files[at : at + size]
        at += size
        if part:
            surveys.append(survey(work / "survey" / f"{number:05d}", part))
            shards.append(part)
    out = work / "decided"
    out.mkdir()
    first_seen.decide(surveys, out, group, partition)
    found = []
    for place, part in zip(surveys, shards, strict=True):
        flags = first_seen.is_first(out, place).tolist()
        for row in part:
            found.append(flags[: len(row)])
            flags = flags[len(row) :]
        assert flags in ([], [False])
    assert found == expected(files, group)
    assert sorted(p.name for p in out.iterdir()) == [f"{place.name}.npy" for place in surveys]


def test_partition_of_one_key_fills_no_memory(tmp_path: Path) -> None:
    place = survey(tmp_path / "survey" / "00000", [[7] * 5000, [7, 8, 7]])
    out = tmp_path / "decided"
    out.mkdir()
    first_seen.decide([place], out, None, partition_keys=16)
    flags = first_seen.is_first(out, place)
    assert np.flatnonzero(flags).tolist() == [0, 5001]
    assert json.loads((place / "keys.json").read_text()) == [5000, 3]


@pytest.mark.parametrize("partitions", [1, 4, 6.5])
def test_a_partition_is_decided_in_the_memory_that_is_set(
    tmp_path: Path, partitions: float
) -> None:
    megabytes = 64
    limit = first_seen.keys_within(megabytes)
    place, out = tmp_path / "survey", tmp_path / "decided"
    place.mkdir()
    out.mkdir()
    keys = np.random.default_rng(1).integers(1, 1 << 63, int(limit * partitions), dtype=np.uint64)
    (keys * np.uint64(2)).tofile(place / "keys.u64")  # over all leading bits
    (place / "keys.json").write_text(json.dumps([len(keys)]))
    del keys
    tracemalloc.start()
    try:
        first_seen.decide([place], out, None, limit)
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1_000_000
    finally:
        tracemalloc.stop()
    assert first_seen.is_first(out, place).all()


def test_a_disk_without_room_for_the_flags_is_told_and_ends_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, out = tmp_path / "survey", tmp_path / "decided"
    place.mkdir()
    out.mkdir()
    with first_seen.KeyFile(place, ["a"]) as written:
        written.write("a", np.arange(1, 100, dtype=np.uint64))

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as disk:
        disk.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="no space left"):
            first_seen.decide([place], out)
    assert not list(out.iterdir())
    first_seen.decide([place], out)
    assert [path.name for path in out.iterdir()] == ["survey.npy"]
    assert first_seen.is_first(out, place).sum() == 99

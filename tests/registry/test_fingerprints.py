"""Raw files are hashed once, and again exactly when they changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from registry import fingerprints
from registry.database import Registry
from registry.fingerprints import RawFile, fingerprint


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    root = tmp_path / "dump"
    (root / "b").mkdir(parents=True)
    (root / "a.txt").write_text("alpha")
    (root / "b" / "c.txt").write_text("gamma")
    (root / "b" / "empty").write_text("")
    for path in root.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return root


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were really read."""
    names: list[str] = []
    real = fingerprints.hash_file

    def count(path: Path, **options: Any) -> Any:
        names.append(path.name)
        return real(path, **options)

    monkeypatch.setattr(fingerprints, "hash_file", count)
    return names


def test_sorted_with_sizes_and_hashes(dump: Path, registry: Registry) -> None:
    assert fingerprint(dump, registry) == [
        RawFile(path="a.txt", size=5, sha256=hashlib.sha256(b"alpha").hexdigest()),
        RawFile(path="b/c.txt", size=5, sha256=hashlib.sha256(b"gamma").hexdigest()),
        RawFile(path="b/empty", size=0, sha256=hashlib.sha256(b"").hexdigest()),
    ]


def test_unchanged_files_are_not_read_again(
    dump: Path, registry: Registry, hashed: list[str]
) -> None:
    lines: list[tuple[float, str]] = []
    first = fingerprint(dump, registry, lambda fraction, line: lines.append((fraction, line)))
    assert hashed == ["a.txt", "c.txt", "empty"]
    assert lines == [
        (0.5, "fingerprint a.txt"),
        (1.0, "fingerprint b/c.txt"),
        (1.0, "fingerprint b/empty"),
    ]
    assert fingerprint(dump, registry) == first
    assert hashed == ["a.txt", "c.txt", "empty"]


def test_changed_file_is_read_again(dump: Path, registry: Registry, hashed: list[str]) -> None:
    fingerprint(dump, registry)
    (dump / "a.txt").write_text("ALPHA")  # same size, new time
    os.utime(dump / "a.txt", (1_700_000_001, 1_700_000_001))
    changed = fingerprint(dump, registry)
    assert hashed == ["a.txt", "c.txt", "empty", "a.txt"]
    assert changed[0].sha256 == hashlib.sha256(b"ALPHA").hexdigest()


def test_replaced_file_with_the_same_time_is_read_again(
    dump: Path, registry: Registry, hashed: list[str]
) -> None:
    fingerprint(dump, registry)
    (dump / "new").write_text("ALPHA")
    os.utime(dump / "new", (1_700_000_000, 1_700_000_000))
    (dump / "new").rename(dump / "a.txt")  # same size and time, another inode
    fingerprint(dump, registry)
    assert hashed[3:] == ["a.txt"]


def test_file_younger_than_its_time_stamp_resolves_is_not_remembered(
    dump: Path, registry: Registry, hashed: list[str]
) -> None:
    just_now = 1_700_000_001 * 10**9
    fingerprint(dump, registry, clock_ns=lambda: just_now)
    fingerprint(dump, registry, clock_ns=lambda: just_now)
    assert len(hashed) == 6


def test_links_out_of_the_dump_are_left_out(dump: Path, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    (dump / "out").symlink_to(tmp_path / "secret")
    (dump / "folder-out").symlink_to(tmp_path)
    (dump / "broken").symlink_to(dump / "nothing")
    (dump / "inside").symlink_to(dump / "a.txt")
    (dump / "folder-inside").symlink_to(dump / "b")
    with pytest.warns(UserWarning, match="left out") as warned:
        files = {file.path: file.sha256 for file in fingerprint(dump, registry)}
    named = sorted(Path(str(w.message).split(" leads to")[0]).name for w in warned)
    assert named == ["broken", "folder-out", "out"]
    assert sorted(files) == ["a.txt", "b/c.txt", "b/empty", "inside"]
    assert files["inside"] == files["a.txt"]


def test_file_that_grows_while_read_is_refused(
    dump: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fingerprints.hash_file

    def grow(path: Path, **options: Any) -> Any:
        entry = real(path, **options)
        with path.open("a") as handle:
            handle.write("more")
        return entry

    monkeypatch.setattr(fingerprints, "hash_file", grow)
    with pytest.raises(ValueError, match=r"a\.txt: changed while it was read"):
        fingerprint(dump, registry)


def test_absent_dump_is_named(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        fingerprint(tmp_path / "nowhere", registry)


def test_what_was_hashed_before_a_kill_is_kept(
    dump: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch, hashed: list[str]
) -> None:
    monkeypatch.setattr(fingerprints, "BATCH", 1)

    def stop(fraction: float, line: str) -> None:
        if line.endswith("b/c.txt"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fingerprint(dump, registry, stop)
    fingerprint(dump, registry)
    assert hashed == ["a.txt", "c.txt", "empty"]

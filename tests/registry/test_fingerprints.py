"""Raw files are hashed once, and again exactly when they changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import fingerprints
from registry.database import Registry
from registry.files import native_name, portable_name
from registry.fingerprints import (
    RawFile,
    RawFilesChanged,
    fingerprint,
    read_listing,
    require_unchanged,
    stamp_files,
)


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


def odd_file(folder: Path, name: bytes, data: bytes = b"text") -> Path:
    """A settled file whose name is bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / os.fsdecode(name)
    path.write_bytes(data)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def test_names_that_are_no_utf8_are_listed_without_loss(
    tmp_path: Path, registry: Registry, hashed: list[str]
) -> None:
    names = [b"caf\xe9.txt", b"caf\\xe9.txt", b"caf\xc3\xa9.txt", b"\xff\xfe", b"line\xe2\x80\xa8"]
    for name in names:
        odd_file(tmp_path / "dump", name)
    files = fingerprint(tmp_path / "dump", registry)
    assert [file.path for file in files] == sorted(
        ["caf\\xe9.txt", "caf\\\\xe9.txt", "café.txt", "\\xff\\xfe", "line\u2028"]
    )
    assert {os.fsencode(native_name(file.path)) for file in files} == set(names)
    assert fingerprint(tmp_path / "dump", registry) == files
    assert len(hashed) == len(names)
    listing = tmp_path / "files.jsonl"
    rows = [{**file.model_dump()} for file in files] + [
        {"path": "pypi:x==1", "size": 1, "sha256": ""}
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    listing.write_text(text, "utf-8")
    assert read_listing(listing) == files
    require_unchanged(stamp_files(tmp_path / "dump", files, registry))


def test_portable_names_are_utf8_and_come_back() -> None:
    for name in ("plain/café.txt", "a\udcff", "a\\xff", "a\\\\", "\ud800", "\\u0041", "a\\\udc80"):
        portable = portable_name(name)
        portable.encode()
        assert native_name(portable) == name
    assert portable_name("plain/café%20.txt") == "plain/café%20.txt"


def test_stamps_tell_every_later_change(dump: Path, registry: Registry, hashed: list[str]) -> None:
    files = fingerprint(dump, registry)
    stamps = stamp_files(dump, files, registry)
    require_unchanged(stamps)
    assert hashed == ["a.txt", "c.txt", "empty"]
    changes: dict[str, Callable[[Path], None]] = {
        "written": lambda path: path.write_text("other"),
        "touched": lambda path: os.utime(path, (1_700_000_001, 1_700_000_001)),
        "replaced": lambda path: odd_file(dump, b"new", b"alpha").replace(path) and None,
        "gone": lambda path: path.unlink(),
    }
    for change in changes.values():
        odd_file(dump, b"a.txt", b"alpha")
        stamps = stamp_files(dump, files, registry)
        change(dump / "a.txt")
        with pytest.raises(RawFilesChanged, match=r"a\.txt.*Nothing was published.*start the flow"):
            require_unchanged(stamps)
    with pytest.raises(RawFilesChanged, match=r"a\.txt \(gone\)"):
        stamp_files(dump, files, registry)
    (dump / "a.txt").write_text("ALPHA")
    with pytest.raises(RawFilesChanged, match=r"fingerprinted: a\.txt\. "):
        stamp_files(dump, files, registry)


def point(link: Path, target: Path | str) -> None:
    link.unlink()
    link.symlink_to(target)


def replace_by_link(folder: Path, target: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(target)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda dump, other: point(dump / "latest", "b/c.txt"), "latest"),
        (lambda dump, other: point(dump / "latest", "latest"), r"latest \(gone\)"),
        (lambda dump, other: replace_by_link(dump / "b", other / "b"), r"b/c\.txt"),
        (lambda dump, other: point(dump.with_name("now"), other), r"a\.txt, b/c\.txt"),
    ],
    ids=["file", "circle", "folder", "dump itself"],
)
def test_stamps_tell_a_link_that_is_pointed_elsewhere(
    dump: Path,
    registry: Registry,
    tmp_path: Path,
    change: Callable[[Path, Path], None],
    named: str,
) -> None:
    """What it led to is untouched, and what it leads to now may hold the very same."""
    shutil.copytree(dump, tmp_path / "other", symlinks=True)
    for root in (dump, tmp_path / "other"):
        (root / "latest").symlink_to("a.txt")
    (tmp_path / "now").symlink_to("dump")
    files = fingerprint(tmp_path / "now", registry)
    stamps = stamp_files(tmp_path / "now", files, registry)
    require_unchanged(stamps)
    change(dump, tmp_path / "other")
    with pytest.raises(RawFilesChanged, match=f"fingerprinted: {named}"):
        require_unchanged(stamps)


def test_a_link_that_leads_in_a_circle_leads_nowhere(dump: Path, registry: Registry) -> None:
    files = fingerprint(dump, registry)
    (dump / "circle").symlink_to("circle")
    with pytest.warns(UserWarning, match="circle.*left out"):
        assert fingerprint(dump, registry) == files
    point(dump / "a.txt", "a.txt")
    with pytest.raises(RawFilesChanged, match=r"a\.txt \(gone\)"):
        stamp_files(dump, files, registry)


def test_a_file_too_young_for_its_stat_to_tell_is_hashed_again(
    dump: Path, registry: Registry
) -> None:
    files = fingerprint(dump, registry)
    (dump / "a.txt").write_text("alpha")  # the same content, written just now
    os.utime(dump / "a.txt", (1_800_000_000, 1_800_000_000))
    stamps = stamp_files(dump, files, registry, clock_ns=lambda: 1_800_000_001 * 10**9)
    require_unchanged(stamps)
    (dump / "a.txt").write_text("ALPHA")  # within the resolution of the time stamp
    os.utime(dump / "a.txt", (1_800_000_000, 1_800_000_000))
    with pytest.raises(RawFilesChanged, match=r"a\.txt"):
        require_unchanged(stamps)

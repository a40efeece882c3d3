"""What is made once: by several workers at a time, killed at any moment."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from tasks.corpus import steps
from tasks.corpus.done import read_done
from tasks.corpus.steps import once


def test_a_folder_that_another_worker_made_meanwhile_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker finds a stale folder; before it removes it, another one has put a good one there."""
    folder = tmp_path / "00000"

    def make(out: Path) -> dict[str, Any]:
        (out / "data").write_text("good")
        return {"made": True}

    once(folder, make)
    (folder / "data").write_text("damaged")
    other = threading.Thread(target=once, args=(folder, make))
    removed: list[Path] = []
    looked = threading.Event()
    remove = shutil.rmtree

    def look(path: Path) -> dict[str, Any] | None:
        found = read_done(path)
        if not looked.is_set():  # the first look is this worker's
            looked.set()
            other.start()
            other.join(timeout=1.0)
        return found

    def rmtree(path: Path, **options: Any) -> None:
        if read_done(path) is not None and not path.name.endswith(".tmp"):
            removed.append(path)
        remove(path, **options)

    monkeypatch.setattr(steps, "read_done", look)
    monkeypatch.setattr(steps.shutil, "rmtree", rmtree)
    assert once(folder, make) == {"made": True}
    other.join(timeout=30)
    assert not other.is_alive() and not removed
    assert read_done(folder) == {"made": True}
    assert {path.name for path in tmp_path.iterdir()} == {"00000", ".locks"}


def test_the_first_of_two_that_make_the_same_stays(tmp_path: Path) -> None:
    folder = tmp_path / "00000"

    def make(out: Path) -> dict[str, Any]:
        (out / "data").write_text("x")
        return {"by": "first"}

    def late(out: Path) -> dict[str, Any]:
        (out / "data").write_text("x")
        once(folder, make)
        return {"by": "second"}

    assert once(folder, late) == {"by": "first"} == read_done(folder)

"""What is made once: by several workers at a time, killed at any moment."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from registry.files import portable_name
from tasks.corpus import steps
from tasks.corpus.done import read_done
from tasks.corpus.guard import Guard
from tasks.corpus.parameters import CorpusParameters
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


def test_what_a_killed_maker_left_goes_and_others_stay(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tasks.corpus.steps import once\n"
        "def make(out):\n"
        "    (out / 'large').write_text('x')\n"
        "    time.sleep(600)\n"
        "once(Path(sys.argv[1]), make)\n"
    )

    def maker(name: str) -> subprocess.Popen[bytes]:
        started = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / name)],
            env=os.environ | {"PYTHONPATH": "."},
        )
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob(f".{name}*/large")) and time.monotonic() < deadline:
            time.sleep(0.05)
        return started

    killed, living = maker("00000"), maker("00001")
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(list(tmp_path.glob(".0*/large"))) == 2
        # Of machines whose locks need not be seen here; the one's name ends as this one's.
        mark = "0" * 32
        others = {
            f".00003+another+{mark}.tmp",
            f".00003+x.{platform.node()}+{mark}.tmp",
        }
        for name in others:
            (tmp_path / name).mkdir()
        once(tmp_path / "00002", lambda out: {"made": True})
        (left,) = tmp_path.glob(".0*/large")
        assert left.parent.name.startswith(".00001+")
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"00002", ".locks", left.parent.name, *others}
        assert {path.name for path in (tmp_path / ".locks").iterdir()} == {
            "00000",
            "00001",
            "00002",
            left.parent.name.removesuffix(".tmp"),
        }
    finally:
        living.kill()
        living.wait()


def test_copies_of_raw_files_lie_in_what_is_swept(tmp_path: Path) -> None:
    """Not beside it, where a worker that is killed would leave them."""
    root = tmp_path / "data"
    (root / "corpus/c4").mkdir(parents=True)
    name = "corpus/c4/a\\b.jsonl"
    (root / name).write_text('{"text": "Some text of the web.", "url": "http://e.org"}')
    found: list[Path] = []

    class Watch(Guard):
        def begin(self, file: str, offset: int) -> str | None:
            found.extend(tmp_path.rglob("names-*"))
            return super().begin(file, offset)

    said = steps.read_shard(
        Watch(),
        source="c4",
        root=str(root),
        files=[portable_name(name)],
        hashes={},
        parameters=CorpusParameters().model_dump(mode="json"),
        folder=str(tmp_path / "read" / "00000"),
        decided=None,
        surveyed=None,
    )
    assert said["documents"] == 1
    assert found and all(place.parent.name.startswith(".00000+") for place in found)
    assert {path.name for path in (tmp_path / "read").iterdir()} == {"00000", ".locks"}

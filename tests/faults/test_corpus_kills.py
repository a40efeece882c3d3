"""SIGKILL of corpus building, at seeded moments and named points: the same bytes come out.

A child process builds a source with two workers. It is killed, alone or with its workers, and
started again until it is done; an undisturbed build says what must come out.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.tasks.corpus.crawl import members, page
from tests.tasks.corpus.test_build import files

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(300)]

SOURCES = ("commoncrawl", "books")
BUILD = """
import shutil, sys
from pathlib import Path
from tasks.context import StageContext
from tasks.corpus import shards
from tasks.corpus.build import build_source
from tasks.corpus.execute import LocalExecutor
from tasks.corpus.parameters import CorpusParameters
shards.LEAST_BYTES = 1
source, root, out, work = sys.argv[1], *map(Path, sys.argv[2:])
shutil.rmtree(out, ignore_errors=True)
for folder in (out, work):
    folder.mkdir(parents=True, exist_ok=True)
names = sorted((root / "corpus" / source).iterdir())
sizes = {f"corpus/{source}/{path.name}": path.stat().st_size for path in names}
build_source(
    source,
    root,
    sizes,
    CorpusParameters(workers=2),
    StageContext(out=out, work=work),
    LocalExecutor(2, scratch=work / "scratch"),
)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight files of each source, with pages and books that repeat."""
    root = tmp_path_factory.mktemp("data")
    for source in SOURCES:
        folder = root / "corpus" / source
        folder.mkdir(parents=True)
        for number in range(8):
            if source == "commoncrawl":
                pages = [page(number * 40 + i if i % 7 else i) for i in range(60)]
                (folder / f"{number}.warc.gz").write_bytes(members(*pages))
            else:
                first = number // 2 * 1000
                lines = [
                    f"The miller of village {first + i} counted {i * 7} crows upon the ice and went"
                    f" home by the {i % 13}th road."
                    for i in range(1500 + number)
                ]
                (folder / f"{number}.txt").write_text("\n".join(lines))
    return root


class Build:
    """One build and its attempts."""

    def __init__(self, source: str, data: Path, place: Path) -> None:
        self.out, self.work = place / "out", place / "work"
        self._arguments = [source, str(data), str(self.out), str(self.work)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> psutil.Process:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BUILD, *self._arguments],
            env=os.environ | {"PYTHONPATH": "."},
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return psutil.Process(self.process.pid)

    def finish(self) -> dict[str, str]:
        """The bytes of the artifact."""
        self.start()
        assert self.process is not None
        said = self.process.communicate(timeout=120)[1]
        assert self.process.returncode == 0, said.decode()[-2000:]
        return files(self.out)

    def kill(self, whole: bool) -> None:
        """Kill the supervisor, with its workers or alone; none of them may live on."""
        assert self.process is not None
        try:
            workers = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            workers = []
        self.process.send_signal(signal.SIGKILL)
        for worker in workers if whole else []:
            if worker.is_running():
                worker.send_signal(signal.SIGKILL)
        self.process.communicate()
        alive = psutil.wait_procs(workers, timeout=10)[1]
        assert not alive

    def done(self) -> dict[Path, tuple[int, int]]:
        """Inode and time of what says that a shard is surveyed or read, or all decided."""
        found = [*self.work.glob("survey/0*/*"), *self.work.glob("read/0*/*")]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    def left(self) -> list[str]:
        """Temporary folders of the work folder."""
        patterns = (".*.tmp", ".*.stale", "workers-*", "fetched-*", "names-*")
        return [path.name for pattern in patterns for path in self.work.rglob(pattern)]


@pytest.fixture(scope="module", params=SOURCES)
def undisturbed(
    request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, str], float]:
    """A source, the bytes of its artifact, seconds of its build."""
    build = Build(request.param, data, tmp_path_factory.mktemp("calm"))
    began = time.monotonic()
    expected = build.finish()
    seconds = time.monotonic() - began
    assert len(build.done()) > 16 and not build.left()
    return request.param, expected, seconds


@pytest.mark.parametrize("whole", [True, False], ids=["with workers", "supervisor"])
def test_killed_at_seeded_moments(
    undisturbed: tuple[str, dict[str, str], float], data: Path, tmp_path: Path, whole: bool
) -> None:
    source, expected, seconds = undisturbed
    moments = random.Random(f"{source} {whole}")
    build = Build(source, data, tmp_path)
    stamps: dict[Path, tuple[int, int]] = {}
    for _ in range(3):
        build.start()
        time.sleep(moments.uniform(0.3, 0.95) * seconds)
        build.kill(whole)
        now = build.done()
        assert {path: now.get(path) for path in stamps} == stamps
        stamps = now
    assert build.finish() == expected
    now = build.done()
    assert {path: now.get(path) for path in stamps} == stamps
    assert build.left() == []


POINTS: dict[str, Callable[[Path], bool]] = {
    "first survey under way": lambda work: any(work.glob("survey/.0*.tmp")),
    "some surveyed": lambda work: len(list(work.glob("survey/0*"))) > 2,
    "deciding": lambda work: any(work.glob("decided")) or any(work.glob(".decided*.tmp")),
    "a read under way": lambda work: any(work.glob("read/.0*.tmp")),
    "some read": lambda work: len(list(work.glob("read/0*"))) > 2,
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_named_points(
    undisturbed: tuple[str, dict[str, str], float], data: Path, tmp_path: Path, point: str
) -> None:
    source, expected, _ = undisturbed
    build = Build(source, data, tmp_path)
    build.start()
    deadline = time.monotonic() + 60
    while not POINTS[point](build.work):
        assert time.monotonic() < deadline, point
        time.sleep(0.002)
    build.kill(whole=True)
    stamps = build.done()
    assert build.finish() == expected
    now = build.done()
    assert {path: now.get(path) for path in stamps} == stamps
    assert build.left() == []

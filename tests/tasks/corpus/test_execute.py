"""The executor: order, laziness, and one bad record costs that record and no other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from platform import node
from typing import Any, cast

import psutil
import pytest

from tasks.corpus import execute, leftovers
from tasks.corpus.execute import InlineExecutor, Job, LocalExecutor
from tasks.corpus.funnel import BadFileError
from tasks.corpus.guard import Beat, Guard, add_skip, new_heartbeat, read_heartbeat, read_skips
from tasks.corpus.worker_ends import WorkerFailed

CREW = "tests.tasks.corpus.crew"


def doubles(count: int, drawn: list[int] | None = None) -> Iterator[Job]:
    for value in range(count):
        if drawn is not None:
            drawn.append(value)
        yield Job(f"{CREW}:double", {"value": value, "wait": 0.3 if value == 0 else 0.0})


def test_results_come_in_order_from_any_executor() -> None:
    expected = [2 * value for value in range(20)]
    assert list(InlineExecutor().run(doubles(20))) == expected
    assert list(LocalExecutor(3).run(doubles(20))) == expected
    assert list(LocalExecutor(2).run([])) == []


def test_jobs_are_drawn_as_needed_and_closing_ends_the_workers() -> None:
    drawn: list[int] = []
    results = cast(Generator[Any, None, None], LocalExecutor(2).run(doubles(1000, drawn)))
    assert next(results) == 0
    children = [p for p in psutil.Process().children() if "tasks.corpus.worker" in p.cmdline()]
    assert len(children) == 2 and len(drawn) <= 16
    results.close()
    assert not any(child.is_running() for child in children)


def test_bad_records_are_given_up_and_the_rest_is_read(tmp_path: Path) -> None:
    told: list[tuple[tuple[str, int], str]] = []
    executor = LocalExecutor(
        2, record_seconds=1.0, megabytes=2000, given_up=lambda place, why: told.append((place, why))
    )
    skips = tmp_path / "skips.json"
    what = {"2": "hang", "5": "crash", "7": "memory"}
    (result,) = executor.run([Job(f"{CREW}:records", {"name": "a.gz", "what": what}, skips)])
    assert result["read"] == [0, 1, 3, 4, 6, 8, 9]
    assert result["passed"] == {
        "2": "took longer than 1 s",
        "5": "ended its reader (signal 11)",
        "7": "needed more than 2000 MB of memory",
    }
    assert [place for place, _ in told] == [("a.gz", 2), ("a.gz", 5), ("a.gz", 7)]
    # Another attempt, even one without a watch, knows them.
    (again,) = InlineExecutor().run([Job(f"{CREW}:records", {"name": "a.gz", "what": what}, skips)])
    assert again == result


@pytest.mark.parametrize("offset", ["3", "4"])
def test_a_worker_that_is_killed_from_outside_costs_no_record(tmp_path: Path, offset: str) -> None:
    skips = tmp_path / "skips.json"
    name = str(tmp_path / "a")
    job = Job(f"{CREW}:records", {"name": name, "what": {offset: "evicted"}}, skips)
    (result,) = LocalExecutor(1).run([job])
    assert result == {"read": list(range(10)), "passed": {}} and not skips.exists()


def test_a_shard_in_which_everything_fails_is_no_matter_of_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "MOST_GIVEN_UP", 2)
    what = {str(n): "memory" for n in range(10)}
    job = Job(f"{CREW}:records", {"name": "a", "what": what}, tmp_path / "skips.json")
    with pytest.raises(WorkerFailed, match="this is no bad record"):
        list(LocalExecutor(1, megabytes=2000).run([job]))


def test_errors_of_a_worker_are_raised_here() -> None:
    def run(kind: str) -> None:
        list(LocalExecutor(1).run([Job(f"{CREW}:fail", {"kind": kind})]))

    with pytest.raises(BadFileError, match="empty file"):
        run("ours")
    with pytest.raises(OSError, match="No space left") as full:
        run("full")
    assert full.value.errno == 28
    with pytest.raises(WorkerFailed, match="a defect"):
        run("other")
    with pytest.raises(WorkerFailed, match=r"signal 9.*no record was in its hand"):
        run("crash")


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    """A supervisor that is killed leaves none behind."""
    script = (
        "from tasks.corpus.execute import Job, LocalExecutor\n"
        f"job = Job('{CREW}:double', {{'value': 1, 'wait': 600}})\n"
        "print('go', flush=True)\n"
        "list(LocalExecutor(1).run([job]))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": "."}
    )
    assert parent.stdout is not None and parent.stdout.readline() == b"go\n"
    deadline = time.monotonic() + 30
    while not (workers := psutil.Process(parent.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert gone and not alive


def test_heartbeat_tells_the_record_in_hand(tmp_path: Path) -> None:
    path = new_heartbeat(tmp_path / "heartbeat")
    guard = Guard(path, {("a", 1): "crashed"}, clock=lambda: 12.5)
    assert read_heartbeat(path).since == 0
    assert guard.begin("a", 0) is None
    beat = read_heartbeat(path)
    assert (beat.records, beat.since, beat.file, beat.offset) == (1, 12.5, "a", 0)
    assert guard.begin("a", 1) == "crashed"
    guard.end()
    assert read_heartbeat(path).since == 0
    skips = tmp_path / "s.json"
    add_skip(skips, ("b", 3), "hung")
    add_skip(skips, ("a", 9), "hung")
    assert list(read_skips(skips)) == [("a", 9), ("b", 3)]
    assert json.loads(skips.read_text())[0] == {"file": "a", "offset": 9, "reason": "hung"}


def test_the_record_that_was_too_slow_is_blamed_not_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the end of the worker it may take another record."""
    slow = [Beat(4, 1.0, "a.gz", 3)]

    def read(path: Path) -> Beat:
        return slow.pop() if slow else Beat(5, time.monotonic(), "a.gz", 4)

    monkeypatch.setattr(execute, "read_heartbeat", read)
    skips = tmp_path / "skips.json"
    what = {"2": "hang"}

    def told(place: tuple[str, int], reason: str) -> None:
        raise KeyboardInterrupt

    results = LocalExecutor(1, record_seconds=1.0, given_up=told).run(
        [Job(f"{CREW}:records", {"name": "a.gz", "what": what}, skips)]
    )
    with pytest.raises(KeyboardInterrupt):
        list(results)
    assert list(read_skips(skips)) == [("a.gz", 3)]


def test_a_job_that_holds_what_all_shards_say_is_not_bound_as_a_record_is(tmp_path: Path) -> None:
    with LocalExecutor(2, megabytes=600).kept() as crew:
        whole = Job(f"{CREW}:hold", {"megabytes": 1500}, bounded=False)
        assert list(crew.run([whole, whole])) == [1_500_000_000] * 2
        # The bound holds for what comes after, and before.
        with pytest.raises(WorkerFailed, match="needed more than 600 MB"):
            list(crew.run([Job(f"{CREW}:hold", {"megabytes": 1500})]))
        skips = tmp_path / "skips.json"
        with pytest.raises(WorkerFailed, match="needed more than 600 MB"):
            list(crew.run([Job(f"{CREW}:hold", {"megabytes": 1500, "again": True}, skips)] * 2))
        assert list(read_skips(skips)) == [("a", 0)]


def test_what_workers_leave_goes_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "system"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "system").mkdir()
    scratch = tmp_path / "scratch"
    executor = LocalExecutor(1, record_seconds=1.0, scratch=scratch)
    with executor.kept() as crew:
        (left,) = crew.run([Job(f"{CREW}:leave", {"how": "live"})])
        assert Path(left).is_dir() and Path(left).is_relative_to(scratch)
        with pytest.raises(WorkerFailed, match="took longer"):
            list(crew.run([Job(f"{CREW}:leave", {"how": "die"})]))
        assert not list(scratch.rglob("large")) and not Path(left).exists()
    assert folders(scratch) == [] and not list((tmp_path / "system").iterdir())
    # Without a place named, in the system's, and gone as well.
    list(LocalExecutor(1).run([Job(f"{CREW}:leave", {"how": "live"})]))
    assert not list((tmp_path / "system").iterdir())


def test_what_a_killed_supervisor_leaves_goes_at_the_next_start(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tasks.corpus.execute import Job, LocalExecutor\n"
        f"job = Job('{CREW}:leave', {{'how': 'die'}})\n"
        "list(LocalExecutor(1, scratch=Path(sys.argv[1])).run([job]))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(scratch)], env=os.environ | {"PYTHONPATH": "."}
    )
    deadline = time.monotonic() + 30
    while not list(scratch.rglob("large")) and time.monotonic() < deadline:
        time.sleep(0.05)
    # While it lives, nothing of it goes.
    assert list(LocalExecutor(1, scratch=scratch).run(doubles(1))) == [0]
    assert len(list(scratch.rglob("large"))) == 1
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    time.sleep(1.0)  # its worker ends with it
    # Those of other machines stay, whose locks need not be seen here; also of a like name.
    others = {f".workers+{host}+{'0' * 32}.tmp" for host in ("another.machine", f"{node()}-2")}
    for name in others:
        (scratch / name).mkdir()
    assert list(LocalExecutor(1, scratch=scratch).run(doubles(1))) == [0]
    assert set(folders(scratch)) == others


def folders(scratch: Path) -> list[str]:
    return [path.name for path in scratch.iterdir() if path.name != leftovers.LOCKS]


def test_crews_that_start_at_a_time_keep_their_folders(tmp_path: Path) -> None:
    """As the shards of a Ray cluster do, or two shard groups on one machine."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tasks.corpus.execute import LocalExecutor\n"
        "for _ in range(300):\n"
        "    with LocalExecutor(1, scratch=Path(sys.argv[1])).kept() as crew:\n"
        "        crew.crew.folder.joinpath('mine').touch()\n"
    )
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], env=os.environ | {"PYTHONPATH": "."}
        )
        for _ in range(4)
    ]
    assert [starter.wait() for starter in starters] == [0, 0, 0, 0]
    assert folders(tmp_path) == []

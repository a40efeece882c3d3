"""Files of the ledger: chain, tampering, torn tails, marks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.emissions import marks
from tasks.emissions.records import ChainWriter, read_records, read_session, seal


def write(path: Path, count: int) -> bytes:
    writer = ChainWriter(path)
    for number in range(count):
        writer.append({"kind": "reading", "joules": {"cpu": 1234.5 + number}})
    writer.close()
    return path.read_bytes()


def test_an_untouched_chain_verifies(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    write(path, 5)
    session = read_session(path)
    assert [r["seq"] for r in session.records] == [0, 1, 2, 3, 4]
    assert session.problems == [] and not session.sealed


def test_one_edited_digit_is_a_bad_hash_and_a_broken_chain(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    data = write(path, 5)
    assert data.count(b"1236.5") == 1
    path.write_bytes(data.replace(b"1236.5", b"1136.5"))
    session = read_session(path)
    assert session.problems == [
        "s.jsonl:3: content does not match its sha256",
        "s.jsonl:4: chain broken, the record before was changed or removed",
    ]
    assert [r["seq"] for r in session.records] == [0, 1, 3, 4]


def test_a_removed_record_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    lines = write(path, 5).splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert [p.split(": ")[1] for p in read_session(path).problems] == [
        "chain broken, the record before was changed or removed",
        "seq 3, expected 2",
    ]


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_torn_tail_is_skipped_and_sealed(tmp_path: Path, cut: int) -> None:
    folder = tmp_path / "emissions" / "n"
    folder.mkdir(parents=True)
    path = folder / "s.jsonl"
    data = write(path, 4)
    path.write_bytes(data[:-cut])
    assert read_session(path).problems == []
    assert seal(path) and not seal(path)
    session = read_session(path)
    assert session.sealed and session.problems == []
    # With only the newline missing the record itself is whole.
    whole = 4 if cut == 1 else 3
    assert session.torn == 4 - whole
    assert len(read_records(tmp_path)[0]) == whole


def test_marks_survive_a_torn_line_and_are_read_incrementally(tmp_path: Path) -> None:
    marks.begin(tmp_path, entry_id="a", run_id="r", stage="corpus", attempt=1)
    first, offset = marks.read_marks(tmp_path)
    assert [m["entry_id"] for m in first] == ["a"] and first[0]["pid"] == os.getpid()
    with (tmp_path / "emissions" / marks.MARKS).open("ab") as handle:
        handle.write(b'{"event": "beg')
    assert marks.read_marks(tmp_path, offset) == ([], offset)
    marks.end(tmp_path, entry_id="a", status="completed")
    rest, _ = marks.read_marks(tmp_path, offset)
    assert [(m["event"], m["status"]) for m in rest] == [("end", "completed")]
    with pytest.raises(ValueError, match="use one of completed"):
        marks.end(tmp_path, entry_id="a", status="done")


def test_open_marks_are_those_of_living_processes(tmp_path: Path) -> None:
    follower = marks.OpenMarks(tmp_path)
    assert follower.alive() == []
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    marks.begin(tmp_path, entry_id="zombie", run_id="r", stage="s", attempt=1, pid=pid)
    marks.begin(tmp_path, entry_id="mine", run_id="r", stage="s", attempt=1)
    assert follower.alive() == ["mine"]
    os.waitpid(pid, 0)
    marks.end(tmp_path, entry_id="mine", status="completed")
    assert follower.alive() == []

"""Files of the ledger: append-only, hash-chained meter records and the clocks they carry.

Layout under ``<home>/emissions/``::

    marks.jsonl                  stage begin/end (tasks.emissions.marks)
    <node>/<session>.jsonl       one meter session; cumulative joules per device
    <node>/meter.json|.lock|.log state, liveness lock and log of the node's meter

A record is one line of JSON with ``seq``, ``prev_hash`` and ``sha256`` over everything else in the
line, so one changed digit is found. A line torn by a kill is skipped, and sealed by the next meter.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

GENESIS = "0" * 64
VERSION = 1


def emissions_folder(home: Path) -> Path:
    """``<home>/emissions``, made on first use."""
    folder = home / "emissions"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def node_id() -> str:
    """Name of this machine, safe as a folder name. No name look-up: no socket is opened."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", os.uname().nodename).lstrip(".") or "node"


def boot_id() -> str:
    """Identity of this boot: CLOCK_BOOTTIME of two records compares only within one boot."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "unknown"


def boottime() -> float:
    """Seconds since boot, suspended time included; falls back to the monotonic clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def wall_utc() -> str:
    """UTC now, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def digest(record: Mapping[str, Any]) -> str:
    """sha256 over the canonical JSON of a record without its own ``sha256`` field."""
    body = {name: value for name, value in record.items() if name != "sha256"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def encode(record: Mapping[str, Any]) -> bytes:
    """One line, newline included."""
    return (json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n").encode()


class ChainWriter:
    """Appends records to one file, each fsynced and chained to the one before."""

    def __init__(self, path: Path, *, seq: int = 0, prev_hash: str = GENESIS) -> None:
        self._handle: BinaryIO = path.open("ab", buffering=0)
        self.seq, self.prev_hash = seq, prev_hash

    def append(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Write one record; returns it with ``seq``, ``prev_hash`` and ``sha256``."""
        record = {"v": VERSION, **fields, "seq": self.seq, "prev_hash": self.prev_hash}
        record["sha256"] = digest(record)
        self._handle.write(encode(record))
        os.fsync(self._handle.fileno())
        self.seq, self.prev_hash = self.seq + 1, record["sha256"]
        return record

    def close(self) -> None:
        """Close the file; nothing is buffered."""
        self._handle.close()


@dataclass(frozen=True)
class Session:
    """What one session file holds.

    records: the lines whose own hash is right, in order.
    problems: edited or missing records, by line; empty means that the chain holds.
    torn: lines that are no JSON because a kill cut them; expected after SIGKILL.
    sealed: the session was ended by its meter, or sealed by a later one.
    """

    path: Path
    records: list[dict[str, Any]]
    problems: list[str]
    torn: int
    sealed: bool
    next_seq: int
    last_hash: str


def read_session(path: Path) -> Session:
    """Read and verify one session file. Never raises for its content."""
    records: list[dict[str, Any]] = []
    problems: list[str] = []
    torn = 0
    expected, previous = 0, GENESIS
    sealed = False
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        record = _parse(line)
        if record is None:
            torn += 1
            continue
        where = f"{path.name}:{number}"
        own = digest(record)
        if own != record.get("sha256"):
            problems.append(f"{where}: content does not match its sha256")
        if record.get("prev_hash") != previous:
            problems.append(f"{where}: chain broken, the record before was changed or removed")
        if record.get("seq") != expected:
            problems.append(f"{where}: seq {record.get('seq')!r}, expected {expected}")
        if own == record.get("sha256"):
            records.append(record)
        # The chain goes on from what is there now, so one edit is one bad hash and one break.
        previous = own
        expected = record["seq"] + 1 if isinstance(record.get("seq"), int) else expected + 1
        sealed = sealed or record.get("kind") in ("end", "seal")
    # One torn line is what a kill leaves, at the very end; a second one is damage.
    if torn > 1:
        problems.append(f"{path.name}: {torn} unreadable lines, a kill leaves at most one")
    return Session(path, records, problems, torn, sealed, expected, previous)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def seal(path: Path) -> bool:
    """Close a session whose meter was killed: note the torn bytes in a chained seal record.

    Call it with the node's meter lock held. Returns False when it was closed already.
    """
    session = read_session(path)
    if session.sealed:
        return False
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("ab", buffering=0) as handle:
            handle.write(b"\n")
    writer = ChainWriter(path, seq=session.next_seq, prev_hash=session.last_hash)
    writer.append({"kind": "seal", "torn_lines": session.torn, "wall_utc": wall_utc()})
    writer.close()
    return True


def session_files(home: Path, node: str | None = None) -> Iterator[Path]:
    """Session files of one node or of all nodes, sorted."""
    folder = home / "emissions"
    yield from sorted(folder.glob(f"{node or '*'}/*.jsonl"))


def read_records(home: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """All meter records of all nodes, and the problems found while verifying them."""
    records: list[dict[str, Any]] = []
    problems: list[str] = []
    for path in session_files(home):
        session = read_session(path)
        records += [r for r in session.records if r.get("kind") == "reading"]
        problems += session.problems
    return records, problems

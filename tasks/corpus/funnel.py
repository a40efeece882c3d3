"""The funnel: what every filter let through, for what reasons it did not, and where that was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

AFTER_CAP = "read ahead of the cap"
# Rejected documents whose text is kept for reading, by filter and reason, and how much of it.
SAMPLES = 5
EXCERPT = 2000


class BadFileError(ValueError):
    """A file of a source could not be read and ``strict`` is set; names the file."""


class Watch(Protocol):
    """Who watches the reader: see :class:`tasks.corpus.guard.Guard`."""

    def begin(self, file: str, offset: int) -> str | None:
        """A record is begun; returns why it must be passed, None when it is to be read."""

    def end(self) -> None:
        """No record is in hand."""


class Rejected(NamedTuple):
    """A document that stopped at a filter. text: None when it is no sample; see SAMPLES.

    file, offset: where its record is (see :meth:`Funnel.at`).
    """

    id: str
    filter: str
    reason: str
    file: str
    offset: int
    characters: int
    text: str | None


@dataclass
class FunnelEntry:
    """What one filter let through; characters are code points, bytes are UTF-8.

    joined: how many of the documents became part of another one, where the unit changes (posts to
    the page of their question). In = out + rejected + joined. changed: what the filter changed in
    the texts it let through, by kind; empty for one that changes nothing, or does not count it.
    """

    documents_in: int = 0
    documents_out: int = 0
    joined: int = 0
    characters_in: int = 0
    characters_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)

    def add(self, other: FunnelEntry) -> None:
        """Add the counts of another worker's entry."""
        self.documents_in += other.documents_in
        self.documents_out += other.documents_out
        self.joined += other.joined
        self.characters_in += other.characters_in
        self.characters_out += other.characters_out
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        for reason, count in other.rejected.items():
            self.rejected[reason] = self.rejected.get(reason, 0) + count
        self.add_changed(other.changed)

    def add_changed(self, changed: Mapping[str, int]) -> None:
        """Count what was changed in a text, by kind."""
        for kind, count in changed.items():
            self.changed[kind] = self.changed.get(kind, 0) + count


def _row(source: str, name: str, entry: FunnelEntry) -> dict[str, Any]:
    row = {"source": source, "filter": name, **vars(entry)}
    row["rejected"] = dict(sorted(entry.rejected.items()))
    row["changed"] = dict(sorted(entry.changed.items()))
    return row if entry.changed else {key: row[key] for key in row if key != "changed"}


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class Funnel:
    """Counts per filter, in the order in which the filters were first seen.

    The first entry is always ``read``: its "documents" are the records of the dumps (pages, rows,
    files), and its rejected counts name unreadable files and records that hold no document. A
    document that passes a filter is shown to the next one with the same text, whether that one has
    a say in it or not: ``tasks.corpus.chain`` checks that the entries join.
    """

    def __init__(self, source: str, *, strict: bool = False, keep_rejected: bool = False) -> None:
        self.source = source
        self.strict = strict
        self.keep_rejected = keep_rejected
        self.entries: dict[str, FunnelEntry] = {"read": FunnelEntry()}
        self.bad_files: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.place = ("", 0)
        self.watch: Watch | None = None
        self.rejected_rows: list[Rejected] = []

    def child(self) -> Funnel:
        """Empty funnel with the same options, for a worker; see :meth:`merge`."""
        return Funnel(self.source, strict=self.strict, keep_rejected=self.keep_rejected)

    def at(self, file: str, offset: int) -> bool:
        """The reader turns to the record at ``offset`` of ``file``; False when it must pass it.

        Called before the work on every record. offset: what finds the record again in its file
        (a line, a byte, a member's number), as the source's module says. A record that hung,
        crashed or exhausted its reader before is counted here under that reason.
        """
        self.place = (file, offset)
        reason = self.watch.begin(file, offset) if self.watch is not None else None
        if reason is not None:
            self.reject("read", reason, "", f"{file}#{offset}")
        return reason is None

    def between(self) -> None:
        """The reader is on no record (it checks an archive, it sorts): nobody's time passes."""
        if self.watch is not None:
            self.watch.end()

    def declare(self, *filters: str) -> None:
        """Fix the order of filters that workers or empty sources may not meet in order."""
        for name in filters:
            self._entry(name)

    def keep(
        self,
        name: str,
        before: str,
        after: str | None = None,
        changed: Mapping[str, int] | None = None,
    ) -> None:
        """A document passed ``name``; ``after`` when the filter also changed its text.

        changed: what was changed in it, by kind, for filters that count it.
        """
        entry = self._entry(name)
        after = before if after is None else after
        size = _bytes(before)
        entry.documents_in += 1
        entry.documents_out += 1
        entry.characters_in += len(before)
        entry.characters_out += len(after)
        entry.bytes_in += size
        entry.bytes_out += size if after is before else _bytes(after)
        if changed:
            entry.add_changed(changed)

    def reject(self, name: str, reason: str, text: str = "", identity: str = "") -> None:
        """A document stopped at ``name`` for ``reason``."""
        entry = self._entry(name)
        entry.documents_in += 1
        entry.characters_in += len(text)
        entry.bytes_in += _bytes(text)
        self._note_reject(entry, name, reason, text, identity)

    def join(self, name: str, parts: Sequence[str], whole: str) -> None:
        """Several documents became one at ``name``."""
        entry = self._entry(name)
        entry.documents_in += len(parts)
        entry.documents_out += 1
        entry.joined += len(parts) - 1
        entry.characters_in += sum(map(len, parts))
        entry.characters_out += len(whole)
        entry.bytes_in += sum(map(_bytes, parts))
        entry.bytes_out += _bytes(whole)

    def stop(self) -> None:
        """The source was stopped at its cap: what a reader had read ahead then is put down to it.

        Readers run ahead by batches, sites or a whole pass, so some documents have passed a filter
        and were never shown to the next.
        """
        for before, entry in pairwise(self.entries.values()):
            ahead = before.documents_out - entry.documents_in
            if ahead > 0:
                entry.documents_in += ahead
                entry.characters_in = before.characters_out
                entry.bytes_in = before.bytes_out
                entry.rejected[AFTER_CAP] = ahead

    def bad_file(self, path: str, reason: str, detail: object = "") -> None:
        """A file, or its rest, cannot be read: counted, or with ``strict`` the end of the run."""
        if self.strict:
            raise BadFileError(
                f"{self.source}: {path}: {reason}{f' ({detail})' if detail else ''}. Remove or"
                " repair the file, or run without strict to count it and go on."
            )
        entry = self._entry("read")
        entry.documents_in += 1
        entry.rejected[reason] = entry.rejected.get(reason, 0) + 1
        offset = self.place[1] if self.place[0] == path else 0
        self.bad_files.append({"path": path, "reason": reason, "offset": offset})

    def merge(self, other: Funnel) -> None:
        """Add a worker's counts; call in a fixed order, so that the result is reproducible."""
        for name, entry in other.entries.items():
            self._entry(name).add(entry)
        self.bad_files.extend(other.bad_files)
        self.rejected_rows.extend(other.rejected_rows)
        for note in other.notes:
            self.note(note)

    def note(self, sentence: str) -> None:
        """Say something once that a reader of the report must see."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def take_rejected(self) -> list[Rejected]:
        """What was rejected since the last call."""
        rows, self.rejected_rows = self.rejected_rows, []
        return rows

    def rows(self) -> list[dict[str, Any]]:
        """Entries as the JSON rows of ``funnel.json``; ``changed`` only where there is any."""
        return [_row(self.source, name, entry) for name, entry in self.entries.items()]

    @classmethod
    def from_rows(cls, source: str, rows: Sequence[Mapping[str, Any]]) -> Funnel:
        """The funnel whose :meth:`rows` these are."""
        funnel = cls(source)
        for row in rows:
            values = {k: v for k, v in row.items() if k not in ("source", "filter")}
            values |= {name: dict(values.get(name, {})) for name in ("rejected", "changed")}
            funnel.entries[row["filter"]] = FunnelEntry(**values)
        return funnel

    def take_back(self, name: str, reason: str, text: str, identity: str) -> None:
        """A document counted as kept by ``name``, the last filter so far, is rejected after all.

        What one shard could not know: an earlier one has the same text.
        """
        entry = self.entries[name]
        entry.documents_out -= 1
        entry.characters_out -= len(text)
        entry.bytes_out -= _bytes(text)
        self._note_reject(entry, name, reason, text, identity)

    def _note_reject(
        self, entry: FunnelEntry, name: str, reason: str, text: str, identity: str
    ) -> None:
        entry.rejected[reason] = entry.rejected.get(reason, 0) + 1
        sample: str | None = None
        if self.keep_rejected:
            sample = text
        elif entry.rejected[reason] <= SAMPLES:
            sample = text[:EXCERPT]
        file, offset = self.place
        self.rejected_rows.append(Rejected(identity, name, reason, file, offset, len(text), sample))

    def _entry(self, name: str) -> FunnelEntry:
        return self.entries.setdefault(name, FunnelEntry())

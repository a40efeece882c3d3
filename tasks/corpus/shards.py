"""Which files are read together: the unit of work of a source.

A plan is a pure function of the listing and the parameters, so that every worker on every machine
has the same one. Files that must be seen together (a project, a site) are one unit of the source's
reader and never split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

# Small inputs are split into about this many shards all the same, so that all cores have work.
LEAST_SHARDS = 16
LEAST_BYTES = 200_000


@dataclass(frozen=True)
class Shard:
    """``number`` is its place in the source's order; files are in the order they are read."""

    number: int
    files: tuple[str, ...]
    size: int

    @property
    def name(self) -> str:
        """Name of its files and folders."""
        return f"{self.number:05d}"


def plan_shards(
    reader: ModuleType, files: Sequence[str], sizes: Mapping[str, int], shard_bytes: int
) -> list[Shard]:
    """Consecutive units of files packed to shards of about ``shard_bytes``, in order.

    Args:
        reader: the source's module; its ``units`` says which files stay together, by default none.
        sizes: bytes of each file, as listed (packed).
    """
    units = reader.units(files) if hasattr(reader, "units") else [[name] for name in files]
    assert sorted(name for unit in units for name in unit) == sorted(files), "a file went missing"
    total = sum(sizes.get(name, 0) for name in files)
    limit = max(LEAST_BYTES, min(shard_bytes, -(-total // LEAST_SHARDS)))
    shards: list[Shard] = []
    held: list[str] = []
    size = 0
    for unit in units:
        more = sum(sizes.get(name, 0) for name in unit)
        if held and size + more > limit:
            shards.append(Shard(len(shards), tuple(held), size))
            held, size = [], 0
        held += unit
        size += more
    if held:
        shards.append(Shard(len(shards), tuple(held), size))
    return shards


def plan_rows(shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """The plan as JSON rows."""
    return [{"number": s.number, "files": list(s.files), "size": s.size} for s in shards]

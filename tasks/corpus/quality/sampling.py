"""Samples of documents by the hash of their id: which they are depends on nothing else."""

from __future__ import annotations

import hashlib
import heapq
from typing import Any, TypeVar

EntryT = TypeVar("EntryT", bound=tuple[Any, ...])


def document_hash(seed: int, identity: str) -> int:
    """64 bits that order documents for sampling, the same in every process."""
    digest = hashlib.blake2b(f"{seed}:{identity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def hold_lowest(held: list[EntryT], entry: EntryT, most: int) -> None:
    """Put one more entry into ``held``, where those of the ``most`` lowest hashes stay.

    Args:
        held: a heap, at first an empty list. entry: a tuple that begins with its hash negated:
            heapq keeps the smallest on top, and the greatest hash must go.
    """
    if len(held) < most:
        heapq.heappush(held, entry)
    else:
        heapq.heappushpop(held, entry)

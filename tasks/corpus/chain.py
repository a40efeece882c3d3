"""The funnel's invariant: what comes out of one filter is what goes into the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

UNITS = ("documents", "characters", "bytes")


class FunnelError(RuntimeError):
    """A funnel does not add up: a reader lost documents, or counted some twice. A bug, not data."""


def check_chain(rows: Sequence[Mapping[str, Any]], written: Mapping[str, int]) -> None:
    """Raise unless the rows of one source's funnel join, from the records to what was written.

    Within a filter, documents in = out + rejected + joined into others; from one filter to the
    next, documents, characters and bytes are the same. Characters may change inside a filter.

    Args:
        rows: rows of ``funnel.json`` of one source, in order.
        written: what the files hold, by unit; units that are not known are left out.

    Raises:
        FunnelError: names the source, the filters and the numbers.
    """
    for row in rows:
        left = sum(row["rejected"].values()) + row["joined"]
        if row["documents_in"] != row["documents_out"] + left:
            raise FunnelError(
                f"funnel of {row['source']}: {row['filter']!r} was given {row['documents_in']}"
                f" documents, let {row['documents_out']} through and accounts for {left}"
            )
    for before, after in pairwise(rows):
        for unit in UNITS:
            if before[f"{unit}_out"] != after[f"{unit}_in"]:
                raise FunnelError(
                    f"funnel of {before['source']}: {before['filter']!r} let"
                    f" {before[f'{unit}_out']} {unit} through, {after['filter']!r} was given"
                    f" {after[f'{unit}_in']}"
                )
    for unit, number in written.items():
        last = rows[-1]
        if last[f"{unit}_out"] != number:
            raise FunnelError(
                f"funnel of {last['source']}: {last['filter']!r} let {last[f'{unit}_out']} {unit}"
                f" through, {number} were written"
            )

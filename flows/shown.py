"""Text of strangers on a terminal: dumps name their files and documents as they like."""

from __future__ import annotations

import re

from rich.markup import escape

# C0 but tab and line feed, DEL and C1, which terminals obey; the marks that turn the direction of
# what follows, by which a name can look like another.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """``text`` with its control characters written out, as ``\\x1b`` for an escape."""
    return _CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)


def shown(text: str) -> str:
    """The same, for what rich prints with markup on: no bracket in it is markup."""
    return escape(visible(text))

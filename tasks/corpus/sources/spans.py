"""Deduplication by spans of sentences, as C4 does it: of equal spans the first stays.

The key of a span is the first 8 bytes of the SHA-1 of its sentences in small letters, white space
as one space. A page has a key for each span: for all its sentences but the last two when spans
have three.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.web.sentences import sentences


def span_keys(text: str, size: int) -> NDArray[np.uint64]:
    """Key of each span of ``size`` sentences; none for a text of fewer sentences, or size 0."""
    if not size:
        return np.empty(0, dtype="<u8")
    normal = [" ".join(sentence.lower().split()) for sentence in sentences(text)]
    digests = [
        hashlib.sha1("\n".join(normal[at : at + size]).encode("utf-8", "surrogatepass")).digest()[
            :8
        ]
        for at in range(len(normal) - size + 1)
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8")


def kept_sentences(text: str, first: NDArray[np.bool_], size: int) -> str:
    """``text`` without the sentences of spans that are not the first of their key.

    Lines that lose none stay as they are; a line that loses some has one space between the others;
    one that loses all goes.
    """
    if first.all():
        return text
    seen = np.zeros(len(first) + size - 1, dtype=np.bool_)
    for again in np.flatnonzero(~first).tolist():
        seen[again : again + size] = True
    lines = []
    at = 0
    for line in text.splitlines():
        parts = sentences(line)
        flags = seen[at : at + len(parts)]
        at += len(parts)
        left = [part for part, gone in zip(parts, flags.tolist(), strict=True) if not gone]
        if len(left) == len(parts):
            lines.append(line)
        elif left:
            lines.append(" ".join(left))
    return "\n".join(lines).strip()

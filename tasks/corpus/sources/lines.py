"""Line-level deduplication as cc_net does it (paper section 2.1, CommonCrawl)."""

from __future__ import annotations

import hashlib
import unicodedata
from functools import lru_cache


class SeenLines:
    """Line-level deduplication of cc_net: first 8 bytes of SHA-1 of the normalised line.

    Holds one 8-byte key per distinct line (about 70 bytes of memory); the caller starts anew for
    every group of files.
    """

    def __init__(self) -> None:
        self._keys: set[bytes] = set()

    def drop_repeated(self, text: str) -> str:
        """``text`` without the lines that were shown before, in this text or another."""
        kept = []
        for line in text.split("\n"):
            normal = normalise_line(line)
            if not normal:
                continue
            key = hashlib.sha1(normal.encode("utf-8", "surrogatepass")).digest()[:8]
            if key not in self._keys:
                self._keys.add(key)
                kept.append(line.rstrip())
        return "\n".join(kept).strip()


@lru_cache(maxsize=65536)
def _fold(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return "0"
    # Punctuation and what does not print; accents stay, as in cc_net's default.
    return "" if category[0] in "PC" else character


# The same for ASCII lines, as bytes: one pass in C, where a str's table costs a look-up a letter.
_ASCII_FOLD = bytes(ord(_fold(chr(code)) or "\0") if code < 128 else code for code in range(256))
_ASCII_DROPPED = bytes(code for code in range(128) if not _fold(chr(code)))


def normalise_line(line: str) -> str:
    """cc_net's line key: stripped, lower case, digits as 0, no punctuation or control characters.

    A line that is nothing but punctuation gives "".
    """
    line = line.strip().lower()
    if line.isascii():
        return line.encode("ascii").translate(_ASCII_FOLD, _ASCII_DROPPED).decode("ascii").strip()
    return "".join(map(_fold, line)).strip()

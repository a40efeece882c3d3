"""Line-level deduplication as cc_net does it (paper section 2.1, CommonCrawl).

A line's key is the first 8 bytes of the SHA-1 of its normal form; the first line of a key stays.
"""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
from numpy.typing import NDArray


def line_keys(text: str) -> NDArray[np.uint64]:
    """Key of each line of ``text``; 0 for one whose normal form is empty."""
    sha1 = hashlib.sha1
    digests = [sha1(line).digest()[:8] if line else b"\0" * 8 for line in _normal_lines(text)]
    return np.frombuffer(b"".join(digests), dtype="<u8")


def kept_lines(text: str, keep: NDArray[np.bool_]) -> str:
    """The lines of ``text`` whose flag is set, without the white space at their ends."""
    if keep.all():
        lines = text.split("\n")
    else:
        lines = [line for line, stays in zip(text.split("\n"), keep.tolist(), strict=True) if stays]
    return "\n".join([line.rstrip() for line in lines]).strip()


def normalise_line(line: str) -> str:
    """cc_net's normal form: stripped, lower case, digits as 0, no punctuation, nothing unprinted.

    Accents stay. A line that is nothing but punctuation gives "".
    """
    (normal,) = _normal_lines(line.replace("\n", " "))
    return normal.decode("utf-8", "surrogatepass")


def _fold(character: str) -> str:
    """A lower-case character in the normal form: itself, another, or ""."""
    category = unicodedata.category(character)
    if category == "Nd":
        return "0"
    # Punctuation and what does not print; accents stay, as in cc_net's default.
    return "" if category[0] in "PC" else character


class _Folds(dict[str, str | None]):
    """What each character beyond ASCII becomes; None: it stays."""

    def __missing__(self, character: str) -> str | None:
        folded = _fold(character)
        value = self[character] = None if folded == character else folded
        return value


# ASCII in one pass in C, as bytes; the end of a line stays.
_TABLE = bytes(
    ord(_fold(chr(code).lower()) or chr(code)) if code < 128 else code for code in range(256)
)
_DROPPED = bytes(code for code in range(128) if code != 10 and not _fold(chr(code)))
_FOLDS = _Folds()


def _normal_lines(text: str) -> list[bytes]:
    """Normal form of each line, UTF-8.

    Equal to the same line by line: no step looks past the end of a line, but for the white space
    at its ends, which goes last.
    """
    if text.isascii():
        packed = text.encode("ascii").translate(_TABLE, _DROPPED)
        return [line.strip(b" ") for line in packed.split(b"\n")]
    text = text.lower()
    spaces = False
    for character in sorted(set(text)):
        if character > "\x7f":
            folded = _FOLDS[character]
            if folded is not None:
                text = text.replace(character, folded)
            elif character.isspace():
                spaces = True
    packed = text.encode("utf-8", "surrogatepass").translate(_TABLE, _DROPPED)
    if spaces:
        lines = packed.decode("utf-8", "surrogatepass").split("\n")
        return [line.strip().encode("utf-8", "surrogatepass") for line in lines]
    return [line.strip(b" ") for line in packed.split(b"\n")]

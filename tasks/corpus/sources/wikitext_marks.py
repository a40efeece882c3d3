"""Marks that the steps of the wikitext scanner leave in the text, and entities.

XML holds no control characters but tab and line ends, so these stand for nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.entities import html5

HEADING = "\x02"  # as many as the heading is deep, before its text
APOSTROPHE = "\x03"  # one that is text whatever stands beside it
NOTHING = "\x04"  # something removed: the apostrophes around it do not join
BREAK = "\x05"  # a new line of text, not of wikitext
LITERAL, LITERAL_END = "\x06", "\x07"  # around the number of a piece that no step may touch
TABLE, TABLE_END = "\x0e", "\x0f"  # <table> and </table>
PIPE = "\x10"  # a pipe that separates no arguments
UNCLOSED = "\x11"  # a template begins here that never ends
INDENT = "\x12"  # one level of a list

_ALL = tuple(map(chr, (*range(9), *range(0x0B, 0x20))))
_CONTROLS = dict.fromkeys(map(ord, _ALL))
_PLACE = re.compile(f"{LITERAL}(\\d+){LITERAL_END}")
_ENTITY = re.compile(r"&(?:#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z][a-zA-Z0-9]{1,31}));")
_SPACES = frozenset("\u00a0\u2002\u2003\u2009\u200a\u202f\t\n\r")
# Numbers that HTML reads as Windows-1252: what browsers show for &#150; and its like.
_WINDOWS = {
    code: bytes([code]).decode("cp1252")
    for code in range(0x80, 0xA0)
    if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}


def without_controls(text: str) -> str:
    """``text`` with no mark in it, and line feeds as its only line ends."""
    if any(control in text for control in _ALL):
        text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)
    return text


def place_of(literal: list[str], content: str) -> str:
    """Put ``content`` aside; returns what stands for it until :func:`put_back`."""
    literal.append(content)
    return f"{LITERAL}{len(literal) - 1}{LITERAL_END}"


def put_back(text: str, literal: Sequence[str]) -> str:
    """``text`` with the pieces put aside in their places."""
    return _PLACE.sub(lambda place: literal[int(place[1])], text) if literal else text


def decoded(text: str) -> str:
    """``text`` with its HTML entities as characters, once: ``&amp;lt;`` is ``&lt;``.

    Only those that end in a semicolon, as in MediaWiki; an unknown name stays. Blanks of any width
    become a space, characters that are none (controls, surrogates) become nothing.
    """
    return _ENTITY.sub(_character, text) if "&" in text else text


def _character(entity: re.Match[str]) -> str:
    decimal, hexadecimal, name = entity.groups()
    if name:
        character = html5.get(f"{name};", entity[0])
    else:
        code = int(decimal) if decimal else int(hexadecimal, 16)
        if code in _WINDOWS:
            character = _WINDOWS[code]
        elif code > 0x10FFFF or 0xD800 <= code < 0xE000 or 0x7F <= code < 0xA0:
            return ""
        else:
            character = chr(code)
    if character in _SPACES:
        return " "
    return "" if character in _CONTROL_SET else character


_CONTROL_SET = frozenset(_ALL)

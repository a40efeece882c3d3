"""Texts and names as UTF-8, JSON and Parquet can hold them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from registry.files import portable_name
from tasks.corpus.documents import Document


def encodable(text: str) -> str:
    """``text`` as UTF-8 can hold it: lone surrogates become U+FFFD, NUL characters go."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    if _is_encodable(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def encodable_name(name: str) -> str:
    r"""An id or address as UTF-8 can hold it: bytes of a file's name that are no UTF-8 as ``\xNN``.

    Unlike `portable_name` it leaves alone whatever needs nothing: a backslash in a web address is
    no escape.
    """
    name = name.replace("\x00", "")
    return name if _is_encodable(name) else portable_name(name)


def storable(document: Document) -> Document:
    """The document with every field but the text as Parquet can hold it (names, JSON's escapes)."""
    return replace(
        document,
        id=encodable_name(document.id),
        uri=encodable_name(document.uri),
        created=encodable(document.created),
        license=encodable(document.license),
        meta=_storable(document.meta),
    )


def _storable(value: Any) -> Any:
    """A JSON value whose strings can be encoded."""
    if isinstance(value, str):
        return encodable_name(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""How numbers, times and digests are written, on pages and cards alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
DASH = "–"


def environment() -> Environment:
    """Templates with escaping always on; a name that is not given is an error."""
    made = Environment(
        loader=PackageLoader("dashboards"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        count=count,
        duration=duration,
        percent=percent,
        rounded=rounded,
        short=short,
        significant=significant,
        size=size,
        when=when,
        compact=compact,
    )
    return made


def count(value: int | None) -> str:
    """12,345"""
    return DASH if value is None else f"{value:,}"


def rounded(value: float | None, digits: int = 1) -> str:
    """A number with fixed digits after the point."""
    return DASH if value is None else f"{value:,.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1 in percent."""
    return DASH if share is None else f"{100 * share:.{digits}f} %"


def significant(value: float | None, digits: int = 3) -> str:
    """Significant digits; 4.75×10⁻⁷ for what is too small or too large to read plainly."""
    if value is None:
        return DASH
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        whole = len(str(int(abs(value))))
        places = max(0, digits - whole) if abs(value) >= 1 else _places(abs(value), digits)
        return f"{value:,.{places}f}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def _places(value: float, digits: int) -> int:
    """Digits after the point that show ``digits`` significant ones of a value below 1."""
    return digits - 1 - int(f"{value:e}".split("e")[1])


def duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 3 min 05 s, 2 h 04 min."""
    if seconds is None:
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def when(moment: datetime | None) -> str:
    """UTC, to the second."""
    return DASH if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(octets: int | None) -> str:
    """Bytes in decimal units."""
    if octets is None:
        return DASH
    value, unit = float(octets), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def short(digest: str | None) -> str:
    """The first digits of a digest, a key or an id."""
    return DASH if not digest else digest[:12]


def compact(value: Any) -> str:
    """A value of a form or an evidence on one line."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested parameters as (dotted name, text)."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", compact(value)

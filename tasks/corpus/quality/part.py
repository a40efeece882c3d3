"""What training one of the two quality models came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Part:
    """One of the two models. off: why there is none, "" when there is."""

    off: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

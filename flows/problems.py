"""Errors as a user reads them: what, where, what to do; no traceback, no address of a manual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

# Values longer than this are no typing mistake of one field; naming the field is enough.
SHOWN_CHARACTERS = 60
PREFECT_PREFIXES = (
    "Flow run encountered an exception: ",
    "Task run encountered an exception ",
)


def field_problems(
    error: ValidationError, hint: Callable[[tuple[int | str, ...]], str] | None = None
) -> list[str]:
    """One line per wrong field: its place, what is expected, what was given.

    Args:
        hint: what to add for an unknown field, from its place.
    """
    lines = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"{place}: no such field{hint(item['loc']) if hint else ''}")
            continue
        # Our own validators say themselves what was given, or have a reason not to: a password.
        own = item["type"] == "value_error"
        message = item["msg"].removeprefix("Value error, ")
        prefix = f"{place}: " if place else ""
        lines.append(f"{prefix}{message}{'' if own else _given(item['input'])}")
    return lines


def message_of(error: BaseException) -> str:
    """The one message of an error."""
    if isinstance(error, ValidationError):
        found = field_problems(error)
        return found[0] if len(found) == 1 else "\n- ".join(["these settings do not hold:", *found])
    return str(error)


def flow_message(state_message: str) -> str:
    """The error's own words out of the message of a failed Prefect state.

    The class of a plain ``ValueError`` says nothing more to a user; others are kept, since a
    reader of a bug report needs them.
    """
    for prefix in PREFECT_PREFIXES:
        state_message = state_message.removeprefix(prefix)
    return state_message.removeprefix("ValueError: ")


def _given(value: Any) -> str:
    """`` (given: -1)`` for a plain value, else nothing."""
    if not isinstance(value, str | int | float | bool):
        return ""
    shown = repr(value)
    return f" (given: {shown})" if len(shown) <= SHOWN_CHARACTERS else ""

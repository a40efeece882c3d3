"""How a worker process ends: its exit status in words, and the error that it answers with."""

from __future__ import annotations

import importlib
from typing import Any

# Ends that come from outside, from who stops this machine or this run.
FROM_OUTSIDE = (-1, -2, -15)


class WorkerFailed(RuntimeError):
    """A worker failed, or ended, and no record was in its hand: a defect, or the machine."""


def named(status: int) -> str:
    """An exit status as `subprocess` gives it, in words."""
    return f"signal {-status}" if status < 0 else f"status {status}"


def raised(answer: dict[str, Any]) -> Exception:
    """The error of a worker: of its own class where that is one of ours or Python's."""
    cause = WorkerFailed(answer["trace"])
    if answer.get("errno"):
        error: Exception = OSError(answer["errno"], answer["error"])
        error.__cause__ = cause
        return error
    module, _, name = answer["kind"].partition(":")
    if module.split(".")[0] in ("builtins", "tasks", "registry", "model"):
        kind = getattr(importlib.import_module(module), name, None)
        if (
            isinstance(kind, type)
            and issubclass(kind, ValueError)
            and not issubclass(kind, UnicodeError)
        ):
            error = kind(answer["error"])
            error.__cause__ = cause
            return error
    return cause

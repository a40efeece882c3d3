"""A sandbox that breaks fails the run: it is no verdict on a program."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tasks.evaluation import bubblewrap, sandbox
from tasks.evaluation.sandbox import Limits, SandboxError, run_program


def instead_of_bubblewrap(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Run a shell script in its place."""
    monkeypatch.setattr(bubblewrap, "command", lambda mode, size: ["/bin/sh", "-c", script])


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo 'bwrap: Creating new namespace failed' >&2; exit 1",
            "Creating new namespace failed",
        ),
        ("exit 0", "exit code 0"),
        ("kill -9 $$", "exit code -9"),
    ],
)
def test_a_sandbox_that_breaks_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    """Otherwise a machine short of memory would score its programs as wrong."""
    instead_of_bubblewrap(monkeypatch, script)
    with pytest.raises(SandboxError, match=reason):
        run_program("x = 1\n", Limits(), "bwrap")


def test_a_process_that_cannot_be_made_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(sandbox.subprocess, "Popen", fails)
    monkeypatch.setattr(bubblewrap, "command", lambda mode, size: ["bwrap"])
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(SandboxError, match="Resource temporarily unavailable"):
        run_program("x = 1\n", Limits(), "bwrap")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_sandbox_that_does_not_start_in_time_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instead_of_bubblewrap(monkeypatch, "sleep 60")
    monkeypatch.setattr(sandbox, "START_SECONDS", 0.3)
    with pytest.raises(SandboxError, match=r"not started within 0\.3 s"):
        run_program("x = 1\n", Limits(seconds=0.1), "bwrap")

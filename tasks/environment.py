"""Facts about where an artifact was made, for its manifest: commit, lock, hardware."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent


@functools.cache
def git_commit() -> str | None:
    """Commit of the checkout with ``+dirty`` for changed files; None when installed as a wheel."""
    if not (CHECKOUT / ".git").exists():
        return None
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    done = subprocess.run(
        ["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


@functools.cache
def environment_facts() -> dict[str, Any]:
    """Commit, hash over every installed distribution and version, interpreter, processor."""
    installed = sorted({f"{d.metadata['Name'].lower()}=={d.version}" for d in distributions()})
    return {
        "git_commit": git_commit(),
        "lock_hash": hashlib.sha256("\n".join(installed).encode()).hexdigest(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()

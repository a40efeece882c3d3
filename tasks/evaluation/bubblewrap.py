"""What runs inside bubblewrap, and the command line that puts it there (see `sandbox`)."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

Mode = Literal["bwrap", "bwrap-drop"]

NOBODY = 65534
# Nothing of site-packages or the working folder, no bytecode. Not -I: that would ignore the
# environment, which is given here in full and fixes the order of sets.
INTERPRETER_FLAGS = ("-P", "-s", "-S", "-B")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}

# Runs inside. Reads {token, program, limits} to the end of standard input, then gives up everything
# that the program must not have. "started" is its last word before the program: what ends without
# it says nothing about the program.
DRIVER = r"""
import json, os, resource, sys
job = json.load(sys.stdin.buffer)
null = os.open("/dev/null", os.O_RDWR)
report = os.dup(job["report"])
os.close(job["report"])
os.dup2(null, 0)
if job["drop"] is not None:
    os.setgroups([])
    os.setgid(job["drop"])
    os.setuid(job["drop"])
for name, value in job["limits"].items():
    resource.setrlimit(getattr(resource, name), (value, value))
os.chdir("/tmp")
os.dup2(null, 2)
def run(token, program):
    os.write(report, (json.dumps({"started": token}) + "\n").encode())
    message = {"failed": "SystemExit"}
    try:
        exec(compile(program, "program.py", "exec"), {"__name__": "__main__"})
        message = {"token": token}
    except BaseException as error:
        message = {"failed": (type(error).__name__ + ": " + str(error))[:300]}
    os.write(report, json.dumps(message).encode()[:4000])
    os._exit(0)
token, program = job.pop("token"), job.pop("program")
run(token, program)
"""


def command(mode: Mode, scratch_bytes: int) -> list[str]:
    """The command line that runs the driver in a sandbox whose /tmp holds ``scratch_bytes``."""
    python, prefix = interpreter()
    line = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--new-session"]
    if mode == "bwrap":
        line += ["--unshare-all"]
        # A user namespace of its own would give a program capabilities over kernel interfaces that
        # are closed to it otherwise.
        if disables_userns(line[0]):
            line += ["--unshare-user", "--disable-userns"]
    else:
        # Root's own namespaces but the user's: so the user id that the driver takes is a real one
        # and the limit on processes binds. Only the two capabilities for taking it are kept.
        line += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        line += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
        line += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for path in ("/usr", "/lib", "/lib64", "/bin"):
        line += ["--ro-bind-try", path, path]
    if not prefix.startswith("/usr/") and prefix != "/usr":
        # bubblewrap makes missing parents with mode 0700: a user id that is dropped to could not
        # pass through them.
        for parent in reversed(Path(prefix).parents[:-1]):
            line += ["--perms", "0755", "--dir", str(parent)]
        line += ["--ro-bind", prefix, prefix]
    line += ["--dev", "/dev", "--remount-ro", "/dev"]
    line += ["--perms", "1777", "--size", str(scratch_bytes), "--tmpfs", "/tmp"]
    line += ["--remount-ro", "/", "--chdir", "/tmp"]
    return [*line, "--", python, *INTERPRETER_FLAGS, "-c", DRIVER]


@functools.cache
def disables_userns(bwrap: str) -> bool:
    """Whether bubblewrap can forbid further user namespaces here, found by trying.

    Older ones than 0.8.0 do not know how, and in a container whose /proc/sys is read-only none can.
    """
    command = [bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/"]
    nobody = NOBODY if os.geteuid() == 0 else None
    try:
        tried = subprocess.run(
            [*command, "--", "/bin/true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            user=nobody,
            group=nobody,
            extra_groups=None if nobody is None else [],
        )
    except (OSError, subprocess.TimeoutExpired):
        return False  # it does not run at all: the program's own start says why
    return tried.returncode == 0


def interpreter() -> tuple[str, str]:
    """This process's Python without its virtual environment: executable and prefix."""
    return os.path.realpath(sys.executable), os.path.realpath(sys.base_prefix)

"""Generated programs run here and nowhere else: inside bubblewrap, or not at all.

What holds a program, whichever mode runs it:
- no network, no other processes in sight, no /proc, no home, no environment; the system's libraries
  and the interpreter read-only; the only writable place is a /tmp of limited size in memory;
- limits on processes, address space, CPU time, file size, open files; an ordinary user id, no
  capabilities, no way to gain any (bubblewrap sets no_new_privs);
- a wall-clock limit after which the whole tree dies with its PID namespace;
- standard output and error go nowhere, so they cannot fill anything.

Memory files (memfd_create) are the exception: the limit on file size does not hold them, nor does
that on address space while they are only written to. They count as the memory of whoever runs the
evaluation, and are gone when the program ends; the time limit and a memory limit of the machine or
container (cgroup) bound them, nothing here does.

The verdict is a random token that the driver writes to a pipe after the program and its checks have
come to their end; the exit code says nothing, so exit(0) is no pass. The token is handed over on
standard input, which is empty before the program starts. A program that searches the driver's own
memory can still forge it: this guards against wrong and careless code, and keeps hostile code in.
Of hostile code in the tests' own process no verdict can be certain.

Modes, tried in this order by `probe` with real programs:
- ``bwrap``: bubblewrap started by an ordinary user (our own; for root, uid 65534), all namespaces;
  where bubblewrap can (0.8.0, /proc/sys writable) the program can make no user namespaces.
- ``bwrap-drop``: root starts bubblewrap, the driver gives up uid 0 before it reads the program. For
  an interpreter that ordinary users cannot read (pyenv under a home of mode 0700). Without a user
  namespace around it, bubblewrap cannot forbid the program one of its own.
Without a working mode `probe` says why, and code benchmarks are not run.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["bwrap", "bwrap-drop"]
Verdict = Literal["passed", "failed", "timeout"]

NOBODY = 65534
_REPORT_LIMIT = 4096  # bytes of the verdict pipe that are read


@dataclass(frozen=True)
class Limits:
    """Bounds on one program: seconds of wall clock, bytes of address space per process, processes
    and threads, bytes of the private /tmp and of each file."""

    seconds: float = 10.0
    memory_bytes: int = 1024 * 2**20
    processes: int = 8
    file_bytes: int = 16 * 2**20


@dataclass(frozen=True)
class Outcome:
    """Verdict on one program. detail: the exception's class and message when it failed (untrusted
    text, at most 300 characters); never part of the verdict."""

    verdict: Verdict
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.verdict == "passed"


@dataclass(frozen=True)
class Probe:
    """Which mode works here; mode None: none, and ``reason`` says why for each."""

    mode: Mode | None
    reason: str


# Runs inside. Reads {token, program, limits} to the end of standard input, then gives up everything
# that the program must not have. `-I -S` keeps site-packages and the environment out.
_DRIVER = r"""
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


def probe() -> Probe:
    """Find a working mode once per process, by running a program that must pass in each."""
    return _probe(shutil.which("bwrap"))


@functools.cache
def _probe(bwrap: str | None) -> Probe:
    if bwrap is None:
        return Probe(None, "bubblewrap (bwrap) is not installed")
    reasons = []
    modes: tuple[Mode, ...] = ("bwrap", "bwrap-drop") if os.geteuid() == 0 else ("bwrap",)
    for mode in modes:
        program = "import os, math\nassert os.getuid() != 0 and math.sqrt(4) == 2\n"
        outcome = run_program(program, Limits(), mode)
        if outcome.passed:
            return Probe(mode, f"bubblewrap, mode {mode}")
        reasons.append(f"{mode}: {outcome.detail or outcome.verdict}")
    return Probe(None, "bubblewrap is installed but does not work here: " + "; ".join(reasons))


def run_program(
    program: str,
    limits: Limits,
    mode: Mode,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Run ``program`` to its end inside the sandbox; it passes if nothing is raised.

    Returns when the program, and everything it started, is gone.
    """
    token = secrets.token_hex(32)
    drop = 60000 + secrets.randbelow(5000) if mode == "bwrap-drop" else None
    read_end, write_end = os.pipe()
    job = {
        "token": token,
        "program": program,
        "report": write_end,
        "drop": drop,
        "limits": {
            "RLIMIT_NPROC": limits.processes,
            "RLIMIT_AS": limits.memory_bytes,
            "RLIMIT_CPU": int(limits.seconds) + 1,
            "RLIMIT_FSIZE": limits.file_bytes,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_CORE": 0,
        },
    }
    as_nobody = mode == "bwrap" and os.geteuid() == 0
    try:
        process = subprocess.Popen(
            _command(mode, limits),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(write_end,),
            env={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
            cwd="/",
            start_new_session=True,
            user=NOBODY if as_nobody else None,
            group=NOBODY if as_nobody else None,
            extra_groups=[] if as_nobody else None,
        )
    except OSError as error:
        os.close(read_end)
        os.close(write_end)
        return Outcome("failed", f"bubblewrap does not start: {error.strerror}")
    os.close(write_end)
    try:
        return _supervise(process, read_end, json.dumps(job).encode(), token, limits, clock)
    finally:
        _kill(process)
        os.close(read_end)


def _command(mode: Mode, limits: Limits) -> list[str]:
    interpreter, prefix = _interpreter()
    command = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--new-session"]
    if mode == "bwrap":
        command += ["--unshare-all"]
        # A user namespace of its own would give a program capabilities over kernel interfaces that
        # are closed to it otherwise.
        if _disables_userns(command[0]):
            command += ["--unshare-user", "--disable-userns"]
    else:
        # Root's own namespaces but the user's: so the user id that the driver takes is a real one
        # and the limit on processes binds. Only the two capabilities for taking it are kept.
        command += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        command += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for path in ("/usr", "/lib", "/lib64", "/bin"):
        command += ["--ro-bind-try", path, path]
    if not prefix.startswith("/usr/") and prefix != "/usr":
        # bubblewrap makes missing parents with mode 0700: a user id that is dropped to could not
        # pass through them.
        for parent in reversed(Path(prefix).parents[:-1]):
            command += ["--perms", "0755", "--dir", str(parent)]
        command += ["--ro-bind", prefix, prefix]
    command += ["--dev", "/dev", "--remount-ro", "/dev"]
    command += ["--perms", "1777", "--size", str(limits.file_bytes), "--tmpfs", "/tmp"]
    command += ["--remount-ro", "/", "--chdir", "/tmp"]
    return [*command, "--", interpreter, "-I", "-S", "-B", "-c", _DRIVER]


@functools.cache
def _disables_userns(bwrap: str) -> bool:
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


def _interpreter() -> tuple[str, str]:
    """This process's Python without its virtual environment: executable and prefix."""
    return os.path.realpath(sys.executable), os.path.realpath(sys.base_prefix)


def _supervise(
    process: subprocess.Popen[bytes],
    read_end: int,
    job: bytes,
    token: str,
    limits: Limits,
    clock: Callable[[], float],
) -> Outcome:
    """Hand the job over, wait for the end or the limit, judge by the token alone."""
    assert process.stdin is not None and process.stderr is not None
    deadline = clock() + limits.seconds
    # It may have ended before it read the job; its standard error then says why.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(job)
        process.stdin.close()
    report, errors = b"", b""
    with selectors.DefaultSelector() as selector:
        selector.register(read_end, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map() and len(report) <= _REPORT_LIMIT:
            left = deadline - clock()
            if left <= 0:
                return Outcome("timeout")
            for key, _ in selector.select(min(left, 0.2)):
                data = os.read(key.fd, _REPORT_LIMIT)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fd == read_end:
                    report += data
                else:
                    errors = (errors + data)[:_REPORT_LIMIT]
            if process.poll() is not None and not selector.select(0):
                break
    return _judge(report, errors, token)


def _judge(report: bytes, errors: bytes, token: str) -> Outcome:
    try:
        message = json.loads(report)
    except ValueError:
        lines = errors.decode(errors="replace").strip().splitlines()
        return Outcome("failed", lines[-1][:300] if lines else "ended without a verdict")
    if not isinstance(message, dict):
        return Outcome("failed", "ended without a verdict")
    given = message.get("token")
    if isinstance(given, str) and secrets.compare_digest(given.encode(), token.encode()):
        return Outcome("passed")
    return Outcome("failed", str(message.get("failed", "ended without a verdict"))[:300])


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill bubblewrap; its PID namespace, and with it every process inside, dies with it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # it ended between the two calls
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stderr):
        if stream is not None and not stream.closed:
            with contextlib.suppress(BrokenPipeError):  # unsent input of a process that is gone
                stream.close()

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

The driver also says when the program begins. The time limit runs from there, and a sandbox that
ends or hangs before it is a `SandboxError`, never a verdict. Sets of strings have one order in
every run (PYTHONHASHSEED); a program that draws at random, or that takes about as long as the time
limit, may still end otherwise another time.

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
import time
from dataclasses import dataclass
from typing import Literal

from tasks.evaluation import bubblewrap
from tasks.evaluation.bubblewrap import Mode

Verdict = Literal["passed", "failed", "timeout"]

START_SECONDS = 60.0  # for namespaces and interpreter, on a machine that is busy or short of memory
_REPORT_LIMIT = 4096  # bytes of the verdict pipe that are read


class SandboxError(RuntimeError):
    """The sandbox broke before the program began: says nothing about the program."""


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


def probe(limits: Limits | None = None) -> Probe:
    """Find a mode that works under ``limits`` (the default ones), by running a program that must
    pass in each; once per process."""
    return _probe(shutil.which("bwrap"), limits or Limits())


@functools.cache
def _probe(bwrap: str | None, limits: Limits) -> Probe:
    if bwrap is None:
        return Probe(None, "bubblewrap (bwrap) is not installed")
    reasons = []
    modes: tuple[Mode, ...] = ("bwrap", "bwrap-drop") if os.geteuid() == 0 else ("bwrap",)
    for mode in modes:
        program = "import os, math\nassert os.getuid() != 0 and math.sqrt(4) == 2\n"
        try:
            outcome = run_program(program, limits, mode)
        except SandboxError as error:
            reasons.append(f"{mode}: {error}")
            continue
        if outcome.passed:
            return Probe(mode, f"bubblewrap, mode {mode}")
        reasons.append(f"{mode}: {outcome.detail or outcome.verdict}")
    return Probe(None, "bubblewrap is installed but does not work here: " + "; ".join(reasons))


def run_program(program: str, limits: Limits, mode: Mode) -> Outcome:
    """Run ``program`` to its end inside the sandbox; it passes if nothing is raised.

    Returns when the program, and everything it started, is gone. Raises SandboxError if it could
    not be begun.
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
    nobody = bubblewrap.NOBODY if mode == "bwrap" and os.geteuid() == 0 else None
    try:
        process = subprocess.Popen(
            bubblewrap.command(mode, limits.file_bytes),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(write_end,),
            env=bubblewrap.ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            user=nobody,
            group=nobody,
            extra_groups=None if nobody is None else [],
        )
    except OSError as error:
        os.close(read_end)
        os.close(write_end)
        raise SandboxError(f"bubblewrap does not start: {error.strerror}") from error
    os.close(write_end)
    try:
        return _supervise(process, read_end, json.dumps(job).encode(), token, limits)
    finally:
        _kill(process)
        os.close(read_end)


def _supervise(
    process: subprocess.Popen[bytes], read_end: int, job: bytes, token: str, limits: Limits
) -> Outcome:
    """Hand the job over, wait for the end or the limit, judge by the token alone."""
    assert process.stdin is not None and process.stderr is not None
    begun = json.dumps({"started": token}).encode() + b"\n"
    started = False
    deadline = time.monotonic() + START_SECONDS
    # It may have ended before it read the job; its standard error then says why.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(job)
        process.stdin.close()
    report, errors = b"", b""
    with selectors.DefaultSelector() as selector:
        selector.register(read_end, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map() and len(report) <= _REPORT_LIMIT:
            left = deadline - time.monotonic()
            if left <= 0 and started:
                return Outcome("timeout")
            if left <= 0:
                raise SandboxError(f"the program was not started within {START_SECONDS:g} s")
            for key, _ in selector.select(min(left, 0.2)):
                data = os.read(key.fd, _REPORT_LIMIT)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fd == read_end:
                    report += data
                else:
                    errors = (errors + data)[:_REPORT_LIMIT]
            if not started and report.startswith(begun):
                started = True
                deadline = time.monotonic() + limits.seconds
            if process.poll() is not None and not selector.select(0):
                break
    if not started:
        _kill(process)
        lines = errors.decode(errors="replace").strip().splitlines()
        ended = f"ended with exit code {process.returncode} before the program began"
        raise SandboxError(lines[-1][:300] if lines else ended)
    return _judge(report[len(begun) :], token)


def _judge(report: bytes, token: str) -> Outcome:
    """The verdict in what the driver reported after the program began."""
    try:
        message = json.loads(report)
    except ValueError:
        return Outcome("failed", "ended without a verdict")
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

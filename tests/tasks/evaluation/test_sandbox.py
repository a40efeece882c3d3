"""Bad programs stay inside, and only programs whose checks hold pass."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tasks.evaluation import bubblewrap, sandbox
from tasks.evaluation.bubblewrap import Mode
from tasks.evaluation.sandbox import Limits, Outcome, SandboxError, probe, run_program

SYSTEM_PYTHON = "/usr/bin/python3"
DRIVER = "\0".join(bubblewrap.INTERPRETER_FLAGS)  # in the command line of every program's process


def interpreter_for(mode: Mode) -> tuple[str, str] | None:
    """A Python with which ``mode`` works here, our own first; None if there is none.

    The mode for ordinary users cannot read an interpreter in root's home, so the system's is taken.
    """
    if shutil.which("bwrap") is None or (mode == "bwrap-drop" and os.geteuid() != 0):
        return None
    for found in (bubblewrap.interpreter(), (os.path.realpath(SYSTEM_PYTHON), "/usr")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bubblewrap, "interpreter", lambda found=found: found)
            with contextlib.suppress(SandboxError):
                if run_program("x = 1\n", Limits(seconds=5), mode).passed:
                    return found
    return None


ALL_MODES: tuple[Mode, ...] = ("bwrap", "bwrap-drop")
INTERPRETERS = {mode: found for mode in ALL_MODES if (found := interpreter_for(mode))}
MODES = list(INTERPRETERS)
needs_sandbox = pytest.mark.skipif(not MODES, reason="bubblewrap does not work here")


@pytest.fixture(autouse=True)
def _working_interpreter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    mode = getattr(request.node, "callspec", None) and request.node.callspec.params.get("mode")
    if mode:
        monkeypatch.setattr(bubblewrap, "interpreter", lambda: INTERPRETERS[mode])


def run(program: str, mode: Mode, seconds: float = 5.0) -> Outcome:
    return run_program(program, Limits(seconds=seconds), mode)


def processes_with(mark: str) -> list[str]:
    """Command lines on this machine that carry ``mark``."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue  # it ended while we looked
            if mark.encode() in line:
                found.append(line.decode(errors="replace"))
    return found


def test_without_bubblewrap_the_probe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assert probe() == sandbox.Probe(None, "bubblewrap (bwrap) is not installed")


def test_a_bubblewrap_that_fails_is_no_sandbox(tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        found = probe()
    assert found.mode is None
    assert "No permissions to create new namespace" in found.reason


def test_the_verdict_is_the_token_and_nothing_else() -> None:
    judge = sandbox._judge
    assert judge(b'{"token": "secret"}', "secret").passed
    for report in (b"", b"{}", b'{"token": "other"}', b'{"token": null}', b"[1]", b"secret", b"{"):
        assert not judge(report, "secret").passed


@needs_sandbox
@pytest.mark.parametrize("mode", MODES)
def test_the_time_limit_is_the_programs_not_the_sandboxs(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = bubblewrap.command
    slowly = ["/bin/sh", "-c", 'sleep 1.2; exec "$@"', "sh"]
    monkeypatch.setattr(bubblewrap, "command", lambda *given: [*slowly, *command(*given)])
    assert run("x = 1\n", mode, seconds=1.0) == Outcome("passed")


@needs_sandbox
@pytest.mark.parametrize("mode", MODES)
def test_a_verdict_does_not_hang_on_the_hash_seed(mode: Mode) -> None:
    program = "assert list({'a', 'b', 'c', 'd', 'e'})[0] in 'ab'\n"
    assert len({run(program, mode).verdict for _ in range(10)}) == 1


@needs_sandbox
def test_the_probe_runs_under_the_limits_asked_for() -> None:
    found = probe(Limits(memory_bytes=2**20))  # no interpreter starts in 1 MiB
    assert found.mode is None and "bubblewrap is installed but does not work" in found.reason


@needs_sandbox
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("program", "verdict", "detail"),
    [
        ("def f(x):\n    return x + 1\nassert f(1) == 2\n", "passed", ""),
        ("assert 1 == 2, 'no'\n", "failed", "AssertionError: no"),
        ("import sys\nsys.exit(0)\n", "failed", "SystemExit: 0"),
        ("import os\nos._exit(0)\n", "failed", "ended without a verdict"),
        ("def f(:\n", "failed", "SyntaxError"),
        ('import os\nos.write(3, b\'{"token": "x"}\')\nos._exit(0)\n', "failed", ""),
        ("raise KeyboardInterrupt\n", "failed", "KeyboardInterrupt"),
    ],
)
def test_only_checks_that_hold_pass(mode: Mode, program: str, verdict: str, detail: str) -> None:
    outcome = run(program, mode)
    assert outcome.verdict == verdict
    assert outcome.detail.startswith(detail)


@needs_sandbox
@pytest.mark.parametrize("mode", MODES)
def test_nothing_of_the_host_is_in_reach(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARRIERO_SECRET", "in the environment")
    program = f"""
import os
def refused(action):
    try:
        action()
    except OSError:
        return True
    return False
assert os.getuid() != 0 and os.getgid() != 0
assert refused(lambda: os.setuid(0))
assert "ARRIERO_SECRET" not in os.environ
assert os.listdir("/tmp") == []
for path in ("/etc/shadow", "/proc/1/environ", "{Path.home()}/.bashrc", {str(__file__)!r}):
    assert refused(lambda: open(path)), path
for path in ("/x", "/usr/x", "/dev/x", "/dev/shm/x", os.__file__):
    assert refused(lambda: open(path, "w")), path
with open("/tmp/x", "w") as handle:
    handle.write("its own place")
assert refused(lambda: os.mkdir("/sys/fs/cgroup/x"))
assert refused(lambda: os.chroot("/tmp"))
"""
    outcome = run(program, mode)
    assert outcome.passed, outcome.detail


@needs_sandbox
@pytest.mark.parametrize("mode", MODES)
def test_there_is_no_network(mode: Mode) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        program = f"""
import socket
for host in ("127.0.0.1", "1.1.1.1"):
    try:
        socket.create_connection((host, {port}), timeout=1)
    except OSError:
        continue
    raise AssertionError("connected to " + host)
"""
        outcome = run(program, mode)
        assert outcome.passed, outcome.detail


@needs_sandbox
@pytest.mark.parametrize("mode", MODES)
def test_an_endless_loop_that_ignores_signals_ends_in_time(mode: Mode) -> None:
    program = "import signal\nfor s in (2, 14, 15, 24):\n    signal.signal(s, signal.SIG_IGN)\n"
    start = time.monotonic()
    assert run(program + "while True: pass\n", mode, seconds=1.0).verdict == "timeout"
    assert time.monotonic() - start < 4


@pytest.mark.skipif("bwrap" not in MODES, reason="bubblewrap does not work here")
@pytest.mark.parametrize("mode", ["bwrap"])
def test_a_program_makes_no_user_namespace(mode: Mode) -> None:
    if not bubblewrap.disables_userns(shutil.which("bwrap") or "bwrap"):
        pytest.skip("bubblewrap cannot forbid user namespaces here")
    program = (
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.unshare(0x10000000) == -1, 'made a user namespace'\n"  # CLONE_NEWUSER
        "assert ctypes.get_errno() in (errno.ENOSPC, errno.EPERM), ctypes.get_errno()\n"
    )
    assert run(program, mode) == Outcome("passed")


def test_a_bubblewrap_that_cannot_forbid_user_namespaces_is_used_without(tmp_path: Path) -> None:
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho 'bwrap: Unknown option --disable-userns' >&2\nexit 1\n")
    old.chmod(0o755)
    assert not bubblewrap.disables_userns(str(old))
    assert not bubblewrap.disables_userns(str(tmp_path / "none"))


@needs_sandbox
@pytest.mark.parametrize("mode", MODES)
def test_memory_files_and_output_are_bounded(mode: Mode) -> None:
    assert run("x = bytearray(3 * 2**30)\n", mode).detail.startswith("MemoryError")
    outcome = run("open('/tmp/x', 'wb').write(bytes(40 * 2**20))\n", mode)
    assert not outcome.passed
    many = "for n in range(9):\n    open(f'/tmp/{n}', 'wb').write(bytes(4 * 2**20))\n"
    assert "No space left" in run(many, mode).detail
    flood = "import os\nfor n in range(20000):\n    os.write(1, b'x' * 4096)\n"
    flood += flood.replace("write(1", "write(2")
    assert run(flood, mode).passed


@needs_sandbox
@pytest.mark.parametrize("mode", MODES)
def test_a_program_cannot_kill_its_parents(mode: Mode) -> None:
    program = """
import os, signal
for target in (os.getppid(), 1, -1):
    try:
        os.kill(target, signal.SIGKILL)
    except OSError:
        pass
"""
    outcome = run(program, mode)
    # kill(-1) spares the caller and PID 1, so the program may well come to its end; what counts
    # is that this process is still here to say so and judged by the token.
    assert outcome.verdict in ("passed", "failed")


@needs_sandbox
@pytest.mark.parametrize("mode", MODES)
def test_a_daemon_dies_with_the_program(mode: Mode) -> None:
    mark = uuid.uuid4().hex
    program = f"""
import os, sys, time
if os.fork() == 0:
    os.setsid()
    os.execv({INTERPRETERS[mode][0]!r}, ["python", "-S", "-c",
        "import time; time.sleep(60) # {mark}"])
time.sleep(0.3)
"""
    assert run(program, mode).passed
    deadline = time.monotonic() + 3
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_with(mark) == []


@needs_sandbox
@pytest.mark.parametrize("mode", MODES)
def test_the_number_of_processes_is_bounded(mode: Mode) -> None:
    program = """
import os, time
made = 0
for _ in range(100):
    try:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    except BlockingIOError:
        break
    made += 1
assert made < 8, made
"""
    outcome = run(program, mode)
    assert outcome.passed, outcome.detail


@needs_sandbox
@pytest.mark.faults
@pytest.mark.parametrize("mode", MODES)
def test_a_fork_bomb_leaves_nothing(mode: Mode) -> None:
    program = (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"
    )
    before = len(processes_with(DRIVER))
    assert run(program, mode, seconds=2.0).verdict in ("timeout", "failed")
    deadline = time.monotonic() + 3
    while len(processes_with(DRIVER)) > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(processes_with(DRIVER)) <= before


@needs_sandbox
@pytest.mark.faults
@pytest.mark.parametrize("mode", MODES)
def test_the_tree_dies_with_a_killed_evaluator(mode: Mode) -> None:
    mark = uuid.uuid4().hex
    code = (
        "from tasks.evaluation import bubblewrap\n"
        "from tasks.evaluation.sandbox import *\n"
        f"bubblewrap.interpreter = lambda: {INTERPRETERS[mode]!r}\n"
        f"run_program('while True: pass # {mark}', Limits(seconds=60), {mode!r})\n"
    )
    root = Path(__file__).resolve().parents[3]
    before = set(processes_with(DRIVER))
    evaluator = subprocess.Popen([sys.executable, "-c", code], cwd=root)
    try:
        deadline = time.monotonic() + 10
        while len(processes_with(DRIVER)) <= len(before) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(processes_with(DRIVER)) > len(before)
    finally:
        evaluator.kill()
        evaluator.wait()
    deadline = time.monotonic() + 5
    while len(processes_with(DRIVER)) > len(before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(processes_with(DRIVER)) <= len(before)

"""``make run`` in a terminal, ended by Ctrl-C as a person ends it."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.services import ROOT, TINY, environment, living, stack_of, sweep, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CTRL_C = b"\x03"


class Terminal:
    """A command with a terminal of its own; what it prints is kept."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()

        def own_terminal() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=own_terminal,
        )
        os.close(slave)
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._master, 65536)
            except OSError:  # the last one who had the terminal is gone
                return
            self._seen += part

    @property
    def text(self) -> str:
        return self._seen.decode("utf-8", "replace")

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait_for(self, part: str, seconds: float) -> None:
        def look() -> bool:
            ended = self.process.poll()
            assert ended is None or part in self.text, f"ended with {ended}:\n{self.text[-4000:]}"
            return part in self.text

        wait_for(f"{part!r} in the terminal", look, seconds)

    def end(self, seconds: float) -> int:
        code = self.process.wait(seconds)
        self._reader.join(10)
        os.close(self._master)
        return code


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    yield folder
    sweep(folder)


def make_run(home: Path) -> Terminal:
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        pytest.fail("`make run` uses .venv: run the tests with it (`make test-all`)")
    arguments = " ".join(f"--set {line}" for line in TINY)
    return Terminal(["make", "run", f"ARGUMENTS={arguments}"], environment(home, TERM="xterm"))


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user that is none of the services."""
    process = subprocess.Popen(["sleep", "900"])
    yield process
    process.kill()
    process.wait()


def test_ctrl_c_in_mid_run_cancels_it_and_leaves_nothing(
    home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    terminal = make_run(home)
    terminal.wait_for("documents.c4", 240)
    terminal.press(CTRL_C)
    assert terminal.end(150) != 0
    assert "stopping: cancelling the flow run" in terminal.text
    assert "Traceback" not in terminal.text
    assert [" ".join(p.cmdline()) for p in living(home)] == []
    assert not (home / "stack.json").exists()
    assert bystander.poll() is None


def test_services_stay_up_until_ctrl_c(home: Path, bystander: subprocess.Popen[bytes]) -> None:
    terminal = make_run(home)
    terminal.wait_for("services stay up; Ctrl-C stops them", 480)
    ports = stack_of(home)["ports"]
    for name, path in (("prefect", "/api/health"), ("mlflow", "/health"), ("dashboard", "/")):
        address = f"http://127.0.0.1:{ports[name]}"
        assert address in terminal.text, f"{name} is not in the summary"
        assert httpx.get(address + path, follow_redirects=True).status_code == 200
    assert "pipeline completed in" in terminal.text
    terminal.press(CTRL_C)
    terminal.end(150)
    assert "stopping the services" in terminal.text and "Traceback" not in terminal.text
    assert [" ".join(p.cmdline()) for p in living(home)] == []
    for port in ports.values():
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}", timeout=2)
    assert bystander.poll() is None

"""The supervisor touches its own processes and ports, and nobody else's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from flows import stack
from registry.settings import Settings
from tests.services import wait_for

IDLE = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + IDLE


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [n for n in os.environ if n.startswith("ARRIERO_")]:
        monkeypatch.delenv(name)
    (tmp_path / "logs").mkdir()
    return Settings(home=tmp_path)


@pytest.fixture
def foreign() -> Iterator[tuple[int, list[str]]]:
    """Another installation's server: answers everything; its port and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port, asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    children: list[subprocess.Popen[str]] = []
    yield children
    for child in children:
        child.kill()
        child.wait()


def spawn(
    children: list[subprocess.Popen[str]], code: str, mark: str | None
) -> subprocess.Popen[str]:
    env = {k: v for k, v in os.environ.items() if k != stack.MARK}
    if mark is not None:
        env[stack.MARK] = mark
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    children.append(child)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child


def record(settings: Settings, pids: dict[str, int], port: int) -> stack.Stack:
    ports = {"prefect": port, "mlflow": port, "dashboard": port}
    made = stack.Stack(mark="a-mark-of-this-test", ports=ports, pids=pids)
    stack.stack_file(settings).write_text(json.dumps(made.__dict__), encoding="utf-8")
    return made


def ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_another_installation_s_server_is_neither_used_nor_stopped(
    settings: Settings,
    foreign: tuple[int, list[str]],
    started: list[subprocess.Popen[str]],
) -> None:
    port, asked = foreign
    own = spawn(started, IDLE, "a-mark-of-this-test")
    pids = dict.fromkeys(stack.SERVICES, own.pid)
    record(settings, pids, port)
    # All services live and the port answers, but the listener is not ours.
    assert stack.load_stack(settings) is None
    assert stack.stop(settings, print) is True
    assert asked == [], "runs of another installation would have been cancelled"
    assert ended(own.pid)
    assert not stack.stack_file(settings).exists()


def test_a_port_lost_to_another_program_is_told_apart_from_a_failure(
    settings: Settings,
    foreign: tuple[int, list[str]],
    started: list[subprocess.Popen[str]],
) -> None:
    port, _ = foreign
    dead = spawn(started, "print('up', flush=True)", "a-mark-of-this-test")
    dead.wait()
    (settings.home / "logs" / "prefect.log").write_text("first\nlast words\n", encoding="utf-8")
    with pytest.raises(stack.PortLost, match=f"port {port} was taken before prefect had it"):
        stack._wait_for(settings, record(settings, {"prefect": dead.pid}, port), "prefect")
    free = stack._free_port()
    with pytest.raises(stack.ServiceFailed, match="last words") as raised:
        stack._wait_for(settings, record(settings, {"prefect": dead.pid}, free), "prefect")
    assert not isinstance(raised.value, stack.PortLost)


def test_stop_ends_what_carries_the_mark_and_nothing_else(
    settings: Settings, started: list[subprocess.Popen[str]]
) -> None:
    mine = spawn(started, IDLE, "a-mark-of-this-test")
    # A run's process: not recorded as a service, found by its mark; it ignores SIGTERM.
    run = spawn(started, STUBBORN, "a-mark-of-this-test")
    strangers = [spawn(started, IDLE, "another-mark"), spawn(started, IDLE, None)]
    record(settings, {"worker": mine.pid}, stack._free_port())
    began = time.monotonic()
    assert stack.stop(settings, print) is True
    assert time.monotonic() - began < 30
    wait_for("the end of both", lambda: ended(mine.pid) and ended(run.pid), 5)
    assert [child.poll() for child in strangers] == [None, None]
    assert stack.stop(settings, print) is False


def test_a_reused_pid_is_not_taken_for_a_service(
    settings: Settings, started: list[subprocess.Popen[str]]
) -> None:
    stranger = spawn(started, IDLE, None)
    record(settings, dict.fromkeys(stack.SERVICES, stranger.pid), stack._free_port())
    assert stack.load_stack(settings) is None
    assert stack.stop(settings, print) is True
    assert stranger.poll() is None


def test_services_get_no_setting_of_another_prefect(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://api.example/accounts/1")
    monkeypatch.setenv("PREFECT_API_KEY", "secret")
    made = record(settings, {}, 4321)
    env = stack.environment(settings, made)
    assert env["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    assert "PREFECT_API_KEY" not in env
    assert env["DO_NOT_TRACK"] == "true" and env["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert str(settings.home) in env["PREFECT_API_DATABASE_CONNECTION_URL"]

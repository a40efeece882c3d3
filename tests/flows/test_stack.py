"""The supervisor touches its own processes and ports, and nobody else's."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import IO

import httpx
import psutil
import pytest

from flows import client, registration, stack
from flows.processes import MARK, belongs
from flows.services import recorded_stack
from registry.artifacts import Kind, Store
from registry.database import open_registry, upgrade
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
    children: list[subprocess.Popen[str]], code: str, mark: str | None, **more: str
) -> subprocess.Popen[str]:
    env = {k: v for k, v in os.environ.items() if k != MARK} | more
    if mark is not None:
        env[MARK] = mark
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


def test_services_find_the_store_and_the_registry_of_relative_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in os.environ if n.startswith("ARRIERO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARRIERO_STORE", "my/store")
    monkeypatch.setenv("ARRIERO_REGISTRY_URL", "sqlite:///my/registry.sqlite")
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    monkeypatch.delenv("no_proxy", raising=False)
    settings = Settings()
    settings.home.mkdir()
    env = stack.environment(settings, record(settings, {}, 4321))
    assert env["ARRIERO_STORE"] == str(tmp_path / "my" / "store")
    assert env["ARRIERO_REGISTRY_URL"] == f"sqlite:///{tmp_path}/my/registry.sqlite"
    assert env["NO_PROXY"] == "intranet.example,127.0.0.1,localhost"
    assert env["no_proxy"] == "127.0.0.1,localhost"


def hold(settings: Settings) -> IO[str]:
    """The lock, as another command holds it."""
    handle = (settings.home / "stack.lock").open("a")
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def test_a_second_command_waits_for_the_one_that_starts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would find a stack that is half started, and stop it."""
    made = stack.Stack(mark="m", ports=dict.fromkeys(stack.USUAL_PORTS, 1))
    running: list[stack.Stack] = []
    said: list[str] = []
    waits = threading.Event()

    def slow_start(*arguments: object) -> stack.Stack:
        assert waits.wait(10), "the second command did not wait"
        running.append(made)
        return made

    def say(line: str) -> None:
        said.append(line)
        if "waiting" in line:
            waits.set()

    monkeypatch.setattr(stack, "_start_new", slow_start)
    monkeypatch.setattr(stack, "_sweep_store", lambda *arguments: None)
    monkeypatch.setattr(stack, "_register", lambda *arguments: said.append("registered"))
    monkeypatch.setattr(stack, "load_stack", lambda _: running[0] if running else None)
    results: list[tuple[stack.Stack, bool]] = []
    threads = [
        threading.Thread(target=lambda: results.append(stack.start(settings, say)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(started for _, started in results) == [False, True]
    assert len(running) == 1
    assert "another command starts or stops the services; waiting for it" in said
    assert said[-1] == "registered", "found running, and registered all the same"


def test_waiting_for_another_command_can_be_interrupted(settings: Settings) -> None:
    with hold(settings), pytest.raises(KeyboardInterrupt):
        stack.start(settings, print, interrupted=lambda: True)


def test_a_service_does_not_inherit_the_lock(
    settings: Settings, started: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "command", lambda *_: [sys.executable, "-c", IDLE])
    made = record(settings, {}, stack._free_port())
    with stack._alone(settings, print):
        stack._spawn_service(settings, made, "worker")
    with hold(settings):  # blocks for ever when the service has it
        assert belongs(made.pids["worker"], made.mark)
    assert stack.stop(settings, print) is True
    assert ended(made.pids["worker"])


def test_services_are_stopped_though_their_runs_cannot_be_cancelled(
    settings: Settings, started: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sick(api: str) -> list[object]:
        raise httpx.ReadTimeout("timed out")

    monkeypatch.setattr(stack, "_serves", lambda *_: True)
    monkeypatch.setattr(client, "active_runs", sick)
    mine = spawn(started, IDLE, "a-mark-of-this-test")
    record(settings, {"prefect": mine.pid}, stack._free_port())
    said: list[str] = []
    assert stack.stop(settings, said.append) is True
    assert "the flow runs could not be cancelled (timed out); they end with the services" in said
    assert ended(mine.pid)
    assert not stack.stack_file(settings).exists()


def test_one_run_that_cannot_be_cancelled_keeps_no_other_from_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def cancel(api: str, run_id: str) -> None:
        asked.append(run_id)
        if run_id == "1":
            answer = httpx.Response(404, json={"detail": "Flow run not found"})
            raise client.ApiError("/flow_runs/1/set_state", answer)

    settled: list[str] = []
    runs = [{"id": "1", "name": "first"}, {"id": "2", "name": "second"}]
    monkeypatch.setattr(stack, "_serves", lambda *_: True)
    monkeypatch.setattr(client, "active_runs", lambda api: runs)
    monkeypatch.setattr(client, "cancel_run", cancel)
    monkeypatch.setattr(client, "settle_cancelled", lambda api, run_id: settled.append(run_id))
    record(settings, {}, stack._free_port())
    said: list[str] = []
    assert stack.stop(settings, said.append) is True
    assert asked == settled == ["1", "2"]
    assert any("Flow run not found" in line for line in said)


def test_a_hurried_stop_waits_for_nobody(
    settings: Settings, started: list[subprocess.Popen[str]]
) -> None:
    service = spawn(started, STUBBORN, "a-mark-of-this-test")
    run = spawn(started, STUBBORN, "a-mark-of-this-test")
    record(settings, {"worker": service.pid}, stack._free_port())
    began = time.monotonic()
    assert stack.stop(settings, print, hurry=lambda: True) is True
    assert time.monotonic() - began < 8, "12 s for a service and 8 s for a run, when not hurried"
    wait_for("the end of both", lambda: ended(service.pid) and ended(run.pid), 5)


@pytest.mark.parametrize(
    "text",
    ['{"mark": "a", "ports', "[]", '{"mark": "a"}', '{"mark": "a", "ports": {"prefect": 1}}', ""],
)
def test_a_damaged_record_is_named_with_the_remedy(
    settings: Settings, started: list[subprocess.Popen[str]], text: str
) -> None:
    left = spawn(started, IDLE, "lost-mark", ARRIERO_HOME=str(settings.home))
    stack.stack_file(settings).write_text(text, encoding="utf-8")
    for call in (
        lambda: recorded_stack(settings),
        lambda: stack.load_stack(settings),
        lambda: stack.start(settings, print),
        lambda: stack.stop(settings, print),
    ):
        with pytest.raises(stack.ServiceFailed) as raised:
            call()
        assert str(stack.stack_file(settings)) in str(raised.value)
        assert f"(kill {left.pid}), then remove the file" in str(raised.value)
    assert left.poll() is None


def test_a_repaired_stack_is_registered(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the start of the worker and the registration leaves no deployments."""
    order: list[str] = []
    record(settings, {"prefect": os.getpid(), "worker": 1}, stack._free_port())
    monkeypatch.setattr(stack, "_can_be_repaired", lambda _: True)
    monkeypatch.setattr(stack, "_dead_services", lambda _: ["worker"])
    monkeypatch.setattr(stack, "_spawn_service", lambda *a: order.append(f"spawn {a[2]}"))
    monkeypatch.setattr(stack, "_wait_for", lambda *a: order.append(f"wait {a[2]}"))
    monkeypatch.setattr(registration, "ensure_pool", lambda *a: order.append("pool"))
    monkeypatch.setattr(registration, "register", lambda *a: order.append("register"))
    _, started_here = stack.start(settings, print)
    assert started_here is False
    assert order == ["spawn worker", "pool", "register", "wait mlflow", "wait dashboard"]


def test_what_killed_runs_left_is_swept_and_told_by_kind(settings: Settings) -> None:
    upgrade(settings.registry_address)
    registry = open_registry(settings)
    store = Store(settings.store, registry)
    done = store.publish(
        store.new_staging(),
        key="ab" * 32,
        kind=Kind.REPORT,
        stage="s",
        stage_version=1,
        parameters={},
        inputs={},
    )
    store.work_dir(done.key)
    os.utime(store.work_dir("cd" * 32), (0, 0))
    kept = store.new_staging()
    old = settings.store / "tmp" / "tmp-0f"
    old.mkdir()
    os.utime(old, (0, 0))
    said: list[str] = []
    stack._sweep_store(settings, said.append)
    assert kept.is_dir() and not old.exists()
    assert said == [
        "removed 1 unfinished results of killed runs, older than a day",
        "removed 1 work folders of recipes that are done",
        "removed 1 work folders that nobody finished and nobody wrote to for 30 days",
    ]
    stack._sweep_store(settings, said.append)
    assert len(said) == 3
    registry.close()

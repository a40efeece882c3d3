"""The local services: Prefect server, MLflow server, process worker, dashboard.

A Python supervisor, not a shell script: background jobs of a shell ignore SIGINT, and a worker
started so can not be stopped. Every child gets its own process group, default signal handling, a
log file and the mark ``ARRIERO_STACK``; ``stop`` ends the children in order and then sweeps
whatever still carries the mark, so nothing that was started here outlives it and nothing else is
touched.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import psutil

from flows import registration
from flows.registration import POOL
from registry.settings import Settings
from tasks.context import atomic_write_json
from tasks.emissions.meter import stop_meter

CHECKOUT = Path(__file__).resolve().parent.parent
MARK = "ARRIERO_STACK"
SERVICES = ("prefect", "mlflow", "worker", "dashboard")
USUAL_PORTS = {"prefect": 4200, "mlflow": 5000, "dashboard": 8000}
START_TIMEOUT_S = 180.0


class ServiceFailed(RuntimeError):
    """A service died or did not answer; the message holds the tail of its log."""


class PortLost(ServiceFailed):
    """Another program took the port between our look and the service's own bind."""


@dataclass
class Stack:
    """What runs: one entry per service, written to ``<home>/stack.json``."""

    mark: str
    ports: dict[str, int]
    pids: dict[str, int] = field(default_factory=dict)

    def url(self, service: str) -> str:
        """Base URL of a service on the loopback address."""
        return f"http://127.0.0.1:{self.ports[service]}"

    @property
    def prefect_api(self) -> str:
        """Address that Prefect clients use."""
        return f"{self.url('prefect')}/api"


def stack_file(settings: Settings) -> Path:
    """Where a running stack is recorded."""
    return settings.home / "stack.json"


def load_stack(settings: Settings) -> Stack | None:
    """The recorded stack when all of its services are alive and answer, else None."""
    stack = _recorded(settings)
    if stack is None or _dead_services(stack):
        return None
    return stack if _serves(stack, "prefect") else None


def _recorded(settings: Settings) -> Stack | None:
    path = stack_file(settings)
    return Stack(**json.loads(path.read_text())) if path.exists() else None


def _dead_services(stack: Stack) -> list[str]:
    return [
        name
        for name in SERVICES
        if name not in stack.pids or not _belongs(stack.pids[name], stack.mark)
    ]


def environment(settings: Settings, stack: Stack) -> dict[str, str]:
    """Environment of every service and, through the worker, of every flow run.

    Each entry answers a measured trap: telemetry of two products, the UI of Prefect that calls
    out, CSRF and origins on a loopback server, result pickles, busy-waiting OpenMP threads.
    """
    home = settings.home
    origins = f"{stack.url('prefect')},http://localhost:{stack.ports['prefect']}"
    values = {
        MARK: stack.mark,
        "ARRIERO_HOME": str(home),
        "ARRIERO_CHECKOUT": str(CHECKOUT),
        "ARRIERO_DASHBOARD_URL": stack.url("dashboard"),
        "ARRIERO_PREFECT_UI_URL": stack.url("prefect"),
        "MLFLOW_TRACKING_URI": stack.url("mlflow"),
        "PREFECT_API_URL": stack.prefect_api,
        "PREFECT_UI_API_URL": stack.prefect_api,
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_PROFILES_PATH": str(home / "prefect" / "profiles.toml"),
        "PREFECT_API_DATABASE_CONNECTION_URL": (
            f"sqlite+aiosqlite:///{home / 'prefect' / 'prefect.db'}"
        ),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # The newer UI asks a foreign analytics host even with analytics off; this one does not.
        "PREFECT_SERVER_UI_V2_ENABLED": os.environ.get("PREFECT_SERVER_UI_V2_ENABLED", "false"),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origins,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "600",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "passive",
        "PYTHONUNBUFFERED": "1",
    }
    if settings.data is not None:
        values["ARRIERO_DATA"] = str(settings.data)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    inherited["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}"
    return {**inherited, **values}


def start(settings: Settings, say: Callable[[str], None]) -> tuple[Stack, bool]:
    """Bring the services up, or find them running; one that died is started again.

    Returns:
        The stack and whether this call started it (then the caller may stop it).
    """
    running = load_stack(settings)
    if running is not None:
        say("services already run; using them")
        return running, False
    damaged = _recorded(settings)
    if damaged is not None and _can_be_repaired(damaged):
        for name in _dead_services(damaged):
            say(f"{name} is gone; starting it again")
            _spawn_service(settings, damaged, name)
        _wait_for_others(settings, damaged)
        return damaged, False
    stop(settings, say)  # leftovers of a stack whose supervisor was killed
    for folder in ("prefect", "mlflow", "logs"):
        (settings.home / folder).mkdir(parents=True, exist_ok=True)
    for last in (False, False, True):
        try:
            return _start_new(settings, say), True
        except PortLost as lost:
            if last:
                raise
            say(f"{lost}; starting again on another port")
    raise AssertionError("unreachable")


def _start_new(settings: Settings, say: Callable[[str], None]) -> Stack:
    stack = Stack(mark=secrets.token_hex(8), ports=_choose_ports(say))
    env = environment(settings, stack)
    try:
        for name in ("prefect", "mlflow", "dashboard"):
            _spawn_service(settings, stack, name)
        _wait_for(settings, stack, "prefect")
        registration.ensure_pool(stack.prefect_api, env)
        _spawn_service(settings, stack, "worker")
        registration.register(settings.home, stack.prefect_api, env, say)
        _wait_for_others(settings, stack)
    except BaseException:
        stop(settings, say)
        raise
    return stack


def _can_be_repaired(stack: Stack) -> bool:
    """Prefect lives: then runs under way go on, and only what died is started again.

    Restarting everything would cancel a healthy run because its worker is gone.
    """
    alive = "worker" in stack.pids and "prefect" not in _dead_services(stack)
    return alive and _serves(stack, "prefect")


def _wait_for_others(settings: Settings, stack: Stack) -> None:
    _wait_for(settings, stack, "mlflow")
    _wait_for(settings, stack, "dashboard")


def _command(settings: Settings, stack: Stack, name: str) -> list[str]:
    """Command line of a service."""
    mlflow_home = settings.home / "mlflow"
    if name == "worker":
        # Not the name of a worker that was killed: the server still holds that one's state.
        own = f"worker-{secrets.token_hex(3)}"
        arguments = ["prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        return [sys.executable, "-m", *arguments, "--name", own, "--limit", "4"]
    arguments = {
        "prefect": ["prefect", "server", "start", "--host", "127.0.0.1"],
        "mlflow": ["mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
        + ["--backend-store-uri", f"sqlite:///{mlflow_home / 'mlflow.sqlite'}"]
        + ["--artifacts-destination", str(mlflow_home / "artifacts")],
        "dashboard": ["dashboards"],
    }[name]
    return [sys.executable, "-m", *arguments, "--port", str(stack.ports[name])]


def stop(
    settings: Settings,
    say: Callable[[str], None],
    *,
    settle_s: float = 0.0,
    grace_s: float = 40.0,
) -> bool:
    """Cancel runs, then end worker, dashboard, MLflow and Prefect, then sweep by the mark.

    Args:
        settle_s: seconds that runs under way get to finish by themselves.
        grace_s: seconds that cancelled runs get to write a checkpoint.

    Returns:
        False when there was nothing to stop.
    """
    path = stack_file(settings)
    if not path.exists():
        return False
    stack = Stack(**json.loads(path.read_text()))
    # Asked of our own server only: by now the port may be another installation's.
    if _serves(stack, "prefect"):
        _cancel_active_runs(stack, say, settle_s, grace_s)
    try:
        stop_meter(settings.home)
    except TimeoutError as late:
        say(f"{late}; it is ended with the leftovers")
    # The worker first: it still reports to the server. The others do not need each other.
    for names in (("worker",), ("dashboard", "mlflow", "prefect")):
        pids = [stack.pids[name] for name in names if name in stack.pids]
        _end_groups([pid for pid in pids if _belongs(pid, stack.mark)], 12.0)
    for process in marked_processes(stack.mark):
        say(f"ending leftover process {process.pid} ({process.name()})")
        _end_process(process)
    path.unlink(missing_ok=True)
    return True


def marked_processes(mark: str) -> list[psutil.Process]:
    """Living processes of this user that carry the stack's mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue  # gone meanwhile, or another user's: not ours
    return found


def _choose_ports(say: Callable[[str], None]) -> dict[str, int]:
    ports: dict[str, int] = {}
    for name, usual in USUAL_PORTS.items():
        if _port_is_free(usual):
            ports[name] = usual
        else:
            ports[name] = _free_port()
            say(f"port {usual} is taken; {name} uses {ports[name]}")
    return ports


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _spawn_service(settings: Settings, stack: Stack, name: str) -> None:
    log = settings.home / "logs" / f"{name}.log"
    with log.open("ab") as handle:
        process = subprocess.Popen(
            _command(settings, stack, name),
            cwd=CHECKOUT,
            env=environment(settings, stack),
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            restore_signals=True,
            preexec_fn=_default_signals,
        )
    stack.pids[name] = process.pid
    atomic_write_json(stack_file(settings), asdict(stack))


def _default_signals() -> None:
    # A parent that ignores SIGINT (a background job) would hand that on, and the worker forwards
    # SIGTERM to itself as SIGINT: it could never be stopped.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _wait_for(settings: Settings, stack: Stack, name: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if _serves(stack, name):
            return
        if not _belongs(stack.pids[name], stack.mark):
            if not _port_is_free(stack.ports[name]):
                raise PortLost(f"port {stack.ports[name]} was taken before {name} had it")
            break
        time.sleep(0.25)
    log = settings.home / "logs" / f"{name}.log"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise ServiceFailed(f"{name} did not start at {stack.url(name)}. Last lines of {log}:\n{tail}")


def _serves(stack: Stack, name: str) -> bool:
    """Whether our own process answers at the service's port, not another installation's."""
    pid = stack.pids.get(name)
    if pid is None or not _belongs(pid, stack.mark):
        return False
    health = "/api/health" if name == "prefect" else "/health"
    return _listens(pid, stack.ports[name]) and _answers(stack.url(name) + health)


def _listens(pid: int, port: int) -> bool:
    """Whether the process or one below it holds the listening socket of ``port``."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return False
    for member in family:
        try:
            connections = member.net_connections("inet")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # gone meanwhile
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
            return True
    return False


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def _cancel_active_runs(
    stack: Stack, say: Callable[[str], None], settle_s: float, grace_s: float
) -> None:
    from flows.client import active_runs, cancel_run, settle_cancelled

    # A run that an automation started is often at its end: cancelling it would only leave a
    # cancelled row behind.
    deadline = time.monotonic() + settle_s
    while (active := active_runs(stack.prefect_api)) and time.monotonic() < deadline:
        time.sleep(0.5)
    for run in active:
        say(f"cancelling flow run {run['name']}")
        cancel_run(stack.prefect_api, run["id"])
    # Without a worker nobody acts on the request: the sweep ends the run's processes.
    deadline = time.monotonic() + (0.0 if "worker" in _dead_services(stack) else grace_s)
    while active and time.monotonic() < deadline:
        time.sleep(0.5)
        active = active_runs(stack.prefect_api)
    for run in active:
        # A row that stayed "Cancelling" would be waited for at every later stop.
        settle_cancelled(stack.prefect_api, run["id"])


def _belongs(pid: int, mark: str) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def _end_groups(pids: list[int], timeout_s: float) -> None:
    """SIGTERM to the process groups, all at once; SIGKILL to what is left after the time-out."""
    left = pids
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            with suppress(ProcessLookupError):
                os.killpg(pid, number)
        deadline = time.monotonic() + timeout_s
        while left and time.monotonic() < deadline:
            for pid in left:
                _reap(pid)
            left = [pid for pid in left if _group_alive(pid)]
            if left:
                time.sleep(0.1)


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # started by an earlier process: init reaps it


def _end_process(process: psutil.Process) -> None:
    try:
        process.terminate()
        process.wait(8)
    except psutil.TimeoutExpired:
        process.kill()
    except psutil.NoSuchProcess:
        return

"""The local services: Prefect server, MLflow server, process worker, dashboard.

A Python supervisor, not a shell script: background jobs of a shell ignore SIGINT, and a worker
started so can not be stopped. Every child gets its own process group, default signal handling, a
log file and the mark ``ARRIERO_STACK``; ``stop`` ends the children in order and then sweeps
whatever still carries the mark, so nothing that was started here outlives it and nothing else is
touched.
"""

from __future__ import annotations

import fcntl
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import httpx

from flows import client, registration
from flows.preflight import require_checkout
from flows.processes import belongs, end_groups, end_processes, listens, marked_processes
from flows.registration import CHECKOUT
from flows.services import (
    SERVICES,
    USUAL_PORTS,
    ServiceFailed,
    Stack,
    command,
    environment,
    recorded_stack,
    stack_file,
)
from registry.artifacts import Store
from registry.database import open_registry
from registry.settings import Settings
from tasks.context import atomic_write_json
from tasks.emissions.meter import stop_meter

START_TIMEOUT_S = 180.0
SAY_AGAIN_S = 30.0


class PortLost(ServiceFailed):
    """Another program took the port between our look and the service's own bind."""


def load_stack(settings: Settings) -> Stack | None:
    """The recorded stack when all of its services are alive and answer, else None."""
    stack = recorded_stack(settings)
    if stack is None or _dead_services(stack):
        return None
    return stack if _serves(stack, "prefect") else None


def _dead_services(stack: Stack) -> list[str]:
    return [
        name
        for name in SERVICES
        if name not in stack.pids or not belongs(stack.pids[name], stack.mark)
    ]


def never() -> bool:
    """Nobody interrupts."""
    return False


def start(
    settings: Settings,
    say: Callable[[str], None],
    *,
    interrupted: Callable[[], bool] = never,
) -> tuple[Stack, bool]:
    """Bring the services up, or find them running; one that died is started again.

    Args:
        interrupted: asked while waiting; when it says so, what was started is stopped again.

    Returns:
        The stack and whether this call started it (then the caller may stop it).

    Raises:
        NotReady: this is no checkout.
        ServiceFailed: a service did not start, or the record of the services cannot be read.
        KeyboardInterrupt: ``interrupted`` said so.
    """
    require_checkout()
    with _alone(settings, say, interrupted):
        running = load_stack(settings)
        if running is not None:
            say("services already run; using them")
            # Whoever started them may have been killed before everything was registered.
            _register(settings, running, say)
            return running, False
        damaged = recorded_stack(settings)
        if damaged is not None and _can_be_repaired(damaged):
            return _repair(settings, damaged, say, interrupted), False
        _stop(settings, say)  # leftovers of a stack whose supervisor was killed
        for folder in ("prefect", "mlflow", "logs"):
            (settings.home / folder).mkdir(parents=True, exist_ok=True)
        _sweep_store(settings, say)
        for last in (False, False, True):
            try:
                return _start_new(settings, say, interrupted), True
            except PortLost as lost:
                if last:
                    raise
                say(f"{lost}; starting again on another port")
    raise AssertionError("unreachable")


@contextmanager
def _alone(
    settings: Settings, say: Callable[[str], None], interrupted: Callable[[], bool] = never
) -> Iterator[None]:
    """Hold ``<home>/stack.lock``: a stack that is half started looks like one that broke.

    Python opens files close-on-exec, so no service inherits the lock.
    """
    path = settings.home / "stack.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = float("-inf")
    with path.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - said > SAY_AGAIN_S:
                    say("another command starts or stops the services; waiting for it")
                    said = time.monotonic()
            _pause(0.25, interrupted)
        yield


def _pause(seconds: float, interrupted: Callable[[], bool]) -> None:
    time.sleep(seconds)
    if interrupted():
        raise KeyboardInterrupt


def _sweep_store(settings: Settings, say: Callable[[str], None]) -> None:
    registry = open_registry(settings)
    try:
        swept = Store(settings.store, registry).sweep()
    finally:
        registry.close()
    for folders, what in (
        (swept.unfinished, "unfinished results of killed runs, older than a day"),
        (swept.published, "work folders of recipes that are done"),
        (swept.abandoned, "work folders that nobody finished and nobody wrote to for 30 days"),
    ):
        if folders:
            say(f"removed {len(folders)} {what}")


def _register(settings: Settings, stack: Stack, say: Callable[[str], None]) -> None:
    env = environment(settings, stack)
    registration.ensure_pool(stack.prefect_api, env)
    registration.register(settings.home, stack.prefect_api, env, say)


def _repair(
    settings: Settings, stack: Stack, say: Callable[[str], None], interrupted: Callable[[], bool]
) -> Stack:
    for name in _dead_services(stack):
        say(f"{name} is gone; starting it again")
        _spawn_service(settings, stack, name)
    _register(settings, stack, say)
    _wait_for_others(settings, stack, interrupted)
    return stack


def _start_new(
    settings: Settings, say: Callable[[str], None], interrupted: Callable[[], bool]
) -> Stack:
    stack = Stack(mark=secrets.token_hex(8), ports=_choose_ports(say))
    env = environment(settings, stack)
    try:
        for name in ("prefect", "mlflow", "dashboard"):
            _spawn_service(settings, stack, name)
        _wait_for(settings, stack, "prefect", interrupted)
        registration.ensure_pool(stack.prefect_api, env)
        _spawn_service(settings, stack, "worker")
        registration.register(settings.home, stack.prefect_api, env, say)
        _wait_for_others(settings, stack, interrupted)
    except BaseException:
        _stop(settings, say)
        raise
    return stack


def _can_be_repaired(stack: Stack) -> bool:
    """Prefect lives: then runs under way go on, and only what died is started again.

    Restarting everything would cancel a healthy run because its worker is gone.
    """
    alive = "worker" in stack.pids and "prefect" not in _dead_services(stack)
    return alive and _serves(stack, "prefect")


def _wait_for_others(settings: Settings, stack: Stack, interrupted: Callable[[], bool]) -> None:
    _wait_for(settings, stack, "mlflow", interrupted)
    _wait_for(settings, stack, "dashboard", interrupted)


def stop(
    settings: Settings,
    say: Callable[[str], None],
    *,
    settle_s: float = 0.0,
    grace_s: float = 40.0,
    hurry: Callable[[], bool] = never,
) -> bool:
    """Cancel runs, then end worker, dashboard, MLflow and Prefect, then sweep by the mark.

    Args:
        settle_s: seconds that runs under way get to finish by themselves.
        grace_s: seconds that cancelled runs get to write a checkpoint.
        hurry: asked while waiting; once it says so nothing is waited for any more.

    Returns:
        False when there was nothing to stop.

    Raises:
        ServiceFailed: the record of the services cannot be read.
    """
    with _alone(settings, say):
        return _stop(settings, say, settle_s=settle_s, grace_s=grace_s, hurry=hurry)


def _stop(
    settings: Settings,
    say: Callable[[str], None],
    *,
    settle_s: float = 0.0,
    grace_s: float = 40.0,
    hurry: Callable[[], bool] = never,
) -> bool:
    stack = recorded_stack(settings)
    if stack is None:
        return False
    # Asked of our own server only: by now the port may be another installation's.
    if _serves(stack, "prefect"):
        try:
            _cancel_active_runs(stack, say, settle_s, grace_s, hurry)
        except (client.ApiError, httpx.HTTPError) as error:
            say(f"the flow runs could not be cancelled ({error}); they end with the services")
    try:
        stop_meter(settings.home)
    except TimeoutError as late:
        say(f"{late}; it is ended with the leftovers")
    # The worker first: it still reports to the server. The others do not need each other.
    for names in (("worker",), ("dashboard", "mlflow", "prefect")):
        pids = [stack.pids[name] for name in names if name in stack.pids]
        end_groups([pid for pid in pids if belongs(pid, stack.mark)], 12.0, hurry)
    leftovers = marked_processes(stack.mark)
    if leftovers:
        say(f"ending leftover processes {', '.join(str(process.pid) for process in leftovers)}")
    end_processes(leftovers, 8.0, hurry)
    stack_file(settings).unlink(missing_ok=True)
    return True


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
            command(settings, stack, name),
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


def _wait_for(
    settings: Settings, stack: Stack, name: str, interrupted: Callable[[], bool] = never
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if _serves(stack, name):
            return
        if not belongs(stack.pids[name], stack.mark):
            if not _port_is_free(stack.ports[name]):
                raise PortLost(f"port {stack.ports[name]} was taken before {name} had it")
            break
        _pause(0.25, interrupted)
    log = settings.home / "logs" / f"{name}.log"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise ServiceFailed(f"{name} did not start at {stack.url(name)}. Last lines of {log}:\n{tail}")


def _serves(stack: Stack, name: str) -> bool:
    """Whether our own process answers at the service's port, not another installation's."""
    pid = stack.pids.get(name)
    if pid is None or not belongs(pid, stack.mark):
        return False
    health = "/api/health" if name == "prefect" else "/health"
    return listens(pid, stack.ports[name]) and client.answers(stack.url(name) + health)


def _cancel_active_runs(
    stack: Stack,
    say: Callable[[str], None],
    settle_s: float,
    grace_s: float,
    hurry: Callable[[], bool],
) -> None:
    api = stack.prefect_api
    # A run that an automation started is often at its end: cancelling it would only leave a
    # cancelled row behind.
    deadline = time.monotonic() + settle_s
    while time.monotonic() < deadline and not hurry() and client.active_runs(api, due=True):
        time.sleep(0.5)
    # One that is due and was not begun stays: the next worker takes it.
    active = client.active_runs(api)
    for run in active:
        say(f"cancelling flow run {run['name']}")
        try:
            client.cancel_run(api, run["id"])
        except client.ApiError as error:  # one that just ended keeps no other from its end
            say(f"{run['name']}: {error}")
    # Without a worker nobody acts on the request: the sweep ends the run's processes.
    deadline = time.monotonic() + (0.0 if "worker" in _dead_services(stack) else grace_s)
    while active and time.monotonic() < deadline and not hurry():
        time.sleep(0.5)
        active = client.active_runs(api)
    for run in active:
        # A row that stayed "Cancelling" would be waited for at every later stop.
        client.settle_cancelled(api, run["id"])

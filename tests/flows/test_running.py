"""Following a pipeline: a server that hiccups, signals, services of somebody else."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from flows import client, running, stack
from flows.services import ServiceFailed, Stack
from flows.signals import StopSignals

SERVICES = Stack(mark="m", ports=dict.fromkeys(stack.USUAL_PORTS, 1))
Answer = dict[str, Any] | Exception


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[Answer]], list[str]]]:
    """Prefect's answers about the run, the last one for ever; returns the ids of cancelled runs."""
    cancelled: list[str] = []

    def use(answers: list[Answer]) -> list[str]:
        left = list(answers)

        def flow_run(api: str, run_id: str) -> dict[str, Any]:
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(client, "flow_run", flow_run)
        return cancelled

    monkeypatch.setattr(running, "POLL_S", 0.01)
    monkeypatch.setattr(client, "child_flow_runs", lambda *a: [])
    monkeypatch.setattr(client, "task_runs", lambda *a: [])
    monkeypatch.setattr(client, "run_logs", lambda *a: [])
    monkeypatch.setattr(client, "cancel_run", lambda api, run_id: cancelled.append(run_id))
    yield use


def state(kind: str) -> dict[str, Any]:
    return {"id": "run", "state_type": kind, "parent_task_run_id": None}


def refused(status: int) -> client.ApiError:
    return client.ApiError("/flow_runs/run", httpx.Response(status, json={"detail": "busy"}))


def test_a_hiccup_of_the_server_does_not_end_the_run(
    server: Callable[[list[Answer]], list[str]],
) -> None:
    hiccups = [httpx.ReadTimeout("timed out"), refused(503)]
    cancelled = server([state("RUNNING"), *hiccups, state("RUNNING"), state("COMPLETED")])
    said: list[str] = []
    assert running._follow(SERVICES, "run", StopSignals(), said.append) == "COMPLETED"
    assert cancelled == []
    assert said == [
        "Prefect does not answer (timed out); the run goes on, asking again",
        "Prefect answers again",
    ]


def test_a_server_that_stays_silent_is_one_error(
    server: Callable[[list[Answer]], list[str]],
) -> None:
    server([httpx.ConnectError("refused")])
    with pytest.raises(ServiceFailed, match=r"has not answered for 0 s \(refused\)"):
        running._follow(SERVICES, "run", StopSignals(), print, patience_s=0.05)
    server([refused(404)])
    with pytest.raises(client.ApiError, match="busy"):
        running._follow(SERVICES, "run", StopSignals(), print)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_run(
    server: Callable[[list[Answer]], list[str]], number: signal.Signals
) -> None:
    cancelled = server([state("RUNNING")])
    signals = StopSignals()
    os.kill(os.getpid(), number)
    said: list[str] = []
    assert running._follow(SERVICES, "run", signals, said.append) == "CANCELLED"
    assert cancelled == ["run"]
    assert said == ["stopping: cancelling the flow run"]


def test_a_run_that_cannot_be_cancelled_is_told(
    server: Callable[[list[Answer]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sick(api: str, run_id: str) -> None:
        raise httpx.ReadTimeout("timed out")

    server([state("RUNNING")])
    monkeypatch.setattr(client, "cancel_run", sick)
    signals = StopSignals()
    os.kill(os.getpid(), signal.SIGINT)
    said: list[str] = []
    assert running._follow(SERVICES, "run", signals, said.append) == "CANCELLED"
    assert said[-1] == "the flow run could not be cancelled (timed out); `arriero down` ends it"


def test_nohup_keeps_a_closed_terminal_from_ending_the_run() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals = StopSignals()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not signals.wait(0.05)


def run_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: bool, presses: int
) -> list[str]:
    """`arriero run` with Ctrl-C before and, from the second on, while it stops."""
    happened: list[str] = []

    def stop(settings: object, say: object, *, settle_s: float, hurry: Callable[[], bool]) -> None:
        happened.append(f"stop, hurry {hurry()}")
        for _ in range(presses - 1):
            os.kill(os.getpid(), signal.SIGINT)
            happened.append(f"signal, hurry {hurry()}")

    def trigger(api: str, name: str, body: object) -> dict[str, str]:
        os.kill(os.getpid(), signal.SIGINT)
        return {"id": "run", "name": "my run"}

    def closed(line: str) -> None:
        raise OSError("the terminal is gone")

    monkeypatch.setenv("ARRIERO_HOME", str(tmp_path))
    monkeypatch.setattr(running, "_parameters", lambda *a: {})
    monkeypatch.setattr(stack, "start", lambda *a, **k: (SERVICES, started))
    monkeypatch.setattr(stack, "stop", stop)
    monkeypatch.setattr(client, "trigger", trigger)
    options = {"overrides": [], "allow_missing_sources": False, "strict": False, "data": None}
    out = Console(file=io.StringIO())
    status = running.run_pipeline(preset="nano", once=False, out=out, say=closed, **options)  # type: ignore[arg-type]
    assert status == 1
    return happened


def test_the_second_interrupt_hurries_and_raises_nothing(
    server: Callable[[list[Answer]], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cancelled = server([state("RUNNING")])
    happened = run_with(monkeypatch, tmp_path, started=True, presses=3)
    assert happened == ["stop, hurry False", "signal, hurry True", "signal, hurry True"]
    assert cancelled == ["run"]


def test_services_of_somebody_else_stay_and_the_run_does_not(
    server: Callable[[list[Answer]], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cancelled = server([state("RUNNING")])
    assert run_with(monkeypatch, tmp_path, started=False, presses=1) == []
    assert cancelled == ["run"]

"""Real trainer processes: two ranks, kills, signals, orphans. The fast ones are in the default
suite, the rest is marked."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from model.weights import load_model
from tasks.training import launch as launching
from tasks.training.engine.config import FAULTS_ALLOWED, ConfigError
from tasks.training.engine.metrics import RunLog
from tasks.training.launch import TrainerFailed, TrainerHung, TrainerPreempted, launch
from tasks.training.processes import DEAD_RANK_SECONDS
from tests.tasks.training.support import events, losses, write_config, write_tokens

ALLOW = {FAULTS_ALLOWED: "1"}
CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "artifact")


def train(tokens: Path, work: Path, **changes: Any) -> Path:
    launch(
        write_config(tokens, work, **changes),
        log_path=work / "trainer.log",
        environment=ALLOW,
        poll_seconds=0.1,
    )
    return work


def weights(work: Path) -> bytes:
    return (work / "final" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tokens, tmp_path_factory.mktemp("undisturbed"), steps=20)


def running(pids: list[int]) -> list[int]:
    alive = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
        except psutil.NoSuchProcess:
            continue
    return alive


def rank_pids(work: Path) -> list[int]:
    return [json.loads(p.read_text())["pid"] for p in sorted((work / "ranks").glob("*.json"))]


def wait_until(condition: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return bool(condition())


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("world", "micro"),
    [(2, 2), pytest.param(2, 4, marks=slow), pytest.param(2, 1, marks=slow)],
)
def test_two_processes_give_the_losses_of_one(
    tokens: Path, tmp_path: Path, undisturbed: Path, world: int, micro: int
) -> None:
    work = train(tokens, tmp_path, world=world, micro_batch=micro, steps=20)
    alone, together = losses(undisturbed), losses(work)
    assert together.keys() == alone.keys() and len(alone) == 20
    assert max(abs(together[s] - alone[s]) for s in alone) < 2e-6
    assert len(rank_pids(work)) == world and not running(rank_pids(work))


def test_ranks_wait_for_the_one_that_writes_the_result(tokens: Path, tmp_path: Path) -> None:
    longer = DEAD_RANK_SECONDS + 2
    fault = {"sleep_in_final": longer}
    work = train(tokens, tmp_path, world=2, micro_batch=4, steps=4, fault=fault)
    assert load_model(work / "final").config.vocab_size == 64
    assert [e["event"] for e in events(work)][-1] == "finished"
    codes = [json.loads(p.read_text())["code"] for p in (work / "ranks").glob("*.json")]
    assert codes == [0, 0]


@pytest.mark.parametrize("step", [random.Random(2302).randrange(1, 20)])
def test_killed_at_a_random_step_and_resumed_is_bit_equal(
    tokens: Path, tmp_path: Path, undisturbed: Path, step: int
) -> None:
    with pytest.raises(TrainerFailed, match="exit code -9"):
        train(tokens, tmp_path, steps=20, fault={"kill_at_step": step})
    assert not (tmp_path / "final").exists()
    train(tokens, tmp_path, steps=20)
    assert weights(tmp_path) == weights(undisturbed)
    assert losses(tmp_path) == losses(undisturbed)


@pytest.mark.parametrize(
    "point", ["manifest", pytest.param("files", marks=slow), pytest.param("rename", marks=slow)]
)
def test_killed_inside_save_and_resumed_is_bit_equal(
    tokens: Path, tmp_path: Path, undisturbed: Path, point: str
) -> None:
    with pytest.raises(TrainerFailed):
        train(tokens, tmp_path, steps=20, fault={"kill_in_save": 8, "save_point": point})
    train(tokens, tmp_path, steps=20)
    assert weights(tmp_path) == weights(undisturbed)
    resumed = [e["step"] for e in events(tmp_path) if e["event"] == "resumed"]
    assert resumed == [8 if point == "rename" else 4]
    assert list((tmp_path / "checkpoints").glob("tmp-*")) == []


def test_sigterm_saves_and_exits_75_and_the_rest_is_bit_equal(
    tokens: Path, tmp_path: Path, undisturbed: Path
) -> None:
    def terminate(fraction: float, line: str) -> None:
        for pid in running(rank_pids(tmp_path)):
            os.kill(pid, signal.SIGTERM)

    config = write_config(tokens, tmp_path, steps=20, fault={"sleep_per_step": 0.2})
    with pytest.raises(TrainerPreempted, match="checkpoint was written"):
        launch(
            config,
            log_path=tmp_path / "trainer.log",
            on_progress=terminate,
            environment=ALLOW,
            poll_seconds=0.1,
        )
    assert json.loads((tmp_path / "exit.json").read_text())["code"] == 75
    stopped = next(e["step"] for e in events(tmp_path) if e["event"] == "preempted")
    assert 0 < stopped < 20
    assert (tmp_path / "checkpoints" / f"step-{stopped:09d}" / "manifest.json").exists()
    train(tokens, tmp_path, steps=20)
    assert weights(tmp_path) == weights(undisturbed)


@slow
@pytest.mark.faults
def test_one_rank_told_to_stop_ends_all_within_a_step_longer_than_the_grace(
    tokens: Path, tmp_path: Path
) -> None:
    both = {"world": 2, "micro_batch": 1, "global_batch": 80, "grace_seconds": 15.0}

    def terminate() -> None:
        assert wait_until(lambda: list((tmp_path / "heartbeats").glob("*")), 90)
        assert wait_until(lambda: len(running(rank_pids(tmp_path))) == 2, 90)
        os.kill(rank_pids(tmp_path)[1], signal.SIGTERM)

    killer = threading.Thread(target=terminate)
    killer.start()
    with pytest.raises(TrainerPreempted):  # a step takes at least 40 s
        train(tokens, tmp_path, **both, fault={"sleep_per_pass": 1.0})
    killer.join()
    assert [e["event"] for e in events(tmp_path)][-1] == "preempted"
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000000000"]


def test_exception_in_the_caller_ends_the_trainer_and_is_raised_again(
    tokens: Path, tmp_path: Path
) -> None:
    class Cancelled(BaseException):
        pass

    def cancel(values: Any, step: int) -> None:
        raise Cancelled

    config = write_config(tokens, tmp_path, steps=20, fault={"sleep_per_step": 0.2})
    with pytest.raises(Cancelled):
        launch(config, log_path=tmp_path / "trainer.log", on_metrics=cancel, environment=ALLOW)
    assert not running(rank_pids(tmp_path))
    assert any(e["event"] == "preempted" for e in events(tmp_path))


def test_configuration_error_is_named_and_not_a_crash(tokens: Path, tmp_path: Path) -> None:
    config = write_config(tokens, tmp_path, fault={"kill_at_step": 1})
    with pytest.raises(ConfigError, match="`fault` is for tests"):
        launch(config, log_path=tmp_path / "trainer.log", environment={FAULTS_ALLOWED: "0"})
    assert json.loads((tmp_path / "exit.json").read_text())["code"] == 78


def test_metrics_are_delivered_once_and_in_order(tokens: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    lines: list[tuple[float, str]] = []
    launch(
        write_config(tokens, tmp_path, steps=6),
        log_path=tmp_path / "trainer.log",
        on_metrics=lambda values, step: seen.append(step) if "loss" in values else None,
        on_progress=lambda fraction, line: lines.append((fraction, line)),
    )
    assert seen == [1, 2, 3, 4, 5, 6]
    assert lines[-1][0] == 1.0 and lines[-1][1].startswith("step 6/6, loss ")


PARENT = """
import sys
from pathlib import Path
from tasks.training.launch import launch
launch(Path(sys.argv[1]), log_path=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("world", [1, pytest.param(2, marks=[slow, pytest.mark.faults])])
def test_killing_the_parent_ends_every_rank_with_a_checkpoint(
    tokens: Path, tmp_path: Path, world: int
) -> None:
    config = write_config(
        tokens, tmp_path, steps=2000, world=world, micro_batch=4, fault={"sleep_per_step": 0.1}
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(config), str(tmp_path / "trainer.log")],
        env={**os.environ, **ALLOW, "PYTHONPATH": str(CHECKOUT)},
        cwd=CHECKOUT,
    )
    try:
        assert wait_until(lambda: (tmp_path / "metrics.jsonl").exists(), 90)
        pids = rank_pids(tmp_path)
        assert len(running(pids)) == world
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not running(pids), 20)
    assert [e["event"] for e in events(tmp_path)][-1] == "preempted"


def test_second_launch_of_a_run_waits_for_the_first_and_resumes(
    tokens: Path, tmp_path: Path, undisturbed: Path
) -> None:
    slowly = write_config(tokens, tmp_path, steps=20, fault={"sleep_per_step": 0.2})
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(launch, slowly, log_path=tmp_path / "first.log", environment=ALLOW)
        assert wait_until(lambda: (tmp_path / "metrics.jsonl").exists(), 90)
        (holder,) = rank_pids(tmp_path)
        os.kill(holder, signal.SIGSTOP)  # however slowly the second one starts, it has to wait
        second = pool.submit(launch, slowly, log_path=tmp_path / "second.log", environment=ALLOW)
        try:
            waiting = "waiting for another trainer"
            assert wait_until(lambda: waiting in text_of(tmp_path / "second.log"), 50)
        finally:
            os.kill(holder, signal.SIGCONT)
        first.result()
        second.result()
    # Which launch returns first is no matter of the lock; what the trainers did in which order is.
    names = [e["event"] for e in events(tmp_path) if e["event"] != "checkpoint"]
    assert names == ["started", "finished", "resumed", "finished"]
    assert "the checkpoint of step 20" in (tmp_path / "second.log").read_text()
    assert "the checkpoint of step" not in (tmp_path / "first.log").read_text()
    assert weights(tmp_path) == weights(undisturbed)
    assert losses(tmp_path) == losses(undisturbed)


def test_waiting_launch_can_be_stopped(tokens: Path, tmp_path: Path) -> None:
    held = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        config = write_config(tokens, tmp_path)

        def terminate() -> None:
            assert wait_until(lambda: list((tmp_path / "heartbeats").glob("*")), 90)
            os.kill(rank_pids(tmp_path)[0], signal.SIGTERM)

        killer = threading.Thread(target=terminate)
        killer.start()
        with pytest.raises(TrainerPreempted):
            launch(config, log_path=tmp_path / "log", environment=ALLOW)
        killer.join()
    finally:
        os.close(held)
    assert not (tmp_path / "events.jsonl").exists() and not (tmp_path / "checkpoints").exists()


@slow
@pytest.mark.faults
def test_watchdog_ends_the_rank_where_no_death_signal_exists(tokens: Path, tmp_path: Path) -> None:
    config = write_config(tokens, tmp_path, steps=2000, fault={"sleep_per_step": 0.1})
    code = (
        "import sys, subprocess, tasks.training.engine.lifeline as l, os; "
        "l.die_with_parent = lambda *a: None; "
        "from tasks.training.engine.main import main; sys.exit(main(['--config', sys.argv[1]]))"
    )
    starter = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}, sys.argv[1]])"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, str(config)],
        env={**os.environ, **ALLOW, "PYTHONPATH": str(CHECKOUT)},
        cwd=CHECKOUT,
    )
    try:
        assert wait_until(lambda: (tmp_path / "metrics.jsonl").exists(), 90)
        pids = rank_pids(tmp_path)
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not running(pids), 20)
    assert [e["event"] for e in events(tmp_path)][-1] == "preempted"


@slow
@pytest.mark.faults
def test_nan_on_one_rank_makes_no_rank_step(tokens: Path, tmp_path: Path) -> None:
    both = {"world": 2, "micro_batch": 4, "fault": {"nan_at": [3], "nan_rank": 1}}
    two = train(tokens, tmp_path / "two", **both)
    one = train(tokens, tmp_path / "one", fault={"nan_at": [3]})
    assert [e["data_batch"] for e in events(two) if e["event"] == "step_skipped"] == [3]
    assert max(abs(losses(two)[s] - losses(one)[s]) for s in losses(one)) < 2e-6


@slow
@pytest.mark.faults
def test_two_killed_processes_resume_to_the_same_bits(tokens: Path, tmp_path: Path) -> None:
    both = {"world": 2, "micro_batch": 2}
    whole = train(tokens, tmp_path / "whole", **both)
    with pytest.raises(TrainerFailed):
        train(tokens, tmp_path / "parts", **both, fault={"kill_at_step": 7})
    assert not running(rank_pids(tmp_path / "parts"))
    assert weights(train(tokens, tmp_path / "parts", **both)) == weights(whole)


@slow
@pytest.mark.faults
def test_change_of_world_size_at_resume_stays_within_the_bound(
    tokens: Path, tmp_path: Path, undisturbed: Path
) -> None:
    with pytest.raises(TrainerFailed):
        train(tokens, tmp_path, steps=20, fault={"kill_at_step": 9})
    train(tokens, tmp_path, steps=20, world=2, micro_batch=4)
    resumed, whole = losses(tmp_path), losses(undisturbed)
    assert max(abs(resumed[s] - whole[s]) for s in whole) < 2e-6


@slow
@pytest.mark.faults
def test_dead_rank_is_noticed_within_ten_seconds(tokens: Path, tmp_path: Path) -> None:
    both = {"world": 2, "micro_batch": 4, "steps": 2000}
    died: list[float] = []

    def kill_one(fraction: float, line: str) -> None:
        if not died:
            os.kill(rank_pids(tmp_path)[1], signal.SIGKILL)
            died.append(time.monotonic())

    config = write_config(tokens, tmp_path, **both, fault={"sleep_per_step": 0.05})
    with pytest.raises(TrainerFailed):
        launch(config, log_path=tmp_path / "log", on_progress=kill_one, environment=ALLOW)
    assert time.monotonic() - died[0] < 20  # 10 s to notice, the rest to end the others
    assert not running(rank_pids(tmp_path))


@slow
@pytest.mark.faults
def test_hung_run_is_ended(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "HANG_FLOOR_SECONDS", 3.0)
    with pytest.raises(TrainerHung, match="the run hangs"):
        train(tokens, tmp_path, fault={"hang_at_step": 5})
    assert not running(rank_pids(tmp_path))


def test_long_first_step_that_shows_life_is_not_taken_for_hung(tmp_path: Path) -> None:
    now = [0.0]
    beats = RunLog(tmp_path, writes=True, started=0.0)
    watch = launching._Watch(tmp_path / "heartbeat", lambda: now[0], start_seconds=600.0)

    def after(seconds: float, *, beating: bool, known: list[float]) -> bool:
        now[0] += seconds
        if beating:
            beats.beat()
            os.utime(tmp_path / "heartbeat", ns=(int(now[0] * 1e9),) * 2)
        return watch.hung(deque(known))

    assert not after(500, beating=False, known=[])
    assert not after(99, beating=True, known=[])  # loading the checkpoint
    # Micro-batches of 15 minutes, also with step times known from an earlier attempt.
    assert not any(after(900, beating=True, known=[1.0] * n) for n in range(5))
    assert not after(3500, beating=False, known=[1.0])
    assert after(101, beating=False, known=[1.0])
    beats.count(1, tokens=8, seconds=2.0, useful=True)
    assert not after(1, beating=True, known=[1.0])
    assert not after(59, beating=False, known=[1.0])
    assert after(2, beating=False, known=[1.0])
    assert not after(0, beating=False, known=[100.0])


def test_run_without_any_sign_of_life_is_hung_after_the_start_limit(tmp_path: Path) -> None:
    now = [0.0]
    watch = launching._Watch(tmp_path / "heartbeat", lambda: now[0], start_seconds=600.0)
    now[0] = 600.0
    assert not watch.hung(deque())
    now[0] = 600.1
    assert watch.hung(deque([1.0]))

"""Processes are waited for while they live, not while their parent leaves them unreaped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from flows.processes import end_groups, end_processes
from tests.services import wait_for

# As `arriero run` does with its services: started in a group of their own, never waited for.
PARENT = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True)\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(120)\n"
)
OBEDIENT = "import time; time.sleep(120)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    " print('deaf', flush=True); time.sleep(120)"
)


def never() -> bool:
    return False


def start(child: str) -> tuple[subprocess.Popen[str], int]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, child], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


@pytest.fixture
def unreaped() -> Iterator[int]:
    """Group of a process that stays a zombie once it has ended."""
    parent, group = start(OBEDIENT)
    yield group
    parent.kill()
    parent.communicate()


def test_a_group_of_zombies_is_not_waited_for(unreaped: int) -> None:
    began = time.monotonic()
    end_groups([unreaped], 12.0, never)
    assert time.monotonic() - began < 5
    assert psutil.Process(unreaped).status() == psutil.STATUS_ZOMBIE


def test_a_zombie_is_not_waited_for(unreaped: int) -> None:
    began = time.monotonic()
    end_processes([psutil.Process(unreaped)], 12.0, never)
    assert time.monotonic() - began < 5
    assert psutil.Process(unreaped).status() == psutil.STATUS_ZOMBIE


def test_a_living_member_keeps_its_group_alive() -> None:
    """The leader may be a zombie while a process of its group works on."""
    member = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {OBEDIENT!r}])"
    parent, group = start(member)
    leader = psutil.Process(group)
    wait_for("the leader's end", lambda: leader.status() == psutil.STATUS_ZOMBIE, 20)
    (left,) = [p for p in psutil.process_iter() if os.getpgid(p.pid) == group and p.pid != group]
    end_groups([group], 12.0, never)
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
    parent.kill()
    parent.communicate()


def test_a_deaf_group_is_killed_after_the_time_out() -> None:
    parent, group = start(DEAF)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "deaf\n"
    began = time.monotonic()
    end_groups([group], 1.0, never)
    assert 1.0 <= time.monotonic() - began < 2.0
    assert psutil.Process(group).status() == psutil.STATUS_ZOMBIE
    parent.kill()
    parent.communicate()

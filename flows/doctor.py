"""``arriero doctor``: is this installation sound, and if not, what is wrong and what to do.

Nothing is repaired or created here. A check that cannot be made says so and is a warning.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from flows.client import answers
from flows.installation import (
    Check,
    Status,
    check_packages,
    check_pins,
    check_python,
    check_requirements,
    check_telemetry,
    pass_or_fail,
)
from flows.registration import CHECKOUT
from registry.database import RegistryError, RegistryNotMigrated, current_revision, open_registry
from registry.settings import Settings

SOURCES = ("commoncrawl", "c4", "github", "wikipedia", "books", "arxiv", "stackexchange")
LOW_DISK_GB, NO_DISK_GB = 10.0, 1.0


def diagnose(settings: Settings) -> list[Check]:
    """All checks, in the order they are printed; at most a few seconds."""
    return [
        check_python(),
        *check_pins(),
        *check_requirements(),
        check_packages(),
        check_checkout(),
        *check_places(settings),
        check_registry(settings),
        check_databases(settings),
        check_telemetry(os.environ),
        *check_services(settings),
        check_sandbox(),
        check_gpu(),
        check_meter(settings),
        check_data(settings),
    ]


def render(checks: list[Check]) -> Table:
    """A table for people: one row per check, remedies below what they mend."""
    table = Table(title="arriero doctor")
    for column in ("check", "", "found", "expected, or what to do"):
        table.add_column(column, overflow="fold")
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    for check in checks:
        status = f"[{colours[check.status]}]{check.status}[/]"
        # Brackets in a message are text, no markup.
        table.add_row(
            check.name, status, escape(check.found), escape(check.remedy or check.expected)
        )
    return table


def check_checkout(root: Path = CHECKOUT) -> Check:
    """The files that the services are registered from, which no wheel holds."""
    needed = ("prefect.yaml", "deploy/automations.yaml")
    missing = [name for name in needed if not (root / name).is_file()]
    return pass_or_fail(
        "checkout",
        not missing,
        f"{root} holds no {' and no '.join(missing)}" if missing else str(root),
        "a checkout, with prefect.yaml and deploy/",
        "`arriero run` and `arriero up` work from a checkout of the repository: clone it and call"
        " `make setup` there",
    )


def check_places(settings: Settings) -> list[Check]:
    """Home and store can be written and have room."""
    checks = []
    for name, folder in (("home", settings.home), ("store", settings.store)):
        variable = f"ARRIERO_{name.upper()}"
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        expected = f"writable, {LOW_DISK_GB:g} GB free"
        try:
            # Trying is the only test that holds for root, quotas and read-only mounts alike.
            with tempfile.TemporaryFile(dir=existing):
                free = shutil.disk_usage(existing).free / 1e9
        except OSError as error:
            remedy = f"make {existing} a writable folder, or set {variable} to another one"
            found = f"{folder}: {error.strerror}"
            checks.append(pass_or_fail(name, False, found, expected, remedy))
            continue
        status: Status = "fail" if free < NO_DISK_GB else "warn" if free < LOW_DISK_GB else "ok"
        state = "" if folder.exists() else " (not made yet)"
        checks.append(
            Check(
                name=name,
                status=status,
                found=f"{folder}{state}, {free:.1f} GB free",
                expected=expected,
                remedy="" if status == "ok" else f"free space, or set {variable} to another disk",
            )
        )
    return checks


def check_registry(settings: Settings) -> Check:
    """The registry answers and has exactly this code's schema."""
    expected = "reachable, at the newest revision"
    try:
        registry = open_registry(settings)
        registry.close()
        found = f"{settings.registry_url}, revision {current_revision(settings.registry_address)}"
    except RegistryNotMigrated as error:
        return Check(
            name="registry",
            status="warn",
            found=str(error),
            expected=expected,
            remedy="`arriero up` creates or migrates it",
        )
    except RegistryError as error:
        remedy = "do what the message says, then run `arriero doctor` again"
        return pass_or_fail("registry", False, str(error), expected, remedy)
    return pass_or_fail("registry", True, found, expected)


def check_databases(settings: Settings) -> Check:
    """Prefect, MLflow and the registry each have a database of their own."""
    urls = {
        "registry": settings.registry_url,
        "prefect": os.environ.get("PREFECT_API_DATABASE_CONNECTION_URL")
        or f"sqlite+aiosqlite:///{settings.home / 'prefect' / 'prefect.db'}",
        "mlflow": os.environ.get("MLFLOW_BACKEND_STORE_URI")
        or f"sqlite:///{settings.home / 'mlflow' / 'mlflow.sqlite'}",
    }
    expected = "three different databases"
    places: dict[tuple[Any, ...], str] = {}
    clashes = []
    for name, url in urls.items():
        place = _database_place(url)
        if place in places:
            clashes.append(f"{name} and {places[place]} share {place[-1]}")
        places.setdefault(place, name)
    remedy = "give each its own: ARRIERO_REGISTRY_URL, PREFECT_API_DATABASE_CONNECTION_URL,"
    remedy += " MLFLOW_BACKEND_STORE_URI"
    if clashes:
        return pass_or_fail("databases", False, "; ".join(clashes), expected, remedy)
    return pass_or_fail("databases", True, "separate", expected)


def _database_place(url: str) -> tuple[Any, ...]:
    """What two URLs of one database have in common, whatever their driver and password."""
    try:
        parsed = make_url(url)
    except ArgumentError:  # MLflow also takes a folder
        return ("folder", str(Path(url).absolute()))
    if parsed.get_backend_name() == "sqlite":
        return ("sqlite", str(Path(parsed.database or ":memory:").absolute()))
    return (parsed.get_backend_name(), parsed.host, parsed.port, parsed.database)


def check_services(settings: Settings) -> list[Check]:
    """Services of a running stack are alive and answer; otherwise the usual ports are free."""
    from flows.processes import MARK
    from flows.services import USUAL_PORTS, ServiceFailed, Stack, stack_file
    from flows.stack import load_stack

    recorded = stack_file(settings)
    stack: Stack | None = None
    checks = []
    if recorded.exists():
        damaged = ""
        try:
            stack = load_stack(settings)
        except ServiceFailed as error:
            damaged = str(error)
        found = damaged or ("all run" if stack else f"{recorded} names services that do not answer")
        checks.append(
            Check(
                name="services",
                status="fail" if damaged else "ok" if stack else "warn",
                found=found,
                expected="all run, or none",
                remedy=""
                if stack
                else "do what the message says"
                if damaged
                else "`arriero down`, then `arriero up`",
            )
        )
    api = os.environ.get("PREFECT_API_URL")
    if api:
        healthy = answers(f"{api.rstrip('/')}/health", timeout=1.0)
        remedy = "" if healthy else "start that server, or unset PREFECT_API_URL"
        found = f"{api} {'answers' if healthy else 'does not answer'}"
        checks.append(pass_or_fail("prefect api", healthy, found, "answers", remedy))
    ours = {stack.ports[name]: name for name in stack.ports} if stack else {}
    for name, port in USUAL_PORTS.items():
        state = "used by us" if port in ours else "free" if _port_is_free(port) else "taken"
        taken = state == "taken" and MARK not in os.environ
        checks.append(
            Check(
                name=f"port {port}",
                status="warn" if taken else "ok",
                found=state,
                expected=f"free for {name}",
                remedy=f"`arriero up` gives {name} another port; end its user to have {port}"
                if taken
                else "",
            )
        )
    return checks


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def check_sandbox() -> Check:
    """Generated code can be locked up; without, code benchmarks say `not run`."""
    from tasks.evaluation.sandbox import probe

    found = probe()
    good = found.mode is not None
    return Check(
        name="sandbox",
        status="ok" if good else "warn",
        found=found.reason,
        expected="bubblewrap, started by an ordinary user",
        remedy="" if good else "install bubblewrap; until then HumanEval and MBPP are not run",
    )


def check_gpu() -> Check:
    """GPUs by NVML, and whether their energy counters can be read."""
    from tasks.emissions.sensors import Nvml

    gpus = Nvml().gpus
    expected = "GPUs with energy counters, or none"
    if not gpus:
        return pass_or_fail("gpu", True, "none: everything runs on the CPU", expected)
    found = ", ".join(f"{gpu['index']}: {gpu['name']}" for gpu in gpus)
    blind = [str(gpu["index"]) for gpu in gpus if "no_counter" in gpu]
    return Check(
        name="gpu",
        status="warn" if blind else "ok",
        found=found,
        expected=expected,
        remedy=f"GPU {', '.join(blind)} has no energy counter: its energy is an estimate"
        if blind
        else "",
    )


def check_meter(settings: Settings) -> Check:
    """The last meter session of this node is unharmed, and a running meter delivers."""
    from tasks.emissions.meter import lock_held, read_info
    from tasks.emissions.records import node_id, read_session, session_files

    expected = "metering while flows run; records as they were written"
    sessions = list(session_files(settings.home, node_id()))
    problems = read_session(sessions[-1]).problems if sessions else []
    if problems:
        remedy = "restore the file from a backup; its changed records do not count"
        return pass_or_fail("energy meter", False, "; ".join(problems[:3]), expected, remedy)
    info = read_info(settings.home)
    if info is None or not lock_held(settings.home):
        return pass_or_fail("energy meter", True, "not running", expected)
    good = info.status == "metering"
    return Check(
        name="energy meter",
        status="ok" if good else "warn",
        found=f"pid {info.pid}, every {info.interval:g} s" if good else f"unmetered: {info.reason}",
        expected=expected,
        remedy="" if good else "see meter.log beside its records; energy is charged at the bound",
    )


def check_data(settings: Settings) -> Check:
    """The dumps' folder has the layout that the readers expect."""
    expected = "corpus/<source>/, bench/<benchmark>/, instruct/<dataset>/"
    root = settings.data
    if root is None:
        return pass_or_fail("data", True, "not set: the generated sample is used", expected)
    if not root.is_dir():
        remedy = "set ARRIERO_DATA to the folder of the dumps, or unset it for the sample"
        return pass_or_fail("data", False, f"{root} is not a folder", expected, remedy)
    missing = [f"corpus/{s}" for s in SOURCES if not _has_files(root / "corpus" / s)]
    missing += [part for part in ("bench", "instruct") if not _has_files(root / part)]
    # The nano preset reads GitHub from the installed packages instead.
    serious = [part for part in missing if part != "corpus/github"]
    return Check(
        name="data",
        status="warn" if serious else "ok",
        found=f"{root}, without {', '.join(missing)}" if missing else str(root),
        expected=expected,
        remedy="add them, or run with --allow-missing-sources" if serious else "",
    )


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())

"""Work pool, deployments of prefect.yaml and automations, registered with the Prefect server.

Each call of Prefect's command line costs seconds, so what is registered already, from the same
files, is left alone; a redeploy would not change it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import yaml

from flows import client
from tasks.context import atomic_write_json

CHECKOUT = Path(__file__).resolve().parent.parent
POOL = "arriero"
AUTOMATIONS = CHECKOUT / "deploy" / "automations.yaml"
PACKAGES = ("flows", "tasks", "model", "registry")  # what a flow may import


class RegistrationFailed(RuntimeError):
    """Prefect refused a pool, a deployment or an automation; the message holds its output."""


def ensure_pool(api: str, env: dict[str, str]) -> None:
    """The process work pool."""
    if POOL not in client.work_pools(api):
        _prefect(["work-pool", "create", POOL, "--type", "process"], env)


def register(home: Path, api: str, env: dict[str, str], say: Callable[[str], None]) -> None:
    """Register deployments and automations, unless the server has them from these very files.

    An automation that somebody switched off stays off, also when this fails half-way: then the
    next call does all of it again.
    """
    record = home / "prefect" / "registered.json"
    switched_off = home / "prefect" / "switched-off.json"  # while a registration is under way
    fingerprint = _fingerprint()
    ours = _wanted_automations()
    before = {name: row for name, row in client.automations(api).items() if name in ours}
    if record.exists() and json.loads(record.read_text()) == fingerprint:
        wanted = {entry["name"] for entry in _prefect_yaml()["deployments"]}
        if wanted <= client.deployment_names(api) and ours <= before.keys():
            return
    say("registering the deployments of prefect.yaml")
    record.unlink(missing_ok=True)  # half-way, the server has neither those files nor these
    off = {name for name, row in before.items() if not row["enabled"]}
    if switched_off.exists():
        off |= set(json.loads(switched_off.read_text()))
    # A deployment's triggers are made anew by its deployment, and switched on. Who is killed after
    # that leaves a server that no longer knows what was off.
    atomic_write_json(switched_off, sorted(off))
    try:
        _prefect(["--no-prompt", "deploy", "--all"], env)
        for automation in _own_automations():
            name = automation["name"]
            if name in before:
                changed = {**automation, "enabled": name not in off}
                client.replace_automation(api, before[name]["id"], changed)
            else:
                client.create_automation(api, automation)
    except BaseException:
        # What went wrong is told, not that the switches could not be restored either: the next
        # call has them from the file.
        with suppress(client.ApiError, httpx.HTTPError):
            there = _restore_switches(api, before.keys() | off, off)
            atomic_write_json(switched_off, sorted(off - there))  # a trigger not yet made anew
        raise
    _restore_switches(api, before.keys() | off, off)
    switched_off.unlink()
    atomic_write_json(record, fingerprint)


def _restore_switches(api: str, names: set[str], off: set[str]) -> set[str]:
    """Switch the automations of these names on or off; the names that the server has."""
    rows = client.automations(api)
    for name in names & rows.keys():
        if rows[name]["enabled"] != (name not in off):
            client.enable_automation(api, rows[name]["id"], name not in off)
    return set(rows)


def _prefect_yaml() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())
    return loaded


def _own_automations() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load(AUTOMATIONS.read_text())["automations"]
    return loaded


def _wanted_automations() -> set[str]:
    own = {entry["name"] for entry in _own_automations()}
    triggers = {
        trigger["name"]
        for entry in _prefect_yaml()["deployments"]
        for trigger in entry.get("triggers", [])
    }
    return own | triggers


def _fingerprint() -> dict[str, str]:
    """Everything a registration is made from: the files, the forms' code, Prefect, the place.

    A form takes fields, bounds and texts from wherever its model imports them. All code that a flow
    may import is read: importing nine flows to learn which of it counts costs more than a
    registration too many.
    """
    digest = hashlib.sha256()
    files = [CHECKOUT / "prefect.yaml", AUTOMATIONS]
    for package in PACKAGES:
        files += sorted((CHECKOUT / package).rglob("*.py"))
        files += sorted((CHECKOUT / package).rglob("*.yaml"))
    for path in files:
        digest.update(str(path).encode() + b"\0" + path.read_bytes() + b"\0")
    return {"files": digest.hexdigest(), "prefect": version("prefect")}


def _prefect(arguments: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        cwd=CHECKOUT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RegistrationFailed(
            f"prefect {' '.join(arguments)} failed:\n{(done.stdout + done.stderr)[-3000:]}"
        )

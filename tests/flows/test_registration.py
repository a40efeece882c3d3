"""What the server is told again after a change, and what a user's switch survives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import client, registration
from flows.registration import CHECKOUT


class Server:
    """Prefect's automations and deployments, and every command that it was given."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.commands: list[str] = []

    def automations(self, api: str) -> dict[str, dict[str, Any]]:
        return {name: dict(row) for name, row in self.rows.items()}

    def create(self, api: str, automation: dict[str, Any]) -> None:
        self.rows[automation["name"]] = {**automation, "id": f"id {automation['name']}"}

    def replace(self, api: str, automation_id: str, automation: dict[str, Any]) -> None:
        assert self.rows[automation["name"]]["id"] == automation_id
        self.rows[automation["name"]] = {**automation, "id": automation_id}

    def enable(self, api: str, automation_id: str, enabled: bool) -> None:
        (row,) = [row for row in self.rows.values() if row["id"] == automation_id]
        row["enabled"] = enabled

    def prefect(self, arguments: list[str], env: dict[str, str]) -> None:
        self.commands.append(" ".join(arguments))
        # A deployment's triggers are deleted and made anew, as prefect.yaml has them.
        for entry in registration._prefect_yaml()["deployments"]:
            for trigger in entry.get("triggers", []):
                anew = f"id {len(self.commands)}"
                self.rows[trigger["name"]] = {**trigger, "id": anew}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of everything that a registration is made from."""
    root = tmp_path / "checkout"
    for package in (*registration.PACKAGES, "deploy"):
        shutil.copytree(
            CHECKOUT / package, root / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(CHECKOUT / "prefect.yaml", root)
    monkeypatch.setattr(registration, "CHECKOUT", root)
    monkeypatch.setattr(registration, "AUTOMATIONS", root / "deploy" / "automations.yaml")
    return root


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    prefect = Server()
    monkeypatch.setattr(client, "automations", prefect.automations)
    monkeypatch.setattr(client, "create_automation", prefect.create)
    monkeypatch.setattr(client, "replace_automation", prefect.replace)
    monkeypatch.setattr(client, "enable_automation", prefect.enable)
    monkeypatch.setattr(registration, "_prefect", prefect.prefect)
    names = {entry["name"] for entry in registration._prefect_yaml()["deployments"]}
    monkeypatch.setattr(client, "deployment_names", lambda api: names)
    return prefect


@pytest.fixture
def register(tmp_path: Path) -> Callable[[], None]:
    (tmp_path / "home" / "prefect").mkdir(parents=True)
    return lambda: registration.register(tmp_path / "home", "", {}, lambda text: None)


def change_automation(checkout: Path, within: int) -> None:
    path = checkout / "deploy" / "automations.yaml"
    loaded = yaml.safe_load(path.read_text())
    loaded["automations"][0]["trigger"]["within"] = within
    path.write_text(yaml.safe_dump(loaded))


def test_what_did_not_change_is_registered_once(
    checkout: Path, server: Server, register: Callable[[], None]
) -> None:
    register()
    register()
    assert server.commands == ["--no-prompt deploy --all"]
    assert sorted(server.rows) == ["evaluate-each-registered-model", "settle-zombie-runs"]


def test_a_changed_automation_replaces_the_old_one(
    checkout: Path, server: Server, register: Callable[[], None]
) -> None:
    register()
    change_automation(checkout, 150)
    register()
    assert server.rows["settle-zombie-runs"]["trigger"]["within"] == 150
    assert server.rows["settle-zombie-runs"]["enabled"] is True


def test_what_a_user_switched_off_stays_off(
    checkout: Path, server: Server, register: Callable[[], None]
) -> None:
    register()
    for row in server.rows.values():
        row["enabled"] = False
    change_automation(checkout, 150)
    register()
    assert len(server.commands) == 2
    assert switches(server) == OFF


OFF = {"evaluate-each-registered-model": False, "settle-zombie-runs": False}


def switches(server: Server) -> dict[str, bool]:
    return {name: row["enabled"] for name, row in server.rows.items()}


def refuse(*arguments: Any) -> None:
    raise registration.RegistrationFailed("refused")


def test_what_a_user_switched_off_stays_off_though_the_server_refuses_a_change(
    checkout: Path,
    server: Server,
    register: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register()
    for row in server.rows.values():
        row["enabled"] = False
    change_automation(checkout, 150)
    with monkeypatch.context() as patch:
        patch.setattr(client, "replace_automation", refuse)
        with pytest.raises(registration.RegistrationFailed):
            register()
    assert switches(server) == OFF
    # What a user switches on now, knowing of the failure, is on.
    server.rows["settle-zombie-runs"]["enabled"] = True
    register()
    assert switches(server) == {**OFF, "settle-zombie-runs": True}


@pytest.mark.parametrize("back", [False, True], ids=["forward", "back"])
def test_what_a_user_switched_off_is_off_again_after_the_next_start(
    checkout: Path,
    server: Server,
    register: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    back: bool,
) -> None:
    """The server died within a registration, so nothing could be switched off there and then."""
    register()
    for row in server.rows.values():
        row["enabled"] = False
    change_automation(checkout, 150)
    with monkeypatch.context() as patch:
        patch.setattr(client, "replace_automation", refuse)
        patch.setattr(client, "enable_automation", refuse)
        with pytest.raises(registration.RegistrationFailed):
            register()
    assert switches(server) != OFF
    if back:  # the files are again those that were registered last, the server's rows are not
        shutil.copy(CHECKOUT / "deploy" / "automations.yaml", checkout / "deploy")
    register()
    assert switches(server) == OFF
    assert len(server.commands) == 3


def test_a_trigger_that_was_deleted_and_not_made_anew_stays_off(
    checkout: Path,
    server: Server,
    register: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`prefect deploy` was killed between the two."""
    register()
    for row in server.rows.values():
        row["enabled"] = False
    change_automation(checkout, 150)

    def killed(arguments: list[str], env: dict[str, str]) -> None:
        del server.rows["evaluate-each-registered-model"]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registration, "_prefect", killed)
        with pytest.raises(KeyboardInterrupt):
            register()
    register()
    assert switches(server) == OFF


@pytest.mark.parametrize(
    "module",
    ["tasks/emissions/forecast.py", "tasks/evaluation/parameters.py", "registry/gates.py"],
)
def test_a_changed_form_is_registered_again(
    checkout: Path, server: Server, register: Callable[[], None], module: str
) -> None:
    register()
    with (checkout / module).open("a") as handle:
        handle.write("# another bound\n")
    register()
    assert len(server.commands) == 2

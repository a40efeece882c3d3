"""A running stack: what its forms refuse, its schedule, its protection, its end."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flows import client, registration
from flows.services import environment, recorded_stack
from registry.settings import Settings
from tests.services import arriero, listens, living, stack_of, sweep, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Services:
    """A running stack of this module's own."""

    home: Path
    ports: dict[str, int]

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['prefect']}/api"

    def headers(self) -> dict[str, str]:
        token = httpx.get(f"{self.api}/csrf-token", params={"client": "test"}).json()["token"]
        return {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "test"}

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{self.api}{path}", json=body, headers=self.headers(), timeout=30)

    def deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.api}/deployments/name/{name}").json()
        return found

    def trigger(self, name: str, parameters: dict[str, Any]) -> httpx.Response:
        where = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        # Not due for a day: a form that is accepted must not start a run here.
        state = {"type": "SCHEDULED", "name": "Scheduled"}
        state["state_details"] = {"scheduled_time": "2099-01-01T00:00:00Z"}  # type: ignore[assignment]
        return self.post(where, {"parameters": {"parameters": parameters}, "state": state})


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    home = tmp_path_factory.mktemp("home")
    # One usual port is taken in any case, whatever else runs on this machine.
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # another program has it, which serves as well
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        try:
            done = arriero(home, "up")
            assert done.returncode == 0, done.stderr
            yield Services(home, stack_of(home)["ports"])
        finally:
            arriero(home, "down")
            sweep(home)


def test_a_taken_port_is_replaced(services: Services) -> None:
    assert services.ports["dashboard"] != 8000
    assert len(set(services.ports.values())) == 3
    for port in services.ports.values():
        assert listens(port)
    assert httpx.get(f"http://127.0.0.1:{services.ports['mlflow']}/health").text == "OK"


@pytest.mark.parametrize(
    ("deployment", "parameters", "field"),
    [
        ("pipeline/pipeline", {"preset": "8T"}, "parameters.preset"),
        ("pipeline/pipeline", {"presett": "nano"}, "presett"),
        (
            "pretraining/pretraining",
            {"pretraining": {"learning_rate": -1}},
            "pretraining.learning_rate",
        ),
        (
            "pretraining/pretraining",
            {"pretraining": {"precision": "fp16"}},
            "pretraining.precision",
        ),
        ("evaluation/evaluation", {"evaluation": {"item_limit": 0}}, "evaluation.item_limit"),
        (
            "evaluation/evaluation",
            {"evaluation": {"sandbox": {"seconds": "x"}}},
            "evaluation.sandbox.seconds",
        ),
    ],
)
def test_bad_values_are_refused_with_their_field(
    services: Services, deployment: str, parameters: dict[str, Any], field: str
) -> None:
    answer = services.trigger(deployment, parameters)
    assert answer.status_code == 409, answer.text
    assert field in answer.json()["detail"], answer.text


def test_the_form_marks_the_bad_field(services: Services) -> None:
    """What the UI asks for each key press."""
    schema = services.deployment("evaluation/evaluation")["parameter_openapi_schema"]
    values = {"parameters": {"evaluation": {"item_limit": 0}}}
    answer = services.post("/ui/schemas/validate", {"schema": schema, "values": values})
    assert answer.status_code == 200
    assert answer.json()["valid"] is False
    assert "item_limit" in json.dumps(answer.json()["errors"])


def test_good_values_are_taken(services: Services) -> None:
    answer = services.trigger("evaluation/evaluation", {"evaluation": {"item_limit": 7}})
    assert answer.status_code == 201, answer.text
    assert answer.json()["parameters"]["parameters"]["evaluation"]["item_limit"] == 7


def test_the_schedule_makes_runs(services: Services) -> None:
    """SQLAlchemy 2.1 stops Prefect's scheduler without an error: no run would ever appear."""
    nightly = services.deployment("nightly-evaluation/nightly-evaluation")["id"]

    def scheduled() -> list[dict[str, Any]]:
        body = {"deployments": {"id": {"any_": [nightly]}}, "limit": 5}
        rows: list[dict[str, Any]] = services.post("/flow_runs/filter", body).json()
        return [row for row in rows if row["auto_scheduled"]]

    rows = wait_for("an auto-scheduled run", scheduled, 90, every=1.0)
    assert rows[0]["state_type"] == "SCHEDULED"
    assert rows[0]["expected_start_time"].split("T")[1].startswith("02:00:00")


def test_automations_and_deployments_are_registered_once(services: Services) -> None:
    again = arriero(services.home, "up")
    assert again.returncode == 0 and "already run" in again.stderr
    assert stack_of(services.home)["ports"] == services.ports
    names = [row["name"] for row in services.post("/automations/filter", {}).json()]
    assert sorted(names) == sorted(set(names))
    assert "settle-zombie-runs" in names and "evaluate-each-registered-model" in names
    deployments = [row["name"] for row in services.post("/deployments/filter", {}).json()]
    written = yaml.safe_load((registration.CHECKOUT / "prefect.yaml").read_text(encoding="utf-8"))[
        "deployments"
    ]
    assert sorted(deployments) == sorted(row["name"] for row in written)


def test_a_changed_automation_is_replaced_and_stays_off(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=services.home)
    stack = recorded_stack(settings)
    assert stack is not None
    for row in client.automations(services.api).values():
        client.enable_automation(services.api, row["id"], False)
    changed = tmp_path / "automations.yaml"
    text = registration.AUTOMATIONS.read_text()
    changed.write_text(text.replace("within: 90", "within: 150"))
    monkeypatch.setattr(registration, "AUTOMATIONS", changed)
    register = (services.home, services.api, environment(settings, stack), print)
    registration.register(*register)
    rows = client.automations(services.api)
    assert rows["settle-zombie-runs"]["trigger"]["within"] == 150
    assert {row["enabled"] for row in rows.values()} == {False}
    for row in rows.values():
        client.enable_automation(services.api, row["id"], True)
    monkeypatch.undo()
    registration.register(*register)
    rows = client.automations(services.api)
    assert rows["settle-zombie-runs"]["trigger"]["within"] == 90
    assert {row["enabled"] for row in rows.values()} == {True}
    assert len(rows) == 2


def test_a_web_page_of_another_origin_gets_nothing(services: Services) -> None:
    foreign = {"Origin": "http://evil.example"}
    answer = httpx.get(f"{services.api}/health", headers=foreign)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    own = {"Origin": f"http://127.0.0.1:{services.ports['prefect']}"}
    allowed = httpx.get(f"{services.api}/health", headers=own)
    assert allowed.headers["access-control-allow-origin"] == own["Origin"]
    where = f"{services.api}/flow_runs/filter"
    assert httpx.post(where, json={}).status_code == 403
    wrong = {**services.headers(), "Prefect-Csrf-Token": "0f"}
    assert httpx.post(where, json={}, headers=wrong).status_code == 403
    assert services.post("/flow_runs/filter", {}).status_code == 200


def test_a_foreign_name_of_this_machine_is_refused(services: Services) -> None:
    """A page of a site whose name points to 127.0.0.1 would be of the servers' own origin."""
    for service, path in (
        ("prefect", "/api/csrf-token?client=evil"),
        ("prefect", "/"),
        ("mlflow", "/ajax-api/2.0/mlflow/experiments/search?max_results=1"),
        ("dashboard", "/"),
    ):
        port = services.ports[service]
        address = f"http://127.0.0.1:{port}{path}"
        for host in ("evil.example", f"10.evil.example:{port}", f"evil.example:{port}"):
            answer = httpx.get(address, headers={"Host": host})
            assert answer.status_code in (400, 403), (service, host, answer.status_code)
        own = {"Host": f"localhost:{port}"}
        assert httpx.get(address, headers=own, follow_redirects=True).status_code == 200, service


def test_a_websocket_of_another_origin_is_refused(services: Services) -> None:
    def answer(origin: str) -> bytes:
        port = services.ports["prefect"]
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            lines = [
                "GET /api/events/in HTTP/1.1",
                f"Host: 127.0.0.1:{port}",
                f"Origin: {origin}",
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==",
                "Sec-WebSocket-Version: 13",
            ]
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            return connection.recv(64)

    assert b" 403 " in answer("http://evil.example")
    assert b" 101 " in answer(f"http://127.0.0.1:{services.ports['prefect']}")


def test_services_listen_on_the_loopback_only(services: Services) -> None:
    addresses = set()
    for process in living(services.home):
        for connection in process.net_connections("inet"):
            if connection.status == "LISTEN":
                addresses.add(connection.laddr.ip)
    assert addresses == {"127.0.0.1"}


def test_status_names_the_services(services: Services) -> None:
    done = arriero(services.home, "status", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["services"] == {
        name: f"http://127.0.0.1:{port}" for name, port in services.ports.items()
    }


def test_a_service_that_died_is_started_again(services: Services) -> None:
    before = stack_of(services.home)
    for name in ("dashboard", "worker"):
        (process,) = [p for p in living(services.home) if p.pid == before["pids"][name]]
        process.kill()
    done = arriero(services.home, "up")
    assert done.returncode == 0, done.stderr
    assert "dashboard is gone; starting it again" in done.stderr
    assert "worker is gone; starting it again" in done.stderr
    after = stack_of(services.home)
    assert after["ports"] == before["ports"]
    changed = {n for n in after["pids"] if after["pids"][n] != before["pids"][n]}
    assert changed == {"dashboard", "worker"}


def test_down_leaves_nothing_and_may_be_said_twice(services: Services) -> None:
    done = arriero(services.home, "down")
    assert done.returncode == 0 and "stopped" in done.stdout
    assert [" ".join(p.cmdline()) for p in living(services.home)] == []
    assert not any(listens(port) for port in services.ports.values())
    again = arriero(services.home, "down")
    assert again.returncode == 0 and "nothing was running" in again.stdout

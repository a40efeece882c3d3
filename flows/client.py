"""Prefect's REST interface, as far as the command line needs it.

Plain HTTP instead of the Prefect client: importing that costs a second per call of ``arriero``.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import httpx

ACTIVE = ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"]
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
# Prefect on SQLite answers 503 when two writers met, and has changed nothing; just after a start,
# when its services take up what was left, that is common.
BUSY = 503
BUSY_WAITS_S = (0.25, 0.5, 1.0, 2.0, 4.0)


class ApiError(RuntimeError):
    """Prefect refused a request; the message names the field where it says one."""

    def __init__(self, path: str, answer: httpx.Response) -> None:
        super().__init__(f"Prefect refused {path}: {_detail(answer)}")
        self.status = answer.status_code


@cache
def _csrf(api: str) -> dict[str, str]:
    # The server keeps one token per client name: with a shared name, two commands at the same
    # time would void each other's.
    client = f"arriero-{uuid.uuid4()}"
    answer = _unless_busy(
        lambda: _http().get(f"{api}/csrf-token", params={"client": client}, timeout=20)
    )
    if answer.status_code != 200:
        return {}
    return {"Prefect-Csrf-Token": answer.json()["token"], "Prefect-Csrf-Client": client}


@cache
def _http() -> httpx.Client:
    # One client, since each loads the certificates anew. No proxy is asked for a server of ours,
    # and no connection is kept, which a restarted server would have closed.
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(trust_env=False, timeout=60, limits=limits)


def answers(url: str, *, timeout: float = 2.0) -> bool:
    """Whether a health address of ours gives 200."""
    try:
        return _http().get(url, timeout=timeout).status_code == 200
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _post(api: str, path: str, body: dict[str, Any]) -> Any:
    return _send("POST", api, path, body)


def _send(method: str, api: str, path: str, body: dict[str, Any]) -> Any:
    def ask() -> httpx.Response:
        return _http().request(method, f"{api}{path}", json=body, headers=_csrf(api))

    answer = _unless_busy(ask)
    if answer.status_code == 403:
        # A token lasts an hour, a pipeline longer.
        _csrf.cache_clear()
        answer = _unless_busy(ask)
    if answer.status_code >= 400:
        raise ApiError(path, answer)
    return answer.json() if answer.content else None


def _unless_busy(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The first answer that is not 503, or the last one after all of ``BUSY_WAITS_S``."""
    for wait_s in BUSY_WAITS_S:
        answer = ask()
        if answer.status_code != BUSY:
            return answer
        time.sleep(wait_s)
    return ask()


def _get(api: str, path: str) -> Any:
    answer = _unless_busy(lambda: _http().get(f"{api}{path}"))
    if answer.status_code >= 400:
        raise ApiError(path, answer)
    return answer.json()


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail", answer.text))
    except ValueError:
        return answer.text[:500]


def trigger(
    api: str, deployment: str, parameters: dict[str, Any], *, tags: list[str] | None = None
) -> dict[str, Any]:
    """Create a run of ``flow/deployment``; the server validates the parameters (HTTP 409)."""
    found = _get(api, f"/deployments/name/{deployment}")
    run: dict[str, Any] = _post(
        api,
        f"/deployments/{found['id']}/create_flow_run",
        {
            "parameters": parameters,
            "tags": tags or [],
            "state": {"type": "SCHEDULED", "name": "Scheduled"},
            # Asked again after an error, the server still makes one run.
            "idempotency_key": str(uuid.uuid4()),
        },
    )
    return run


def flow_run(api: str, run_id: str) -> dict[str, Any]:
    """One flow run."""
    run: dict[str, Any] = _get(api, f"/flow_runs/{run_id}")
    return run


def task_runs(api: str, flow_run_ids: list[str]) -> list[dict[str, Any]]:
    """Task runs of some flow runs, oldest first."""
    rows: list[dict[str, Any]] = _post(
        api,
        "/task_runs/filter",
        {
            "flow_runs": {"id": {"any_": flow_run_ids}},
            "sort": "EXPECTED_START_TIME_ASC",
            "limit": 200,
        },
    )
    return rows


def child_flow_runs(api: str, root_id: str) -> list[dict[str, Any]]:
    """Subflow runs of a flow run."""
    rows: list[dict[str, Any]] = _post(
        api,
        "/flow_runs/filter",
        {"flow_runs": {"parent_flow_run_id": {"any_": [root_id]}}, "limit": 200},
    )
    return rows


def active_runs(api: str, *, due: bool = False) -> list[dict[str, Any]]:
    """Flow runs under way, with ``due`` also those whose time has come; later ones are left out."""
    now = datetime.now(UTC).isoformat()
    states = ["PENDING", "RUNNING", "CANCELLING", *(["SCHEDULED"] if due else [])]
    rows: list[dict[str, Any]] = _post(
        api,
        "/flow_runs/filter",
        {
            "flow_runs": {
                "state": {"type": {"any_": states}},
                **({"expected_start_time": {"before_": now}} if due else {}),
            },
            "limit": 200,
        },
    )
    return [row for row in rows if row.get("parent_task_run_id") is None]


def cancel_run(api: str, run_id: str) -> None:
    """Ask for cancellation: the worker ends the process group, the trainer checkpoints."""
    _post(
        api,
        f"/flow_runs/{run_id}/set_state",
        {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": True},
    )


def settle_cancelled(api: str, run_id: str) -> None:
    """Record a run as cancelled whose process does not say so itself."""
    state = {"type": "CANCELLED", "name": "Cancelled", "message": "stopped with the services"}
    _post(api, f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})


def run_logs(api: str, run_id: str, offset: int) -> list[dict[str, Any]]:
    """Log lines of a flow run from ``offset`` on, oldest first."""
    rows: list[dict[str, Any]] = _post(
        api,
        "/logs/filter",
        {
            "logs": {"flow_run_id": {"any_": [run_id]}},
            "sort": "TIMESTAMP_ASC",
            "offset": offset,
            "limit": 200,
        },
    )
    return rows


def work_pools(api: str) -> set[str]:
    """Names of the work pools."""
    return {row["name"] for row in _post(api, "/work_pools/filter", {"limit": 200})}


def deployment_names(api: str) -> set[str]:
    """Names of the deployments."""
    return {row["name"] for row in _post(api, "/deployments/filter", {"limit": 200})}


def automations(api: str) -> dict[str, dict[str, Any]]:
    """The automations by name."""
    return {row["name"]: row for row in _post(api, "/automations/filter", {"limit": 200})}


def create_automation(api: str, automation: dict[str, Any]) -> None:
    """A new automation; the server validates it (HTTP 422)."""
    _post(api, "/automations/", automation)


def replace_automation(api: str, automation_id: str, automation: dict[str, Any]) -> None:
    """Another definition for an automation; the server validates it (HTTP 422)."""
    _send("PUT", api, f"/automations/{automation_id}", automation)


def enable_automation(api: str, automation_id: str, enabled: bool) -> None:
    """Switch an automation on or off."""
    _send("PATCH", api, f"/automations/{automation_id}", {"enabled": enabled})


def deployment(api: str, name: str) -> dict[str, Any]:
    """The deployment ``flow/name``."""
    found: dict[str, Any] = _get(api, f"/deployments/name/{name}")
    return found


def runs_of_deployment(api: str, deployment_id: str) -> list[dict[str, Any]]:
    """Flow runs of a deployment, newest first."""
    rows: list[dict[str, Any]] = _post(
        api,
        "/flow_runs/filter",
        {
            "deployments": {"id": {"any_": [deployment_id]}},
            "sort": "EXPECTED_START_TIME_DESC",
            "limit": 50,
        },
    )
    return rows

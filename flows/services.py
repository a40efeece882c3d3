"""What the local services are: their record, their environment, their command lines."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from flows.processes import MARK, marked_pids
from flows.registration import CHECKOUT, POOL
from registry.settings import Settings

SERVICES = ("prefect", "mlflow", "worker", "dashboard")
USUAL_PORTS = {"prefect": 4200, "mlflow": 5000, "dashboard": 8000}


class ServiceFailed(RuntimeError):
    """A service died or did not answer; the message holds the tail of its log."""


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


def recorded_stack(settings: Settings) -> Stack | None:
    """What ``stack.json`` says; whether it still runs is another question.

    Raises:
        ServiceFailed: the file is there and cannot be read.
    """
    path = stack_file(settings)
    if not path.exists():
        return None
    try:
        stack = TypeAdapter(Stack).validate_json(path.read_bytes())
        missing = sorted(set(USUAL_PORTS) - set(stack.ports))
        if not missing:
            return stack
        problem = f"no port of {', '.join(missing)}"
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
    left = marked_pids(settings.home)
    end = f"end what it started (kill {' '.join(map(str, left))}), then " if left else ""
    raise ServiceFailed(
        f"{path}, the record of the services, is damaged ({problem}): {end}remove the file and"
        " call `arriero up` again"
    )


def environment(settings: Settings, stack: Stack) -> dict[str, str]:
    """Environment of every service and, through the worker, of every flow run.

    Each entry answers a measured trap: telemetry of two products, the UI of Prefect that calls
    out, CSRF and origins on a loopback server, result pickles, busy-waiting OpenMP threads.
    """
    home = settings.home
    mlflow = stack.ports["mlflow"]
    origins = f"{stack.url('prefect')},http://localhost:{stack.ports['prefect']}"
    values = {
        MARK: stack.mark,
        "ARRIERO_HOME": str(home),
        # Services run in the checkout: a relative path of the user would lead elsewhere there.
        "ARRIERO_STORE": str(settings.store),
        "ARRIERO_REGISTRY_URL": settings.registry_url,
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
        # Its default also takes names such as 10.example.org, which anybody can let point here.
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{mlflow},localhost:{mlflow}",
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
    for name in ("NO_PROXY", "no_proxy"):
        listed = [inherited[name]] if inherited.get(name) else []
        inherited[name] = ",".join([*listed, "127.0.0.1", "localhost"])
    return {**inherited, **values}


def command(settings: Settings, stack: Stack, name: str) -> list[str]:
    """Command line of a service."""
    mlflow_home = settings.home / "mlflow"
    if name == "worker":
        # Not the name of a worker that was killed: the server still holds that one's state.
        own = f"worker-{secrets.token_hex(3)}"
        arguments = ["prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        return [sys.executable, "-m", *arguments, "--name", own, "--limit", "4"]
    arguments = {
        "prefect": ["flows.prefect_server"],
        "mlflow": ["mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
        + ["--backend-store-uri", f"sqlite:///{mlflow_home / 'mlflow.sqlite'}"]
        + ["--artifacts-destination", str(mlflow_home / "artifacts")],
        "dashboard": ["dashboards"],
    }[name]
    return [sys.executable, "-m", *arguments, "--port", str(stack.ports[name])]

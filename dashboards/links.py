"""Addresses of the same run or model in Prefect and MLflow, where those are known."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict

WORKFLOW = "?workflowType=machine_learning"  # without it MLflow shows its other face


class Links(BaseModel):
    """Base addresses, without a trailing slash; None = no link is drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefect: str | None = None
    mlflow: str | None = None

    def flow_run(self, run_id: str | None) -> str | None:
        """Prefect's page of a flow run."""
        return self._prefect("flow-run", run_id)

    def task_run(self, run_id: str | None) -> str | None:
        """Prefect's page of a task run."""
        return self._prefect("task-run", run_id)

    def mlflow_run(self, run_id: str | None) -> str | None:
        """MLflow's page of a run; it finds the experiment itself."""
        if self.mlflow is None or not run_id:
            return None
        return f"{self.mlflow}/#/runs/{quote(run_id, safe='')}{WORKFLOW}"

    def mlflow_model(self, name: str, version: int) -> str | None:
        """MLflow's page of a model version."""
        if self.mlflow is None:
            return None
        return f"{self.mlflow}/#/models/{quote(name, safe='')}/versions/{version}{WORKFLOW}"

    def mlflow_home(self) -> str | None:
        """MLflow's list of experiments."""
        return None if self.mlflow is None else f"{self.mlflow}/#/experiments{WORKFLOW}"

    def _prefect(self, what: str, run_id: str | None) -> str | None:
        if self.prefect is None or not run_id:
            return None
        return f"{self.prefect}/runs/{what}/{quote(run_id, safe='')}"


def load_links(
    tracking_uri: str | None = None, environment: Mapping[str, str] = os.environ
) -> Links:
    """From ``ARRIERO_PREFECT_UI_URL`` and the tracking address (settings, MLFLOW_TRACKING_URI)."""
    return Links(
        prefect=_web_address(environment.get("ARRIERO_PREFECT_UI_URL")),
        mlflow=_web_address(tracking_uri or environment.get("MLFLOW_TRACKING_URI")),
    )


def _web_address(value: str | None) -> str | None:
    """An http(s) address without credentials; a file or database address cannot be linked to."""
    if not value:
        return None
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"

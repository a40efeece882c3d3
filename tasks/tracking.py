"""MLflow as a projection of the registry: one parent run per flow run, a child per attempt.

The registry is written first; what MLflow shall show waits in its outbox and is delivered here,
each thing once. A dead MLflow costs delay, never a step of training and never a stage: live
metrics are sent by a thread that gives up quietly, and the outbox is drained at the next end of a
flow. ``mlflow`` takes seconds to import, so it is imported by whoever delivers first.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

from registry import outbox, runs
from registry.database import Registry
from registry.schema import Run
from tasks import projection, promoted
from tasks.locks import LockTimeout, exclusive
from tasks.runner import RunContext, Workplace, open_metrics_sink

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_S = 3.0
FAILURES_IN_A_ROW = 2
OF_THE_ENTRY = (400, 404, 409)  # HTTP states of what MLflow has against one entry
log = logging.getLogger("arriero.tracking")


def tracking_uri(place: Workplace) -> str | None:
    """Address of MLflow: ``ARRIERO_MLFLOW_TRACKING_URI``, else ``MLFLOW_TRACKING_URI``."""
    return place.settings.mlflow_tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")


def reachable(uri: str | None) -> bool:
    """Whether MLflow answers within two seconds (its own client would retry for minutes)."""
    if uri is None:
        return False
    if not uri.startswith("http"):
        return True
    try:
        # A proxy of the environment is not asked for a server of ours.
        return httpx.get(f"{uri}/health", timeout=2.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def install(place: Workplace, run: RunContext) -> None:
    """Give the stages of this flow run a live metrics sink, when MLflow answers."""
    uri = tracking_uri(place)
    if reachable(uri):
        open_metrics_sink.set(lambda record_id: LiveMetrics(place, record_id))
    else:
        open_metrics_sink.set(None)
        log.warning("MLflow does not answer at %s: its runs are delivered later", uri)


def deliver(place: Workplace, limit: int = 500, deadline_s: float = 120.0) -> int:
    """Drain the outbox; returns how many entries were delivered.

    An entry that fails is retried with back-off at a later call; a bad entry stops no other, but
    MLflow failing twice in a row or ``deadline_s`` ends the call: a sick MLflow must not hold up a
    flow. Then the aliases are compared. One process delivers at a time, or two flows that end
    together would show everything twice.
    """
    uri = tracking_uri(place)
    if not reachable(uri):
        return 0
    try:
        with exclusive(
            place.settings.home / "deliver.lock",
            what="delivery to MLflow",
            log=log,
            timeout_s=deadline_s / 4,
        ):
            client = make_client(uri)
            delivered, well = _drain(place, client, limit, time.monotonic() + deadline_s)
            if well:
                _compare_aliases(place, client)
            return delivered
    except LockTimeout:
        log.warning("another flow still delivers to MLflow; the rest follows at the next end")
        return 0


def _drain(place: Workplace, client: MlflowClient, limit: int, deadline: float) -> tuple[int, bool]:
    """How many entries were delivered, and whether MLflow was well to the end."""
    delivered = failures = 0
    entries = [(e.id, e.topic, dict(e.payload)) for e in outbox.pending(place.registry, limit)]
    for entry_id, topic, payload in entries:
        if failures >= FAILURES_IN_A_ROW or time.monotonic() > deadline:
            log.warning("MLflow is too slow or fails: the rest is delivered later")
            return delivered, False
        try:
            projection.project(client, place, topic, payload)
        except Exception as failure:
            # MLflow is a projection: whatever it raises is recorded and tried again.
            log.warning("MLflow refused %s %s: %s", topic, payload.get("run_id"), failure)
            outbox.mark_failed(place.registry, entry_id, f"{type(failure).__name__}: {failure}")
            failures = failures + 1 if _is_sick(failure) else 0
            continue
        outbox.mark_delivered(place.registry, entry_id)
        failures = 0
        delivered += 1
    return delivered, failures == 0


def _compare_aliases(place: Workplace, client: MlflowClient) -> None:
    try:
        promoted.reconcile(client, place)
    except Exception as failure:  # as above: a projection, compared again at the next delivery
        log.warning("the aliases of MLflow are compared later: %s", failure)


def _is_sick(failure: Exception) -> bool:
    """Whether MLflow itself failed, and will for the next entry too, not the entry."""
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(failure, MlflowException):
        return failure.get_http_status_code() not in OF_THE_ENTRY
    return isinstance(failure, ConnectionError | TimeoutError | requests.RequestException)


def make_client(uri: str | None) -> MlflowClient:
    """An MLflow client with telemetry off, one retry and a time-out of ten seconds."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def mlflow_run_of(place: Workplace, record_id: str) -> str | None:
    """MLflow run id of a recorded run, when it has one."""
    found: Run = runs.get_run(place.registry, record_id)
    return found.mlflow_run_id


def root_of(registry: Registry, record_id: str) -> Run:
    """The outermost flow run above a recorded run (MLflow shows two levels)."""
    found = runs.get_run(registry, record_id)
    while found.parent_id is not None:
        found = runs.get_run(registry, found.parent_id)
    return found


class LiveMetrics:
    """Sends a running stage's metrics to its MLflow run in batches, from a thread of its own.

    MLflow keeps every point it is sent, so the stage must give a point only when its step will not
    be done again (tasks/training/follow.py).
    Every failure ends the live curve only: the artifact's ``metrics.jsonl`` completes it later.
    """

    def __init__(self, place: Workplace, record_id: str) -> None:
        self._place, self._record_id = place, record_id
        self._queue: queue.Queue[tuple[dict[str, float], int, int] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def __call__(self, values: Mapping[str, float], step: int) -> None:
        """Queue one step's values; returns at once. ``time``: seconds since 1970 of the step."""
        numbers = {k: float(v) for k, v in values.items() if isinstance(v, int | float)}
        at = numbers.pop("time", time.time())  # told later than it was: the checkpoint came first
        self._queue.put((numbers, step, int(at * 1000)))
        if self._thread is None:
            self._thread = threading.Thread(target=self._send, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Deliver what is queued, within ten seconds."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(10.0)
            # Whatever is late is left to the artifact's metrics.jsonl: sent twice is worse.
            self._stopped.set()

    def _send(self) -> None:
        from mlflow.entities import Metric

        client = make_client(tracking_uri(self._place))
        try:
            run_id = projection.ensure_stage_run(client, self._place, self._record_id)
            while self._send_batch(client, Metric, run_id):
                time.sleep(FLUSH_S)
        except Exception as failure:  # a tracker must never end a training run
            log.warning("live metrics stop, delivered later: %s", failure)

    def _send_batch(self, client: MlflowClient, metric: Any, run_id: str) -> bool:
        batch: list[Any] = []
        going_on = True
        while not self._queue.empty() and len(batch) < 900:
            item = self._queue.get()
            if item is None:
                going_on = False
                break
            values, step, at = item
            batch += [metric(name, value, at, step) for name, value in values.items()]
        if batch and not self._stopped.is_set():
            client.log_batch(run_id, metrics=batch)
        return going_on and not self._stopped.is_set()


def read_metric_lines(text: str) -> list[dict[str, Any]]:
    """Lines of a ``metrics.jsonl``; a torn last line is left out."""
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows

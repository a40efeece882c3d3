"""Progress of a running stage: a line in the log, a bar on the flow run's page."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from typing import cast

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

SHOW_S = 1.0  # between two looks of the page
LOG_S = 5.0  # between two lines of the log


class TaskProgress:
    """Prefect progress artifact, made on the first call, updated at most every second.

    A server that does not answer costs the bar, never the stage: the next call tries again.
    """

    def __init__(
        self, name: str, log: logging.Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._log, self._clock = name, log, clock
        self._artifact: uuid.UUID | None = None
        self._shown = self._logged = float("-inf")
        self._enabled = TaskRunContext.get() is not None
        self._failing = False

    def __call__(self, fraction: float, line: str) -> None:
        """Tell that ``fraction`` of the stage is done."""
        now = self._clock()
        percent = round(100 * min(1.0, max(0.0, fraction)), 1)
        if fraction < 1 and now - self._shown < SHOW_S:
            return
        self._shown = now
        if now - self._logged >= LOG_S or fraction >= 1:
            self._logged = now
            self._log.info("%s %5.1f %% %s", self._name, percent, line)
        if self._enabled:
            self._show(percent, line)

    def _show(self, percent: float, line: str) -> None:
        try:
            if self._artifact is None:
                key = self._name.replace(".", "-").replace("_", "-")
                # Declared as "id or coroutine"; without a running event loop it is the id.
                made = create_progress_artifact(progress=percent, key=key, description=line)
                self._artifact = cast(uuid.UUID, made)
            else:
                update_progress_artifact(
                    artifact_id=self._artifact, progress=percent, description=line
                )
            self._failing = False
        except Exception as failure:  # whatever the server has, hours of training go on
            if not self._failing:
                self._log.warning("the progress bar was not updated: %s", failure)
            self._failing = True

"""An executor on a Ray cluster (``arriero[ray]``); the store must be shared by its nodes.

Ray places the shards; each is read by a supervised process on its node, so that a record that hangs
or crashes costs what it costs anywhere else.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tasks.corpus.execute import WINDOW, Job, LocalExecutor
from tasks.corpus.same_code import code_identity, require_same_code


@dataclass(frozen=True)
class RayExecutor:
    """Runs jobs as Ray tasks of one core each.

    address: of the cluster; None starts a local one, which ends with the step. limits: bounds on
    one record, as of :class:`LocalExecutor`.

    Raises:
        ValueError: Ray is not installed.
    """

    limits: LocalExecutor
    address: str | None = None

    def __post_init__(self) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ValueError(
                "the executor `ray` needs Ray: pip install 'arriero[ray]', or choose the executor"
                " `processes` or `prefect`"
            )

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        ray = importlib.import_module("ray")
        own = not ray.is_initialized()
        if own:
            cores = {} if self.address else {"num_cpus": self.limits.workers}
            ray.init(address=self.address, log_to_driver=False, include_dashboard=False, **cores)
        try:
            limits = replace(self.limits, workers=1, given_up=_elsewhere)
            remote = ray.remote(num_cpus=1, max_retries=3)(_run_one)
            code = dict(code_identity())
            ahead = int(ray.cluster_resources().get("CPU", 1)) * WINDOW
            pending: deque[Any] = deque()
            for job in jobs:
                pending.append(remote.remote(job, limits, code))
                if len(pending) >= ahead:
                    yield self._result(ray.get(pending.popleft()))
            while pending:
                yield self._result(ray.get(pending.popleft()))
        finally:
            if own:
                ray.shutdown()

    def _result(self, answer: tuple[Any, list[tuple[tuple[str, int], str]]]) -> Any:
        result, given_up = answer
        for place, reason in given_up:
            self.limits.given_up(place, reason)
        return result


def _elsewhere(place: tuple[str, int], reason: str) -> None:
    """Replaced on the node: a list there collects what was given up."""


def _run_one(
    job: Job, limits: LocalExecutor, code: Mapping[str, str]
) -> tuple[Any, list[tuple[tuple[str, int], str]]]:
    """One job in a supervised process of this node, and the records given up in it.

    code: of the machine that started the step.

    Raises:
        OtherCode: this node has another.
    """
    require_same_code(code)
    given_up: list[tuple[tuple[str, int], str]] = []
    own = replace(limits, given_up=lambda place, reason: given_up.append((place, reason)))
    (result,) = own.run([job])
    return result, given_up

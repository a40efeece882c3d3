"""Ordered, bounded fan-out to processes: the result does not depend on how many there are."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """``map(function, items)`` in ``workers`` processes, in order, few items in flight.

    With one worker it runs in this process. ``function`` must be importable by name. Closing the
    iterator early cancels what has not started.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    # spawn: the caller may run threads (an orchestrator's do), and forking those can deadlock.
    context = multiprocessing.get_context("spawn")
    pending: deque[Future[Result]] = deque()
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

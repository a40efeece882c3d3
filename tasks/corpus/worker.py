"""A worker process: ``python -m tasks.corpus.worker <connection> <life> <heartbeat> <megabytes>``.

Takes jobs as JSON over a pipe and answers with JSON; nothing is pickled. It ends with its
supervisor, however that one dies: the other end of the life pipe is closed then. No megabytes: no
bound on its memory.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tasks.corpus.guard import Guard, read_skips


def main(arguments: list[str]) -> None:
    """Serve jobs until the supervisor closes the pipe."""
    connection = Connection(int(arguments[0]))
    life = int(arguments[1])
    heartbeat, megabytes = Path(arguments[2]), int(arguments[3])
    threading.Thread(target=_die_with, args=(life,), daemon=True).start()
    if megabytes:
        limit = megabytes * 1_000_000
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    import pyarrow

    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    while True:
        try:
            job = json.loads(connection.recv_bytes())
        except EOFError:
            return
        guard = Guard(heartbeat, read_skips(Path(job["skips"])) if job["skips"] else {})
        answer = _answer(job, guard)
        if "memory" not in answer:  # else the record in hand is the one to pass
            guard.end()
        connection.send_bytes(json.dumps(answer).encode())


def call(function: str, guard: Guard, arguments: dict[str, Any]) -> Any:
    """Call ``module:name`` as ``name(guard, **arguments)``."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(guard, **arguments)


def _answer(job: dict[str, Any], guard: Guard) -> dict[str, Any]:
    try:
        return {"result": call(job["function"], guard, job["arguments"])}
    except MemoryError:
        return {"memory": True}
    except Exception as error:  # it is raised again on the other side
        kind = type(error)
        return {
            "error": str(error),
            "kind": f"{kind.__module__}:{kind.__qualname__}",
            "errno": error.errno if isinstance(error, OSError) else None,
            "trace": traceback.format_exc(),
        }


def _die_with(life: int) -> None:
    """End this process when nobody holds the other end of ``life``; nothing is ever written."""
    os.read(life, 1)
    os._exit(70)


if __name__ == "__main__":
    main(sys.argv[1:])

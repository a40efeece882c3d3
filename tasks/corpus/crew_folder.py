"""The folder of a crew: files of its workers, gone with them or after they were killed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.corpus import leftovers

_CREW = "workers"


@contextmanager
def crew_folder(scratch: Path | None) -> Iterator[Path]:
    """A folder for the files of a crew and of its workers, whatever they leave in it.

    Those of supervisors that were killed are removed from ``scratch``; see `leftovers`.

    Args:
        scratch: where it lies; by default with the system's temporary files.
    """
    if scratch is None:
        with tempfile.TemporaryDirectory(prefix=f"{_CREW}-", ignore_cleanup_errors=True) as own:
            yield Path(own)
        return
    scratch.mkdir(parents=True, exist_ok=True)
    leftovers.sweep(scratch)
    with leftovers.owned(scratch / _CREW) as (folder, _):
        folder.mkdir()
        yield folder

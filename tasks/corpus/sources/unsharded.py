"""A source that surveys its shards, read without shards: both passes over the files in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from tasks.corpus.funnel import Funnel

Rules = TypeVar("Rules")


@contextmanager
def surveyed_alone(
    survey: Callable[[Path, Sequence[str], Rules, Funnel, Path], None],
    decide: Callable[[Sequence[Path], Rules, Path], None],
    root: Path,
    files: Sequence[str],
    parameters: Rules,
    funnel: Funnel,
) -> Iterator[tuple[Path, Path]]:
    """The folders that a source's ``decide`` and ``survey`` make of files that are all there are.

    What the survey counts is not counted in ``funnel``: reading counts it. The folders lie in the
    temporary folder and are gone after the context; they may grow as large as the files' text.
    """
    with TemporaryDirectory(prefix="survey-") as folder:
        decided, surveyed = Path(folder) / "decided", Path(folder) / "survey"
        decided.mkdir()
        surveyed.mkdir()
        survey(root, files, parameters, funnel.child(), surveyed)
        decide([surveyed], parameters, decided)
        yield decided, surveyed

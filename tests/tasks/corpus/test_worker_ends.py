"""The errors that workers answer with, made again where they are waited for."""

from __future__ import annotations

import errno

from tasks.corpus.quality.ngrams import QualityTrainingError
from tasks.corpus.worker_ends import WorkerFailed, named, raised


def answer(kind: str, number: int | None = None) -> dict[str, object]:
    return {"error": "no such thing", "kind": kind, "trace": "where it was", "errno": number}


def test_an_error_is_of_its_own_class_where_that_says_something_to_a_user() -> None:
    for kind, expected in (
        ("builtins:ValueError", ValueError),
        ("tasks.corpus.quality.ngrams:QualityTrainingError", QualityTrainingError),
    ):
        error = raised(answer(kind))
        assert type(error) is expected and str(error) == "no such thing"
        assert isinstance(error.__cause__, WorkerFailed) and "where it was" in str(error.__cause__)


def test_an_error_of_the_system_keeps_its_number() -> None:
    error = raised(answer("builtins:OSError", errno.ENOSPC))
    assert isinstance(error, OSError) and error.errno == errno.ENOSPC


def test_any_other_error_is_a_failed_worker() -> None:
    for kind in ("builtins:KeyError", "builtins:UnicodeError", "json:JSONDecodeError", "tasks:X"):
        error = raised(answer(kind))
        assert type(error) is WorkerFailed and str(error) == "where it was"


def test_a_status_is_named() -> None:
    assert (named(-9), named(3)) == ("signal 9", "status 3")

"""A source read without shards: its survey is counted nowhere and leaves nothing behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tasks.corpus.funnel import BadFileError, Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import books, c4, commoncrawl
from tasks.corpus.sources.unsharded import surveyed_alone


def survey(root: Path, files: Sequence[str], rules: int, funnel: Funnel, out: Path) -> None:
    for name in files:
        funnel.reject("read", "seen", "", name)
    (out / "count").write_text(str(len(files) * rules))
    if "bad" in files:
        funnel.bad_file("bad", "corrupt")


def decide(surveys: Sequence[Path], rules: int, out: Path) -> None:
    (out / "sum").write_text(str(sum(int((s / "count").read_text()) for s in surveys)))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that temporary ones are made in."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


def test_both_folders_are_made_and_taken_away(tmp_path: Path, temporary: Path) -> None:
    funnel = Funnel("books")
    with surveyed_alone(survey, decide, tmp_path, ["a", "b"], 3, funnel) as (decided, surveyed):
        assert decided.is_relative_to(temporary)
        assert (decided / "sum").read_text() == (surveyed / "count").read_text() == "6"
    assert funnel.rows()[0]["rejected"] == {} and not funnel.rejected_rows


def test_a_strict_survey_ends_at_a_bad_file(tmp_path: Path, temporary: Path) -> None:
    funnel = Funnel("books", strict=True)
    with pytest.raises(BadFileError, match="corrupt"):
        surveyed_alone(survey, decide, tmp_path, ["bad"], 1, funnel).__enter__()


@pytest.mark.parametrize("source", [books, c4, commoncrawl])
def test_an_unfinished_reading_leaves_nothing(
    tmp_path: Path, temporary: Path, source: object
) -> None:
    assert source in (books, c4, commoncrawl)
    (tmp_path / "a.warc.wet").write_bytes(b"")
    (tmp_path / "a.txt").write_text("The captain walked along the quiet shore.\n" * 40)
    name = "a.txt" if source is books else "a.warc.wet"
    read = vars(source)["read"](tmp_path, [name], CorpusParameters(), Funnel("x"))
    next(read, None)
    read.close()

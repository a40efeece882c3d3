"""Names of dumps and of archives' members that are no UTF-8 end no run, and are not lost."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from tasks.corpus.build import build_source
from tasks.corpus.execute import InlineExecutor
from tasks.corpus.locate import locate_sources, readable_root
from tasks.corpus.parameters import CorpusParameters
from tests.bad_input.dumps import text_of
from tests.golden.inputs import MIT, write_data
from tests.tasks.corpus.artifacts import documents_in, rejected_in
from tests.tasks.corpus.test_build import context

PAPER = r"\documentclass{a}\begin{document}\section{One}" + text_of(1) + r"\end{document}"


def build(root: Path, folder: Path, source: str) -> Path:
    place = context(folder)
    parameters = CorpusParameters(workers=1, keep_rejected=True, allow_missing_sources=True)
    sizes = dict.fromkeys(locate_sources(root)[source], 1)
    build_source(source, root, sizes, parameters, place, InlineExecutor())
    return place.out


@pytest.mark.parametrize(
    "source", ["commoncrawl", "c4", "github", "wikipedia", "books", "arxiv", "stackexchange"]
)
def test_dumps_are_read_whatever_their_names(tmp_path: Path, source: str) -> None:
    root = write_data(tmp_path / "data")
    plain = build(root, tmp_path / "plain", source)
    folder = root / "corpus" / source
    # A folder of github is a project: there the projects have such names.
    prefix = os.fsdecode(b"folder-\xff") + ("-" if source == "github" else "/")
    for path in sorted(folder.iterdir()):
        place = Path(f"{folder}/{prefix}{path.name}")
        place.parent.mkdir(exist_ok=True)
        path.rename(place)
    made = build(root, tmp_path / "odd", source)
    rows = list(documents_in(made))
    expected = [row["text"] for row in documents_in(plain)]
    assert [row["text"] for row in rows] == expected and rows
    assert not list((tmp_path / "odd/work").rglob("names-*"))
    named = (made / "funnel.json").read_text("utf-8") + (made / "bad_files.json").read_text("utf-8")
    places = named + "".join(row["uri"] + row["meta"] for row in rows)
    assert str(tmp_path) not in places
    if source not in ("wikipedia", "stackexchange"):  # their addresses are of the web
        assert "folder-" in places and "\\xff" in places


def test_unreadable_dumps_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "corpus/c4"
    folder.mkdir(parents=True)
    (folder / os.fsdecode(b"\xfe.jsonl")).write_bytes(b"")
    made = build(tmp_path, tmp_path / "made", "c4")
    bad = json.loads((made / "bad_files.json").read_text("utf-8"))
    assert bad == [{"path": "corpus/c4/\\xfe.jsonl", "reason": "empty file", "offset": 0}]


def member(archive: tarfile.TarFile, name: bytes, data: bytes) -> None:
    information = tarfile.TarInfo(os.fsdecode(name))
    information.size = len(data)
    archive.addfile(information, io.BytesIO(data))


def arxiv_shard(path: Path) -> None:
    """Papers, one of several files, one without a section; all names are Latin-1."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as paper:
        member(paper, b"caf\xe9.tex", PAPER.replace("One", "Two").encode())
    with tarfile.open(path, "w") as archive:
        member(archive, b"2301/caf\xe9.gz", gzip.compress(PAPER.encode()))
        member(archive, b"2301/na\xefve.gz", gzip.compress(packed.getvalue()))
        member(archive, b"2301/t\xeate.gz", gzip.compress(b"\\documentclass{a} no section"))


def test_papers_of_a_shard_with_such_names(tmp_path: Path) -> None:
    folder = tmp_path / "corpus/arxiv"
    folder.mkdir(parents=True)
    arxiv_shard(folder / "shard.tar")
    made = build(tmp_path, tmp_path / "made", "arxiv")
    rows = list(documents_in(made))
    assert [row["id"] for row in rows] == ["arxiv:caf\\xe9", "arxiv:na\\xefve"]
    assert rows[0]["uri"] == "corpus/arxiv/shard.tar#2301/caf\\xe9.gz"
    assert json.loads(rows[1]["meta"])["main"] == "caf\\xe9.tex"
    assert [row["id"] for row in rejected_in(made)] == ["corpus/arxiv/shard.tar#2301/t\\xeate.gz"]


def test_a_folder_of_ordinary_names_is_read_where_it_is(tmp_path: Path) -> None:
    with readable_root(tmp_path, ["a/b.txt", "café%20.txt"], tmp_path) as root:
        assert root == tmp_path


def test_records_that_utf8_cannot_hold_are_kept_as_documents(tmp_path: Path) -> None:
    """Lone surrogates come out of JSON's escapes, too."""
    folder = tmp_path / "corpus/stackexchange"
    folder.mkdir(parents=True)
    record = {"text": "Q: a? A: b", "meta": {"url": "http://a/\ud800"}}
    (folder / "a.jsonl").write_text(json.dumps(record))
    made = build(tmp_path, tmp_path / "made", "stackexchange")
    (row,) = documents_in(made)
    assert row["uri"] == "http://a/\\ud800"


def test_members_of_a_project_with_such_names(tmp_path: Path) -> None:
    folder = tmp_path / "corpus/github"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "project.tar", "w") as archive:
        member(archive, b"p/LICENSE", MIT.encode())
        member(archive, b"p/caf\xe9.py", b"def one():\n    return 1\n")
        member(archive, b"p/vendor/m\xe8re.py", b"def two():\n    return 2\n")
    made = build(tmp_path, tmp_path / "made", "github")
    (row,) = documents_in(made)
    assert row["uri"] == "corpus/github/project.tar#p/caf\\xe9.py"
    rejected = {row["id"] for row in rejected_in(made)}
    assert "corpus/github/project.tar#p/vendor/m\\xe8re.py" in rejected

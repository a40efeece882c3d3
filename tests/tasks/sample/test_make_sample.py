"""The generated sample: layout, determinism, and that the real libraries read every source."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from importlib import import_module
from pathlib import Path

import pytest

from tasks.sample import make
from tasks.sample.make import MARKER, SampleSummary, is_sample, make_sample

SOURCES = ["commoncrawl", "c4", "github", "wikipedia", "books", "arxiv", "stackexchange"]
MEGABYTES = 1.5
ROOT = Path(__file__).resolve().parents[3]


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleSummary]:
    out = tmp_path_factory.mktemp("sample") / "data"
    return out, make_sample(out, target_megabytes=MEGABYTES)


@pytest.fixture(scope="module")
def data(made: tuple[Path, SampleSummary]) -> Path:
    return made[0]


def test_layout_and_marker(made: tuple[Path, SampleSummary]) -> None:
    out, summary = made
    assert sorted(path.name for path in (out / "corpus").iterdir()) == sorted(SOURCES)
    marker = json.loads((out / MARKER).read_text())
    assert marker["sample"] is True and marker["seed"] == 0
    assert marker["made_from"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert marker["made_from"] == summary.made_from and len(summary.made_from) > 20
    listed = {name: (out / name).stat().st_size for name in hashes(out) if name != MARKER}
    assert marker["files"] == summary.files == dict(sorted(listed.items()))
    assert is_sample(out) and not is_sample(out / "corpus")
    assert not [path for path in out.parent.iterdir() if path.name.startswith("tmp-")]


def test_sizes_follow_the_target(made: tuple[Path, SampleSummary]) -> None:
    total = sum(counts["characters"] for counts in made[1].sources.values())
    assert 0.85 * MEGABYTES < total / 1e6 < 1.3 * MEGABYTES
    assert all(counts["documents"] >= 3 for counts in made[1].sources.values())


def test_same_bytes_in_another_process(data: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tasks.sample.make import make_sample; import sys;"
        f"make_sample(Path(sys.argv[1]), target_megabytes={MEGABYTES})"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "again")],
        env={**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo"},
        cwd=ROOT,
        check=True,
        timeout=120,
    )
    assert hashes(tmp_path / "again") == hashes(data)


def test_an_existing_sample_is_left_alone_and_another_seed_replaces_it(tmp_path: Path) -> None:
    out = tmp_path / "data"
    first = make_sample(out, target_megabytes=1)
    before = hashes(out)
    stamp = (out / MARKER).stat().st_mtime_ns
    assert make_sample(out, target_megabytes=1) == first
    assert (out / MARKER).stat().st_mtime_ns == stamp
    assert make_sample(out, seed=1, target_megabytes=1).seed == 1
    after = hashes(out)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    changed = {
        path.split("/")[1]
        for path in before
        if path.startswith("corpus/") and before[path] != after.get(path)
    }
    assert {"commoncrawl", "c4", "wikipedia", "arxiv", "stackexchange"} <= changed
    assert not any(before[path] != after[path] for path in before if path.startswith("bench/"))


def test_a_sample_that_lost_or_changed_a_file_is_made_anew(tmp_path: Path) -> None:
    out = tmp_path / "data"
    make_sample(out, target_megabytes=1)
    before = hashes(out)
    (out / "bench" / "piqa" / "valid.jsonl").unlink()
    make_sample(out, target_megabytes=1)
    assert hashes(out) == before
    with (out / "bench" / "boolq" / "validation.jsonl").open("r+b") as handle:
        handle.truncate(100)
    make_sample(out, target_megabytes=1)
    assert hashes(out) == before


def test_other_packaged_items_make_another_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to remember to raise a number when an item is put right."""
    out = tmp_path / "data"
    first = make_sample(out, target_megabytes=1)
    package = tmp_path / "package"
    shutil.copytree(Path(make.__file__).parent, package)
    items = package / "bench" / "boolq" / "validation.jsonl"
    items.write_text(items.read_text().replace("?", "", 1).replace("the", "a", 1))
    monkeypatch.setattr(make, "_package_file", lambda name: package / name)
    second = make_sample(out, target_megabytes=1)
    assert second.packaged != first.packaged
    assert (out / "bench" / "boolq" / "validation.jsonl").read_bytes() == items.read_bytes()


def test_a_marker_of_before_is_no_match(tmp_path: Path) -> None:
    """A sample whose marker lists no files cannot be checked: it is made anew."""
    out = tmp_path / "data"
    made = make_sample(out, target_megabytes=1)
    old = json.loads((out / MARKER).read_text())
    del old["files"], old["packaged"]
    (out / MARKER).write_text(json.dumps(old))
    assert make_sample(out, target_megabytes=1) == made


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"is no generated sample"):
        make_sample(tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"
    with pytest.raises(ValueError, match=r"from 1 to 100 MB"):
        make_sample(tmp_path / "data", target_megabytes=0.1)


def test_commoncrawl_is_read_by_fastwarc(data: Path) -> None:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    kinds: dict[str, int] = {}
    contents: set[str] = set()
    lines: list[str] = []
    for path in sorted((data / "corpus/commoncrawl").iterdir()):
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, parse_http=True):
                kind = record.headers["WARC-Type"]
                kinds[kind] = kinds.get(kind, 0) + 1
                if record.record_type == WarcRecordType.response:
                    contents.add(str(record.http_content_type).split(";")[0])
                    if record.http_content_type.startswith("text/html"):
                        lines += record.reader.read().decode("utf-8").splitlines()
    assert kinds["warcinfo"] == 2 and kinds["response"] == kinds["request"] > 40
    assert kinds["conversion"] > 8
    assert contents == {"text/html", "text/plain", "image/gif"}
    shared = [line for line in lines if "Was this page helpful?" in line]
    assert len(shared) > 40


def test_c4_is_json_lines(data: Path) -> None:
    files = sorted((data / "corpus/c4").iterdir())
    lines = [line for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]
    records = [json.loads(line) for line in lines]
    assert len(files) == 2 and len(records) > 80
    assert all(set(record) == {"text", "timestamp", "url"} for record in records)
    assert all(line[-1] in '.!?"' for record in records for line in record["text"].split("\n"))


def test_github_archives_hold_licences_and_sources(data: Path) -> None:
    archives = sorted((data / "corpus/github").glob("*.tar.gz"))
    assert len(archives) >= 5
    for archive in archives:
        with tarfile.open(archive) as tree:
            names = tree.getnames()
        root = archive.name.removesuffix(".tar.gz")
        assert all(name.startswith(f"{root}/") for name in names)
        assert any("licen" in name.lower() or "copying" in name.lower() for name in names)
        assert any(name.endswith((".py", ".pyi")) for name in names), archive.name


def test_wikipedia_is_read_by_mwxml(data: Path) -> None:
    import mwxml

    folder = data / "corpus/wikipedia"
    with bz2.open(folder / "enwiki-sample-pages-articles.xml.bz2") as stream:
        dump = mwxml.Dump.from_file(stream)
        assert dump.site_info.dbname == "enwiki"
        pages = [(page.namespace, page.redirect, next(iter(page)).text) for page in dump]
    articles = [text for space, redirect, text in pages if space == 0 and redirect is None]
    assert len(articles) > 50
    assert sum(redirect is not None for _, redirect, _ in pages) == 1
    assert sum("{{disambiguation}}" in text for text in articles) == 1
    assert sum("<ref>{{cite web" in text and "[[" in text for text in articles) > 50
    with bz2.open(folder / "eswiki-sample-pages-articles.xml.bz2") as stream:
        dump = mwxml.Dump.from_file(stream)
        assert dump.site_info.dbname == "eswiki" and len(list(dump)) == 5


def test_books_stand_between_markers(data: Path) -> None:
    for book in sorted((data / "corpus/books").iterdir()):
        text = book.read_text(encoding="utf-8")
        start = text.index("*** START OF THE PROJECT GUTENBERG EBOOK")
        end = text.index("*** END OF THE PROJECT GUTENBERG EBOOK")
        assert end - start > 10_000, book.name


def test_two_editions_are_nearly_the_same(data: Path) -> None:
    first, second = (
        set(
            (data / f"corpus/books/pg{number}.txt")
            .read_text()
            .split("*** START")[1]
            .split("*** END")[0]
            .splitlines()
        )
        for number in (90001, 90003)
    )
    assert first != second
    assert len(first & second) / len(first | second) > 0.9


def test_arxiv_members_are_gzip_of_tex_gzip_of_tar_and_pdf(data: Path) -> None:
    kinds = {"tex": 0, "tar": 0, "pdf": 0}
    with tarfile.open(data / "corpus/arxiv/arXiv_src_2207_001.tar") as bulk:
        for member in bulk.getmembers():
            stream = bulk.extractfile(member)
            assert stream is not None
            payload = stream.read()
            if member.name.endswith(".pdf"):
                assert payload.startswith(b"%PDF-")
                kinds["pdf"] += 1
                continue
            text = gzip.decompress(payload)
            if text.startswith(b"\\documentclass"):
                kinds["tex"] += 1
                assert text.count(b"\\section{") >= 5 and b"\\newcommand" in text
                assert text.count(b"\\begin{itemize}") == text.count(b"\\end{itemize}")
            else:
                kinds["tar"] += 1
    assert kinds["pdf"] == 1 and kinds["tex"] >= 3 and kinds["tar"] >= 1


def test_stackexchange_is_read_by_lxml(data: Path) -> None:
    from lxml import etree

    sites = sorted((data / "corpus/stackexchange").iterdir())
    assert len(sites) == 2
    for site in sites:
        rows = etree.parse(str(site / "Posts.xml"), etree.XMLParser(resolve_entities=False))
        posts = [dict(row.attrib) for row in rows.getroot()]
        questions = {post["Id"] for post in posts if post["PostTypeId"] == "1"}
        answers = [post for post in posts if post["PostTypeId"] == "2"]
        assert len(questions) > 20 and len(answers) > len(questions)
        assert all(post["ParentId"] in questions for post in answers)
        scores = {int(post["Score"]) for post in answers}
        assert {9, 10} & scores and min(scores) < 0


@pytest.mark.parametrize("source", SOURCES)
def test_our_readers_make_documents_of_it(data: Path, source: str) -> None:
    from tasks.corpus.funnel import Funnel
    from tasks.corpus.parameters import CorpusParameters

    reader = import_module(f"tasks.corpus.sources.{source}")
    files = sorted(
        path.relative_to(data).as_posix()
        for path in (data / "corpus" / source).rglob("*")
        if path.is_file()
    )
    funnel = Funnel(source)
    documents = list(reader.read(data, files, CorpusParameters(workers=1), funnel))
    wanted = {"books": 3, "arxiv": 3, "github": 10}.get(source, 40)
    assert len(documents) >= wanted
    assert funnel.bad_files == []
    assert len({document.id for document in documents}) == len(documents)
    if source == "commoncrawl":
        read = funnel.entries["language"]
        assert read.documents_out > 0.6 * read.documents_in
    if source == "github":
        assert any("LGPL" in reason for reason in funnel.entries["license"].rejected)


def test_every_benchmark_finds_its_items_and_shots(data: Path) -> None:
    from tasks.evaluation.benchmarks.registry import BENCHMARKS
    from tasks.evaluation.items import load_items

    for name, benchmark in BENCHMARKS.items():
        items = list(load_items(name, data / "bench"))
        assert len(items) >= 20, name
        assert len({item.id for item in items}) == len(items), name
        shots_for = benchmark.shots_for(data / "bench", benchmark.shots)
        assert {len(shots_for(item)) for item in items} == {benchmark.shots}, name


@pytest.mark.slow
def test_default_size_is_quick_and_every_source_counts(tmp_path: Path) -> None:
    started = time.process_time()
    summary = make_sample(tmp_path / "data")
    assert time.process_time() - started < 20
    assert all(counts["characters"] >= 300_000 for counts in summary.sources.values())
    for source in ("commoncrawl", "c4", "wikipedia", "stackexchange"):
        assert summary.sources[source]["documents"] >= 100

"""The real dumps with damage in them: it is counted, and nothing else is lost."""

from __future__ import annotations

import gzip
import io
import itertools
import tarfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import py7zr
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.corpus.chain import check_chain
from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.rules.web import ExtractionRules
from tasks.corpus.sources import arxiv, c4, commoncrawl, stackexchange
from tasks.corpus.sources.pages import pages
from tests.tasks.corpus.test_github_archives import CHANGES, changed

pytestmark = pytest.mark.data
SLOW = 20  # seconds of the processor that no example may take
LARGEST = 300_000  # bytes of a seed as it is read
Change = tuple[str, float, int, int]
FUZZ = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def read(source: ModuleType, folder: Path, name: str, data: bytes) -> tuple[list[Document], Funnel]:
    """What a file gives; everything that is counted adds up, in bounded time."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    funnel = Funnel(source.__name__.rpartition(".")[2])
    parameters = CorpusParameters(workers=1, minimum_characters=1, language_threshold=0.0)
    began = time.process_time()
    documents = list(source.read(folder, [name], parameters, funnel))
    assert time.process_time() - began < SLOW
    check_chain(funnel.rows(), {"documents": len(documents)})
    for document in documents:
        document.text.encode()
        assert document.meta["file"] == name
    assert all(bad["path"] == name and bad["offset"] >= 0 for bad in funnel.bad_files)
    return documents, funnel


def members_of(data: bytes) -> list[bytes]:
    """The gzip members of a file, each as it is packed."""
    found, at = [], 0
    while at < len(data):
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
        unpacking.decompress(data[at:])
        end = len(data) - len(unpacking.unused_data)
        found.append(data[at:end])
        at = end
    return found


@lru_cache(maxsize=1)
def crawls(folder: Path) -> list[tuple[str, list[bytes]]]:
    """Name and records, packed one by one, of each whole crawl file; the first of large ones."""
    found = []
    for name in (
        "aut-example.arc.gz", "aut-example.warc.gz", "dolma-sample-0000.warc.gz",
        "resiliparse-clueweb-quirk.warc.gz", "resiliparse-warcfile.excerpt.warc.gz",
        "warcio-example.warc.gz", "warcio-post-test.warc.gz", "whirlwind.warc.gz",
        "whirlwind.warc.wet.gz",
    ):  # fmt: skip
        parts = members_of((folder / name).read_bytes())
        sizes = itertools.accumulate(map(len, parts))
        kept = [part for part, size in zip(parts, sizes, strict=True) if size < LARGEST]
        assert kept, name
        found.append((name, kept))
    return found


def pages_of(folder: Path, name: str, data: bytes) -> Counter[tuple[str, str, str]]:
    """Address, date and text of every page, before lines that repeat go."""
    (folder / name).write_bytes(data)
    found = pages(folder, [name], ExtractionRules(), Funnel("commoncrawl"))
    return Counter((page.uri, page.created, page.text) for page in found)


@settings(FUZZ, max_examples=40)
@given(st.data(), CHANGES)
def test_crawl_files(
    arriero_data: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject,
    changes: list[Change],
) -> None:  # fmt: skip
    name, parts = data.draw(st.sampled_from(crawls(arriero_data / "corpus/commoncrawl")))
    folder = tmp_path_factory.mktemp("crawl")
    read(commoncrawl, folder, name, changed(b"".join(parts), changes))
    plain = b"".join(map(gzip.decompress, parts))
    read(commoncrawl, folder, name.removesuffix(".gz"), changed(plain, changes))


@FUZZ
@given(st.data(), CHANGES)
def test_damage_inside_a_record_of_a_crawl_costs_no_other(
    arriero_data: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject,
    changes: list[Change],
) -> None:  # fmt: skip
    """Of the record as it is before it is packed: its headers, its codings, its page."""
    name, parts = data.draw(st.sampled_from(crawls(arriero_data / "corpus/commoncrawl")))
    victim = data.draw(st.integers(1 if ".arc" in name else 0, len(parts) - 1))
    damaged = gzip.compress(changed(gzip.decompress(parts[victim]), changes), mtime=0)
    folder = tmp_path_factory.mktemp("crawl")
    others = [*parts[:victim], *parts[victim + 1 :]]
    together = [*parts[:victim], damaged, *parts[victim + 1 :]]
    expected = pages_of(folder, name, b"".join(others))
    assert not expected - pages_of(folder, name, b"".join(together))


@lru_cache(maxsize=1)
def lines(folder: Path) -> list[bytes]:
    """C4's lines of all five files, none longer than most."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".jsonl"))
    assert len(files) == 5
    found = [line for path in files for line in path.read_bytes().splitlines(keepends=True)[:200]]
    return [line for line in found if len(line) < 20_000]


@FUZZ
@given(st.data(), CHANGES, st.booleans())
def test_c4_lines(
    arriero_data: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject,
    changes: list[Change], packed: bool,
) -> None:  # fmt: skip
    every = lines(arriero_data / "corpus/c4")
    first = data.draw(st.integers(0, len(every) - 8))
    chosen, victim = every[first : first + 8], data.draw(st.integers(0, 7))
    folder = tmp_path_factory.mktemp("c4")
    name = "a.json.gz" if packed else "a.json"
    pack: Callable[[bytes], bytes] = gzip.compress if packed else bytes
    read(c4, folder, name, changed(pack(b"".join(chosen)), changes))
    # A line of its own, whatever it holds, costs no other line.
    damaged = changed(chosen[victim], changes).replace(b"\r", b"").strip(b"\n") + b"\n"
    found, _ = read(
        c4, folder, name, pack(b"".join([*chosen[:victim], damaged, *chosen[victim + 1 :]]))
    )
    others, _ = read(c4, folder, name, pack(b"".join([*chosen[:victim], *chosen[victim + 1 :]])))
    texts = [document.text for document in found]
    assert len(others) > 4 and all(document.text in texts for document in others)


@lru_cache(maxsize=1)
def forums(folder: Path) -> list[list[bytes]]:
    """Lines of each site's Posts.xml: the head, 120 rows of its middle, the end."""
    found = []
    for path in sorted(folder.glob("*/Posts.xml")):
        rows = path.read_bytes().splitlines(keepends=True)
        middle = len(rows) // 2
        found.append([*rows[:60], *rows[middle : middle + 60], rows[-1]])
    assert len(found) == 4
    return found


def posts(rows: list[bytes], kind: str) -> bytes:
    if kind == "xml":
        return b"".join(rows)
    packed = io.BytesIO()
    with py7zr.SevenZipFile(packed, "w", filters=[{"id": py7zr.FILTER_LZMA2, "preset": 0}]) as made:
        made.writestr(b"".join(rows), "Posts.xml")
    return packed.getvalue()


@pytest.mark.parametrize("kind", ["xml", "7z"])
def test_forums(arriero_data: Path, tmp_path: Path, kind: str) -> None:
    sites = forums(arriero_data / "corpus/stackexchange")
    name = "a.stackexchange.com/Posts.xml" if kind == "xml" else "a.stackexchange.com.7z"

    @settings(FUZZ, max_examples=80 if kind == "xml" else 30)
    @given(st.sampled_from(range(4)), CHANGES, st.integers(2, 119), CHANGES)
    def check(site: int, inner: list[Change], victim: int, outer: list[Change]) -> None:
        rows = list(sites[site])
        read(stackexchange, tmp_path, name, changed(posts(rows, kind), outer))
        # A row of its own costs no other: every question but its own is there.
        whole, _ = read(stackexchange, tmp_path, name, posts(rows, kind))
        damaged = changed(rows[victim], inner).replace(b"\n", b" ").replace(b"\r", b" ")
        rows[victim] = damaged + b"\n"
        found, _ = read(stackexchange, tmp_path, name, posts(rows, kind))
        assert len(found) >= len(whole) - 2

    check()


@lru_cache(maxsize=1)
def papers(archive: Path) -> list[tuple[str, bytes]]:
    """Name and packed paper of every member of the bulk archive."""
    with tarfile.open(archive) as bulk:
        files = [member for member in bulk if member.isfile()]
        found = [(member.name, bulk.extractfile(member)) for member in files]
        return [(name, packed.read()) for name, packed in found if packed is not None]


def bulk_of(members: list[tuple[str, bytes]]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as bulk:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            bulk.addfile(info, io.BytesIO(data))
    return made.getvalue()


@FUZZ
@given(st.data(), CHANGES, st.sampled_from(["archive", "packed", "unpacked"]))
def test_papers(
    arriero_data: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject,
    changes: list[Change], where: str,
) -> None:  # fmt: skip
    """Damage to the archive, to a paper's gzip, to the tar or the LaTeX in it."""
    every = papers(arriero_data / "corpus/arxiv/derived/open_src_001.tar")
    small = [member for member in every if len(member[1]) < 40_000]
    assert len(small) > 3
    chosen = data.draw(st.lists(st.sampled_from(small), min_size=2, max_size=3, unique=True))
    folder = tmp_path_factory.mktemp("arxiv")
    if where == "archive":
        read(arxiv, folder, "a.tar", changed(bulk_of(chosen), changes))
        return
    name, packed = chosen[0]
    damaged = changed(packed, changes) if where == "packed" else changed_inside(packed, changes)
    found, _ = read(arxiv, folder, "a.tar", bulk_of([(name, damaged), *chosen[1:]]))
    others, _ = read(arxiv, folder, "a.tar", bulk_of(chosen[1:]))
    texts = [document.text for document in found]
    assert all(document.text in texts for document in others)


def changed_inside(packed: bytes, changes: list[Change]) -> bytes:
    unpacked = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
    return gzip.compress(changed(unpacked, changes), 1, mtime=0)


@FUZZ
@given(st.data(), CHANGES, CHANGES)
def test_folders_of_papers(
    arriero_data: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject,
    changes: list[Change], others: list[Change],
) -> None:  # fmt: skip
    """Loose files of which one is damaged, and a package made of another's preamble."""
    root = arriero_data / "corpus/arxiv/open/ethereum-research"
    source = data.draw(st.sampled_from(sorted(path for path in root.iterdir() if path.is_dir())))
    folder = tmp_path_factory.mktemp("folder")
    names = sorted(path.name for path in source.glob("*.tex"))
    victim = data.draw(st.sampled_from(names))
    for name in names:
        whole = (source / name).read_bytes()
        written = changed(whole, changes) if name == victim else whole
        (folder / name).write_bytes(
            written.replace(b"\\begin{document}", b"\\usepackage{own}\n\\begin{document}")
        )
    preamble = (source / victim).read_bytes().partition(b"\\begin{document}")[0]
    (folder / "own.sty").write_bytes(changed(preamble, others))
    files = [*names, "own.sty"]
    funnel = Funnel("arxiv")
    began = time.process_time()
    documents = list(arxiv.read(folder, files, CorpusParameters(workers=1), funnel))
    assert time.process_time() - began < SLOW
    check_chain(funnel.rows(), {"documents": len(documents)})
    for document in documents:
        document.text.encode()

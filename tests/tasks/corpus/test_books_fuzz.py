"""Real books with noise and damage in them, in frames of our own, plain and packed."""

from __future__ import annotations

import gzip
import io
import re
import time
import zipfile
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.corpus.chain import check_chain
from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import books
from tasks.corpus.sources.book_files import UnknownEncodingError, decode
from tasks.corpus.sources.gutenberg import unframed
from tests.tasks.corpus.test_github_archives import CHANGES, changed

pytestmark = pytest.mark.data
SLOW = 20  # seconds of the processor that no example may take
LONGEST = 60_000  # bytes of a book's start and of its end
PIECES = [
    "\n", "\n\n", "\n\n\n\n", "\r\n", "\r", "\x1a", "\0", "\ufeff", "é", "\u2028", "***", "* * *",
    "\n*** START OF THIS PROJECT GUTENBERG EBOOK A ***\n", "\n*** START OF THE PROJECT GUTENBERG",
    "\n*** END OF THE PROJECT GUTENBERG EBOOK A ***\n", "\nEnd of Project Gutenberg's A\n",
    "\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*\n", "\nProduced by A. Person\n\n",
    "\n\n[Transcriber's Note: a word", "]", "\n\n\n\nTranscriber's Notes\n\n",
    "Projekt Gutenberg-DE",
    "\nTitle: A\n", "Character set encoding: ISO-8859-2\n", "Character set encoding: no such\n",
    "\nThe Project Gutenberg EBook of A\n", "\nFin du Projet Gutenberg\n", "[Illustration]",
    "This is a COPYRIGHTED Project Gutenberg eBook", "<html>", "%PDF-", "\n\n\n\n+----+\n",
]  # fmt: skip
NOISE = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(PIECES), st.sampled_from([0, 0, 1, 99, 5000])),
    max_size=8,
)
HEAD = (
    "The Project Gutenberg EBook of A Tale, by A. Person\n\nSENTINEL of the header.\n\n"
    "Title: A Tale\n\n*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***\n\n\n"
)
TAIL = (
    "\n\n\n*** END OF THE PROJECT GUTENBERG EBOOK A TALE ***\n\n"
    "SENTINEL of the licence of Project Gutenberg.\n" + "Words of a licence, many of them.\n" * 500
)
MARKER = re.compile(r"^\*\*\* ?(?:START|END) OF TH", re.MULTILINE)


@lru_cache(maxsize=1)
def seeds(folder: Path) -> list[bytes]:
    """Starts and ends of the books, where the frames are."""
    files = sorted(path for path in folder.rglob("*.txt") if path.is_file())
    assert len(files) > 20
    data = [path.read_bytes() for path in files]
    return [part for whole in data for part in (whole[:LONGEST], whole[-LONGEST:])]


def noisy(text: str, noise: list[tuple[float, str, int]]) -> str:
    """The text with pieces thrown in, most of them near its ends, and as much taken out."""
    for where, piece, gone in noise:
        share = 4 * (where - 0.5) ** 3 + 0.5
        at = int(share * len(text))
        text = text[:at] + piece + text[at + gone :]
    return text


def text_of(data: bytes) -> str:
    try:
        return decode(data)[0]
    except UnknownEncodingError:
        return data.decode("latin-1")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), NOISE)
def test_a_book_in_a_frame_comes_out_without_it(
    arriero_data: Path, data: st.DataObject, noise: list[tuple[float, str, int]]
) -> None:
    seed = data.draw(st.sampled_from(seeds(arriero_data / "corpus/books")))
    inside = noisy(text_of(seed), noise)
    began = time.process_time()
    found = unframed(HEAD + inside + TAIL)
    assert "SENTINEL" not in found.text
    assert found.text in inside and found.header["Title"] == "A Tale"
    alone = unframed(inside)
    assert alone.text in inside
    assert time.process_time() - began < SLOW


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), NOISE, CHANGES)
def test_bytes_of_a_book_are_text_or_refused(
    arriero_data: Path,
    data: st.DataObject,
    noise: list[tuple[float, str, int]],
    changes: list[tuple[str, float, int, int]],
) -> None:
    seed = data.draw(st.sampled_from(seeds(arriero_data / "corpus/books")))
    codec = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-16-be"]))
    raw = changed(noisy(text_of(seed), noise).encode(codec, "replace"), changes)
    began = time.process_time()
    try:
        text, encoding = decode(raw)
    except UnknownEncodingError:
        return
    assert "\r" not in text and encoding
    text.encode()
    assert time.process_time() - began < SLOW


def read(folder: Path, name: str, data: bytes) -> list[Document]:
    (folder / name).write_bytes(data)
    funnel = Funnel("books")
    began = time.process_time()
    documents = list(books.read(folder, [name], CorpusParameters(), funnel))
    assert time.process_time() - began < SLOW
    check_chain(funnel.rows(), {"documents": len(documents)})
    for document in documents:
        document.text.encode()
    return documents


def packed(name: str, parts: list[bytes]) -> bytes:
    if name.endswith(".zip"):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, part in enumerate(parts):
                archive.writestr(f"books/{number}.txt", part)
        return made.getvalue()
    return gzip.compress(parts[0], mtime=0) if name.endswith(".gz") else parts[0]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.zip"])
def test_files_of_real_books_with_damage(arriero_data: Path, tmp_path: Path, name: str) -> None:
    folder = arriero_data / "corpus/books"

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.sampled_from(seeds(folder)), min_size=1, max_size=3), NOISE, CHANGES)
    def check(
        parts: list[bytes],
        noise: list[tuple[float, str, int]],
        changes: list[tuple[str, float, int, int]],
    ) -> None:
        noised = [noisy(text_of(part), noise).encode("utf-8", "replace") for part in parts]
        whole = packed(name, noised)
        read(tmp_path, name, whole)
        read(tmp_path, name, changed(whole, changes))

    check()


def test_no_real_book_keeps_a_marker_of_its_frame(arriero_data: Path) -> None:
    found = 0
    for path in sorted((arriero_data / "corpus/books").rglob("*.txt")):
        text = text_of(path.read_bytes())
        framed = unframed(text)
        found += bool(framed.header)
        assert framed.text in text and not MARKER.search(framed.text), path.name
    assert found > 20

"""Stack Exchange: Posts.xml, plain or inside the dump's .7z, to "Q: ... A: ..." documents.

Only the largest sites by questions and answers are read (paper section 2.1): every shard counts
its sites (`survey`), all counts together decide (`decide`). Answers stand by their score as a
number, highest first. A record's place is the number of its row in Posts.xml, or of its line in a
file of ready records, from 1; 0 is the archive as a whole.

A site's posts are sorted in a database in the temporary folder (TMPDIR). It is as large as their
text, nearly that of Posts.xml unpacked, and gone after the site, whatever ends its reading.
"""

from __future__ import annotations

import json
import posixpath
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tasks.context import atomic_write_json
from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.language import identify
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources.posts_archive import site_of, stream_posts
from tasks.corpus.sources.posts_html import html_to_text
from tasks.corpus.sources.posts_xml import Damage, PostsReader, Row, value
from tasks.corpus.sources.records import json_records
from tasks.corpus.sources.threads import Post, Thread, ThreadStore
from tasks.corpus.storable import encodable

MAX_INTEGER = 2**63 - 1  # what SQLite holds
# A post of more characters is none; Stack Exchange itself allows 30,000.
MAX_BODY = 5_000_000
MAX_RECORD_BYTES = 64_000_000
COUNTS = "sites.json"
DECIDED = "files.json"
_QUESTION, _ANSWER = b'PostTypeId="1"', b'PostTypeId="2"'
_SPACES = re.compile(r"\s+")
_READY = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


def units(files: Sequence[str]) -> list[list[str]]:
    """A site's folder of tables is one unit; an archive or a file of ready records is its own."""
    found: dict[str, list[str]] = {}
    for name in files:
        alone = not name.lower().endswith(".xml")
        found.setdefault(name if alone else posixpath.dirname(name), []).append(name)
    return list(found.values())


def survey(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel, out: Path
) -> None:
    """Count the questions and answers of the shard's sites, before any rule."""
    atomic_write_json(out / COUNTS, _counts(root, files, funnel))


def decide(surveys: Sequence[Path], parameters: CorpusParameters, out: Path) -> None:
    """Name the files to read, one for each of the largest sites, and why others are not."""
    rows = [row for folder in surveys for row in json.loads((folder / COUNTS).read_text("utf-8"))]
    atomic_write_json(out / DECIDED, _reasons(rows, parameters.stackexchange_sites))


def read(
    root: Path,
    files: Sequence[str],
    parameters: CorpusParameters,
    funnel: Funnel,
    *,
    decided: Path | None = None,
    surveyed: Path | None = None,
) -> Iterator[Document]:
    """Questions with their answers of the largest sites, in the order of files and question ids.

    Without ``decided`` the largest of the sites in ``files`` are taken.
    """
    funnel.declare("site", "post", "thread")
    if decided is None:
        reasons = _reasons(_counts(root, files, funnel.child()), parameters.stackexchange_sites)
    else:
        reasons = json.loads((decided / DECIDED).read_text("utf-8"))
    with tempfile.TemporaryDirectory(prefix="stackexchange-") as scratch:
        for name in files:
            site = site_of(name)
            if site is None and name.lower().endswith(_READY):
                yield from _ready_documents(root / name, name, funnel)
            elif not funnel.at(name, 0):
                continue
            elif site is None:
                funnel.reject("read", "file without posts", "", name)  # Users, Votes ...
            elif reasons.get(name):
                funnel.keep("read", "")  # the whole site is one record: its posts are not read
                funnel.reject("site", reasons[name], "", site)
            else:
                with ThreadStore(Path(scratch) / "posts.sqlite") as store:
                    yield from _site_documents(site, root / name, name, store, funnel)


def _counts(root: Path, files: Sequence[str], funnel: Funnel) -> list[dict[str, str | int]]:
    """One row per file that holds a site's posts."""
    rows: list[dict[str, str | int]] = []
    for name in files:
        site = site_of(name)
        if site is not None and funnel.at(name, 0):
            posts = _count_posts(root / name, name, funnel)
            rows.append({"site": site, "file": name, "posts": posts})
    return rows


def _count_posts(path: Path, name: str, funnel: Funnel) -> int:
    """Questions and answers of a file: how the dumps write them, counted without parsing."""
    count = 0
    rest = b""

    def take(piece: bytes) -> None:
        nonlocal count, rest
        funnel.between()
        piece = rest + piece
        count += piece.count(_QUESTION) + piece.count(_ANSWER)
        rest = piece[-len(_QUESTION) + 1 :]

    stream_posts(path, name, funnel, take)
    return count or _parse_and_count(path, name, funnel)


def _parse_and_count(path: Path, name: str, funnel: Funnel) -> int:
    """As `_count_posts`, for another encoding, or another way of writing the same XML."""
    reader = PostsReader()
    count = 0

    def take(piece: bytes) -> None:
        nonlocal count
        funnel.between()
        for row in reader.feed(piece):
            count += not isinstance(row, Damage) and row.get(b"PostTypeId") in (b"1", b"2")

    try:
        stream_posts(path, name, funnel, take)
        for row in reader.finish():
            count += not isinstance(row, Damage) and row.get(b"PostTypeId") in (b"1", b"2")
    except LookupError:
        return 0  # counted where the file is read
    return count


def _reasons(rows: Sequence[dict[str, str | int]], limit: int) -> dict[str, str]:
    """Why each file is not read; "" of those that are."""
    best: dict[str, dict[str, str | int]] = {}
    for row in sorted(rows, key=lambda row: (-int(row["posts"]), str(row["file"]))):
        best.setdefault(str(row["site"]), row)
    ranked = sorted(best, key=lambda site: (-int(best[site]["posts"]), site))
    largest = {site: best[site]["file"] for site in ranked[:limit]}
    reasons = {}
    for row in rows:
        site, file = str(row["site"]), str(row["file"])
        if site not in largest:
            reasons[file] = "not among the largest sites"
        else:
            reasons[file] = "" if largest[site] == file else "another file holds the site"
    return reasons


def _site_documents(
    site: str, path: Path, name: str, store: ThreadStore, funnel: Funnel
) -> Iterator[Document]:
    _load(path, name, store, funnel)
    funnel.between()
    for thread in store.threads(funnel, name):
        if not funnel.at(name, thread.question.row):
            continue
        document = _document(site, name, thread)
        bodies = [thread.question.text, *(answer.text for answer in thread.answers)]
        funnel.join("thread", bodies, document.text)
        yield document


def _load(path: Path, name: str, store: ThreadStore, funnel: Funnel) -> None:
    """Bring a site's posts into ``store``; a damaged file gives what is whole."""
    reader = PostsReader()
    number = 0
    damaged = False

    def add(rows: Iterable[Row | Damage]) -> None:
        nonlocal number, damaged
        posts = []
        for row in rows:
            number += not isinstance(row, Damage) or row.row
            if not funnel.at(name, number):
                continue
            if not isinstance(row, Damage):
                post = _post(row, number, funnel)
                if post is not None:
                    posts.append(post)
            elif damaged:
                funnel.reject("read", row.reason)
            else:
                damaged = True
                funnel.bad_file(name, row.reason)
        for post in store.add(posts):
            funnel.at(name, post.row)
            funnel.reject("thread", "number of another post", post.text)
        funnel.between()

    try:
        whole = stream_posts(path, name, funnel, lambda piece: add(reader.feed(piece)))
        rest = reader.finish()
        # Damage at the end of a file that broke off is counted already.
        add(rest if whole else (row for row in rest if not isinstance(row, Damage)))
    except LookupError as error:
        funnel.bad_file(name, "unknown encoding", error)


def _post(row: Row, number: int, funnel: Funnel) -> Post | None:
    """A question or answer with its text; None, and the reason counted, when it is none."""
    try:
        body = value(row, b"Body")
        kind = row.get(b"PostTypeId")
        if kind not in (b"1", b"2"):
            funnel.reject("read", "neither question nor answer", body)
            return None
        parent = _integer(row, b"ParentId") if kind == b"2" else None
        identity, score = _integer(row, b"Id"), _integer(row, b"Score") or 0
        if identity is None or (kind == b"2" and parent is None):
            raise ValueError("a number is missing")
        title = _SPACES.sub(" ", value(row, b"Title")).strip()
        tags = value(row, b"Tags")
        created, license_name = value(row, b"CreationDate"), value(row, b"ContentLicense")
        accepted = _integer(row, b"AcceptedAnswerId") if kind == b"1" else None
    except ValueError:  # UnicodeDecodeError among them
        funnel.reject("read", "malformed row")
        return None
    if len(body) > MAX_BODY:
        funnel.reject("read", "post too long", body)
        return None
    funnel.keep("read", body)
    funnel.keep("site", body)
    text = encodable(html_to_text(body)).rstrip()
    if not text:
        funnel.reject("post", "empty body", body)
        return None
    funnel.keep("post", body, text)
    return Post(identity, parent, score, number, text, accepted, created, title, tags,
                license_name)  # fmt: skip


def _integer(row: Row, name: bytes) -> int | None:
    """An attribute's number, None when it is not there or empty.

    Raises:
        ValueError: it is no number, or one that SQLite cannot hold.
    """
    digits = row.get(name)
    if not digits:
        return None
    if len(digits) > 20:
        raise ValueError("beyond 64 bits")
    number = int(digits)
    if abs(number) > MAX_INTEGER:
        raise ValueError("beyond 64 bits")
    return number


def _document(site: str, name: str, thread: Thread) -> Document:
    question = thread.question
    answers = [answer.id for answer in thread.answers]
    text = f"Q: {question.title}\n\n{question.text}" if question.title else f"Q: {question.text}"
    text += "".join(f"\n\nA: {answer.text}" for answer in thread.answers)
    language, probability = identify(text)
    return Document(
        id=f"stackexchange:{site}:{question.id}",
        text=text,
        source="stackexchange",
        uri=f"https://{site}/questions/{question.id}",
        language=language,
        language_score=probability,
        created=question.created,
        license=question.license or "CC-BY-SA",
        meta={
            "site": site,
            "score": question.score,
            "tags": [tag for tag in re.split(r"[<>|]", question.tags) if tag],
            "answers": answers,
            "answer_scores": [answer.score for answer in thread.answers],
            "accepted": question.accepted if question.accepted in answers else None,
            "file": name,
            "offset": question.row,
        },
    )


def _ready_documents(path: Path, name: str, funnel: Funnel) -> Iterator[Document]:
    """Records that are already question-and-answer text: JSON lines with a ``text`` field."""
    stem = posixpath.basename(name).partition(".json")[0]
    for number, record in json_records(path, name, funnel, MAX_RECORD_BYTES):
        text = record.get("text")
        if not isinstance(text, str) or not text.strip():
            funnel.reject("read", "malformed record")
            continue
        raw, text = text, encodable(text).strip()
        funnel.keep("read", raw)
        funnel.keep("site", raw)
        funnel.keep("post", raw, text)
        funnel.keep("thread", text)  # posts joined by whoever made the file
        language, score = identify(text)
        meta = record.get("meta")
        url = meta.get("url") if isinstance(meta, dict) else None
        yield Document(
            id=f"stackexchange:{stem}:{number}",
            text=text,
            source="stackexchange",
            uri=url if isinstance(url, str) else f"{name}#{number}",
            language=language,
            language_score=score,
            license="CC-BY-SA",
            meta={"file": name, "offset": number},
        )

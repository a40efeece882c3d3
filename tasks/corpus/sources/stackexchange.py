"""Stack Exchange: Posts.xml, plain or inside the dump's .7z, to "Q: ... A: ..." documents.

Answers stand by their score as a number, highest first (paper section 2.1). Posts are collected
in a temporary SQLite file per site, so memory does not grow with a site.
"""

from __future__ import annotations

import json
import lzma
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.corpus.documents import Document, Funnel
from tasks.corpus.language import identify
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.storable import encodable

# A dump packs about 5:1; more than this is not a dump.
MAX_UNPACK_RATIO = 100
MAX_INTEGER = 2**63 - 1  # what SQLite holds
MAX_UNPACKED = 500_000_000_000
_POST = re.compile(rb'PostTypeId="[12]"')
_SITE_FILE = re.compile(r"^(?P<site>[a-z0-9.-]+?)(?:-Posts)?\.7z$", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n{3,}")
_SPACES = re.compile(r"[ \t\r\n\f]+")
_BLOCK_NAMES = "p div blockquote ul ol h1 h2 h3 h4 h5 h6 table tr hr dl dt dd details summary"
_BLOCKS = frozenset(_BLOCK_NAMES.split())


def read(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    """Questions with their answers of the largest sites, sites by name, questions by id."""
    funnel.declare("site", "post", "thread")
    with tempfile.TemporaryDirectory(prefix="stackexchange-") as scratch:
        posts, flat = _posts_files(root, files, Path(scratch), funnel)
        for site, path, name in _largest(posts, parameters.stackexchange_sites, funnel):
            yield from _site_documents(site, path, name, Path(scratch), funnel)
        for name in flat:
            yield from _ready_documents(root / name, name, funnel)


def _posts_files(
    root: Path, files: Sequence[str], scratch: Path, funnel: Funnel
) -> tuple[list[tuple[str, Path, str]], list[str]]:
    """(site, Posts.xml, name) of each site, archives unpacked; and the files of ready records."""
    posts, flat = [], []
    for name in files:
        path = root / name
        if path.stat().st_size == 0:
            funnel.bad_file(name, "empty file")
        elif path.name == "Posts.xml":
            posts.append((path.parent.name, path, name))
        elif (match := _SITE_FILE.match(path.name)) and not path.name.endswith("-Comments.7z"):
            unpacked = _unpack(path, name, scratch / f"{len(posts)}", funnel)
            if unpacked is not None:
                posts.append((match["site"].lower(), unpacked, name))
        elif path.suffix in (".jsonl", ".json"):
            flat.append(name)
        else:
            funnel.reject("read", "file without posts")  # Users, Votes ...: parts of every dump
    return sorted(posts), flat


def _unpack(path: Path, name: str, folder: Path, funnel: Funnel) -> Path | None:
    """Posts.xml of a .7z archive, unpacked into ``folder`` by that name alone."""
    import py7zr

    try:
        with py7zr.SevenZipFile(path) as archive:
            if archive.needs_password():
                funnel.bad_file(name, "archive with a password")
                return None
            sizes = {item.filename: item.uncompressed for item in archive.list()}
            size = sizes.get("Posts.xml")
            if size is None:
                funnel.bad_file(name, "archive without Posts.xml")
                return None
            if size > MAX_UNPACKED or size > MAX_UNPACK_RATIO * path.stat().st_size:
                funnel.bad_file(name, "archive unpacks too large")
                return None
            folder.mkdir()
            archive.extract(path=folder, targets=["Posts.xml"])
    except (py7zr.exceptions.ArchiveError, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        funnel.bad_file(name, "corrupt archive", error)
        return None
    unpacked = folder / "Posts.xml"
    if unpacked.is_symlink() or not unpacked.is_file():
        funnel.bad_file(name, "Posts.xml of the archive is no file")
        return None
    return unpacked


def _largest(
    posts: list[tuple[str, Path, str]], limit: int, funnel: Funnel
) -> list[tuple[str, Path, str]]:
    """The ``limit`` sites with most questions and answers, by name again."""
    if len(posts) <= limit:
        return posts
    ranked = sorted(posts, key=lambda item: (-_count_posts(item[1]), item[0]))
    for site, _, _ in ranked[limit:]:
        funnel.keep("read", "")  # the whole site is one record: its posts are not read
        funnel.reject("site", "not among the largest sites", "", site)
    return sorted(ranked[:limit])


def _count_posts(path: Path) -> int:
    with path.open("rb") as handle:
        return sum(len(_POST.findall(line)) for line in handle)


def _site_documents(
    site: str, path: Path, name: str, scratch: Path, funnel: Funnel
) -> Iterator[Document]:
    database = scratch / f"{site}.sqlite"
    connection = sqlite3.connect(database)
    try:
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(
            "CREATE TABLE post (id INTEGER, parent INTEGER, score INTEGER, created TEXT,"
            " title TEXT, tags TEXT, license TEXT, body TEXT)"
        )
        connection.executemany(
            "INSERT INTO post VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _posts(path, name, funnel)
        )
        connection.execute("CREATE INDEX answers ON post (parent, score)")
        questions = connection.execute("SELECT * FROM post WHERE parent IS NULL ORDER BY id, rowid")
        previous = None
        for question in questions:
            if question[0] == previous:  # the first one has the answers
                funnel.reject("thread", "number of another question", question[-1])
                continue
            previous = question[0]
            answers = connection.execute(
                "SELECT id, score, body FROM post WHERE parent = ? ORDER BY score DESC, id",
                (question[0],),
            ).fetchall()
            document = _document(site, question, answers)
            bodies = [question[-1], *(body for _, _, body in answers)]
            funnel.join("thread", bodies, document.text)
            yield document
        orphans = connection.execute(
            "SELECT body FROM post WHERE parent IS NOT NULL AND parent NOT IN"
            " (SELECT id FROM post WHERE parent IS NULL) ORDER BY id"
        )
        for (body,) in orphans:
            funnel.reject("thread", "answer without question", body)
    finally:
        connection.close()
        database.unlink(missing_ok=True)


def _document(
    site: str, question: tuple[Any, ...], answers: list[tuple[int, int, str]]
) -> Document:
    identity, _, score, created, title, tags, license_name, body = question
    text = f"Q: {title}\n\n{body}" if title else f"Q: {body}"
    text += "".join(f"\n\nA: {answer}" for _, _, answer in answers)
    language, probability = identify(text)
    return Document(
        id=f"stackexchange:{site}:{identity}",
        text=text,
        source="stackexchange",
        uri=f"https://{site}/questions/{identity}",
        language=language,
        language_score=probability,
        created=created,
        license=license_name or "CC-BY-SA",
        meta={
            "site": site,
            "score": score,
            "tags": [tag for tag in re.split(r"[<>|]", tags) if tag],
            "answers": [answer for answer, _, _ in answers],
            "answer_scores": [points for _, points, _ in answers],
        },
    )


def _posts(path: Path, name: str, funnel: Funnel) -> Iterator[tuple[Any, ...]]:
    """Rows of questions and answers; a damaged file gives what stands before the damage."""
    from lxml import etree

    try:
        events = etree.iterparse(
            str(path),
            events=("end",),
            tag="row",
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
        )
        for _, row in events:
            post = _post(dict(row.attrib), funnel)
            parent = row.getparent()
            row.clear()
            while parent is not None and row.getprevious() is not None:
                del parent[0]
            if post is not None:
                yield post
    except (etree.XMLSyntaxError, OSError) as error:
        funnel.bad_file(name, "malformed XML", error)


def _post(row: dict[str, str], funnel: Funnel) -> tuple[Any, ...] | None:
    body = row.get("Body", "")
    kind = row.get("PostTypeId")
    if kind not in ("1", "2"):
        funnel.reject("read", "neither question nor answer", body)
        return None
    parent = row.get("ParentId")
    try:
        identity, score = int(row["Id"]), int(row.get("Score", "0"))
        parent_id = int(parent) if kind == "2" and parent else None
        if any(abs(number or 0) > MAX_INTEGER for number in (identity, score, parent_id)):
            raise ValueError("beyond 64 bits")
    except (KeyError, ValueError):
        funnel.reject("read", "malformed row", body)
        return None
    if kind == "2" and parent_id is None:
        funnel.reject("read", "malformed row", body)
        return None
    funnel.keep("read", body)
    funnel.keep("site", body)
    text = html_to_text(body)
    if not text:
        funnel.reject("post", "empty body", body)
        return None
    funnel.keep("post", body, text)
    title = _SPACES.sub(" ", row.get("Title", "")).strip()
    created, tags = row.get("CreationDate", ""), row.get("Tags", "")
    return (
        identity, parent_id, score, created, title, tags, row.get("ContentLicense", ""), text,
    )  # fmt: skip


def html_to_text(html: str) -> str:
    """Text of a post: paragraphs, lists as "* item" / "1. item", code blocks as they stand."""
    from selectolax.lexbor import LexborHTMLParser

    body = LexborHTMLParser(html).body
    if body is None:
        return ""
    parts: list[str] = []
    _render(body, parts, preformatted=False, depth=0)
    lines = [line.rstrip() for line in "".join(parts).split("\n")]
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _render(node: Any, parts: list[str], *, preformatted: bool, depth: int) -> None:
    number = 0
    child = node.child
    while child is not None:
        tag = child.tag
        if tag == "-text":
            text = child.text_content or ""
            if not preformatted:
                text = _SPACES.sub(" ", text)
                if not parts or parts[-1].endswith("\n"):
                    text = text.lstrip(" ")
            parts.append(text)
        elif tag == "br":
            parts.append("\n")
        elif tag == "img":
            parts.append(child.attributes.get("alt") or "")
        elif tag not in ("script", "style", "-comment") and depth < 200:
            before, after = "", ""
            if tag == "li":
                number += 1
                before = "\n* " if node.tag != "ol" else f"\n{number}. "
            elif tag == "pre":
                before, after = "\n\n", "\n\n"
            elif tag in _BLOCKS:
                # A paragraph opening a list item stays on the item's line.
                opens_item = node.tag == "li" and bool(parts) and parts[-1].startswith("\n")
                before, after = "" if opens_item else "\n\n", "\n\n"
            if before:
                parts.append(before)
            _render(child, parts, preformatted=preformatted or tag == "pre", depth=depth + 1)
            if after:
                parts.append(after)
        child = child.next


def _ready_documents(path: Path, name: str, funnel: Funnel) -> Iterator[Document]:
    """Records that are already question-and-answer text: JSON lines with a ``text`` field."""
    with path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            text = record.get("text") if isinstance(record, dict) else None
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
                id=f"stackexchange:{Path(name).stem}:{number}",
                text=text,
                source="stackexchange",
                uri=url if isinstance(url, str) else f"{name}#{number}",
                language=language,
                language_score=score,
                license="CC-BY-SA",
                meta={"file": name},
            )

"""Posts of one site brought to threads: a question and its answers, best first.

Posts lie in a temporary SQLite file, which sorts on disk, so memory does not grow with a site.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tasks.corpus.funnel import Funnel

# A page of more characters loses its worst answers; counted.
MAX_THREAD_CHARACTERS = 20_000_000


@dataclass
class Post:
    """A question or an answer. row: its number in the file, from 1. parent: None of a question."""

    id: int
    parent: int | None
    score: int
    row: int
    text: str
    accepted: int | None = None
    created: str = ""
    title: str = ""
    tags: str = ""
    license: str = ""


@dataclass
class Thread:
    """A question and its answers by score, the highest first; equal scores by id."""

    question: Post
    answers: list[Post] = field(default_factory=list)


class ThreadStore:
    """Holds one site's posts in ``path``; a context manager that takes the file away again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(path)
        self._connection.execute("PRAGMA journal_mode=OFF")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.execute("PRAGMA cache_size=-8192")
        self._connection.execute(
            "CREATE TABLE post (id INTEGER PRIMARY KEY, thread INTEGER, answer INTEGER,"
            " score INTEGER, row INTEGER, accepted INTEGER, created TEXT, title TEXT, tags TEXT,"
            " license TEXT, text TEXT)"
        )

    def add(self, posts: Sequence[Post]) -> list[Post]:
        """Add posts; returns those whose number another post has already, which stays."""
        before = self._connection.total_changes
        self._connection.executemany(
            "INSERT OR IGNORE INTO post VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (post.id, post.id if post.parent is None else post.parent,
                 int(post.parent is not None), post.score, post.row, post.accepted, post.created,
                 post.title, post.tags, post.license, post.text)
                for post in posts
            ),
        )  # fmt: skip
        if self._connection.total_changes - before == len(posts):
            return []
        find = "SELECT row FROM post WHERE id = ?"
        return [p for p in posts if self._connection.execute(find, (p.id,)).fetchone()[0] != p.row]

    def threads(self, funnel: Funnel, name: str) -> Iterator[Thread]:
        """Threads by the question's number; answers that belong to none are counted."""
        self._connection.execute("CREATE INDEX thread ON post (thread, answer, score DESC, id)")
        rows = self._connection.execute(
            "SELECT id, CASE answer WHEN 1 THEN thread END, score, row, text, accepted, created,"
            " title, tags, license FROM post ORDER BY thread, answer, score DESC, id"
        )
        thread: Thread | None = None
        size = 0
        for row in rows:
            post = Post(*row)
            if post.parent is None:
                if thread is not None:
                    yield thread
                thread, size = Thread(post), len(post.text)
                continue
            size += len(post.text)
            if thread is None or thread.question.id != post.parent:
                reason = "answer without question"
            elif size > MAX_THREAD_CHARACTERS:
                reason = "page too long"
            else:
                thread.answers.append(post)
                continue
            funnel.at(name, post.row)
            funnel.reject("thread", reason, post.text)
        if thread is not None:
            yield thread

    def __enter__(self) -> ThreadStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()
        self._path.unlink(missing_ok=True)

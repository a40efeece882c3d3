"""Books sample: plain text in the form of Project Gutenberg, with its START and END markers.

The books are the language reference of Python by topic, the library in volumes, and a collection
of licences. The first exists in two editions that differ in their headers and a few words: the
book-level deduplication has one pair to find.
"""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from pydoc_data.topics import topics

from tasks.sample.archives import SourceReport, write_text
from tasks.sample.environment import STANDARD_LIBRARY, Environment
from tasks.sample.prose import is_prose, plain, prose

WIDTH = 72
REFERENCE_SHARE, LICENCE_SHARE = 0.35, 0.2  # of the characters; the rest is the library
VOLUME = 160_000  # characters of one volume
HEADER = """\
The Project Gutenberg eBook of {title}

This is a sample in the form of a Project Gutenberg text, made on this
machine from documentation that came with Python. It is no publication
of Project Gutenberg.

Title: {title}

Author: {author}

Release Date: July 1, 2022 [eBook #{number}]

Language: English

Character set encoding: UTF-8

*** START OF THE PROJECT GUTENBERG EBOOK {shout} ***




{shout}

by {author}


"""
FOOTER = """



*** END OF THE PROJECT GUTENBERG EBOOK {shout} ***

Updated editions will replace the previous one. This line stands for the
licence text that follows here in real files.
"""


def make_books(folder: Path, environment: Environment, *, characters: int) -> SourceReport:
    """Write ``pg<number>.txt`` files with about `characters` characters of text."""
    environment.used[STANDARD_LIBRARY] = environment.version(STANDARD_LIBRARY)
    reference = list(_until(_reference_chapters(), int(characters * REFERENCE_SHARE)))
    licences = list(_until(_licence_chapters(environment), int(characters * LICENCE_SHARE)))
    rest = characters - sum(map(len, reference)) - sum(map(len, licences))
    library = list(_until(_library_chapters(environment), max(rest, 0)))
    editors = random.Random(f"{environment.seed}/books")
    books = [
        ("The Language Reference by Topic", "The Python Software Foundation", reference),
        ("A Collection of Licences", "Various", licences),
        (
            "The Language Reference by Topic, Second Edition",
            "The Python Software Foundation",
            _second_edition(reference, editors),
        ),
    ]
    for number, volume in enumerate(_volumes(library), 1):
        title = f"The Standard Library, Volume {number}"
        books.append((title, "The Python Software Foundation", volume))
    total = 0
    for index, (title, author, chapters) in enumerate(books):
        fields = {"title": title, "author": author, "number": 90_001 + index}
        body = "\n\n\n\n".join(chapters)
        header = HEADER.format(**fields, shout=title.upper())
        write_text(
            folder / f"pg{90_001 + index}.txt",
            header + body + FOOTER.format(shout=title.upper()),
        )
        total += len(body)
    return SourceReport(len(books), total)


def _chapter(title: str, paragraphs: Iterable[str]) -> str:
    filled = (textwrap.fill(paragraph, WIDTH) for paragraph in paragraphs)
    return "\n\n".join([title, *filled])


def _reference_chapters() -> Iterator[str]:
    seen: set[str] = set()
    for topic in sorted(topics):
        blocks = re.split(r"\n\s*\n", topics[topic])
        # Code stands indented by three or more.
        chosen = [plain(block) for block in blocks if not block.startswith("   ")]
        chosen = [text.replace('"', "") for text in chosen if is_prose(text)]
        fresh = [text for text in chosen if text not in seen]
        seen.update(fresh)
        if len(fresh) > 2:
            yield _chapter(f"CHAPTER {topic}", fresh)


def _licence_chapters(environment: Environment) -> Iterator[str]:
    for package, text in environment.licence_texts():
        yield f"LICENCE of {package}\n\n{text.strip()}"


def _library_chapters(environment: Environment) -> Iterator[str]:
    seen: set[str] = set()
    module, paragraphs = "", list[str]()
    for docstring in environment.docstrings([(STANDARD_LIBRARY, "")], minimum=200):
        if docstring.module != module:
            if sum(map(len, paragraphs)) > 800:
                yield _chapter(f"CHAPTER {module}", paragraphs)
            module, paragraphs = docstring.module, []
        fresh = [text for text in prose(docstring.text) if text not in seen]
        seen.update(fresh)
        paragraphs.extend(fresh)


def _until(chapters: Iterable[str], characters: int) -> Iterator[str]:
    """Whole chapters until `characters` are reached."""
    total = 0
    for chapter in chapters:
        if total >= characters:
            return
        total += len(chapter)
        yield chapter


def _volumes(chapters: list[str]) -> Iterator[list[str]]:
    volume: list[str] = []
    for chapter in chapters:
        volume.append(chapter)
        if sum(map(len, volume)) >= VOLUME:
            yield volume
            volume = []
    if volume:
        yield volume


def _second_edition(chapters: list[str], editors: random.Random) -> list[str]:
    """The same chapters with one line in two hundred reworded."""
    edited = []
    for chapter in chapters:
        lines = chapter.split("\n")
        for index, line in enumerate(lines):
            if " the " in line and editors.random() < 0.02:
                lines[index] = line.replace(" the ", " this ", 1)
        edited.append("\n".join(lines))
    return edited

"""Stack Exchange sample: one folder per site with ``Posts.xml``, as in the data dump.

A question asks for the purpose of a documented class or function; its answers are the parts of
the documentation. Scores are seeded and cross the border of one and two digits, where sorting
them as text goes wrong.
"""

from __future__ import annotations

import html
import random
import re
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import quoteattr

from tasks.sample.archives import SourceReport, moment, write_text
from tasks.sample.environment import Docstring, Environment
from tasks.sample.prose import Section, is_prose, plain, sections

SITES = {
    "plotting.sample.stackexchange.com": [("matplotlib", "matplotlib"), ("pillow", "PIL")],
    "databases.sample.stackexchange.com": [("sqlalchemy", "sqlalchemy"), ("alembic", "alembic")],
}
QUESTIONS = (
    "What does {name} do, and when should I use it?",
    "How do I use {name} in the right way?",
    "What is the purpose of {name}?",
    "Which arguments does {name} take?",
    "Can somebody explain {name} with an example?",
    "When would one prefer {name} to the alternatives?",
    "How does {name} behave by default?",
    "What should I know before I call {name}?",
)
BODIES = (
    "I came across <code>{path}</code> while reading somebody else's program.",
    "My project now depends on {package}, and I keep running into <code>{path}</code>.",
    "I have read the source of <code>{module}</code> twice but I am still unsure about {name}.",
    "At work we disagree about <code>{name}</code>.",
    "I am new to {package} and try to understand <code>{path}</code>.",
    "There is an old script here which calls <code>{name}</code> from <code>{module}</code>.",
)
WISHES = (
    "Could you explain what it is for?",
    "What are its arguments, and what is returned?",
    "A short example would help me a lot.",
    "Is there anything that I should look out for?",
    "I would be glad about a pointer to the right way.",
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")  # not allowed in XML
LICENCE = "CC BY-SA 4.0"  # the form of the field; the text is the packages' documentation


def make_stackexchange(folder: Path, environment: Environment, *, characters: int) -> SourceReport:
    """Write ``<site>/Posts.xml`` for every site, about `characters` of text in all."""
    questions = total = 0
    for site, packages in SITES.items():
        rows: list[dict[str, str]] = []
        written = 0
        dice = random.Random(f"{environment.seed}/{site}")
        for docstring in environment.docstrings(packages, minimum=400):
            if written >= characters // len(SITES):
                break
            answers = list(_answers(sections(docstring.text)))
            if not docstring.name or not answers:
                continue
            thread = list(_thread(docstring, answers, len(rows) + 1, dice))
            rows.extend(thread)
            questions += 1
            written += sum(len(row["Body"]) for row in thread)
        rows.append(_unanswered(len(rows) + 1))
        lines = [
            f"  <row {' '.join(f'{k}={_quoted(v)}' for k, v in row.items())} />" for row in rows
        ]
        write_text(
            folder / site / "Posts.xml",
            '\ufeff<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'
            + "\n".join(lines)
            + "\n</posts>\n",
        )
        total += written
    return SourceReport(questions, total)


def _answers(parts: list[Section]) -> Iterator[str]:
    """HTML of one answer per group of sections: purpose, arguments, remarks and examples."""
    groups: dict[str, list[str]] = {"": [], "items": [], "rest": []}
    for part in parts:
        for block in part.blocks:
            text = plain(block.text)
            if block.kind == "code":
                groups["rest"].append(f"<pre><code>{html.escape(block.text)}\n</code></pre>")
            elif not is_prose(text):
                continue
            elif block.kind == "item":
                groups["items"].append(f"<li>{html.escape(text, quote=False)}</li>")
            else:
                group = "rest" if part.title else ""
                groups[group].append(f"<p>{html.escape(text, quote=False)}</p>")
    if groups[""]:
        yield "\n\n".join(groups[""])
    if groups["items"]:
        yield "<p>These matter:</p>\n\n<ul>\n" + "\n".join(groups["items"]) + "\n</ul>"
    if any(part.startswith("<p>") for part in groups["rest"]):
        yield "\n\n".join(groups["rest"])


def _thread(
    docstring: Docstring, answers: list[str], first: int, dice: random.Random
) -> Iterator[dict[str, str]]:
    fields = {
        "name": docstring.name,
        "path": docstring.path,
        "module": docstring.module,
        "package": docstring.package,
    }
    asked = moment(first, minutes=31)
    scores = [dice.choice((-1, 0, 1, 2, 4, 7, 9, 10, 12, 25, 101)) for _ in answers]
    body = f"{dice.choice(BODIES)} {dice.choice(WISHES)}".format(**fields)
    if docstring.signature and len(docstring.signature) < 200:
        call = html.escape(docstring.name + docstring.signature)
        body = f"<p>{body}</p>\n\n<pre><code>{call}\n</code></pre>\n"
    else:
        body = f"<p>{body}</p>\n"
    yield {
        "Id": str(first),
        "PostTypeId": "1",
        "AcceptedAnswerId": str(first + 1),
        "CreationDate": asked.strftime("%Y-%m-%dT%H:%M:%S.000"),
        "Score": str(dice.randint(0, 30)),
        "ViewCount": str(dice.randint(20, 9000)),
        "Body": body,
        "OwnerUserId": str(dice.randint(1, 400)),
        "LastActivityDate": asked.strftime("%Y-%m-%dT%H:%M:%S.000"),
        "Title": dice.choice(QUESTIONS).format(**fields),
        "Tags": f"<{docstring.package}><documentation>",
        "AnswerCount": str(len(answers)),
        "CommentCount": "0",
        "ContentLicense": LICENCE,
    }
    for offset, (answer, score) in enumerate(zip(answers, scores, strict=True), 1):
        written = moment(first + offset, minutes=31).strftime("%Y-%m-%dT%H:%M:%S.000")
        yield {
            "Id": str(first + offset),
            "PostTypeId": "2",
            "ParentId": str(first),
            "CreationDate": written,
            "Score": str(score),
            "Body": answer + "\n",
            "OwnerUserId": str(dice.randint(1, 400)),
            "LastActivityDate": written,
            "CommentCount": "0",
            "ContentLicense": LICENCE,
        }


def _unanswered(number: int) -> dict[str, str]:
    """A question without answers: sources keep or drop it by rule, not by accident."""
    date = moment(number, minutes=31).strftime("%Y-%m-%dT%H:%M:%S.000")
    return {
        "Id": str(number),
        "PostTypeId": "1",
        "CreationDate": date,
        "Score": "0",
        "ViewCount": "3",
        "Body": "<p>Has anybody else seen this? I cannot reproduce it any more.</p>\n",
        "LastActivityDate": date,
        "Title": "Strange message on the second day",
        "Tags": "<support>",
        "AnswerCount": "0",
        "CommentCount": "0",
        "ContentLicense": LICENCE,
    }


def _row(fields: dict[str, str]) -> str:
    attributes = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())
    return f"  <row {attributes} />"


def _quoted(value: str) -> str:
    return quoteattr(CONTROL.sub("", value), {'"': "&quot;"})

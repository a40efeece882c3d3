"""Stack Exchange dumps of our own: order of answers, HTML, archives, damage."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import py7zr

from tasks.corpus.documents import Document, Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import stackexchange


def post(identity: int, kind: int, score: int, body: str, **more: object) -> str:
    fields = {"Id": identity, "PostTypeId": kind, "Score": score, "Body": body, **more}
    return "<row " + " ".join(f'{k}="{escape(str(v))}"' for k, v in fields.items()) + " />"


def site(root: Path, name: str, *rows: str) -> Path:
    path = root / name / "Posts.xml"
    path.parent.mkdir(parents=True)
    path.write_text("\ufeff<?xml version='1.0'?>\n<posts>\n" + "\n".join(rows) + "\n</posts>")
    return path


def collect(root: Path, **options: object) -> tuple[list[Document], Funnel]:
    funnel = Funnel("stackexchange")
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    parameters = CorpusParameters(**options)  # type: ignore[arg-type]
    return list(stackexchange.read(root, files, parameters, funnel)), funnel


def rejected(funnel: Funnel) -> dict[str, int]:
    return {k: v for row in funnel.rows() for k, v in row["rejected"].items()}


def test_answers_stand_by_score_as_a_number(tmp_path: Path) -> None:
    site(
        tmp_path,
        "cats.stackexchange.com",
        post(3, 2, 9, "<p>nine</p>", ParentId=1),
        post(4, 2, 12, "<p>twelve</p>", ParentId=1),
        post(1, 1, 5, "<p>Why?</p>", Title="Cats", Tags="<a><b>", ContentLicense="CC BY-SA 4.0"),
        post(5, 2, -1, "<p>minus</p>", ParentId=1),
        post(6, 2, 9, "<p>nine too</p>", ParentId=1),
        post(7, 4, 0, "<p>wiki</p>"),
        post(8, 2, 1, "<p>lost</p>", ParentId=99),
    )
    documents, funnel = collect(tmp_path)
    assert len(documents) == 1
    assert documents[0].text == (
        "Q: Cats\n\nWhy?\n\nA: twelve\n\nA: nine\n\nA: nine too\n\nA: minus"
    )
    assert documents[0].id == "stackexchange:cats.stackexchange.com:1"
    assert documents[0].meta["answer_scores"] == [12, 9, 9, -1]
    assert documents[0].meta["tags"] == ["a", "b"]
    assert documents[0].license == "CC BY-SA 4.0"
    assert rejected(funnel) == {"neither question nor answer": 1, "answer without question": 1}


def test_html_keeps_lists_and_code() -> None:
    html = (
        "<p>Use a  <b>loop</b>:</p><pre><code>for x in y:\n    print(x &lt; 3)\n</code></pre>"
        "<ul><li>one</li><li><p>two</p></li></ul><ol><li>a</li><li>b</li></ol>"
        "<script>bad()</script>"
    )
    assert stackexchange.html_to_text(html) == (
        "Use a loop:\n\nfor x in y:\n    print(x < 3)\n\n* one\n* two\n\n1. a\n2. b"
    )


def test_largest_sites_by_posts(tmp_path: Path) -> None:
    site(tmp_path, "big.org", *(post(i, 1, 0, f"<p>q{i}</p>") for i in range(1, 4)))
    # Longer in bytes, fewer posts.
    site(tmp_path, "small.org", post(1, 1, 0, "<p>" + "long " * 400 + "</p>"))
    documents, funnel = collect(tmp_path, stackexchange_sites=1)
    assert {d.meta["site"] for d in documents} == {"big.org"}
    assert rejected(funnel) == {"not among the largest sites": 1}


def test_archive_is_read_and_other_files_of_a_dump_are_no_error(tmp_path: Path) -> None:
    posts = site(tmp_path / "outside", "x", post(1, 1, 0, "<p>packed</p>"))
    root = tmp_path / "root"
    root.mkdir()
    with py7zr.SevenZipFile(root / "dogs.stackexchange.com.7z", "w") as archive:
        archive.write(posts, "Posts.xml")
        archive.writestr(b"<users/>", "Users.xml")
    (root / "broken.org.7z").write_bytes(b"7z\xbc\xaf no archive")
    (root / "Users.xml").write_text("<users/>")
    documents, funnel = collect(root)
    assert [d.id for d in documents] == ["stackexchange:dogs.stackexchange.com:1"]
    assert rejected(funnel) == {"corrupt archive": 1, "file without posts": 1}


def test_damaged_xml_gives_what_stands_before(tmp_path: Path) -> None:
    path = site(tmp_path, "a.org", post(1, 1, 0, "<p>one</p>"), post(2, 1, 0, "<p>two</p>"))
    path.write_text(path.read_text().replace("two", "two &nowhere; <"))
    documents, funnel = collect(tmp_path)
    assert [d.meta["site"] for d in documents] == ["a.org"] * len(documents)
    assert len(documents) >= 1
    assert funnel.bad_files == [{"path": "a.org/Posts.xml", "reason": "malformed XML"}]


def test_ready_records(tmp_path: Path) -> None:
    (tmp_path / "se.jsonl").write_text(json.dumps({"text": "Q: a A: b"}) + "\nnonsense\n")
    documents, funnel = collect(tmp_path)
    assert [d.text for d in documents] == ["Q: a A: b"]
    assert rejected(funnel) == {"malformed record": 1}


def test_entity_bomb_is_refused(tmp_path: Path) -> None:
    path = site(tmp_path, "a.org", post(1, 1, 0, "<p>one</p>"))
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f"<!DOCTYPE posts [<!ENTITY e0 'lollollol'>{entities}]>"
    xml = path.read_text().replace("<posts>", f"{bomb}<posts>")
    path.write_text(xml.replace("</posts>", '<row Id="2" PostTypeId="1" Body="&e9;" /></posts>'))
    documents, funnel = collect(tmp_path)
    assert all(len(d.text) < 1000 for d in documents)
    assert funnel.bad_files == [{"path": "a.org/Posts.xml", "reason": "malformed XML"}]

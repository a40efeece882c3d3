"""Stack Exchange dumps of our own: order of answers, HTML, archives, damage."""

from __future__ import annotations

import json
import tempfile
from html import escape
from pathlib import Path

import py7zr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.chain import check_chain
from tasks.corpus.documents import Document
from tasks.corpus.funnel import BadFileError, Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import posts_archive, posts_xml, stackexchange, threads
from tasks.corpus.sources.posts_xml import Damage, PostsReader, Row

WORDS = ("one", "two", "three", "four", "five")


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


def test_largest_sites_by_posts(tmp_path: Path) -> None:
    site(tmp_path, "big.org", *(post(i, 1, 0, f"<p>q{i}</p>") for i in range(1, 4)))
    # Longer in bytes, fewer posts.
    site(tmp_path, "small.org", post(1, 1, 0, "<p>" + "long " * 400 + "</p>"))
    documents, funnel = collect(tmp_path, stackexchange_sites=1)
    assert {d.meta["site"] for d in documents} == {"big.org"}
    assert rejected(funnel) == {"not among the largest sites": 1}


def decided(root: Path, shards: list[list[str]], limit: int) -> list[tuple[Path, Path, list[str]]]:
    """Survey the shards and decide: (decided, surveyed, files) of each."""
    parameters = CorpusParameters(stackexchange_sites=limit)
    surveys = []
    for number, files in enumerate(shards):
        surveys.append(root.parent / f"survey-{number}")
        surveys[-1].mkdir()
        stackexchange.survey(root, files, parameters, Funnel("stackexchange"), surveys[-1])
    made = root.parent / "decided"
    made.mkdir()
    stackexchange.decide(surveys, parameters, made)
    return [(made, survey, files) for survey, files in zip(surveys, shards, strict=True)]


def test_the_largest_sites_of_all_shards_are_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number, name in enumerate(("c.org", "a.org", "b.org", "d.org")):
        posts = [post(i, 1, 0, f"<p>{name} {i}</p>") for i in range(1, 3 + number)]
        site(root, name, *posts, *(post(100 + i, 5, 0, "<p>wiki</p>") for i in range(9 - number)))
    packed = site(tmp_path / "outside", "x", *(post(i, 1, 0, "<p>p</p>") for i in range(1, 9)))
    for name in ("e.org-Posts.7z", "d.org.7z"):
        with py7zr.SevenZipFile(root / name, "w") as archive:
            archive.write(packed, "Posts.xml")
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    shards = stackexchange.units(files)
    assert shards == [[name] for name in files]
    found, reasons = [], {}
    for made, survey, names in decided(root, shards, 3):
        funnel = Funnel("stackexchange")
        documents = list(
            stackexchange.read(
                root, names, CorpusParameters(), funnel, decided=made, surveyed=survey
            )
        )
        found += [(d.meta["file"], d.meta["site"], d.meta["offset"]) for d in documents]
        reasons[names[0]] = {r for r in rejected(funnel) if r != "neither question nor answer"}
    # d.org is there twice: the file with more posts is read. b.org has more posts than a.org.
    assert {name for name, _, _ in found} == {"b.org/Posts.xml", "d.org.7z", "e.org-Posts.7z"}
    assert [offset for name, _, offset in found if name == "d.org.7z"] == list(range(1, 9))
    assert reasons["d.org/Posts.xml"] == {"another file holds the site"}
    assert reasons["a.org/Posts.xml"] == reasons["c.org/Posts.xml"] == {
        "not among the largest sites"
    }  # fmt: skip


def test_units_keep_a_site_s_tables_together() -> None:
    files = [
        "s/a.org/PostLinks.xml", "s/a.org/Posts.xml", "s/b.org.7z", "s/b.org/Posts.xml",
        "s/b.org/Users.xml", "s/ready.jsonl", "s/stackoverflow.com-Posts.7z",
    ]  # fmt: skip
    assert stackexchange.units(files) == [
        files[:2], [files[2]], files[3:5], [files[5]], [files[6]]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("x/stackoverflow.com-Posts.7z", "stackoverflow.com"), ("x/Cats.org.7z", "cats.org"),
        ("x/stackoverflow.com-Votes.7z", None), ("x/stackoverflow.com-PostHistory.7z", None),
        ("x/a.org/Posts.xml", "a.org"), ("x/a.org/PostLinks.xml", None), ("x/a.jsonl", None),
        ("x/meta.cats-dogs.org.7z", "meta.cats-dogs.org"),
    ],
)  # fmt: skip
def test_which_files_hold_posts(name: str, holds: str | None) -> None:
    assert posts_archive.site_of(name) == holds


def test_archive_is_read_and_other_files_of_a_dump_are_no_error(tmp_path: Path) -> None:
    posts = site(tmp_path / "outside", "x", post(1, 1, 0, "<p>packed</p>"))
    root = tmp_path / "root"
    root.mkdir()
    with py7zr.SevenZipFile(root / "dogs.stackexchange.com.7z", "w") as archive:
        archive.writestr(b"<badges/>", "Badges.xml")
        archive.write(posts, "Posts.xml")
        archive.writestr(b"<users/>", "Users.xml")
    (root / "broken.org.7z").write_bytes(b"7z\xbc\xaf no archive")
    (root / "stackoverflow.com-Votes.7z").write_bytes(b"not looked into")
    (root / "Users.xml").write_text("<users/>")
    documents, funnel = collect(root)
    assert [d.id for d in documents] == ["stackexchange:dogs.stackexchange.com:1"]
    assert rejected(funnel) == {"corrupt archive": 1, "file without posts": 2}


def archive_of(path: Path, password: str | None = None, **members: bytes) -> Path:
    with py7zr.SevenZipFile(path, "w", password=password) as archive:
        for name, data in members.items():
            archive.writestr(data, name.replace("__", "/").replace("_dot_", "."))
    return path


def test_archives_that_are_not_what_a_dump_is(tmp_path: Path) -> None:
    row = f"<posts>{post(1, 1, 0, 'one')}</posts>".encode()
    archive_of(tmp_path / "none.org.7z", Users_dot_xml=b"<users/>")
    archive_of(tmp_path / "locked.org.7z", "word", Posts_dot_xml=row)
    archive_of(tmp_path / "bomb.org.7z", Posts_dot_xml=b" " * 20_000_000)
    archive_of(tmp_path / "two.org.7z", a__Posts_dot_xml=row, b__Posts_dot_xml=row)
    archive_of(tmp_path / "inner.org.7z", inner_dot_org__Posts_dot_xml=row)
    cut = archive_of(tmp_path / "cut.org.7z", Posts_dot_xml=row)
    cut.write_bytes(cut.read_bytes()[:-20])
    with py7zr.SevenZipFile(tmp_path / "link.org.7z", "w") as archive:
        link = tmp_path / "link"
        link.symlink_to("inner.org.7z")
        archive.write(link, "Posts.xml")
    link.unlink()
    documents, funnel = collect(tmp_path)
    assert [d.meta["site"] for d in documents] == ["inner.org"]
    assert {row["path"]: row["reason"] for row in funnel.bad_files} == {
        "none.org.7z": "archive without Posts.xml",
        "locked.org.7z": "archive with a password",
        "bomb.org.7z": "archive unpacks too large",
        "two.org.7z": "archive with several Posts.xml",
        "cut.org.7z": "corrupt archive",
        "link.org.7z": "Posts.xml of the archive is no file",
    }
    with pytest.raises(BadFileError, match="archive without Posts"):
        list(
            stackexchange.read(
                tmp_path, ["none.org.7z"], CorpusParameters(), Funnel("stackexchange", strict=True)
            )
        )


def test_a_small_archive_may_repeat_itself(tmp_path: Path) -> None:
    """A young site of many like questions packs well; it unpacks to little all the same."""
    rows = "".join(post(n, 1, 0, "<p>The same question, once more.</p>") for n in range(9000))
    archive_of(tmp_path / "young.org.7z", Posts_dot_xml=f"<posts>{rows}</posts>".encode())
    packed = (tmp_path / "young.org.7z").stat().st_size
    assert len(rows) > posts_archive.MAX_UNPACK_RATIO * packed
    _, funnel = collect(tmp_path)
    assert funnel.bad_files == []


def test_a_damaged_block_gives_the_rows_before_it(tmp_path: Path) -> None:
    rows = "\n".join(post(n, 1, 0, f"<p>{n} {n * 7919}</p>") for n in range(1, 4000))
    path = archive_of(tmp_path / "a.org.7z", Posts_dot_xml=f"<posts>{rows}</posts>".encode())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    documents, funnel = collect(tmp_path)
    assert rejected(funnel).get("corrupt archive") == 1
    assert all(d.text.startswith("Q: ") for d in documents)


def test_damaged_xml_costs_the_damaged_row(tmp_path: Path) -> None:
    rows = [post(number, 1, 0, f"<p>{word}</p>") for number, word in enumerate(WORDS, 1)]
    path = site(tmp_path, "a.org", *rows)
    text = path.read_text().replace("two", "two < two").replace("three", "&nowhere;")
    path.write_bytes(text.replace("four", "f\ufffdur").encode().replace(b"\xef\xbf\xbd", b"\xff"))
    documents, funnel = collect(tmp_path)
    assert [d.text for d in documents] == ["Q: one", "Q: five"]
    assert [d.meta["offset"] for d in documents] == [1, 5]
    assert funnel.bad_files == [{"path": "a.org/Posts.xml", "reason": "malformed XML", "offset": 2}]
    assert rejected(funnel) == {"malformed XML": 1, "malformed row": 2}


@pytest.mark.parametrize("kept", [60, 120, 200, 10_000])
def test_a_truncated_dump_gives_its_whole_rows(tmp_path: Path, kept: int) -> None:
    rows = [post(number, 1, 0, "<p>" + "word " * 20 + "</p>") for number in range(1, 200)]
    path = site(tmp_path, "a.org", *rows)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    documents, funnel = collect(tmp_path)
    assert len(documents) == whole[:kept].count(b" />")
    assert [row["reason"] for row in funnel.bad_files] == ["truncated XML"]


def test_several_rows_on_a_line_one_row_on_several_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "a.org/Posts.xml"
    path.parent.mkdir()
    path.write_text(
        "<?xml version='1.0' encoding='utf-8'?><posts>"
        "<row Id='1' PostTypeId='1' Body='&lt;b&gt;one&lt;/b&gt; &#8212; \"1\"&#xA;x' />"
        '<row\n Id = "2"\n PostTypeId="1"\n Body="tw\no"></row>'
        '<!-- <row Id="3" PostTypeId="1" Body="three" /> -->'
        '<row Id="4" PostTypeId="1" Body="&amp;lt; &amp;amp;#65;"/></posts>'
    )
    documents, funnel = collect(tmp_path)
    assert [d.text for d in documents] == ['Q: one — "1" x', "Q: tw o", "Q: < &#65;"]
    assert rejected(funnel) == {}


def read_rows(data: bytes, size: int) -> list[Row | Damage]:
    reader = PostsReader()
    found: list[Row | Damage] = []
    for at in range(0, len(data), size):
        found += reader.feed(data[at : at + size])
    return found + list(reader.finish())


LINES = st.sampled_from(
    [
        '<row Id="1" PostTypeId="1" Body="&lt;p&gt;" />\n', '  <row Id="2" Body="x"/>\r\n', "\n",
        "<row Id='3' Body='\"' />", '<row Id="4" Odd="x" />\n', '<row Id="5" Body="a < b" />\n',
        '<row Id="6"', ' Body="y" />\n', "<!-- ", " -->\n", '<row Id="7" />', "</row>", "noise",
        "<posts>\n", "</posts>\n", '<row Id="8" Body="a > b" />\n', '"', ">", "<", '<row Id="9>\n',
        '<row  Id = "10"/>\n', "<row>\n", "<rows />\n", 'x<row Id="11" />\n', "<!-->", "/>\n",
    ]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(LINES, max_size=12).map("".join), st.integers(1, 90))
def test_rows_do_not_depend_on_how_the_bytes_come(text: str, size: int) -> None:
    data = b"<?xml version='1.0'?>" + text.encode()
    whole = read_rows(data, len(data))
    assert read_rows(data, size) == whole
    with pytest.MonkeyPatch.context() as patch:  # nor on the way that only knows the dumps' lines
        patch.setattr(posts_xml, "_row_of_line", lambda line: None)
        assert read_rows(data, size) == whole


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1", "windows-1251"])
def test_other_encodings_are_read_and_counted(tmp_path: Path, encoding: str) -> None:
    row = post(1, 1, 0, "<p>" + "abc " * 200 + "</p>", Title="X")
    path = tmp_path / "a.org/Posts.xml"
    path.parent.mkdir()
    text = f"<?xml version='1.0' encoding='{encoding}'?><posts>{row}</posts>"
    path.write_bytes(text.encode(encoding))
    funnel = Funnel("stackexchange")
    name = "a.org/Posts.xml"
    stackexchange.survey(tmp_path, [name], CorpusParameters(), funnel, tmp_path)
    assert json.loads((tmp_path / "sites.json").read_text())[0]["posts"] == 1
    (document,) = stackexchange.read(tmp_path, [name], CorpusParameters(), funnel)
    assert document.text.startswith("Q: X\n\nabc abc")


@pytest.mark.parametrize("encoding", ["zlib", "klingon", "punycode", "rot13"])
def test_an_unknown_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    path = site(tmp_path, "a.org", post(1, 1, 0, "<p>one</p>"))
    text = path.read_text().replace("version='1.0'", f"version='1.0' encoding='{encoding}'")
    path.write_text(text)
    documents, funnel = collect(tmp_path)
    assert documents == [] and rejected(funnel) == {"unknown encoding": 1}


def test_numbers_used_twice_answers_first_and_answers_to_nothing(tmp_path: Path) -> None:
    site(
        tmp_path,
        "a.org",
        post(9, 2, 3, "<p>early</p>", ParentId=10),
        post(10, 1, 0, "<p>why?</p>", AcceptedAnswerId=9),
        post(10, 1, 0, "<p>why not?</p>"),
        post(9, 2, 50, "<p>late</p>", ParentId=10),
        post(11, 2, 1, "<p>lost</p>", ParentId=9),
        post(12, 2, 1, "<p>nowhere</p>"),
        post(13, 1, 0, "<p>self</p>", AcceptedAnswerId=9),
    )
    documents, funnel = collect(tmp_path)
    assert [d.text for d in documents] == ["Q: why?\n\nA: early", "Q: self"]
    assert [d.meta["accepted"] for d in documents] == [9, None]
    assert rejected(funnel) == {
        "malformed row": 1, "number of another post": 2, "answer without question": 1,
    }  # fmt: skip
    check_chain(funnel.rows(), {"documents": 2})


def test_nul_bytes_in_a_body_are_taken_out_before_it_is_counted(tmp_path: Path) -> None:
    path = site(tmp_path, "a.org", post(1, 1, 0, "<p>a@b</p>", Title="t"), post(2, 1, 0, "@@"))
    path.write_bytes(path.read_bytes().replace(b"@", b"\0"))
    documents, funnel = collect(tmp_path)
    assert [d.text for d in documents] == ["Q: t\n\nab"]
    assert rejected(funnel) == {"empty body": 1}
    check_chain(funnel.rows(), {"documents": 1, "characters": len(documents[0].text)})


def test_a_page_is_bounded_and_keeps_its_best_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "MAX_THREAD_CHARACTERS", 30)
    monkeypatch.setattr(stackexchange, "MAX_BODY", 100)
    answers = [post(n, 2, n, f"<p>number {n}</p>", ParentId=1) for n in range(2, 9)]
    long = post(20, 1, 0, "x" * 101)
    site(tmp_path, "a.org", post(1, 1, 0, "<p>why?</p>"), *answers, long)
    documents, funnel = collect(tmp_path)
    assert documents[0].text == "Q: why?\n\nA: number 8\n\nA: number 7\n\nA: number 6"
    assert rejected(funnel) == {"post too long": 1, "page too long": 4}


def test_one_endless_row_costs_that_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posts_xml, "MAX_ROW_BYTES", 3_000_000)
    rows = [post(1, 1, 0, "<p>one</p>"), post(2, 1, 0, "x" * 9_000_000), post(3, 1, 0, "three")]
    site(tmp_path, "a.org", *rows)
    documents, funnel = collect(tmp_path)
    assert [d.text for d in documents] == ["Q: one", "Q: three"]
    assert rejected(funnel) == {"row too large": 1}


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
    assert [d.text for d in documents] == ["Q: one"]
    assert funnel.bad_files == [{"path": "a.org/Posts.xml", "reason": "malformed XML", "offset": 0}]
    assert rejected(funnel) == {"malformed XML": 1, "malformed row": 1}


def test_the_database_lies_in_the_temporary_folder_and_goes_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)  # as in a process that was started so
    site(tmp_path / "data", "a.org", *(post(n, 1, 1, "<p>Loads of wool</p>") for n in range(1, 9)))
    name = "a.org/Posts.xml"
    read = stackexchange.read(tmp_path / "data", [name], CorpusParameters(), Funnel("s"))
    next(read)
    assert [path.name for path in scratch.rglob("*.sqlite")] == ["posts.sqlite"]
    read.close()
    assert not list(scratch.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(threads.ThreadStore, "add", full)
    with pytest.raises(OSError, match="No space left"):
        list(stackexchange.read(tmp_path / "data", [name], CorpusParameters(), Funnel("s")))
    assert not list(scratch.iterdir())

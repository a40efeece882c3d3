"""Wikipedia dumps and wikitext on small inputs of our own."""

from __future__ import annotations

import bz2
import gzip
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import wikipedia
from tasks.corpus.sources.wikitext import plain_text
from tasks.corpus.sources.wikitext_pages import is_disambiguation, unclosed_markup

BODY = "The '''river''' rises in the [[hills|northern hills]] and flows to the sea. " * 3
SITE = "<siteinfo><dbname>frwiki</dbname><base>https://fr.wikipedia.org/wiki/A</base></siteinfo>"


def page(title: str, text: str, ns: int = 0, extra: str = "") -> str:
    return (
        f"<page><title>{title}</title><ns>{ns}</ns><id>{len(title)}</id>{extra}<revision>"
        f"<timestamp>2022-06-01T00:00:00Z</timestamp><text>{text}</text></revision></page>"
    )


def dump(path: Path, *pages: str, site: str = SITE, lang: str = "en") -> None:
    xml = f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" xml:lang="{lang}">'
    path.write_bytes(bz2.compress((xml + site + "".join(pages) + "</mediawiki>").encode()))


def collect(root: Path, **options: Any) -> tuple[list[Document], Funnel]:
    funnel = Funnel("wikipedia")
    files = sorted(path.name for path in root.iterdir())
    parameters = CorpusParameters(workers=1, **options)
    return list(wikipedia.read(root, files, parameters, funnel)), funnel


def rejected(funnel: Funnel) -> dict[str, int]:
    return {k: v for row in funnel.rows() for k, v in row["rejected"].items()}


def test_markup_is_removed_and_text_stays() -> None:
    source = (
        "{{Infobox|name={{nested}}}}<!-- hidden -->'''Rhine''' ({{lang|de|Rhein}}) is a "
        "[[river]] in [[Europe|the west]].<ref>Source</ref> See [http://a.org the site].\n"
        "[[File:map.png|thumb|A [[map]] of it]]\n{| class='x'\n| cell\n|}\n"
        "== Course ==\nIt flows &amp; floods.\n* first\n* second\n"
        "== See also ==\n[[Category:Rivers]]\n[[de:Rhein]]"
    )
    assert plain_text(source) == (
        "Rhine (Rhein) is a river in the west. See the site.\n\nCourse\nIt flows & floods.\n"
        "* first\n* second"
    )


def test_only_articles_of_the_languages_are_kept(tmp_path: Path) -> None:
    dump(
        tmp_path / "enwiki-x.xml.bz2",
        page("River", BODY),
        page("Talk:River", BODY, ns=1),
        page("Stream", "#REDIRECT [[River]]", extra="<redirect title='River'/>"),
        page("Mercury (disambiguation)", BODY),
        page("Venus", BODY + "{{disambig}}"),
        page("Stub", "Short."),
    )
    dump(tmp_path / "jawiki.xml.bz2", page("River", BODY))
    documents, funnel = collect(tmp_path)
    assert [d.id for d in documents] == ["wikipedia:en:5"]
    assert documents[0].text.startswith("River\n\nThe river rises in the northern hills and")
    assert documents[0].uri == "https://en.wikipedia.org/wiki/River"
    assert documents[0].created == "2022-06-01T00:00:00Z"
    assert rejected(funnel) == {
        "language ja": 1, "namespace 1": 1, "redirect": 1, "disambiguation page": 2,
        "shorter than the minimum": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "site", "language"),
    [("dewiki-2022.xml.bz2", SITE, "de"), ("part1.xml.bz2", SITE, "fr"), ("p.xml.bz2", "", "it")],
)
def test_language_is_the_files_then_the_headers(
    tmp_path: Path, name: str, site: str, language: str
) -> None:
    dump(tmp_path / name, page("A", BODY), site=site, lang="it")
    assert [d.language for d in collect(tmp_path)[0]] == [language]


def test_broken_dumps_give_what_stands_before_the_damage(tmp_path: Path) -> None:
    dump(tmp_path / "enwiki-good.xml.bz2", page("A", BODY), page("BB", BODY))
    data = bz2.decompress((tmp_path / "enwiki-good.xml.bz2").read_bytes())
    (tmp_path / "enwiki-cut.xml.bz2").write_bytes(bz2.compress(data[:-60]))
    (tmp_path / "enwiki-short.xml.bz2").write_bytes(bz2.compress(data)[:-20])
    (tmp_path / "enwiki-none.xml.bz2").write_bytes(b"")
    documents, funnel = collect(tmp_path)
    assert len(documents) == 3
    assert {item["path"]: item["reason"] for item in funnel.bad_files} == {
        "enwiki-cut.xml.bz2": "truncated XML",
        "enwiki-none.xml.bz2": "empty file",
        "enwiki-short.xml.bz2": "truncated archive",
    }


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret word is heron")
    xml = (
        f'<!DOCTYPE m [<!ENTITY x SYSTEM "file://{secret}"><!ENTITY y "yyyyyyyyyy">]>'
        f"<mediawiki>{page('A', BODY + '&x;&y;')}</mediawiki>"
    )
    folder = tmp_path / "dumps"
    folder.mkdir()
    (folder / "enwiki.xml.bz2").write_bytes(bz2.compress(xml.encode()))
    documents, _ = collect(folder)
    assert all("heron" not in d.text and "yyyy" not in d.text for d in documents)


def test_page_that_calls_an_entity_is_refused_and_the_rest_is_read(tmp_path: Path) -> None:
    xml = (
        f"<!DOCTYPE m [<!ENTITY e '{'x' * 1000}'>]><mediawiki>{page('A', BODY + '&e;')}"
        f"{page('BB', BODY + 'A &amp; B')}</mediawiki>"
    )
    (tmp_path / "enwiki.xml").write_text(xml)
    documents, funnel = collect(tmp_path)
    assert [d.meta["title"] for d in documents] == ["BB"] and "A & B" in documents[0].text
    assert rejected(funnel) == {"XML entity": 1}


@pytest.mark.parametrize("calls", [1, 100])
def test_entities_that_multiply_are_refused(tmp_path: Path, calls: int) -> None:
    levels = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10))
    xml = (
        f"<!DOCTYPE m [<!ENTITY l0 'lol'>{levels}]><mediawiki>{page('A', BODY)}"
        f"{page('BB', BODY + '&l9;' * calls)}</mediawiki>"
    )
    (tmp_path / "enwiki.xml").write_text(xml)
    started = time.monotonic()
    documents, funnel = collect(tmp_path)
    assert time.monotonic() - started < 5
    assert [d.meta["title"] for d in documents] == ["A"] and "lol" not in documents[0].text
    assert rejected(funnel) == {"XML entity": 1} and not funnel.bad_files


def test_entities_in_attributes_cost_their_page(tmp_path: Path) -> None:
    levels = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10))
    xml = (
        f"<!DOCTYPE m [<!ENTITY l0 'lol'>{levels}]><mediawiki>{page('A', BODY)}"
        f"<page x='&l9;'/>{page('BB', BODY)}</mediawiki>"
    )
    (tmp_path / "enwiki.xml").write_text(xml)
    started = time.monotonic()
    documents, funnel = collect(tmp_path)
    assert time.monotonic() - started < 5
    assert [d.meta["offset"] for d in documents] == [0, 2]
    assert rejected(funnel) == {"XML entity": 1} and not funnel.bad_files


@pytest.mark.parametrize("unit", ["{{a|", "[http://a ", "[[a|{{b", "{| x\n| "])
def test_markup_made_to_stall_is_refused_quickly(tmp_path: Path, unit: str) -> None:
    dump(tmp_path / "enwiki.xml.bz2", page("A", unit * 9000), page("BB", BODY))
    started = time.monotonic()
    documents, funnel = collect(tmp_path)
    assert time.monotonic() - started < 10
    assert len(documents) == 1
    assert set(rejected(funnel)) <= {"unclosed markup", "too much markup"}


@pytest.mark.parametrize("unit", ["\n", " ", "\t", "(", "( ", "(, ", "!", "\n ", "[[", "'"])
def test_runs_of_one_mark_take_linear_time(unit: str) -> None:
    started = time.monotonic()
    plain_text("a" + unit * (200_000 // len(unit)) + "b")
    assert time.monotonic() - started < 10


def test_articles_name_their_file_page_and_references(tmp_path: Path) -> None:
    dump(tmp_path / "enwiki-1.xml.bz2", page("Talk:A", BODY, ns=1), page("A", BODY))
    dump(tmp_path / "enwiki-2.xml.bz2", page("BB", BODY + "&lt;ref&gt;http://a.org&lt;/ref&gt;"))
    documents, _ = collect(tmp_path)
    assert [d.meta for d in documents] == [
        {"title": "A", "file": "enwiki-1.xml.bz2", "offset": 1, "references": []},
        {"title": "BB", "file": "enwiki-2.xml.bz2", "offset": 0, "references": ["http://a.org"]},
    ]


class Passing:
    """A watch that passes one page and notes what it was told."""

    def __init__(self, file: str, offset: int) -> None:
        self.skip = (file, offset)
        self.seen: list[tuple[str, int] | None] = []

    def begin(self, file: str, offset: int) -> str | None:
        self.seen.append((file, offset))
        return "took too long" if (file, offset) == self.skip else None

    def end(self) -> None:
        self.seen.append(None)


def test_page_that_hung_before_is_passed_and_counted(tmp_path: Path) -> None:
    name = "enwiki.xml.bz2"
    dump(tmp_path / name, page("A", BODY), page("BB", BODY), page("CCC", BODY))
    funnel = Funnel("wikipedia")
    funnel.watch = watch = Passing(name, 1)
    found = wikipedia.read(tmp_path, [name], CorpusParameters(), funnel)
    assert [d.meta["offset"] for d in found] == [0, 2]
    assert watch.seen == [(name, 0), None, (name, 1), None, (name, 2), None]
    assert rejected(funnel) == {"took too long": 1}
    out = [row["documents_out"] for row in funnel.rows()]
    assert out == [2] * len(out)


def pack_streams(parts: Iterable[bytes]) -> bytes:
    return b"".join(map(bz2.compress, parts))


def test_archives_of_every_kind_give_the_same(tmp_path: Path) -> None:
    pages = [page(name, BODY) for name in ("A", "BB", "CCC", "DDDD")]
    head = f'<mediawiki xml:lang="en">{SITE}'
    xml = (head + "".join(pages) + "</mediawiki>").encode()
    packed = {
        "enwiki.xml": xml,
        "enwiki.xml.gz": gzip.compress(xml[:900]) + gzip.compress(xml[900:]),
        "enwiki.xml.bz2": bz2.compress(xml),
        # Multistream: the header, some pages at a time, the end, each a stream of its own.
        "enwiki-pages-articles-multistream.xml.bz2": pack_streams(
            [head.encode(), "".join(pages[:2]).encode(), "".join(pages[2:]).encode(),
             b"</mediawiki>"]
        ),
        "enwiki.utf16.xml": '<?xml version="1.0" encoding="UTF-16"?>'.encode("utf-16")
        + xml.decode().encode("utf-16")[2:],
    }  # fmt: skip
    for name, data in packed.items():
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_bytes(data)
        documents, funnel = collect(folder)
        assert [d.meta["offset"] for d in documents] == [0, 1, 2, 3], name
        assert not funnel.bad_files and {d.language for d in documents} == {"en"}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("enwiki.xml.gz", gzip.compress(b"<mediawiki>" + b"x" * 9999)[:-9], "truncated archive"),
        ("enwiki.xml.gz", b"no gzip at all", "corrupt archive"),
        ("enwiki.xml.bz2", b"BZh9" + bytes(200), "corrupt archive"),
        ("enwiki.xml.bz2", bz2.compress(b"<html><p>no dump"), "malformed XML"),
        ("enwiki.xml", b"\x00\x01\x02", "malformed XML"),
        ("enwiki.sql", b"INSERT", "no XML dump"),
        ("enwiki.xml", b"<mediawiki><logitem/></mediawiki>", "XML without pages"),
    ],
)
def test_broken_archives_are_counted(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    documents, funnel = collect(tmp_path)
    assert not documents
    assert [(item["path"], item["reason"]) for item in funnel.bad_files] == [(name, reason)]


def test_dump_without_siteinfo_namespaces_or_its_schema(tmp_path: Path) -> None:
    plain = "<page><title>{}</title><id>{}</id><revision><text>{}</text></revision></page>"
    titles = ["Rhine", "Talk:Rhine", "2001: A Space Odyssey", "Template:River", "Diskussion:Rhein"]
    xml = "".join(plain.format(title, n, BODY) for n, title in enumerate(titles))
    (tmp_path / "enwiki-old.xml").write_text(f"<mediawiki>{xml}</mediawiki>")
    documents, funnel = collect(tmp_path)
    assert [d.meta["title"] for d in documents] == [titles[0], titles[2], titles[4]]
    assert rejected(funnel) == {"namespace 1": 1, "namespace 10": 1}
    names = (
        '<siteinfo><namespaces><namespace key="1">Diskussion</namespace></namespaces></siteinfo>'
    )
    (tmp_path / "enwiki-old.xml").write_text(f"<mediawiki>{names}{xml}</mediawiki>")
    documents, _ = collect(tmp_path)
    assert [d.meta["title"] for d in documents] == [titles[0], titles[2]]


def test_last_revision_counts_and_other_elements_are_passed(tmp_path: Path) -> None:
    revision = "<revision><timestamp>{}</timestamp><text>{}</text></revision>"
    revisions = "".join(revision.format(year, f"In {year}: {BODY}") for year in range(2000, 2010))
    (tmp_path / "enwiki.xml").write_text(
        f"<mediawiki><logitem><id>1</id></logitem><page><title>A</title><ns>0</ns>{revisions}"
        f"</page><logitem/>{page('BB', BODY)}</mediawiki>"
    )
    documents, _ = collect(tmp_path)
    assert [(d.created, d.meta["offset"]) for d in documents] == [
        ("2009", 0),
        ("2022-06-01T00:00:00Z", 1),
    ]
    assert documents[0].text.startswith("A\n\nIn 2009: The river")


def test_redirects_and_lists_of_meanings_without_their_tags(tmp_path: Path) -> None:
    dump(
        tmp_path / "dewiki.xml.bz2",
        page("A", "#WEITERLEITUNG [[B]] " + BODY),
        page("BB", BODY + "__DISAMBIG__"),
        page("CCC", BODY + "{{Begriffsklärung}}"),
        page("DDDD", BODY),
    )
    documents, funnel = collect(tmp_path)
    assert [d.meta["title"] for d in documents] == ["DDDD"]
    assert rejected(funnel) == {"redirect": 1, "disambiguation page": 2}


def test_page_of_a_megabyte_is_read(tmp_path: Path) -> None:
    dump(tmp_path / "enwiki.xml.bz2", page("A", BODY * 4000), page("BB", BODY * 10_000))
    started = time.process_time()
    documents, funnel = collect(tmp_path)
    assert time.process_time() - started < 20
    assert len(documents) == 1 and len(documents[0].text) > 700_000
    assert rejected(funnel) == {"page too large": 1}


def test_large_page_is_refused(tmp_path: Path) -> None:
    dump(tmp_path / "enwiki.xml.bz2", page("A", BODY * 100))
    _, funnel = collect(tmp_path, wikipedia_max_characters=2000)
    assert rejected(funnel) == {"page too large": 1}


def test_unclosed_markup_counts_only_what_stays_open() -> None:
    assert unclosed_markup("{{a}} [[b]] [http://c d] {| x |}") == 0
    assert unclosed_markup("}}}}{{a {{b") == 2


def test_disambiguation_in_several_languages() -> None:
    assert is_disambiguation("Merkur", "{{Begriffsklärung}}")
    assert is_disambiguation("Mars", "{{Homonymie}}")
    assert not is_disambiguation("Mars", "{{about|the planet}} {{displaytitle}}")


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        ("a ''b'' '''c''' '''''d'''''", "a b c d"),
        ("''''bold'''' it's", "'bold' it's"),  # four: an apostrophe and bold
        ("''''''x''''''", "'x'"),  # six: one and bold italic
        ("''''''''y''''''''", "'''y'''"),
        ("L''''été''' d''''hiver'''", "L'été d'hiver"),
        # Bold and italic both unbalanced: one bold was an apostrophe and italic.
        ("l'''amour'' fou", "l'amour fou"),
        ("dans l'''Oise'' et '''bold'''", "dans l'Oise et bold"),
        ("a '''b'' c", "a 'b c"),
        ("the dogs'''bone'' x", "the dogs'bone x"),
        ("'''b and no more", "b and no more"),  # the end of the line closes it
        ("'''a\nb''''c", "a\nb'c"),
        ("''{{x}}'' and ''<ref>r</ref>''", "and"),  # what is removed does not join apostrophes
        ("[[Criticism|''Potter''s]] [[Lista d''o munno]]", "Potters Lista d''o munno"),
        ("<nowiki>''</nowiki>x&#39;&#39;y", "''x''y"),
        ("<math>f''(x)=f'''</math> ''so''", "f''(x)=f''' so"),
        ("''a'''b<br>c'''d''", "ab\ncd"),  # a break is no end of a line of markup
    ],
)
def test_apostrophes_are_mediawikis(source: str, clean: str) -> None:
    assert plain_text(source) == clean


def test_reasons_hold_no_words_of_the_dump(tmp_path: Path) -> None:
    hostile = [
        f"<page><title>T{n}</title><ns>{ns}</ns><id>{n}</id><revision><text>{BODY}</text>"
        "</revision></page>"
        for n, ns in enumerate(["call me", "99999", "-7", "1e3", "\u0661", "828", "1"])
    ]
    dump(tmp_path / "enwiki.xml.bz2", *hostile)
    dump(tmp_path / "other.xml.bz2", page("River", BODY), site="", lang="call me at 555")
    _, funnel = collect(tmp_path)
    assert rejected(funnel) == {
        "namespace unknown": 5, "namespace 828": 1, "namespace 1": 1, "language unknown": 1,
    }  # fmt: skip

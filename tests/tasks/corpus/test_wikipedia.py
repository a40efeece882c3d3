"""Wikipedia dumps and wikitext on small inputs of our own."""

from __future__ import annotations

import bz2
import time
from pathlib import Path

import pytest

from tasks.corpus.documents import Document, Funnel
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


def collect(root: Path, **options: object) -> tuple[list[Document], Funnel]:
    funnel = Funnel("wikipedia")
    files = sorted(path.name for path in root.iterdir())
    parameters = CorpusParameters(workers=1, **options)  # type: ignore[arg-type]
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
        "enwiki-cut.xml.bz2": "malformed XML",
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

"""Addresses of crawl pages against those that Wikipedia cites."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.documents import document_files
from tasks.corpus.quality import references
from tasks.corpus.quality.references import Example, comparable, host_of
from tests.tasks.corpus.quality.pages import article, crawl, page, write_artifact


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://www.Example.org/Page/", "example.org/Page"),
        ("https://example.org/Page#part", "example.org/Page"),
        ("HTTPS://user:word@example.org:443/", "example.org"),
        ("//example.org/a?b=1&c=2#d", "example.org/a?b=1&c=2"),
        ("http://example.org:8080/a", "example.org:8080/a"),
        ("http://example.org./a", "example.org/a"),
        ("https://web.archive.org/web/20100102030405/http://www.example.org/a", "example.org/a"),
        ("http://archive.today/20120101/https://example.org/a/", "example.org/a"),
        ("https://web.archive.org/about", "web.archive.org/about"),
        ("http://m\u00fcnchen.example/Stra\u00dfe", "xn--mnchen-3ya.example/Stra%C3%9Fe"),
        ("http://XN--mnchen-3ya.example/Stra%c3%9fe", "xn--mnchen-3ya.example/Stra%C3%9Fe"),
        ("http://m\u00fcnchen.example:81/?q=\u00df", "xn--mnchen-3ya.example:81?q=%C3%9F"),
        ("http://example.org/100%/a%2Fb", "example.org/100%/a%2Fb"),
        ("http://example.org/a\u2581\ud800", "example.org/a%E2%96%81%ED%A0%80"),
        ("http://" + 90 * "\u00fc" + ".example/", 90 * "\u00fc" + ".example"),
        ("ftp://example.org/a", ""),
        ("mailto:a@example.org", ""),
        ("http://[half", ""),
        ("http://", ""),
        ("", ""),
        ("no address", ""),
    ],
)
def test_addresses_are_made_comparable(url: str, expected: str) -> None:
    assert comparable(url) == expected


@given(st.text(), st.sampled_from(["", "http://", "//", "https://web.archive.org/web/1/http://"]))
def test_no_address_is_too_odd(text: str, start: str) -> None:
    found = comparable(start + text)
    assert "#" not in found and found.startswith(host_of(found))


def test_host_of_an_address() -> None:
    assert host_of("example.org/a/b?c") == host_of("example.org?c") == host_of("example.org")
    assert host_of("example.org:8080/a") == "example.org:8080"


def test_pages_match_by_address_and_by_host(tmp_path: Path) -> None:
    cited = ["http://www.a.example/x/", "https://b.example/y", "not an address"]
    folder = write_artifact(tmp_path, [article(1, "text", cited), article(2, "text", cited[:1])])
    known = references.harvest(document_files(folder))
    assert (known.cited, len(known.url_R), len(known.host_H)) == (4, 2, 2)
    assert known.cites("https://a.example/x") == (True, True)
    assert known.cites("https://a.example/z") == (False, True)
    assert known.cites("https://c.example/x") == (False, False)
    assert known.cites("") == (False, False)


def test_wikipedia_without_references_cites_nothing(tmp_path: Path) -> None:
    old = article(1, "text")
    del old.meta["references"]
    known = references.harvest(document_files(write_artifact(tmp_path / "old", [old])))
    assert known.cited == 0 and known.cites("http://a.example/") == (False, False)
    bad = article(1, "text")
    bad.meta["references"] = "http://a.example/"
    with pytest.raises(ValueError, match=r"wikipedia:en:1 .*no list of addresses"):
        references.harvest(document_files(write_artifact(tmp_path / "bad", [bad])))


def test_examples_are_the_lowest_hashes_whatever_the_order(tmp_path: Path) -> None:
    inputs = crawl(tmp_path / "one")
    known = references.harvest(document_files(inputs["wikipedia"]))

    def drawn(folder: Path, most: int, seed: int = 0) -> list[Example]:
        pool = references.survey_pool(
            document_files(folder), known, match="url", most=most, seed=seed
        )
        return references.draw_examples({"pages": pool}, most)

    documents = [page(n, "text", f"http://www.site{n}.example/page/") for n in reversed(range(80))]
    shuffled = write_artifact(tmp_path / "other", documents)
    few = drawn(inputs["pages"], 10)
    assert few == drawn(shuffled, 10) != drawn(shuffled, 10, seed=1)
    assert sum(example.cited for example in few) == 10 == len(few) / 2
    everything = drawn(inputs["pages"], 1000)
    assert set(few) <= set(everything) and len(everything) == 80


def test_each_pool_gives_as_many_other_pages_as_cited_ones() -> None:
    def pool(first: int, cited: int, other: int) -> references.Pool:
        entries = [(-n, f"page {n}", n) for n in range(first, first + cited + other)]
        return references.Pool(cited=entries[:cited], other=entries[cited:])

    drawn = references.draw_examples({"a": pool(0, 3, 10), "b": pool(100, 5, 2)}, 1000)
    assert [(e.cited, e.hashed < 100) for e in drawn].count((True, True)) == 3
    for expected in ((False, True, 3), (True, False, 2), (False, False, 2)):
        assert [(e.cited, e.hashed < 100) for e in drawn].count(expected[:2]) == expected[2]


def test_sites_are_held_out_whole() -> None:
    examples = [Example(f"{n}", n % 2 == 0, n, site=n // 5) for n in range(200)]
    held = references.hold_out(examples, 0.2, seed=0)
    for site in range(40):
        assert len(set(held[site * 5 : site * 5 + 5])) == 1
    cited = np.array([example.cited for example in examples])
    assert 20 <= held[cited].sum() <= 30 and 20 <= held[~cited].sum() <= 30
    assert list(held) == list(references.hold_out(examples, 0.2, seed=0))
    assert list(held) != list(references.hold_out(examples, 0.2, seed=1))


def test_a_large_site_stays_in_training() -> None:
    """One site with most of the pages: held out, it would leave next to nothing to learn from."""
    large = [Example(f"a{n}", n % 2 == 0, n, site=0) for n in range(160)]
    small = [Example(f"b{n}", n % 2 == 0, n, site=1 + n // 2) for n in range(40)]
    cited = np.array([example.cited for example in large + small])
    for seed in range(8):
        held = references.hold_out(large + small, 0.1, seed)
        assert not held[:160].any()
        assert held[cited].sum() == held[~cited].sum() == 10
    assert not references.hold_out(large, 0.2, seed=0).any()

"""Wikitext made to stall, to nest without end, or at random: bounded time, no error, no marks."""

from __future__ import annotations

import itertools
import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.sources.wikitext import plain_text
from tasks.corpus.sources.wikitext_pages import is_disambiguation, is_redirect, unclosed_markup
from tasks.corpus.sources.wikitext_references import cited_urls

MARKUP = [
    "{{", "}}", "{{{", "}}}", "{{a|", "{{lang|x|", "{{cvt|1|", "{{!}}", "{", "}", "|", "=",
    "[[", "]]", "]]]", "[[a|", "[[a[", "[[File:a|", "[http://a ", "[", "]", "http://a.b/c", "url=",
    "{|", "|}", "\n{|", "\n|}", "\n|", "\n!", "<ref>", "</ref>", "<ref name=a/>", "<ref", "</ref ",
    "<!--", "-->", "<nowiki>", "</nowiki>", "<math>", "<pre>", "<br>", "<table>", "</table>",
    "<sup>2", "</sup>", "<b ", "<", ">", "-{", "}-", "''", "'''", "'", "\n", " ", "\t", "\n==",
    "==", "\n*", "\n;", ":", ";", "(", ")", ", ", ",", ".", "&amp;", "&#2;", "&", "__", "__TOC__",
    "#", "\u00a0", "\u0416", "\U0001f600", "word", "\x04", "\x060\x07",
]  # fmt: skip
MARKS = re.compile(r"[\x00-\x08\x0b-\x1f]")
SIZE = 100_000


def seconds(text: str) -> float:
    """Processor seconds of everything that is done with one page's wikitext."""
    started = time.process_time()
    plain_text(text)
    cited_urls(text)
    is_disambiguation("A", text)
    is_redirect(text)
    unclosed_markup(text)
    return time.process_time() - started


@pytest.mark.parametrize("unit", MARKUP)
def test_one_mark_repeated_takes_linear_time(unit: str) -> None:
    assert seconds(unit * (SIZE // len(unit))) < 5


def test_marks_in_pairs_and_opened_before_closed_take_linear_time() -> None:
    pairs = list(itertools.product(MARKUP, MARKUP))
    for first, second in random.Random(0).sample(pairs, 60):
        assert seconds((first + second) * (SIZE // len(first + second))) < 5, (first, second)
        half = SIZE // 2
        text = first * (half // len(first)) + "x" + second * (half // len(second))
        assert seconds(text) < 5, (first, second)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("{{a|", "}}"), ("{{lang|x|", "}}"), ("{{{", "}}}"), ("[[a|", "]]"), ("[[File:a|", "]]"),
        ("[[a[", "]]]"), ("\n{|\n|", "\n|}"), ("<table>", "</table>"), ("-{", "}-"), ("[", "]"),
        ("<div>", "</div>"), ("(", ")"), ("{{a|[[b|", "]]}}"), ("<ref>", "</ref>"),
    ],
)  # fmt: skip
def test_nesting_of_100_000_is_linear(opening: str, closing: str) -> None:
    assert seconds(f"before {opening * 100_000} inside {closing * 100_000} after") < 10
    assert seconds(f"before {opening * 100_000} inside") < 10
    text = plain_text(f"before\n\n{opening * 50}{closing * 50}\n\nafter")
    assert text.startswith("before") and text.rstrip("]}>)-|").endswith("after")


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(MARKUP), max_size=60).map("".join))
def test_any_mixture_of_markup_gives_text_without_marks(text: str) -> None:
    assert not MARKS.search(plain_text(text))
    for url in cited_urls(text):
        assert url.startswith(("http://", "https://")) and not set(url) & set("[]{}|<> \n")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    assert not MARKS.search(plain_text(text))


WORD = st.text(st.sampled_from("abcdeé ж"), min_size=1, max_size=8).map(lambda w: w.strip() or "w")
WELL_FORMED = st.recursive(
    WORD,
    lambda inner: st.one_of(
        st.tuples(WORD, inner).map(lambda p: f"[[{p[0]}|{p[1]}]]"),
        inner.map(lambda t: f"[[File:f.png|thumb|{t}]]"),
        inner.map(lambda t: f"[[Category:{t.replace('|', '')}]]"),
        st.tuples(WORD, inner).map(lambda p: f"{{{{{p[0]} x|{p[1]}|k={p[1]}}}}}"),
        inner.map(lambda t: f"{{{{lang|de|{t}}}}}"),
        inner.map(lambda t: f"<ref name=a>{t}</ref>"),
        inner.map(lambda t: f"<small>{t}</small>"),
        inner.map(lambda t: f"\n{{|\n| {t}\n|-\n! {t}\n|}}\n"),
        inner.map(lambda t: f"\n== {t} ==\n"),
        inner.map(lambda t: f"\n* {t}\n"),
        inner.map(lambda t: f"''a {t} a''"),
        st.tuples(inner, inner).map(" ".join),
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(WELL_FORMED)
def test_no_markup_is_left_of_well_formed_text(text: str) -> None:
    clean = plain_text(text)
    assert not re.search(r"\[\[|\]\]|\{\{|\}\}|<ref|\{\||\|\}|''", clean), (text, clean)
    assert "  " not in clean and "\n\n\n" not in clean and clean == clean.strip()


@settings(max_examples=150, deadline=None)
@given(WELL_FORMED)
def test_clean_text_stays_as_it_is(text: str) -> None:
    clean = plain_text(text)
    assert plain_text(clean) == clean

"""Every C4 rule at its threshold, the funnel that adds up, and nothing that is ever added."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.corpus.chain import check_chain
from tasks.corpus.funnel import Funnel
from tasks.corpus.rules.heuristics import HeuristicRules
from tasks.corpus.web.c4_rules import C4Rules

GOOD = "The old mill stood by the river."


def page(*lines: str) -> str:
    """Lines beside enough good ones for a page."""
    return "\n".join([*lines, *(f"{GOOD[:-1]} in year {year}." for year in range(1900, 1905))])


def clean(text: str, **parameters: object) -> tuple[str | None, Funnel]:
    """What C4's rules leave of ``text``; the funnel that counted, checked."""
    funnel = Funnel("commoncrawl")
    rules = C4Rules(HeuristicRules.model_validate(parameters))
    funnel.keep("read", text)
    funnel.declare(*rules.FILTERS)
    cleaned = rules.clean(text, funnel, "page")
    rows = funnel.rows()
    assert [row["filter"] for row in rows] == ["read", *rules.FILTERS]
    written = {"documents": 0, "characters": 0, "bytes": 0}
    if cleaned is not None:
        written = {
            "documents": 1,
            "characters": len(cleaned),
            "bytes": len(cleaned.encode("utf-8", "surrogatepass")),
        }
    check_chain(rows, written)
    return cleaned, funnel


def removed(funnel: Funnel) -> dict[str, int]:
    """Characters that each filter took from pages that it let through."""
    return {
        name: entry.characters_in - entry.characters_out
        for name, entry in funnel.entries.items()
        if entry.documents_out and entry.characters_in != entry.characters_out
    }


def rejections(funnel: Funnel) -> dict[str, dict[str, int]]:
    return {name: entry.rejected for name, entry in funnel.entries.items() if entry.rejected}


def test_a_good_page_stays_as_it_is() -> None:
    cleaned, funnel = clean(page())
    assert cleaned == page()
    assert removed(funnel) == {} == rejections(funnel)


@pytest.mark.parametrize(
    ("line", "name", "reason"),
    [
        ("A block { of code.", "c4 curly bracket", "curly bracket"),
        ("Here is Lorem IPSUM dolor.", "c4 lorem ipsum", "lorem ipsum"),
    ],
)
def test_pages_are_rejected_for_what_stands_anywhere(line: str, name: str, reason: str) -> None:
    cleaned, funnel = clean(page(line))
    assert cleaned is None
    assert rejections(funnel) == {name: {reason: 1}}


def test_page_rules_can_be_off() -> None:
    text = page("A block { of lorem ipsum text.")
    assert clean(text, c4_curly_bracket=False, c4_lorem_ipsum=False)[0] == text


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Home | About us | Contact", "c4 terminal marks"),
        ("And so it went on and on...", "c4 terminal marks"),
        ("And so it went on and on…", "c4 terminal marks"),
        ("Only two.", "c4 words per line"),
        ("Please turn on JavaScript to go on.", "c4 javascript"),
        ("Read our Privacy Policy before you go on.", "c4 policy"),
        ("This site uses cookies all the time.", "c4 policy"),
        (f"See {'x' * 1001} for all of it.", "c4 long words"),
        ("[1][edit]", "c4 citations"),
    ],
)
def test_a_line_goes_by_its_rule_alone(line: str, name: str) -> None:
    cleaned, funnel = clean(page(line))
    assert cleaned == page()
    assert removed(funnel) == {name: len(line) + 1}


@pytest.mark.parametrize(
    "line",
    [
        "It is three words.",
        "Just three words!",
        "Is that all of it?",
        'He said "that is all"',
        "He said “that is all”",
        f"See {'x' * 1000} for all of it.",
        "Policies on cookies and terms differ.",
        "Java is a script of an island.",
    ],
)
def test_a_line_at_the_threshold_stays(line: str) -> None:
    assert clean(page(line))[0] == page(line)


def test_lines_of_words_at_the_two_printings() -> None:
    four = page("These are four words.")
    assert clean(four)[0] == four
    assert clean(four, c4_min_words=5, c4_min_sentences=3)[0] == page()


def test_citation_markers_go_and_their_line_stays() -> None:
    line = "The mill[12] was built[citation needed] by monks.[edit] []"
    cleaned, funnel = clean(page(line))
    assert cleaned == page("The mill was built by monks.")
    assert set(removed(funnel)) == {"c4 citations"}
    assert clean(page("It has [no] marker [1a] here."))[0] == page("It has [no] marker [1a] here.")
    assert clean(page(line + "."), c4_citations=False)[0] == page(line + ".")


@pytest.mark.parametrize(("number", "kept"), [(4, False), (5, True)])
@pytest.mark.parametrize("separator", [" ", "\n"])
def test_sentences_of_a_page_at_the_threshold(number: int, kept: bool, separator: str) -> None:
    text = separator.join([GOOD] * number)
    cleaned, funnel = clean(text)
    assert cleaned == (text if kept else None)
    assert rejections(funnel) == ({} if kept else {"c4 sentences": {"too few sentences": 1}})


def test_sentences_are_counted_in_what_is_left() -> None:
    cleaned, funnel = clean("\n".join([GOOD] * 4 + ["We use cookies on this site. Often. So."]))
    assert cleaned is None
    assert rejections(funnel) == {"c4 sentences": {"too few sentences": 1}}


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        (" \n\t\n", "c4 blank", "no text"),
        ("x" * 1001, "c4 long words", "every line with a long word"),
        ("[1]\n[2]", "c4 citations", "nothing but citation markers"),
        ("Home\nAbout", "c4 terminal marks", "no line with a terminal mark"),
        ("Two words.", "c4 words per line", "every line too short"),
        ("We like javascript here.", "c4 javascript", "every line with javascript"),
        ("The terms of use apply.", "c4 policy", "every line about a policy"),
    ],
)
def test_a_page_that_lost_its_last_line_is_rejected_there(
    text: str, name: str, reason: str
) -> None:
    cleaned, funnel = clean(text)
    assert cleaned is None
    assert rejections(funnel) == {name: {reason: 1}}


def test_every_rule_counts_what_it_takes() -> None:
    lines = [
        "Menu",
        "  Indented text of a line.",
        "Short one.",
        "Use javascript for all this.",
        "The cookie policy is over there.",
        "With a marker.[3] See it.",
    ]
    cleaned, funnel = clean(page(*lines))
    assert cleaned == page("Indented text of a line.", "With a marker. See it.")
    assert removed(funnel) == {
        "c4 blank": 2,
        "c4 citations": 3,
        "c4 terminal marks": len("Menu\n"),
        "c4 words per line": len("Short one.\n"),
        "c4 javascript": len("Use javascript for all this.\n"),
        "c4 policy": len("The cookie policy is over there.\n"),
    }


def test_everything_off_only_strips() -> None:
    rules = {
        "c4_max_word": 0,
        "c4_citations": False,
        "c4_terminal_marks": "",
        "c4_min_words": 0,
        "c4_javascript": False,
        "c4_policy": (),
        "c4_min_sentences": 0,
    }
    text = " a [1]\r\n\n  javascript privacy policy\n" + "x" * 2000
    cleaned = clean(text, **rules)[0]
    assert cleaned == "a [1]\njavascript privacy policy\n" + "x" * 2000


class TestBadWords:
    @pytest.mark.parametrize(
        "line", ["It is a DARN shame.", "Such a big, fat lie.", "An o.k. word."]
    )
    def test_a_page_with_one_is_rejected(self, line: str) -> None:
        cleaned, funnel = clean(page(line), bad_words=("darn", "fat  Lie", "o.k."))
        assert cleaned is None
        assert rejections(funnel) == {"c4 bad words": {"bad word": 1}}

    @pytest.mark.parametrize(
        "line", ["He darned his socks.", "A fat. Lie down now.", "Not ok. So."]
    )
    def test_parts_of_words_are_none(self, line: str) -> None:
        assert clean(page(line), bad_words=("darn", "fat lie", "o.k."))[0] == page(line)

    def test_a_phrase_may_be_broken_over_lines(self) -> None:
        assert clean(page("It was a fat", "lie all along."), bad_words=("fat lie",))[0] is None

    def test_marks_without_a_word_are_found_as_they_are(self) -> None:
        assert clean(page("So ☠☠ it is."), bad_words=("☠☠",))[0] is None

    def test_the_file_becomes_the_words(self, tmp_path: Path) -> None:
        file = tmp_path / "words.txt"
        file.write_text("# ours\nDarn\n\n fat lie \ndarn\n", encoding="utf-8")
        parameters = HeuristicRules.model_validate({"bad_words_file": str(file)})
        assert parameters.bad_words == ("darn", "fat lie")
        assert parameters.bad_words_file is None
        # What another machine gets needs no file.
        file.unlink()
        assert HeuristicRules.model_validate(parameters.model_dump(mode="json")) == parameters

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValidationError, match=r"missing\.txt cannot be read"):
            HeuristicRules.model_validate({"bad_words_file": tmp_path / "missing.txt"})
        empty = tmp_path / "empty.txt"
        empty.write_text("# nothing\n")
        with pytest.raises(ValidationError, match="holds no words"):
            HeuristicRules.model_validate({"bad_words_file": empty})
        with pytest.raises(ValidationError, match="both set"):
            HeuristicRules.model_validate({"bad_words_file": empty, "bad_words": ("darn",)})


PIECES = st.sampled_from(
    [GOOD, "Menu", "[1]", "[edit]", "javascript", "cookie policy", "\n", "\r\n", "\u2028", " ",
     "\t", "...", ".", "!", "”", "x" * 1001, "İ", "ß", "\ud800", "\x00", "Three words here."]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=20), max_size=30).map("".join))
def test_nothing_is_ever_added(text: str) -> None:
    cleaned, _ = clean(text, c4_min_sentences=0, c4_curly_bracket=False)
    if cleaned is not None:
        assert len(cleaned) <= len(text)
        count = Counter(cleaned.replace("\n", ""))
        assert not count - Counter(text)
        # Cleaning what is clean changes nothing.
        again = clean(cleaned, c4_min_sentences=0, c4_curly_bracket=False)[0]
        assert again == cleaned or "[" in text


@pytest.mark.parametrize(
    "text",
    [
        "The mill stood there. " * 450_000,
        "x" * 10_000_000,
        ("x" * 999 + " ") * 10_000 + ".",
        "." * 10_000_000,
        "[" * 10_000_000 + ".",
        ("a" + " " * 998) * 10_000 + ".",
        '."' * 5_000_000,
        "Mr. " * 2_500_000,
    ],
    ids=["sentences", "one word", "long words", "dots", "brackets", "spaces", "quotes", "titles"],
)
def test_a_line_of_ten_megabytes_is_fast(text: str) -> None:
    rules = C4Rules(HeuristicRules.model_validate({"bad_words": ("darn", "fat lie")}))
    started = time.process_time()
    rules.clean(text, Funnel("commoncrawl"), "page")
    assert time.process_time() - started < 20

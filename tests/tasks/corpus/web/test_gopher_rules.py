"""Every Gopher rule just within its bound and just beyond, and exact against a slow count."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.chain import check_chain
from tasks.corpus.funnel import Funnel
from tasks.corpus.rules.heuristics import HeuristicRules
from tasks.corpus.web.gopher_rules import GopherRules
from tasks.corpus.web.words import TOKEN, has_long_word, more_than


def word(number: int) -> str:
    """A word of five letters, another for every number."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "z" + "".join(letters[number // 26**place % 26] for place in range(4))


def words(start: int, stop: int) -> str:
    return " ".join(map(word, range(start, stop)))


STOPS = "the of"
NGRAMS_OFF = {"gopher_top_ngrams": (1, 1, 1), "gopher_repeated_ngrams": (1,) * 6}


def judge(text: str, **bounds: object) -> str:
    """The reason why ``text`` goes, "" when it stays; checks the funnel."""
    funnel = Funnel("commoncrawl")
    rules = GopherRules(HeuristicRules.model_validate(bounds))
    funnel.keep("read", text)
    funnel.declare(*rules.FILTERS)
    kept = rules.keep(text, funnel, "page")
    size = len(text.encode()) if kept else 0
    written = {"documents": int(kept), "characters": len(text) if kept else 0, "bytes": size}
    check_chain(funnel.rows(), written)
    reasons = [reason for entry in funnel.entries.values() for reason in entry.rejected]
    assert len(reasons) == (0 if kept else 1)
    return "" if kept else reasons[0]


def test_number_of_words_at_both_bounds() -> None:
    assert judge(f"{STOPS} {words(0, 48)}") == ""
    assert judge(f"{STOPS} {words(0, 47)}") == "too few words"
    # Marks are no words.
    assert judge(f"{STOPS} {words(0, 47)} . , ! -- ( ) _") == "too few words"
    assert judge(f"{STOPS} {words(0, 98)}", gopher_max_words=100) == ""
    assert judge(f"{STOPS} {words(0, 99)}", gopher_max_words=100) == "too many words"
    assert judge(f"{STOPS} {words(0, 300)}", gopher_max_words=100) == "too many words"
    assert judge("", gopher_min_words=0) == "too few words"


def test_mean_word_length_at_both_bounds() -> None:
    # 50 words: 46 of three letters, "the", and 9 letters in three words more.
    three = " ".join(f"z{letter}{other}" for letter in "abcdefg" for other in "abcdefg")
    three = " ".join(three.split()[:46])
    assert judge(f"the of to {three} zzzzz") == ""
    assert judge(f"the of to {three} zzzz") == "words too short"
    # 102 words: "the" and "of" lack 15 letters.
    ten = f"{STOPS} " + " ".join(word(2 * n) + word(2 * n + 1) for n in range(99))
    assert judge(f"{ten} {'x' * 25}") == ""
    assert judge(f"{ten} {'x' * 26}") == "words too long"


def test_hash_signs_and_ellipses_per_word() -> None:
    text = f"{STOPS} {words(0, 98)}"
    assert judge(text + " #" * 10, **NGRAMS_OFF) == ""
    assert judge(text + " #" * 11, **NGRAMS_OFF) == "too many hash signs"
    for ellipsis in ("...", "…"):
        assert judge(text.replace(" ", f" {ellipsis} ", 10), **NGRAMS_OFF) == ""
        assert judge(text.replace(" ", f" {ellipsis} ", 11), **NGRAMS_OFF) == "too many ellipses"


@pytest.mark.parametrize("bullet", ["•", "-", "–", "*"])
def test_bullet_lines(bullet: str) -> None:
    bare = [words(10 * line, 10 * line + 10) for line in range(10)]
    bare[0] += f" {STOPS}"
    nine = [f"  {bullet} {line}" for line in bare[:9]]
    assert judge("\n\n".join([*nine, bare[9]])) == ""
    assert judge("\n\n".join([*nine, f"{bullet} {bare[9]}"])) == "too many bullet lines"


@pytest.mark.parametrize("ellipsis", ["...", "…"])
def test_ellipsis_lines(ellipsis: str) -> None:
    lines = [words(10 * line, 10 * line + 10) for line in range(10)]
    lines[0] += f" {STOPS}"
    assert judge("\n\n".join([line + ellipsis for line in lines[:3]] + lines[3:])) == ""
    beyond = "\n\n".join([line + ellipsis for line in lines[:4]] + lines[4:])
    assert judge(beyond) == "too many ellipsis lines"


def test_words_with_a_letter() -> None:
    text = f"{STOPS} {words(0, 78)}"
    numbers = [str(number) for number in range(1000, 1021)]
    assert judge(f"{text} {' '.join(numbers[:20])}") == ""
    assert judge(f"{text} {' '.join(numbers[:21])}") == "too few words with a letter"
    # A mark is a word without a letter; a part with one letter is none.
    assert judge(f"{text} ! ? {' '.join(numbers[:18])}") == ""
    assert judge(f"{text} ! ? {' '.join(numbers[:19])}") == "too few words with a letter"
    assert judge(f"{text} ! ? {' '.join(numbers[:18])} 5th") == ""


def test_stop_words_are_different_ones() -> None:
    text = words(0, 100)
    assert judge(f"{text} the {text[-5:]} the") == "too few stop words"
    assert judge(f"{text} The of") == "too few stop words"
    assert judge(f"{text} have with") == ""


def test_repeated_lines_and_their_characters() -> None:
    # Ten lines, of which three (four) stood before; the long ones hold most of the characters.
    long = [f"{words(100 * line, 100 * line + 40)} the of." for line in range(6)]
    assert judge("\n".join([*long, "One zabc line.", *["One zabc line."] * 3])) == ""
    six = "\n".join([*long[:5], "One zabc line.", *["One zabc line."] * 4])
    assert judge(six) == "repeated lines"
    lines = [f"{words(100 * line, 100 * line + 20)} the of" for line in range(8)]
    assert judge("\n".join([*lines, lines[0], lines[1]]), gopher_line_characters=0.21) != (
        "characters of repeated lines"
    )
    assert judge("\n".join([*lines, lines[0], lines[1]]), gopher_line_characters=0.19) == (
        "characters of repeated lines"
    )


def test_repeated_paragraphs_and_their_characters() -> None:
    long = [f"{words(100 * part, 100 * part + 40)} the of." for part in range(6)]
    short = "One zabc part."
    assert judge("\n\n".join([*long, *[short] * 4])) == ""
    assert judge("\n \n".join([*long[:5], *[short] * 5])) == "repeated paragraphs"
    parts = [f"{words(100 * part, 100 * part + 20)} the of" for part in range(8)]
    text = "\n\n\n".join([*parts, parts[0], parts[1]])
    assert judge(text, gopher_paragraph_characters=0.19) == "characters of repeated paragraphs"
    assert judge(text, gopher_paragraph_characters=0.21) != "characters of repeated paragraphs"


@pytest.mark.parametrize(("size", "bound"), [(2, 0.2), (3, 0.18), (4, 0.16)])
def test_most_frequent_ngram(size: int, bound: float) -> None:
    """The n-gram stands between words that occur once, so nothing longer is repeated."""
    gram = " ".join(["the", "of", "that", "have"][:size])
    free = 200
    text = " ".join(f"{word(2 * n)} {word(2 * n + 1)}" for n in range(free // 2))
    found = {}
    for times in range(2, 80):
        page = text + "".join(f" {gram} {word(1000 + n)}" for n in range(times))
        found[times] = (len(gram) * times / len(page), judge(page))
    beyond = [times for times, (share, _) in found.items() if share > bound]
    assert beyond and len(beyond) < len(found)
    for share, reason in found.values():
        smaller = reason.startswith("most frequent") and reason != f"most frequent {size}-gram"
        assert smaller or (reason == f"most frequent {size}-gram") == (share > bound)


@pytest.mark.parametrize(
    ("size", "bound"), [(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)]
)
def test_repeated_ngrams(size: int, bound: float) -> None:
    """One run of exactly ``size`` words comes again; the other n are switched off."""
    others = dict.fromkeys(range(5, 11), 1.0) | {size: bound}
    bounds = {
        "gopher_repeated_ngrams": [others[n] for n in range(5, 11)],
        "gopher_top_ngrams": (1, 1, 1),
    }
    run = words(5000, 5000 + size)
    # Every word has five letters: words are characters. The second run is the share.
    free = round(size / bound) - 2 * size
    share = {n: size / (n + 2 * size) for n in (free + 1, free - 1)}
    assert share[free + 1] <= bound < share[free - 1]
    for n in share:
        page = f"{run} {words(0, n)} {run}"
        reason = judge(page, gopher_stop_words=0, gopher_min_words=0, **bounds)
        assert reason == (f"repeated {size}-grams" if share[n] > bound else "")


def test_overlapping_repeats_count_once() -> None:
    # Twelve words again: every 5-gram of them but once each character.
    text = f"{STOPS} {words(0, 80)} {words(0, 12)}"
    characters = sum(map(len, text.split()))
    share = 60 / characters
    grams = (share + 0.001, 1, 1, 1, 1, 1), (share - 0.001, 1, 1, 1, 1, 1)
    assert judge(text, gopher_repeated_ngrams=grams[0]) == ""
    assert judge(text, gopher_repeated_ngrams=grams[1]) == "repeated 5-grams"


def slow_reason(text: str, rules: HeuristicRules) -> str:
    """The rules on n-grams, counted by the letter."""
    tokens = TOKEN.findall(text)
    for size, bound in zip((2, 3, 4), rules.gopher_top_ngrams, strict=True):
        grams = Counter(tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1))
        again = {gram: count for gram, count in grams.items() if count > 1}
        if again:
            most = max(again.values())
            length = max(len(" ".join(gram)) for gram, n in again.items() if n == most)
            if most * length > bound * len(text):
                return f"most frequent {size}-gram"
    for size, bound in zip(range(5, 11), rules.gopher_repeated_ngrams, strict=True):
        seen: defaultdict[tuple[str, ...], int] = defaultdict(int)
        covered: set[int] = set()
        for i in range(len(tokens) - size + 1):
            gram = tuple(tokens[i : i + size])
            if seen[gram]:
                covered.update(range(i, i + size))
            seen[gram] += 1
        if sum(len(tokens[i]) for i in covered) > bound * sum(map(len, tokens)):
            return f"repeated {size}-grams"
    return ""


@given(
    st.lists(st.sampled_from(["a", "the", "of", "mill", "river", ".", "..."]), max_size=80),
    st.floats(0.05, 0.9),
    st.floats(0.02, 0.9),
)
def test_ngrams_are_exact(tokens: list[str], top: float, again: float) -> None:
    bounds = {
        "gopher_min_words": 0,
        "gopher_min_word_length": 0,
        "gopher_symbols": 1000,
        "gopher_ellipses": 1,
        "gopher_alphabetic": 0,
        "gopher_stop_words": 0,
        "gopher_top_ngrams": (top, top * 0.9, top * 0.8),
        "gopher_repeated_ngrams": tuple(again * (1 - n / 10) for n in range(6)),
    }
    text = " ".join([*tokens, "end"])
    assert judge(text, **bounds) == slow_reason(text, HeuristicRules.model_validate(bounds))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's a well-known fact.", ["It", "'s", "a", "well", "-", "known", "fact", "."]),
        ("R&D at example.com, 3.14 or 9:30…", ["R&D", "at", "example.com", ",", "3.14", "or",
                                                "9:30", "…"]),
        ("Wait... 'so' -- $5!!", ["Wait", "...", "'", "so", "'", "--", "$", "5", "!", "!"]),
        ("_so_ my_name '_he'", ["_", "so", "_", "my_name", "'", "_", "he", "'"]),
        ("", []),
    ],
)  # fmt: skip
def test_tokens(text: str, tokens: list[str]) -> None:
    assert TOKEN.findall(text) == tokens


@given(st.text(alphabet="ab \t\n", max_size=60), st.integers(1, 8))
def test_long_words_are_found(line: str, limit: int) -> None:
    assert has_long_word(line, limit) == any(len(part) > limit for part in line.split())


@given(st.text(alphabet="ab .", max_size=30), st.integers(1, 8))
def test_more_words_than(text: str, limit: int) -> None:
    assert more_than(text, limit) == (len(text.replace(".", " ").split()) > limit)


@pytest.mark.parametrize(
    "text",
    ["the mill of " * 800_000, "a" * 10_000_000, "." * 10_000_000, "!?" * 5_000_000,
     "a'" * 5_000_000, "1:" * 5_000_000, "\n" * 10_000_000, "- a\n" * 2_500_000],
    ids=["words", "word", "dots", "marks", "apostrophes", "numbers", "empty lines", "bullets"],
)  # fmt: skip
def test_ten_megabytes_are_fast(text: str) -> None:
    rules = GopherRules(HeuristicRules.model_validate({}))
    started = time.process_time()
    assert not rules.keep(text, Funnel("commoncrawl"), "page")
    assert time.process_time() - started < 20


def test_repetition_of_a_long_text_is_fast() -> None:
    text = f"{words(0, 90_000)} the of " + "the mill of it " * 2_000
    started = time.process_time()
    assert judge(text) == ""
    assert time.process_time() - started < 20

"""Gopher's rules on the quality and the repetition of a page (Rae et al. 2021, appendix A.1.1).

Where their text leaves a choice it is made once here, for the stricter: shares of lines are of the
lines that are not blank, shares of characters leave out the white space round what is counted, and
in repeated n-grams every occurrence but the first counts, overlapping ones by their union. Two are
not the stricter: a most frequent n-gram that occurs once is no repetition, and a word keeps its
apostrophe. Stop words are looked for as they are written, in small letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.funnel import Funnel
from tasks.corpus.rules.heuristics import HeuristicRules
from tasks.corpus.web.words import Tokens, more_than

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
BULLETS = ("•", "-", "–", "*", "‣", "◦", "▪", "·", "●", "■")
_ELLIPSES = ("...", "…")
_PARAGRAPHS = re.compile(r"\n{2,}")
_TOP = (2, 3, 4)
_REPEATED = (5, 6, 7, 8, 9, 10)


class _Again(NamedTuple):
    """Parts of a page that stood before in it, and all parts; characters of both."""

    parts: int
    all_parts: int
    characters: int
    all_characters: int

    @classmethod
    def of(cls, parts: Sequence[str]) -> _Again:
        different = set(parts)
        characters = sum(map(len, parts))
        again = characters - sum(map(len, different)) if len(different) < len(parts) else 0
        return cls(len(parts) - len(different), len(parts), again, characters)


class GopherRules:
    """Keeps pages by the Gopher rules whose bounds ``parameters`` give."""

    FILTERS: tuple[str, ...] = ("gopher quality", "gopher repetition")

    def __init__(self, parameters: HeuristicRules) -> None:
        self._bounds = parameters

    def keep(self, text: str, funnel: Funnel, identity: str) -> bool:
        """Whether a page passes; the rule that stops it is the reason in ``funnel``."""
        quality, repetition = self.FILTERS
        lines = [line.strip() for line in text.splitlines()]
        reason, tokens = self._quality(text, [line for line in lines if line])
        if reason or tokens is None:
            funnel.reject(quality, reason, text, identity)
            return False
        funnel.keep(quality, text)
        reason = self._repeated_lines(lines) or self._repeated_words(text, tokens)
        if reason:
            funnel.reject(repetition, reason, text, identity)
            return False
        funnel.keep(repetition, text)
        return True

    def _quality(self, text: str, lines: list[str]) -> tuple[str, Tokens | None]:
        """Why a page is of low quality, "" when it is not; the page's words then."""
        bounds = self._bounds
        # So many are not worth holding; twice, for a token may be two of those (3.14, R&D).
        if more_than(text, 2 * bounds.gopher_max_words):
            return "too many words", None
        tokens = Tokens.of(text)
        words = characters = with_letter = 0
        for token, count in tokens.counts.items():
            if token.isalpha():
                with_letter += count
            elif not any(map(str.isalnum, token)):
                continue
            elif any(map(str.isalpha, token)):
                with_letter += count
            words += count
            characters += count * len(token)
        if words == 0 or words < bounds.gopher_min_words:
            return "too few words", None
        if words > bounds.gopher_max_words:
            return "too many words", None
        if characters < bounds.gopher_min_word_length * words:
            return "words too short", None
        if characters > bounds.gopher_max_word_length * words:
            return "words too long", None
        if text.count("#") > bounds.gopher_symbols * words:
            return "too many hash signs", None
        if text.count("...") + text.count("…") > bounds.gopher_symbols * words:
            return "too many ellipses", None
        if sum(line.startswith(BULLETS) for line in lines) > bounds.gopher_bullets * len(lines):
            return "too many bullet lines", None
        if sum(line.endswith(_ELLIPSES) for line in lines) > bounds.gopher_ellipses * len(lines):
            return "too many ellipsis lines", None
        if with_letter < bounds.gopher_alphabetic * len(tokens.tokens):
            return "too few words with a letter", None
        if sum(word in tokens.counts for word in STOP_WORDS) < bounds.gopher_stop_words:
            return "too few stop words", None
        return "", tokens

    def _repeated_lines(self, lines: list[str]) -> str:
        """Which rule on repeated paragraphs and lines a page breaks, "" for none."""
        bounds = self._bounds
        if "" in lines:
            paragraphs = _PARAGRAPHS.split("\n".join(lines).strip("\n"))
            again = _Again.of(paragraphs)
            if again.parts > bounds.gopher_paragraphs * again.all_parts:
                return "repeated paragraphs"
            if again.characters > bounds.gopher_paragraph_characters * again.all_characters:
                return "characters of repeated paragraphs"
        again = _Again.of([line for line in lines if line])
        if again.parts > bounds.gopher_lines * again.all_parts:
            return "repeated lines"
        if again.characters > bounds.gopher_line_characters * again.all_characters:
            return "characters of repeated lines"
        return ""

    def _repeated_words(self, text: str, tokens: Tokens) -> str:
        """Which rule on repeated n-grams a page breaks, "" for none.

        Exact: an n-gram is repeated only where both (n-1)-grams in it are, so every round looks at
        what the last one left, which in most pages is soon nothing.
        """
        number = {token: index for index, token in enumerate(tokens.counts)}
        word_W = np.array([number[token] for token in tokens.tokens], dtype=np.int64)
        end_W = np.zeros(len(word_W) + 1, dtype=np.int64)
        np.cumsum(
            np.fromiter(map(len, tokens.tokens), dtype=np.int64, count=len(word_W)), out=end_W[1:]
        )
        count_V = np.fromiter(tokens.counts.values(), dtype=np.int64, count=len(number))
        many_W = count_V[word_W] > 1
        start_P = np.flatnonzero(many_W[:-1] & many_W[1:])
        rank_P = word_W[start_P]
        for size in (*_TOP, *_REPEATED):
            key_P = rank_P * len(number) + word_W[start_P + size - 1]
            start_P, rank_P, first_P, count_P = _occurring_again(start_P, key_P)
            if not len(start_P):
                return ""
            if size in _TOP:
                length_P = end_W[start_P + size] - end_W[start_P] + size - 1
                most = int(count_P.max())
                characters = most * int(length_P[count_P == most].max())
                if characters > self._bounds.gopher_top_ngrams[size - _TOP[0]] * len(text):
                    return f"most frequent {size}-gram"
            else:
                characters = _covered(start_P[~first_P], size, end_W)
                bound = self._bounds.gopher_repeated_ngrams[size - _REPEATED[0]]
                if characters > bound * int(end_W[-1]):
                    return f"repeated {size}-grams"
            # The next word joins: there must be one, and its n-gram must be repeated as well.
            again_W = np.zeros(len(word_W) + 1, dtype=bool)
            again_W[start_P] = True
            on_P = again_W[start_P + 1] & (start_P + size < len(word_W))
            start_P, rank_P = start_P[on_P], rank_P[on_P]
        return ""


def _occurring_again(
    start_P: NDArray[np.int64], key_P: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Of n-grams named by keys, those that occur more than once, in the order of the text.

    Returns:
        where each begins, its rank among the different ones, whether it is the first occurrence,
        and how often it occurs.
    """
    order_P = np.argsort(key_P, kind="stable")
    sorted_P = key_P[order_P]
    new_P = np.ones(len(key_P), dtype=bool)
    np.not_equal(sorted_P[1:], sorted_P[:-1], out=new_P[1:])
    rank_P = np.cumsum(new_P) - 1
    count_P = np.bincount(rank_P)[rank_P]
    again_P = np.flatnonzero(count_P > 1)
    # Back to the order of the text.
    back_A = again_P[np.argsort(order_P[again_P])]
    return start_P[order_P[back_A]], rank_P[back_A], new_P[back_A], count_P[back_A]


def _covered(start_A: NDArray[np.int64], size: int, end_W: NDArray[np.int64]) -> int:
    """Characters of the words that n-grams of ``size`` words, given in order, cover together."""
    if not len(start_A):
        return 0
    stop_A = start_A + size
    # What an n-gram shares with the one before it is counted there.
    begin_A = start_A.copy()
    np.maximum(start_A[1:], stop_A[:-1], out=begin_A[1:])
    return int((end_W[stop_A] - end_W[begin_A]).sum())

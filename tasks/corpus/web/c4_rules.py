"""C4's heuristics on the text of a page (Raffel et al. 2020, section 2.2).

Rules on the page come first and look at the page as it was extracted, as the paper words them
(C4's code looks at the lines that are left); then the rules on its lines; then the number of
sentences in what is left. Every rule is a filter of the funnel: a rule on lines that takes some
of them passes the page on shorter, one that takes the last of them rejects the page.
"""

from __future__ import annotations

import re

from tasks.corpus.funnel import Funnel
from tasks.corpus.rules.heuristics import HeuristicRules
from tasks.corpus.web.bad_words import BadWords
from tasks.corpus.web.sentences import at_least
from tasks.corpus.web.words import has_long_word

_CITATION = re.compile(r"\[(?:[0-9]*|edit|citation needed)\]")
# Filters in order, and why a page ends there.
_PAGE_RULES = {
    "c4 curly bracket": "curly bracket",
    "c4 lorem ipsum": "lorem ipsum",
    "c4 bad words": "bad word",
}
_LINE_RULES = {
    "c4 blank": "no text",
    "c4 long words": "every line with a long word",
    "c4 citations": "nothing but citation markers",
    "c4 terminal marks": "no line with a terminal mark",
    "c4 words per line": "every line too short",
    "c4 javascript": "every line with javascript",
    "c4 policy": "every line about a policy",
}
_BLANK, _LONG, _CITATIONS, _TERMINAL, _SHORT, _JAVASCRIPT, _POLICY = range(len(_LINE_RULES))
_SENTENCES = "c4 sentences"


class C4Rules:
    """Cleans pages by the C4 rules that ``parameters`` name."""

    FILTERS: tuple[str, ...] = (*_PAGE_RULES, *_LINE_RULES, _SENTENCES)

    def __init__(self, parameters: HeuristicRules) -> None:
        self._parameters = parameters
        self._bad_words = BadWords(parameters.bad_words)
        self._marks = tuple(parameters.c4_terminal_marks)
        self._policy = tuple(phrase.lower() for phrase in parameters.c4_policy)

    def clean(self, text: str, funnel: Funnel, identity: str) -> str | None:
        """What is left of a page, None when it is rejected; each rule counts in ``funnel``.

        White space around lines and lines without text go too (filter ``c4 blank``); nothing is
        ever added. identity: of the page, for the record of the rejected.
        """
        lowered = text.lower()
        found = (
            self._parameters.c4_curly_bracket and "{" in text,
            self._parameters.c4_lorem_ipsum and "lorem ipsum" in lowered,
            bool(self._bad_words) and self._bad_words.within(lowered),
        )
        for (name, reason), bad in zip(_PAGE_RULES.items(), found, strict=True):
            if bad:
                funnel.reject(name, reason, text, identity)
                return None
            funnel.keep(name, text)
        cleaned, lines = self._clean_lines(text, lowered, funnel, identity)
        if not lines:
            return None
        if not at_least(lines, self._parameters.c4_min_sentences):
            funnel.reject(_SENTENCES, "too few sentences", cleaned, identity)
            return None
        funnel.keep(_SENTENCES, cleaned)
        return cleaned

    def _clean_lines(
        self, text: str, lowered: str, funnel: Funnel, identity: str
    ) -> tuple[str, list[str]]:
        """Apply the rules on lines: one look at each line, then the counts of each rule."""
        check_javascript = self._parameters.c4_javascript and "javascript" in lowered
        check_policy = any(phrase in lowered for phrase in self._policy)
        check_citations = self._parameters.c4_citations and "[" in text
        marks, least = self._marks, self._parameters.c4_min_words
        longest = self._parameters.c4_max_word
        lines = [line for raw in text.splitlines() if (line := raw.strip())]
        edited: list[str] | None = None
        # Which rule takes which line; a line that stays is in none of them.
        taken: dict[int, int] = {}
        for number, line in enumerate(lines):
            if longest and len(line) > longest and has_long_word(line, longest):
                taken[number] = _LONG
                continue
            if check_citations and "[" in line:
                bare = _CITATION.sub("", line).strip()
                if bare != line:
                    if edited is None:
                        edited = list(lines)
                    edited[number] = line = bare
                    if not bare:
                        taken[number] = _CITATIONS
                        continue
            if marks and (not line.endswith(marks) or line.endswith("...")):
                taken[number] = _TERMINAL
            elif least and len(line.split(None, least)) < least:
                taken[number] = _SHORT
            elif check_javascript and "javascript" in line.lower():
                taken[number] = _JAVASCRIPT
            elif check_policy and self._about_policy(line):
                taken[number] = _POLICY
        return _count(text, lines, edited, taken, funnel, identity)

    def _about_policy(self, line: str) -> bool:
        lowered = line.lower()
        return any(phrase in lowered for phrase in self._policy)


def _count(
    text: str,
    lines: list[str],
    edited: list[str] | None,
    taken: dict[int, int],
    funnel: Funnel,
    identity: str,
) -> tuple[str, list[str]]:
    """Tell the funnel what each rule on lines left; returns the text and the lines at the end."""
    used = set(taken.values())
    kept = list(range(len(lines)))
    for rule, (name, reason) in enumerate(_LINE_RULES.items()):
        after = text
        if rule == _BLANK:
            after = "\n".join(lines)
        elif rule in used or (rule == _CITATIONS and edited is not None):
            if rule == _CITATIONS and edited is not None:
                lines = edited
            if rule in used:
                kept = [number for number in kept if taken.get(number) != rule]
            after = "\n".join([lines[number] for number in kept])
        if not kept:
            funnel.reject(name, reason, text, identity)
            return "", []
        # An unchanged text is one object, so that the funnel sees at once that nothing changed.
        if after == text:
            funnel.keep(name, text)
        else:
            funnel.keep(name, text, after)
            text = after
    return text, [lines[number] for number in kept]

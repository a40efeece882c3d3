"""Apostrophes that mean italic and bold, read by MediaWiki's rules."""

from __future__ import annotations

import re

from tasks.corpus.sources.wikitext_marks import APOSTROPHE

_RUNS = re.compile("''+")


def without_quotes(text: str) -> str:
    """``text`` without the apostrophes that mean italic and bold; line by line, as MediaWiki.

    Two are italic, three bold, five both. Of four the first is an apostrophe, of more than five
    those before the last five. Where a line leaves both italic and bold open, one bold was an
    apostrophe and italic.
    """
    if "''" not in text:
        return text
    return "\n".join(
        [_line_without_quotes(line) if "''" in line else line for line in text.split("\n")]
    )


def as_literal(text: str) -> str:
    """``text`` whose apostrophes are apostrophes."""
    return text.replace("'", APOSTROPHE) if "'" in text else text


def _line_without_quotes(line: str) -> str:
    sizes = [len(run) for run in _RUNS.findall(line)]
    italics = sizes.count(2) + sizes.count(5)
    bolds = sizes.count(3) + sizes.count(5)
    odd = len(sizes) - italics - bolds + sizes.count(5)
    if not odd and not (italics % 2 and bolds % 2):
        return _RUNS.sub("", line)
    texts = _RUNS.split(line)
    for index, size in enumerate(sizes):
        if size == 4 or size > 5:
            sizes[index] = 3 if size == 4 else 5
            texts[index] += "'" * (size - sizes[index])
    italics = sum(size in (2, 5) for size in sizes)
    bolds = sum(size in (3, 5) for size in sizes)
    if italics % 2 and bolds % 2:
        apostrophe = _bold_that_is_an_apostrophe(texts, sizes)
        if apostrophe is not None:
            texts[apostrophe] += "'"
    return "".join(texts)


def _bold_that_is_an_apostrophe(texts: list[str], sizes: list[int]) -> int | None:
    """MediaWiki's choice: after a word of one letter, else after a longer one, else any first."""
    longer = after_space = None
    for index, size in enumerate(sizes):
        if size != 3:
            continue
        before = texts[index][-2:]
        if before.endswith(" "):
            after_space = index if after_space is None else after_space
        elif before[:-1] == " ":
            return index
        elif longer is None:
            longer = index
    return after_space if longer is None else longer

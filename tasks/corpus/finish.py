"""The end of every source's chain: encoding repaired, private data replaced."""

from __future__ import annotations

from collections.abc import Callable

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.private import replaced
from tasks.corpus.repair import repaired
from tasks.corpus.rules.finish import FinishRules

REPAIR = "unicode repair"
PRIVATE = "private data"
DOCUMENTS = "documents"
LINES = "lines"
# A text as a filter leaves it, and what was changed in it, by kind.
Change = Callable[[str], tuple[str, dict[str, int]]]


class Finish:
    """The filters that are on for one source, in order. None of them rejects a document."""

    def __init__(self, parameters: FinishRules, source: str) -> None:
        wanted = parameters.finishing(source)
        kinds = wanted.get("private_data", [])
        self._changes: dict[str, Change] = {}
        if "unicode_repair" in wanted:
            self._changes[REPAIR] = _repair
        if kinds:
            self._changes[PRIVATE] = lambda text: replaced(text, kinds)

    @property
    def filters(self) -> tuple[str, ...]:
        """Names of the filters that are on."""
        return tuple(self._changes)

    def apply(self, document: Document, funnel: Funnel) -> None:
        """Change the document's text; each filter counts documents changed and what by kind."""
        for name, change in self._changes.items():
            before = document.text
            document.text, counts = change(before)
            changed = {DOCUMENTS: 1} | counts if counts else None
            funnel.keep(name, before, document.text, changed)


def _repair(text: str) -> tuple[str, dict[str, int]]:
    better, lines = repaired(text)
    return better, {LINES: lines} if lines else {}

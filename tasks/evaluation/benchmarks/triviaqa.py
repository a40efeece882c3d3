"""TriviaQA (Joshi et al. 2017), closed book."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ShotsFor, first_shots
from tasks.evaluation.benchmarks.closed_book import ClosedBook, shot
from tasks.evaluation.items import BenchmarkDataError, Item, read_jsonl

_PREFIX = "Question: "
_SUFFIX = "\nAnswer:"


class TriviaQa(ClosedBook):
    """The paper's prompt and exact match."""

    name = "triviaqa"
    title = "TriviaQA"
    source = (
        "mosaicml/llm-foundry's 3,000 validation questions (context, answer, aliases): a subset, "
        "not the filtered dev set of the paper; examples are the first other questions of the file"
    )
    split = "validation"
    files: ClassVar = {"validation": ("triviaqa/triviaqa_sm_sub.jsonl",)}

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        for row, value in read_jsonl(root, name, texts=("context", "answer"), lists=("aliases",)):
            context = value["context"]
            if not (context.startswith(_PREFIX) and context.endswith(_SUFFIX)):
                raise BenchmarkDataError(
                    f'{name}: item {row}: the context is not "Question: ...\\nAnswer:"'
                )
            answers = dict.fromkeys([value["answer"], *value["aliases"]])
            yield Item(
                id=str(row),
                question=_unquote(context[len(_PREFIX) : -len(_SUFFIX)]),
                answers=tuple(answers),
            )

    def shots_for(self, root: Path, count: int) -> ShotsFor:
        # The copy has no training questions, so the examples come from the evaluated file; an item
        # never sees itself. One more than needed is kept for the items that are examples.
        pool: list[Item] = []
        for item in self.read(root, "validation") if count else ():
            pool.append(item)
            if len(pool) > count:
                break

        def shots(item: Item) -> tuple[str, ...]:
            others = [shot(other) for other in pool if other.id != item.id]
            return first_shots(others, count, self.files["validation"][0])

        return shots


def _unquote(question: str) -> str:
    """Undo the CSV quoting that this copy left on questions with a quotation mark in them."""
    if len(question) > 1 and question[0] == question[-1] == '"' and '""' in question:
        return question[1:-1].replace('""', '"')
    return question

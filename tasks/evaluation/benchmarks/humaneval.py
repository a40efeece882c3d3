"""HumanEval (Chen et al. 2021): 164 functions to complete, judged by their tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import CodeBenchmark
from tasks.evaluation.items import Item, read_jsonl
from tasks.evaluation.requests import GenerationRequest, Prompt

STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # Chen et al. 2021, section 3.2


class HumanEval(CodeBenchmark):
    """Signature and docstring as the prompt; unbiased pass@k."""

    name = "humaneval"
    title = "HumanEval"
    source = "openai/human-eval data/HumanEval.jsonl.gz"
    protocol = (
        "zero-shot, the prompt as given, stopped at the next top-level statement; run in the "
        "sandbox; unbiased pass@k over the sampled programs"
    )
    protocol_version = 2  # 1 ran programs under a hash seed of each one's own
    split = "test"
    files: ClassVar = {"test": ("humaneval/HumanEval.jsonl.gz",)}

    def read(self, root: Path, split: str) -> Iterator[Item]:
        fields = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
        for _, value in read_jsonl(root, self.files[split][0], texts=fields):
            yield Item(
                id=value["task_id"],
                question=value["prompt"],
                answers=(value["canonical_solution"],),
                extra={"tests": value["test"], "entry_point": value["entry_point"]},
            )

    def request(self, item: Item, shots: tuple[str, ...]) -> GenerationRequest:
        return GenerationRequest(item.id, Prompt(item.question), STOP, max_new_tokens=512)

    def program(self, item: Item, generation: str) -> str:
        entry = item.extra["entry_point"]
        return f"{item.question}{generation}\n\n{item.extra['tests']}\n\ncheck({entry})\n"

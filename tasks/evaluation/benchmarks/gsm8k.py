"""GSM8K (Cobbe et al. 2021): grade-school word problems, 1,319 test items, 8 worked examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import GenerationBenchmark, ShotsFor
from tasks.evaluation.items import BenchmarkDataError, Item, read_jsonl
from tasks.evaluation.requests import GenerationRequest, Prompt

# Written for this project in the manner of Wei et al. 2022 (question, short chain of thought, "The
# answer is N."); their eight examples are not copied, so scores differ a little from theirs.
EXAMPLES = (
    (
        "A shelf holds 12 jars. Rosa puts 9 more jars on it and later takes 5 away. How many jars "
        "are on the shelf now?",
        "The shelf starts with 12 jars. After Rosa adds 9 there are 12 + 9 = 21. She takes 5 away, "
        "so 21 - 5 = 16 are left. The answer is 16.",
    ),
    (
        "Each mule in a caravan carries 4 sacks of maize. There are 7 mules. How many sacks does "
        "the caravan carry?",
        "Every one of the 7 mules carries 4 sacks. 7 * 4 = 28. The answer is 28.",
    ),
    (
        "Tomas had $50. He bought 3 ropes for $8 each. How much money does he have left?",
        "3 ropes for $8 each cost 3 * 8 = 24 dollars. Tomas had 50 dollars, so 50 - 24 = 26 are "
        "left. The answer is 26.",
    ),
    (
        "A baker makes 60 rolls in the morning and half as many in the afternoon. How many rolls "
        "does she make in the day?",
        "In the afternoon she makes half of 60, which is 60 / 2 = 30. Together that is 60 + 30 = "
        "90 rolls. The answer is 90.",
    ),
    (
        "Ines reads 15 pages every day from Monday to Friday and 40 pages on Saturday. How many "
        "pages does she read in the week?",
        "From Monday to Friday are 5 days, so she reads 5 * 15 = 75 pages. With Saturday's 40 "
        "pages that makes 75 + 40 = 115. The answer is 115.",
    ),
    (
        "A train ride takes 3 hours. The train stops for 10 minutes in each of 6 towns. For how "
        "many minutes of the ride is the train moving?",
        "3 hours are 3 * 60 = 180 minutes. The stops take 6 * 10 = 60 minutes. So the train moves "
        "for 180 - 60 = 120 minutes. The answer is 120.",
    ),
    (
        "Karim is 4 years older than Lena. Lena is twice as old as Otto, who is 9. How old is "
        "Karim?",
        "Otto is 9, so Lena is 2 * 9 = 18. Karim is 4 years older, so he is 18 + 4 = 22. The "
        "answer is 22.",
    ),
    (
        "A farmer packs 96 eggs into boxes of 12 and sells every box for $5. How much does he "
        "earn?",
        "96 eggs fill 96 / 12 = 8 boxes. 8 boxes for $5 each bring 8 * 5 = 40 dollars. The answer "
        "is 40.",
    ),
)

# "-$5", "$-5" and "**18**" are numbers, too; the sign is a group of its own for the first.
_ANSWER = re.compile(
    r"[Tt]he answer is[\s:*_`(]*(?P<sign>[-−])?\s*\\?[$€£]?\s*[*_`]*"
    r"(?P<inner>[-−])?(?P<number>[\d,]*\.?\d+)"
)


class Gsm8k(GenerationBenchmark):
    """Chain of thought, greedy, the number behind "The answer is"."""

    name = "gsm8k"
    title = "GSM8k"
    source = "openai/grade-school-math test.jsonl; the worked examples are our own"
    protocol = (
        '8-shot chain of thought, "Q: {q}\\nA: {reasoning} The answer is {n}.\\n\\n" per example; '
        "greedy (maj1@1), at most 512 tokens as in Minerva; the first number behind 'The answer "
        "is' must equal the reference"
    )
    # 1 read neither "-$5" nor "**18**"; 2 ended after 256 tokens
    protocol_version = 3
    split = "test"
    files: ClassVar = {"test": ("gsm8k/test.jsonl",), "train": ("gsm8k/train.jsonl",)}
    shots = 8
    max_shots = 8

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        for row, value in read_jsonl(root, name, texts=("question", "answer")):
            reasoning, mark, number = value["answer"].rpartition("####")
            if not mark or _number(number) is None:
                raise BenchmarkDataError(f'{name}: item {row}: the answer has no "#### number"')
            yield Item(
                id=str(row),
                question=value["question"],
                answers=(number.strip(),),
                extra={"reasoning": reasoning.strip()},
            )

    def shots_for(self, root: Path, count: int) -> ShotsFor:
        texts = tuple(f"Q: {question}\nA: {answer}\n\n" for question, answer in EXAMPLES[:count])
        return lambda item: texts

    def request(self, item: Item, shots: tuple[str, ...]) -> GenerationRequest:
        prompt = Prompt(f"Q: {item.question}\nA:", shots=shots)
        return GenerationRequest(item.id, prompt, stop=("\n\n", "\nQ:"), max_new_tokens=512)

    def answer(self, generation: str) -> str:
        found = _ANSWER.search(generation)
        if not found:
            return ""
        negative = found["sign"] or found["inner"]
        return ("-" if negative else "") + found["number"]

    def correct(self, answer: str, item: Item) -> bool:
        found = _number(answer)
        return found is not None and found == _number(item.answers[0])


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text.strip().replace(",", ""))
    except InvalidOperation:
        return None

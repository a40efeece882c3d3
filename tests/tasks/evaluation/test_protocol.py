"""Prompts, normalisations, answer rules and formulas, each against figures worked out by hand."""

from __future__ import annotations

import itertools
import json
import operator
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from tasks.evaluation.answering import answer_choices
from tasks.evaluation.benchmarks.base import choice_predictions, pass_at_k
from tasks.evaluation.benchmarks.boolq import BoolQ
from tasks.evaluation.benchmarks.closed_book import cut_answer, normalise_answer
from tasks.evaluation.benchmarks.gsm8k import EXAMPLES, Gsm8k
from tasks.evaluation.benchmarks.hellaswag import HellaSwag, capitalise_fragment, clean
from tasks.evaluation.benchmarks.mmlu import Mmlu
from tasks.evaluation.benchmarks.nq_open import NqOpen, as_printed
from tasks.evaluation.benchmarks.piqa import Piqa
from tasks.evaluation.benchmarks.registry import BENCHMARKS
from tasks.evaluation.benchmarks.triviaqa import TriviaQa
from tasks.evaluation.benchmarks.winogrande import WinoGrande
from tasks.evaluation.items import BenchmarkDataError, Item, load_items
from tasks.evaluation.parameters import BenchmarkName, EvaluationParameters
from tasks.evaluation.requests import TokenPair
from tasks.evaluation.scorer import Score
from tests.tasks.evaluation.conftest import write_jsonl

CALCULATE = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


class FakeScorer:
    """Log-likelihoods by the words of context and continuation."""

    context_length = 64

    def __init__(self, tokenizer: Any, known: dict[tuple[str, str], float]):
        self.tokenizer, self.known = tokenizer, known

    def score(self, pairs: Sequence[TokenPair]) -> list[Score]:
        texts = [
            (self.tokenizer.text(pair.context[1:]), self.tokenizer.text(pair.continuation))
            for pair in pairs
        ]
        return [Score(self.known[text], False) for text in texts]


def test_normalisation_by_characters_leaves_out_the_leading_space(words: Any) -> None:
    item = Item(id="0", question="Label: ctx", choices=("aaaa", "bbbbbbbb"), gold=1)
    request = HellaSwag().request(item, ())
    known = {("Label: ctx", "aaaa"): -4.4, ("Label: ctx", "bbbbbbbb"): -8.0}
    record = answer_choices(HellaSwag(), [item], [request], FakeScorer(words, known), words)[0]
    assert record["characters"] == [4, 8]
    # -4.4 > -8.0, but -4.4 / 4 = -1.1 < -8.0 / 8 = -1.0; with the space -0.88 > -0.889.
    assert record["predictions"] == {"acc": 0, "acc_norm": 1}
    assert record["values"] == {"acc": 0.0, "acc_norm": 1.0}


def test_boolq_divides_probabilities_by_those_behind_answer(words: Any) -> None:
    item = Item(id="0", question="is it", passage="Text.", choices=("no", "yes"), gold=0)
    request = BoolQ().request(item, ())
    context = "Text. Question: is it? Answer:"
    known = {
        (context, "no"): -2.0,
        (context, "yes"): -1.0,
        ("Answer:", "no"): -4.0,
        ("Answer:", "yes"): -1.5,
    }
    record = answer_choices(BoolQ(), [item], [request], FakeScorer(words, known), words)[0]
    assert record["unconditional"] == [-4.0, -1.5]
    # -2 - -4 = 2 beats -1 - -1.5 = 0.5. Dividing the logs would give 0.5 < 0.667: the other one.
    assert record["predictions"]["acc_answer"] == 0
    assert record["predictions"]["acc"] == 1
    assert record["values"]["acc_answer"] == 1.0


def test_an_item_that_cannot_be_asked_is_wrong_and_says_why(words: Any) -> None:
    """One PIQA solution of 300 tokens must not end the evaluation of a small model."""
    items = [
        Item(id="0", question="goal", choices=("s " * 65, "t"), gold=1),
        Item(id="1", question="goal", choices=("s", "t"), gold=1),
    ]
    known = {("Question: goal Answer:", "s"): -2.0, ("Question: goal Answer:", "t"): -1.0}
    requests = [Piqa().request(item, ()) for item in items]
    wrong, right = answer_choices(Piqa(), items, requests, FakeScorer(words, known), words)
    assert wrong["reason"] == "choice 1 of 2 has 65 tokens, the model reads 64"
    assert wrong["values"] == {"acc_norm": 0.0, "acc": 0.0} and wrong["tokens_cut"] == 4
    assert "reason" not in right and right["values"] == {"acc_norm": 1.0, "acc": 1.0}


def test_ties_go_to_the_first_choice() -> None:
    found = choice_predictions([-1.0, -1.0, -2.0], [2, 2, 4], [-1.0, -1.0, -2.0])
    assert found == {"acc": 0, "acc_norm": 0, "acc_answer": 0}


@pytest.mark.parametrize(
    ("generation", "answer"),
    [
        (" Charles Darwin\nQ: next", "Charles Darwin"),
        (" Paris, France.", "Paris, France"),
        (" Paris, France", "Paris"),
        (" J. R. R. Tolkien", "J. R. R"),
        ("   House", "House"),
        ("\nlater", ""),
        ("", ""),
    ],
)
def test_closed_book_answers_are_cut_as_the_paper_says(generation: str, answer: str) -> None:
    assert cut_answer(generation) == answer


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Beatles", "beatles"),
        ("a cat, an owl & the dog!", "cat owl dog"),
        ("over the", "over"),
        ("Theodore", "theodore"),
        ("U.S.A.", "usa"),
        ("  two\twords ", "two words"),
        ("“Hamlet”", "hamlet"),
        ("The", ""),
    ],
)
def test_exact_match_normalisation(text: str, normal: str) -> None:
    assert normalise_answer(text) == normal


def test_exact_match_takes_any_accepted_answer() -> None:
    item = Item(id="0", question="?", answers=("The Moon", "Luna"))
    found = TriviaQa()
    assert found.correct("moon", item) and found.correct("LUNA!", item)
    assert not found.correct("Mars", item) and not found.correct("", item)


@pytest.mark.parametrize("accepted", ["The", "?", "A.", ""])
@pytest.mark.parametrize("generation", ["", "the", "...", "Mars"])
def test_no_answer_is_never_right(accepted: str, generation: str) -> None:
    """Accepted forms that normalise to nothing must not make an empty generation right."""
    item = Item(id="0", question="?", answers=(accepted,))
    assert not TriviaQa().correct(generation, item)
    assert TriviaQa().correct("luna", Item(id="0", question="?", answers=(accepted, "Luna")))


@pytest.mark.parametrize(
    ("generation", "right"),
    [
        (" 3 * 4 = 12. The answer is 12.", True),
        (" The answer is $12", True),
        (" The answer is 12.00.", True),
        (" The answer is 1,2", True),
        (" The answer is -12.", False),
        (" The answer is 120.", False),
        (" It is 12.", False),
        (" The answer is 7. The answer is 12.", False),
    ],
)
def test_gsm8k_reads_the_first_stated_answer(generation: str, right: bool) -> None:
    item = Item(id="0", question="?", answers=("12",))
    assert Gsm8k().correct(Gsm8k().answer(generation), item) == right


@pytest.mark.parametrize(
    ("generation", "number"),
    [
        ("The answer is -$5.", "-5"),
        ("The answer is $-5.", "-5"),
        ("The answer is **18**.", "18"),
        ("The answer is: **$1,234.50**", "1,234.50"),
        ("**The answer is** 18", "18"),
        ("The answer is **-18**", "-18"),
        ("The answer is \u22125", "-5"),
        ("The answer is 5 - 3", "5"),
        ("The answer is x - 3", ""),
    ],
)
def test_gsm8k_reads_signs_and_marks(generation: str, number: str) -> None:
    assert Gsm8k().answer(generation) == number


def test_the_worked_examples_state_what_they_work_out() -> None:
    assert len(EXAMPLES) == Gsm8k.shots == 8
    for question, answer in EXAMPLES:
        stated = Gsm8k().answer(answer)
        assert stated and not Gsm8k().answer(question)
        sums = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", answer)
        assert sums and len(sums) == answer.count("=")
        for left, sign, right, result in sums:
            assert CALCULATE[sign](int(left), int(right)) == int(result), answer
        assert sums[-1][-1] == stated


def test_reasoning_may_be_as_long_as_minervas() -> None:
    item = Item(id="0", question="How many?", answers=("12",))
    assert Gsm8k().request(item, ()).max_new_tokens == 512


@pytest.mark.parametrize("n", [1, 5, 9])
def test_pass_at_k_is_the_share_of_subsets_with_a_pass(n: int) -> None:
    for correct, k in itertools.product(range(n + 1), range(1, n + 1)):
        subsets = list(itertools.combinations(range(n), k))
        share = sum(any(index < correct for index in chosen) for chosen in subsets) / len(subsets)
        assert pass_at_k(n, correct, k) == pytest.approx(share, abs=1e-12)


def test_pass_at_k_refuses_what_is_not_defined() -> None:
    for samples, correct, k in ((5, 6, 1), (5, 1, 6), (5, -1, 1), (5, 1, 0)):
        with pytest.raises(ValueError, match="not defined"):
            pass_at_k(samples, correct, k)


def test_mmlu_has_the_original_prompt() -> None:
    item = Item(
        id="x:0",
        question="Two plus two?",
        choices=("3", "4", "5", "6"),
        gold=1,
        extra={"subject": "elementary_mathematics"},
    )
    request = Mmlu().request(item, ("One?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: A\n\n",))
    assert request.prompt.text(1) == (
        "The following are multiple choice questions (with answers) about  elementary mathematics."
        "\n\nOne?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: A\n\n"
        "Two plus two?\nA. 3\nB. 4\nC. 5\nD. 6\nAnswer:"
    )
    assert [choice.text for choice in request.choices] == [" A", " B", " C", " D"]


def test_closed_book_prompt_is_the_papers(tmp_path: Path) -> None:
    rows = [
        {"context": f"Question: {q}\nAnswer:", "answer": a, "aliases": []}
        for q, a in (("Who sang?", "Frank Sinatra"), ("Who wrote?", "Darwin"), ("Which?", "Troy"))
    ]
    path = tmp_path / "triviaqa" / "triviaqa_sm_sub.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = TriviaQa()
    items = list(load_items("triviaqa", tmp_path))
    shots = found.shots_for(tmp_path, 1)
    prompts = [found.request(item, shots(item)).prompt.text(1) for item in items]
    assert (
        prompts[1] == "Answer these questions:\nQ: Who sang?\nA: Frank Sinatra\nQ: Who wrote?\nA:"
    )
    # An item never sees its own answer.
    assert prompts[0] == "Answer these questions:\nQ: Who wrote?\nA: Darwin\nQ: Who sang?\nA:"


def test_naturalquestions_are_written_as_the_paper_prints_them(tmp_path: Path) -> None:
    """The file has small letters and no question mark; the paper's example has both."""
    write_jsonl(
        tmp_path / "nq_open/NQ-open.efficientqa.dev.1.1.jsonl",
        [{"question": "who sings the mill by the river", "answer": ["Ada Vale", "Vale"]}],
    )
    write_jsonl(
        tmp_path / "nq_open/NQ-open.dev.jsonl",
        [{"question": "where does the ferry land", "answer": ["the pier"]}],
    )
    found = NqOpen()
    [item] = load_items("nq_open", tmp_path)
    request = found.request(item, found.shots_for(tmp_path, 1)(item))
    assert request.prompt.text(1) == (
        "Answer these questions:\nQ: Who sings the mill by the river?\nA: Ada Vale\n"
        "Q: Where does the ferry land?\nA:"
    )
    # What is looked for in training documents is the file's own wording.
    assert item.question == "where does the ferry land"
    assert as_printed("iPhone or not? ") == "IPhone or not?"


@pytest.mark.parametrize("name", ["nq_open", "triviaqa", "mmlu"])
def test_too_few_examples_are_refused_not_passed_over(tmp_path: Path, name: str) -> None:
    """A row must not state five shots for prompts that had three."""
    letters = {"choices": list("abcd"), "answer": 0, "subject": "tides"}
    rows: dict[str, dict[str, Any]] = {
        "nq_open/NQ-open.efficientqa.dev.1.1.jsonl": {"question": "who", "answer": ["x"]},
        "triviaqa/triviaqa_sm_sub.jsonl": {
            "context": "Question: Who?\nAnswer:",
            "answer": "x",
            "aliases": [],
        },
        "mmlu/dev.jsonl": {"question": "Which?"} | letters,
    }
    for file, row in rows.items():
        write_jsonl(tmp_path / file, [row] * 3)
    file = next(file for file in rows if file.startswith(name))
    found = BENCHMARKS[name]
    item = Item(id="new", question="?", extra={"subject": "tides"})
    assert len(found.shots_for(tmp_path, 3)(item)) == 3
    with pytest.raises(BenchmarkDataError, match=rf"{file}.*: 3 examples, 5 are needed"):
        found.shots_for(tmp_path, 5)(item)
    if name == "triviaqa":  # its examples are its items, and none sees itself
        with pytest.raises(BenchmarkDataError, match="2 examples, 3 are needed"):
            found.shots_for(tmp_path, 3)(Item(id="1", question="?"))


def test_winogrande_scores_the_same_ending_behind_both_options() -> None:
    item = Item(id="0", question="The cup fell, so _ broke.", choices=("it", "she"), gold=0)
    request = WinoGrande().request(item, ())
    assert [(c.question, c.text) for c in request.choices] == [
        ("The cup fell, so it", " broke."),
        ("The cup fell, so she", " broke."),
    ]


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("A man is sitting on a roof. he", "A man is sitting on a roof. He"),
        ("She bends down. the lady in red", "She bends down. The lady in red"),
        ('"Go!" he says. it is 3.5 m. then', '"Go!" he says. it is 3.5 m. Then'),
        ("How to. Wet your hair.. Use shampoo.", "How to. Wet your hair.. Use shampoo."),
        ('He asks: "Why?"', 'He asks: "Why?"'),
        ("nobody", "Nobody"),
        ("", ""),
    ],
)
def test_the_begun_sentence_of_hellaswag_is_capitalised(context: str, expected: str) -> None:
    assert capitalise_fragment(context) == expected


def test_both_files_of_hellaswag_give_the_same_questions(tmp_path: Path) -> None:
    whole = {"activity_label": "Roof", "endings": ["a", "b", "c", "d"], "label": 1}
    parts = whole | {"ctx_a": "A man sits.", "ctx_b": "he"}
    (tmp_path / "hellaswag").mkdir()
    for name, row in (
        ("val_full_preprocessed", whole | {"ctx": "A man sits. he"}),
        ("hellaswag_val", parts),
    ):
        (tmp_path / f"hellaswag/{name}.jsonl").write_text(json.dumps(row) + "\n")
    items = [next(load_items("hellaswag", tmp_path, split)) for split in ("validation", "official")]
    assert [item.question for item in items] == ["Roof: A man sits. He"] * 2


def test_official_hellaswag_text_is_cleaned() -> None:
    assert clean("Tea: [header] How to [title] Do it. [step] Now") == "Tea: How to. Do it. Now"


def test_parameters_name_every_benchmark_and_all_problems() -> None:
    assert set(get_args(BenchmarkName)) == set(BENCHMARKS)
    with pytest.raises(ValueError, match=r"listed twice: boolq; greedy programs"):
        EvaluationParameters(benchmarks=["boolq", "boolq"], code_temperature=0, code_samples=2)
    for name, field in EvaluationParameters.model_fields.items():
        assert field.title and field.description, name

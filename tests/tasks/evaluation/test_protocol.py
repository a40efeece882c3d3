"""Prompts, normalisations, answer rules and formulas, each against figures worked out by hand."""

from __future__ import annotations

import itertools
import json
import math
import operator
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from tasks.evaluation.answering import answer_choices
from tasks.evaluation.benchmarks.base import (
    ChoiceBenchmark,
    CodeBenchmark,
    choice_predictions,
    pass_at_k,
)
from tasks.evaluation.benchmarks.boolq import BoolQ
from tasks.evaluation.benchmarks.closed_book import cut_answer, normalise_answer
from tasks.evaluation.benchmarks.gsm8k import EXAMPLES, Gsm8k
from tasks.evaluation.benchmarks.hellaswag import HellaSwag, capitalise_fragment, clean
from tasks.evaluation.benchmarks.mmlu import Mmlu
from tasks.evaluation.benchmarks.registry import BENCHMARKS
from tasks.evaluation.benchmarks.triviaqa import TriviaQa
from tasks.evaluation.benchmarks.winogrande import WinoGrande
from tasks.evaluation.items import (
    BenchmarkDataError,
    BenchmarkMissingError,
    Item,
    load_items,
    select_items,
    texts_for_decontamination,
)
from tasks.evaluation.parameters import BenchmarkName, EvaluationParameters
from tasks.evaluation.requests import (
    Choice,
    ChoiceRequest,
    Fitted,
    GenerationRequest,
    Prompt,
    TokenPair,
    fit_choices,
    fit_prompt,
    prompt_hash,
    token_pair,
)
from tasks.evaluation.scorer import Score

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


def test_ties_go_to_the_first_choice() -> None:
    found = choice_predictions([-1.0, -1.0, -2.0], [2, 2, 4], [-1.0, -1.0, -2.0])
    assert found == {"acc": 0, "acc_norm": 0, "acc_answer": 0}


def test_continuation_tokens_are_those_behind_the_encoded_context(words: Any) -> None:
    pair = token_pair(words, "one two ", "three")
    assert pair.context == (0, *words.encode("one two"))
    assert pair.continuation == tuple(words.encode("three"))
    with pytest.raises(ValueError, match="no token of its own"):
        token_pair(words, "one", " ")


def request_with(shots: int, question: str = "q1 q2") -> ChoiceRequest:
    texts = tuple(f"shot{n} x{n} y{n} " for n in range(shots))
    return ChoiceRequest("0", Prompt(question, "head ", texts), (Choice(" a"), Choice(" b c d")))


@pytest.mark.parametrize(
    ("length", "shots_left", "cut"),
    # BOS, head, 3 per shot, q1 q2, and 2 of the 3 tokens of the longest choice.
    [(15, 3, 0), (14, 2, 0), (12, 2, 0), (11, 1, 0), (8, 0, 0), (6, 0, 0), (5, 0, 1), (3, 0, 3)],
)
def test_too_long_prompts_lose_whole_shots(
    words: Any, length: int, shots_left: int, cut: int
) -> None:
    pairs, fitted = fit_choices(words, request_with(3), length)
    assert fitted == Fitted(3 - shots_left, cut)
    assert fitted.truncated == (shots_left < 3)
    for pair in pairs:
        assert pair.context[0] == words.bos_id
        assert len(pair.context) + len(pair.continuation) - 1 <= length
    expected = ["head", *(f"{name}{n}" for n in range(shots_left) for name in "xy")]
    if not cut:
        kept = words.text(pairs[0].context[1:]).split()
        assert [word for word in kept if word in expected] == expected
        assert kept[-2:] == ["q1", "q2"]


def test_a_choice_longer_than_the_context_is_refused(words: Any) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        fit_choices(words, request_with(0), 2)


def test_prompts_for_generation_leave_room(words: Any) -> None:
    prompt = Prompt("q", "", ("s s ", "s s "))
    tokens, new, fitted = fit_prompt(words, GenerationRequest("0", prompt, ("\n",), 4), 10)
    assert (len(tokens), new, fitted) == (6, 4, Fitted(0, 0))
    tokens, new, fitted = fit_prompt(words, GenerationRequest("0", prompt, ("\n",), 100), 10)
    assert (len(tokens), new, fitted) == (4, 5, Fitted(1, 0))
    long = Prompt("a b c d e f g h")
    tokens, new, fitted = fit_prompt(words, GenerationRequest("0", long, (), 5), 10)
    assert tokens == [0, *words.encode("e f g h")]
    assert (new, fitted) == (5, Fitted(0, 4))


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


def test_prompt_hash_tells_every_change_apart() -> None:
    base = request_with(2)
    others = [request_with(1), request_with(2, "q1"), ChoiceRequest("1", base.prompt, base.choices)]
    others.append(ChoiceRequest("0", base.prompt, base.choices, unconditional="Answer:"))
    hashes = {prompt_hash([request]) for request in [base, *others]}
    assert len(hashes) == 5
    assert prompt_hash([request_with(2)]) == prompt_hash([base])


def test_limited_items_are_a_nested_sample_in_file_order() -> None:
    items = [Item(id=str(n), question="?") for n in range(100)]
    few, more = select_items(items, 10, seed=3), select_items(items, 30, seed=3)
    assert len(few) == 10 and set(map(id, few)) < set(map(id, more))
    assert [int(item.id) for item in more] == sorted(int(item.id) for item in more)
    assert [item.id for item in few] != [str(n) for n in range(10)]
    assert select_items(items, 10, seed=4) != few
    assert select_items(items, None) == items == select_items(items, 100)
    with pytest.raises(BenchmarkDataError, match="'7'"):
        select_items([*items, items[7]], 5)


def test_bad_files_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "boolq" / "validation.jsonl"
    with pytest.raises(BenchmarkMissingError, match=r"boolq/validation\.jsonl"):
        list(load_items("boolq", tmp_path))
    path.parent.mkdir()
    good = '{"question": "q", "answer": true, "passage": "p"}\n'
    for text, message in (
        (good + "{", r"boolq/validation\.jsonl:2: not valid JSON"),
        (good + '\n{"question": "q"}\n', r":3: lacks the fields answer, passage"),
        ("[1]\n", r":1: expected a JSON object"),
        (good.replace("true", '"yes"'), r"item 0: the answer must be true or false"),
    ):
        path.write_text(text)
        with pytest.raises(BenchmarkDataError, match=message):
            list(load_items("boolq", tmp_path))
    with pytest.raises(ValueError, match="no split 'train'"):
        load_items("boolq", tmp_path, "train").__next__()
    with pytest.raises(ValueError, match="unknown benchmark 'boolean'"):
        list(load_items("boolean", tmp_path))


def test_parameters_name_every_benchmark_and_all_problems() -> None:
    assert set(get_args(BenchmarkName)) == set(BENCHMARKS)
    with pytest.raises(ValueError, match=r"listed twice: boolq; greedy programs"):
        EvaluationParameters(benchmarks=["boolq", "boolq"], code_temperature=0, code_samples=2)
    for name, field in EvaluationParameters.model_fields.items():
        assert field.title and field.description, name


@pytest.mark.data
def test_the_real_files_load_whole_and_render(arriero_data: Path) -> None:
    root = arriero_data / "bench"
    counts = {}
    for name, found in BENCHMARKS.items():
        items = select_items(load_items(name, root), None)
        counts[name] = len(items)
        shots = found.shots_for(root, found.shots)
        assert isinstance(found, ChoiceBenchmark) or items[0].answers
        for item in items[:: max(1, len(items) // 50)]:
            request = found.request(item, shots(item))  # type: ignore[attr-defined]
            assert len(request.prompt.shots) == found.shots
            assert item.question.strip() or name == "hellaswag"
            if not isinstance(found, CodeBenchmark):
                assert not request.prompt.text(found.shots).endswith(" ")
    assert counts == {
        "boolq": 3270,
        "piqa": 1838,
        "siqa": 1954,
        "hellaswag": 10042,
        "winogrande": 1267,
        "arc_easy": 2376,
        "arc_challenge": 1172,
        "openbookqa": 500,
        "nq_open": 3610,
        "triviaqa": 3000,
        "race_middle": 1436,
        "race_high": 3498,
        "gsm8k": 1319,
        "humaneval": 164,
        "mmlu": 14042,
    }
    name, text = next(texts_for_decontamination("arc_easy", root))
    assert name and text.count("\n") >= 3 and not math.isnan(len(text))

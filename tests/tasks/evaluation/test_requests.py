"""How requests become tokens: the continuation's own tokens, and what is left of a long prompt."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.evaluation.requests import (
    Choice,
    ChoiceRequest,
    Fitted,
    GenerationRequest,
    Prompt,
    fit_choices,
    fit_prompt,
    prompt_hash,
    token_pair,
)


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


def test_each_choice_keeps_the_context_that_fits_before_it(words: Any) -> None:
    short, long = fit_choices(words, request_with(0), 5)[0]
    assert words.text(short.context[1:]) == "head q1 q2"
    assert words.text(long.context[1:]) == "q1 q2"


def test_a_choice_longer_than_the_context_is_named(words: Any) -> None:
    pairs, fitted = fit_choices(words, request_with(2), 2)
    assert pairs == []
    assert fitted == Fitted(2, 4, "choice 2 of 2 has 3 tokens, the model reads 2")
    assert fit_choices(words, request_with(2), 3)[1].reason is None


def test_a_choice_must_fit_behind_its_unconditional_context_too(words: Any) -> None:
    """A RACE option that fits behind BOS alone may not fit behind "A:"."""
    asked = ChoiceRequest("0", Prompt("q"), (Choice(" a"), Choice(" b c d")), "Answer :")
    pairs, fitted = fit_choices(words, asked, 5)
    assert [words.text(pair.context[1:]) for pair in pairs] == ["q", "q", "Answer :", "Answer :"]
    assert fitted == Fitted()
    pairs, fitted = fit_choices(words, asked, 4)
    assert pairs == [] and fitted.truncated
    assert fitted.reason == "choice 2 of 2 has 5 tokens with 'Answer :', the model reads 4"


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


def test_prompt_hash_tells_every_change_apart() -> None:
    base = request_with(2)
    others = [request_with(1), request_with(2, "q1"), ChoiceRequest("1", base.prompt, base.choices)]
    others.append(ChoiceRequest("0", base.prompt, base.choices, unconditional="Answer:"))
    hashes = {prompt_hash([request]) for request in [base, *others]}
    assert len(hashes) == 5
    assert prompt_hash([request_with(2)]) == prompt_hash([base])

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


def test_prompt_hash_tells_every_change_apart() -> None:
    base = request_with(2)
    others = [request_with(1), request_with(2, "q1"), ChoiceRequest("1", base.prompt, base.choices)]
    others.append(ChoiceRequest("0", base.prompt, base.choices, unconditional="Answer:"))
    hashes = {prompt_hash([request]) for request in [base, *others]}
    assert len(hashes) == 5
    assert prompt_hash([request_with(2)]) == prompt_hash([base])

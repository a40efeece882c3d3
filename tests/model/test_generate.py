"""Generation: what a row gives depends on the row alone; every way to end it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from model.generate import choose, generate
from model.llama import Llama

PROMPTS = [[1, 5, 9], [1], [1, *range(10, 40)], [1, 3, 3, 3, 3], [1, 96]]


def words(ids: Sequence[int]) -> str:
    """A decoder for tests: id 7 is ``<7>``."""
    return "".join(f"<{token}>" for token in ids)


@pytest.fixture(scope="module")
def model(make_model: Callable[..., Llama]) -> Llama:
    return make_model(kv_heads=2)


@torch.no_grad()
def test_greedy_equals_full_forward(model: Llama) -> None:
    for prompt, row in zip(PROMPTS, generate(model, PROMPTS, 20), strict=True):
        tokens = list(prompt)
        for token in row.tokens:
            logits = model(torch.tensor([tokens]))[0, -1]
            assert logits[token] >= logits.max() - 1e-4
            tokens.append(token)
        assert row.finish == "length" and len(row.tokens) == 20


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 1.0), (0.7, 0.8)])
def test_rows_do_not_depend_on_the_batch(model: Llama, temperature: float, top_p: float) -> None:
    def run(prompts: list[list[int]], rows: list[int], **ending: list[int]) -> list:
        return generate(
            model,
            prompts,
            15,
            temperature=temperature,
            top_p=top_p,
            seed=3,
            rows=rows,
            stop_ids=ending.get("stop_ids", []),
        )

    together = run(PROMPTS, [0, 1, 2, 3, 4])
    assert together == [run([p], [row])[0] for row, p in enumerate(PROMPTS)]
    assert together[::-1] == run(PROMPTS[::-1], [4, 3, 2, 1, 0])
    # Rows that end at different steps leave the batch; those that stay must not notice.
    ends = [row.tokens[3 + 2 * number] for number, row in enumerate(together)]
    shortened = run(PROMPTS, [0, 1, 2, 3, 4], stop_ids=ends)
    assert shortened == [run([p], [row], stop_ids=ends)[0] for row, p in enumerate(PROMPTS)]
    assert len({len(row.tokens) for row in shortened}) > 1
    for short, long in zip(shortened, together, strict=True):
        assert short.tokens == long.tokens[: len(short.tokens)]
        assert long.tokens[len(short.tokens)] in ends


def test_samples_of_one_prompt_differ_by_row_and_seed(model: Llama) -> None:
    same = [PROMPTS[0]] * 4
    a = generate(model, same, 12, temperature=1.0, seed=1)
    assert len({tuple(row.tokens) for row in a}) == 4
    torch.manual_seed(99)
    assert generate(model, same, 12, temperature=1.0, seed=1) == a
    assert generate(model, same, 12, temperature=1.0, seed=2) != a


def test_endings(model: Llama) -> None:
    free = generate(model, PROMPTS[:1], 12, decode=words)[0]
    assert free.text == words(free.tokens) and free.finish == "length"
    third = free.tokens[2]
    at = free.tokens.index(third)

    eos = generate(model, PROMPTS[:1], 12, eos_id=third, decode=words)[0]
    assert (eos.finish, eos.tokens, eos.text) == ("eos", free.tokens[:at], words(free.tokens[:at]))

    by_id = generate(model, PROMPTS[:1], 12, stop_ids=[third])[0]
    assert (by_id.finish, by_id.tokens, by_id.text) == ("stop", free.tokens[:at], None)

    # A string that begins in one token and ends in the next.
    stop = f"{free.tokens[4]}><{str(free.tokens[5])[0]}"
    where = words(free.tokens).index(stop)
    by_text = generate(model, PROMPTS[:1], 12, stop=["never", stop], decode=words)[0]
    assert by_text.finish == "stop"
    assert by_text.text == words(free.tokens)[:where]
    assert by_text.tokens == free.tokens[: len(by_text.tokens)]
    assert stop in words(by_text.tokens) and stop not in words(by_text.tokens[:-1])


def test_nucleus_holds_the_fewest_that_reach_top_p() -> None:
    probability = torch.tensor([0.1, 0.5, 0.15, 0.25])
    logits = probability.log().repeat(1000, 1)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000

    def shares(top_p: float) -> list[float]:
        chosen = choose(logits, 1.0, top_p, uniform)
        return [round(int((chosen == token).sum()) / 1000, 3) for token in range(4)]

    assert shares(1.0) == pytest.approx([0.1, 0.5, 0.15, 0.25], abs=0.002)
    assert shares(0.7) == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.002)
    assert shares(0.5) == [0, 1, 0, 0]
    assert shares(0.01) == [0, 1, 0, 0]
    cold = choose(logits, 0.1, 1.0, uniform)
    assert (cold == 1).float().mean() > 0.99


def test_problems_are_told_together(model: Llama) -> None:
    with pytest.raises(ValueError) as error:
        generate(
            model, [[1] * 60, [], [1, 97]], 5, temperature=-1.0, top_p=0.0, stop=["", "x"], seed=-1
        )
    message = str(error.value)
    assert "prompt 0 is too long: 60 tokens and 5 new ones exceed the model's context of 64" in (
        message
    )
    for part in (
        "prompt 1 is empty",
        "prompt 2 has ids outside the vocabulary of 97",
        "temperature is -1.0",
        "top_p is 0.0",
        "seed is -1",
        "empty stop string",
        "pass decode",
    ):
        assert part in message
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        generate(model, [[1]], 0)
    with pytest.raises(ValueError, match="2 row numbers for 1 prompts"):
        generate(model, [[1]], 1, rows=[0, 1])


def test_a_model_that_gives_no_numbers_is_refused(model: Llama) -> None:
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.output.weight[5, 1] = float("nan")
    for temperature in (0.0, 1.0):
        with pytest.raises(FloatingPointError, match="not finite"):
            generate(broken, PROMPTS, 4, temperature=temperature)


def test_a_prompt_of_many_rows_goes_through_the_model_once(
    model: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 samples of one problem are one prefill, whatever stands between them."""
    prompts = [PROMPTS[number] for number in (2, 0, 2, 3, 0, 2)]
    read = model.hidden
    shapes: list[tuple[int, ...]] = []

    def counts(tokens: torch.Tensor, **options: Any) -> torch.Tensor:
        shapes.append(tuple(tokens.shape))
        return read(tokens, **options)

    monkeypatch.setattr(model, "hidden", counts)
    together = generate(model, prompts, 6, temperature=1.0, seed=4)
    assert shapes[0] == (3, len(PROMPTS[2])) and shapes[1] == (6, 1)
    alone = [
        generate(model, [prompt], 6, temperature=1.0, seed=4, rows=[row])[0]
        for row, prompt in enumerate(prompts)
    ]
    assert together == alone
    assert together[0].tokens != together[2].tokens


def test_context_may_be_filled_to_the_last_token(model: Llama) -> None:
    assert len(generate(model, [[1] * 60], 4)[0].tokens) == 4
    assert generate(model, [], 4) == []

"""Examples to tokens to rows, and the order of rows."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tokenizer import Tokenizer
from tasks.training.instructions.order import InstructionOrder
from tasks.training.instructions.packing import Encoded, pack
from tasks.training.instructions.records import Example
from tasks.training.instructions.template import TemplateError, encode, render
from tests.tasks.instructions.support import build


@pytest.mark.parametrize("template", ["plain", "alpaca"])
@pytest.mark.parametrize("input_text", ["", "the sky"])
def test_prompt_tokens_are_a_prefix_and_the_target_ends_with_eos(
    tokenizer_file: Path, template: str, input_text: str
) -> None:
    tokenizer = Tokenizer(tokenizer_file)
    prompt, target = render(template, Example(0, "name the colour", input_text, "blue"))
    ids, start = encode(tokenizer, prompt, target)
    assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id
    assert tokenizer.decode(ids[:start]) == prompt and tokenizer.decode(ids) == prompt + target
    assert ids[:start] == tokenizer.encode(prompt, bos=True)
    assert ("the sky" in prompt) == bool(input_text) and prompt.endswith(":\n")


def test_a_prompt_that_melts_into_its_target_is_refused(tokenizer_file: Path) -> None:
    with pytest.raises(TemplateError, match="joins the prompt's end"):
        encode(Tokenizer(tokenizer_file), "name the col", "our")
    with pytest.raises(ValueError, match="choose plain or alpaca"):
        render("chat", Example(0, "a", "", "b"))


@settings(max_examples=100, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 8)), max_size=40),
    order=st.randoms(use_true_random=False),
)
def test_packing_keeps_every_example_whole_and_masks_exactly_the_targets(
    shapes: list[tuple[int, int]], order: Any
) -> None:
    context = 20
    examples = [
        Encoded(tuple(range(100 * k + 1, 100 * k + 1 + p + t)), p, k.to_bytes(4, "big"))
        for k, (p, t) in enumerate(shapes)
    ]
    packed = pack(examples, context)
    arrays = packed.arrays()
    rows = len(packed.input_ids_NT)
    covered = np.zeros((rows, context), bool)
    for example, (row, segment) in zip(examples, packed.placement, strict=True):
        where = packed.segment_ids_NT[row] == segment
        places = np.flatnonzero(where)
        assert np.array_equal(places, np.arange(places[0], places[0] + len(example.ids)))
        assert packed.input_ids_NT[row][where].tolist() == list(example.ids)
        assert packed.positions_NT[row][where].tolist() == list(range(len(example.ids)))
        expected = [0] * example.target_start + [1] * (len(example.ids) - example.target_start)
        assert packed.loss_mask_NT[row][where].tolist() == expected
        covered[row] |= where
    for array in arrays.values():
        assert not array[~covered].any()
    assert [a.dtype.name for a in arrays.values()] == ["int32"] * 3 + ["uint8"]
    # First fit leaves at most one row that is not half full.
    total = sum(len(example.ids) for example in examples)
    assert rows <= 2 * total / context + 1
    shuffled = list(examples)
    order.shuffle(shuffled)
    again = pack(shuffled, context)
    for name, array in again.arrays().items():
        assert np.array_equal(array, arrays[name])


def test_packing_is_first_fit_decreasing() -> None:
    def example(size: int, key: int) -> Encoded:
        return Encoded((7,) * size, 1, bytes([key]))

    sizes = [5, 6, 3, 4, 2]
    packed = pack([example(size, k) for k, size in enumerate(sizes)], 10)
    # 6 | 5 -> 2nd row | 4 -> 1st | 3 -> 2nd | 2 -> 2nd
    assert packed.placement == [(1, 1), (0, 1), (1, 2), (0, 2), (1, 3)]
    with pytest.raises(ValueError, match="11 tokens in rows of 10"):
        pack([example(11, 0)], 10)


def test_instruction_order_is_stateless(data: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    out, _ = build(data, tokenizer_file, tmp_path / "out")
    order = InstructionOrder(out, seed=3)
    n = order.rows_per_epoch
    assert order.context == 64 and n == len(np.load(out / "input_ids.npy"))
    for epoch in range(3):
        rows = [order.locate(epoch * n + k) for k in range(n)]
        assert sorted(row for row, _ in rows) == list(range(n)) and {e for _, e in rows} == {epoch}
    batch = order.batch(5, 8)
    assert {a.shape for a in batch.values()} == {(8, 64)}
    assert list(batch) == ["input_ids", "segment_ids", "positions", "loss_mask"]
    copy = pickle.loads(pickle.dumps(order))
    for name, array in copy.batch(5, 8).items():
        assert np.array_equal(array, batch[name])
    parts = [order.rows(5, 8, r, 2, m, 2) for m in range(2) for r in range(2)]
    joined = np.concatenate([part["input_ids"] for part in parts])
    assert np.array_equal(joined, batch["input_ids"])
    skipping = InstructionOrder(out, seed=3, skips=[0, 2])
    assert np.array_equal(skipping.batch(1, 8)["input_ids"], order.batch(3, 8)["input_ids"])
    assert order.epochs(n, 2) == 2.0
    held_out = InstructionOrder(out, seed=3, split="validation")
    assert held_out.sample(0)["input_ids"].shape == (64,)
    with pytest.raises(ValueError, match="input_ids, segment_ids"):
        InstructionOrder(tmp_path, seed=3)

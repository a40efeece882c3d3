"""Answers by generation: prompts in token-budget batches, greedy or sampled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model.generate import generate
from model.llama import Llama
from model.tokenizer import Tokenizer

# Sample numbers lie below this, the item's own number above: no two samples share random numbers.
_SAMPLES = 4096


@dataclass(frozen=True)
class Job:
    """One text to generate. sample: number of the sample of this item, from 0."""

    item_id: str
    tokens: tuple[int, ...]
    sample: int = 0


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens: temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


def generate_texts(
    model: Llama,
    tokenizer: Tokenizer,
    jobs: Sequence[Job],
    max_new_tokens: int,
    stop: Sequence[str],
    sampling: Sampling,
    token_budget: int,
) -> list[str]:
    """The generated text of every job, cut before the first stop string, in order.

    A sample's text is a function of (prompt, seed, item id, sample number): not of the batch.
    Every prompt must leave ``max_new_tokens`` of the model's context (see `fit_prompt`).
    """
    texts = [""] * len(jobs)
    for batch in _batches(jobs, max_new_tokens, token_budget):
        generations = generate(
            model,
            [list(jobs[index].tokens) for index in batch],
            max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop=tuple(stop),
            eos_id=tokenizer.eos_id,
            decode=tokenizer.decode_continuation,
            seed=sampling.seed,
            rows=[_row_number(jobs[index]) for index in batch],
        )
        for index, generation in zip(batch, generations, strict=True):
            texts[index] = generation.text or ""
    return texts


def _batches(jobs: Sequence[Job], max_new_tokens: int, token_budget: int) -> Iterator[list[int]]:
    """Indices of jobs, longest prompt first, rows x (prompt + new tokens) within the budget."""
    ordered = sorted(range(len(jobs)), key=lambda index: (-len(jobs[index].tokens), index))
    batch: list[int] = []
    for index in ordered:
        longest = len(jobs[batch[0]].tokens) if batch else 0
        if batch and (len(batch) + 1) * (longest + max_new_tokens) > token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _row_number(job: Job) -> int:
    assert 0 <= job.sample < _SAMPLES
    number = int.from_bytes(hashlib.sha256(job.item_id.encode()).digest()[:6], "big")
    return number * _SAMPLES + job.sample

"""Batched generation with cached keys and values.

Shape suffixes: B rows still running, T prompt tokens, V vocabulary.

What a row gives depends on its prompt, the seed and its row number alone: not on the rows beside
it, the batch size or the order of the rows. Prompts of different lengths lie on the left of the
batch and each row counts its own positions (see `model.llama.KVCache`), so nothing is padded where
the model can see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from model.cache import KVCache
from model.llama import Llama

Finish = Literal["stop", "eos", "length"]


@dataclass(frozen=True)
class Generation:
    """One finished row.

    tokens: new ids, without the EOS or stop id that ended it; with a stop string, up to and
        including the token that completed it.
    text: decoded `tokens`, cut before the stop string; None if no `decode` was given.
    finish: what ended it: `stop` (string or id), `eos`, or `length` (max_new_tokens).
    """

    tokens: list[int]
    text: str | None
    finish: Finish


def _uniforms(seed: int, row: int, count: int) -> np.ndarray:
    """The row's random numbers in [0, 1), float64 [count]: a pure function of (seed, row)."""
    philox = np.random.Philox(key=np.array([seed, row], dtype=np.uint64))
    return np.random.Generator(philox).random(count)


def require_finite(logits_BV: Tensor) -> None:
    """Raise FloatingPointError for NaN or infinite logits: what is chosen by them is no answer."""
    if not bool(torch.isfinite(logits_BV).all()):
        raise FloatingPointError(
            "the model's logits are not finite (NaN or infinite): its weights are broken, or "
            "overflow in their precision"
        )


def choose(logits_BV: Tensor, temperature: float, top_p: float, uniform_B: Tensor) -> Tensor:
    """Next ids [B]: the largest logit at temperature 0, else nucleus sampling.

    The nucleus is the smallest set of most likely ids whose probability reaches `top_p`; the
    uniform number picks from it by inverting its cumulative distribution, in float64.
    """
    if temperature == 0.0:
        return logits_BV.argmax(-1)
    probability_BV = torch.softmax(logits_BV.double() / temperature, dim=-1)
    sorted_BV, ids_BV = probability_BV.sort(dim=-1, descending=True, stable=True)
    cumulative_BV = sorted_BV.cumsum(-1)
    outside_BV = cumulative_BV - sorted_BV >= top_p
    cumulative_BV = sorted_BV.masked_fill(outside_BV, 0.0).cumsum(-1)
    target_B1 = uniform_B.to(cumulative_BV)[:, None] * cumulative_BV[:, -1:]
    pick_B1 = torch.searchsorted(cumulative_BV, target_B1, right=True)
    last_B1 = (~outside_BV).sum(-1, keepdim=True) - 1
    return ids_BV.gather(-1, torch.minimum(pick_B1, last_B1)).squeeze(-1)


@dataclass(frozen=True)
class _Ending:
    """When a row ends, and what it then gives."""

    stop: Sequence[str]
    stop_ids: Sequence[int]
    eos_id: int | None
    decode: Callable[[Sequence[int]], str] | None

    def advance(self, tokens: list[int], token: int, last: bool) -> Generation | None:
        """Take the next token of a row into `tokens`; the finished row if that ends it."""
        if token == self.eos_id:
            return Generation(tokens, self._text(tokens), "eos")
        if token in self.stop_ids:
            return Generation(tokens, self._text(tokens), "stop")
        tokens.append(token)
        if not self.stop and not last:
            return None
        text = self._text(tokens)
        found = [text.find(stop) for stop in self.stop if stop in text] if text else []
        if text is not None and found:
            return Generation(tokens, text[: min(found)], "stop")
        return Generation(tokens, text, "length") if last else None

    def _text(self, tokens: list[int]) -> str | None:
        return None if self.decode is None else self.decode(tokens)


def _check(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    ending: _Ending,
    seed: int,
) -> None:
    problems = []
    if max_new_tokens < 1:
        problems.append(f"max_new_tokens is {max_new_tokens}, must be at least 1")
    if not temperature >= 0.0:
        problems.append(f"temperature is {temperature}, must be 0 (greedy) or above")
    if not 0.0 < top_p <= 1.0:
        problems.append(f"top_p is {top_p}, must be above 0 and at most 1")
    if seed < 0:
        problems.append(f"seed is {seed}, must be at least 0")
    if "" in ending.stop:
        problems.append("an empty stop string ends every row at once: remove it")
    if ending.stop and ending.decode is None:
        problems.append("stop strings are looked for in decoded text: pass decode as well")
    context, vocabulary = model.config.context, model.config.vocab_size
    for row, prompt in enumerate(prompts):
        if not prompt:
            problems.append(f"prompt {row} is empty: begin it with the BOS id")
        elif len(prompt) + max_new_tokens > context:
            problems.append(
                f"prompt {row} is too long: {len(prompt)} tokens and {max_new_tokens} new ones "
                f"exceed the model's context of {context}; shorten it or lower max_new_tokens"
            )
        elif min(prompt) < 0 or max(prompt) >= vocabulary:
            problems.append(f"prompt {row} has ids outside the vocabulary of {vocabulary}")
    if problems:
        raise ValueError("; ".join(problems))


def _prefill(
    model: Llama, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> tuple[KVCache, Tensor]:
    """Keys and values of every row's prompt, and the state [B, D] that its first token follows.

    Equal prompts (samples of one problem) go through the model once and are copied to their rows.
    """
    distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
    device, dtype = model.embedding.weight.device, model.embedding.weight.dtype
    longest = max(map(len, distinct))
    tokens_BT = torch.zeros(len(distinct), longest, dtype=torch.long)
    for row, prompt in enumerate(distinct):
        tokens_BT[row, : len(prompt)] = torch.tensor(prompt)
    slots = longest + max_new_tokens
    cache = KVCache(model.config, len(distinct), slots, device=device, dtype=dtype)
    x_BTD = model.hidden(tokens_BT.to(device), cache=cache)
    # From here each row goes on behind its own prompt; what padding left there is overwritten.
    cache.lengths_B = torch.tensor([len(prompt) for prompt in distinct], device=device)
    x_BD = x_BTD[torch.arange(len(distinct), device=device), cache.lengths_B - 1]
    if len(distinct) == len(prompts):
        return cache, x_BD
    place = {prompt: row for row, prompt in enumerate(distinct)}
    rows_B = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=device)
    return cache.select(rows_B), x_BD[rows_B]


@torch.no_grad()
def generate(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    stop: Sequence[str] = (),
    stop_ids: Sequence[int] = (),
    eos_id: int | None = None,
    decode: Callable[[Sequence[int]], str] | None = None,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    on_token: Callable[[int, Sequence[int]], None] = lambda row, tokens: None,
) -> list[Generation]:
    """Continue every prompt; one `Generation` per prompt, in order.

    prompts: token ids, at least one each; all are run as one batch, equal ones with one prefill.
    temperature: 0 is greedy; else logits are divided by it.
    top_p: nucleus of sampling, in (0, 1].
    stop: strings that end a row when its decoded text contains one; needs `decode`.
    decode: ids to text; `Tokenizer.decode_continuation` keeps a space at the start.
    seed, rows: row number r samples with random numbers that are a function of (seed, r);
        `rows` defaults to 0, 1, ...: pass the numbers to have a part of a larger batch.
    on_token: called with the place of a prompt and its new tokens so far, whenever there is one
        more and the row goes on; what ended a row is in the result.

    Raises ValueError naming every prompt that is empty, too long for the context or out of the
    vocabulary, and every parameter out of bounds; FloatingPointError for a model whose logits are
    not finite.
    """
    ending = _Ending(stop, stop_ids, eos_id, decode)
    _check(model, prompts, max_new_tokens, temperature, top_p, ending, seed)
    if rows is None:
        rows = range(len(prompts))
    if len(rows) != len(prompts):
        raise ValueError(f"{len(rows)} row numbers for {len(prompts)} prompts")
    if not prompts:
        return []

    device = model.embedding.weight.device
    uniform = np.stack([_uniforms(seed, row, max_new_tokens) for row in rows])
    new: list[list[int]] = [[] for _ in prompts]
    done: dict[int, Generation] = {}
    alive = list(range(len(prompts)))

    cache, x_BD = _prefill(model, prompts, max_new_tokens)
    for step in range(max_new_tokens):
        logits_BV = model.output(x_BD).float()
        require_finite(logits_BV)
        uniform_B = torch.from_numpy(uniform[alive, step]).to(device)
        chosen_B = choose(logits_BV, temperature, top_p, uniform_B)
        still = []
        for place, (row, token) in enumerate(zip(alive, chosen_B.tolist(), strict=True)):
            finished = ending.advance(new[row], token, step + 1 == max_new_tokens)
            if finished is None:
                still.append(place)
                on_token(row, new[row])
            else:
                done[row] = finished
        if not still:
            break
        if len(still) < len(alive):
            # Finished rows leave the batch: no more time is spent on them.
            order = cache.keep(still)
            alive = [alive[place] for place in order]
            chosen_B = chosen_B[torch.tensor(order, device=device)]
        x_BD = model.hidden(chosen_B[:, None], cache=cache)[:, 0]
    return [done[row] for row in range(len(prompts))]

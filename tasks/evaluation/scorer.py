"""Log-likelihood engine: what is common is computed once, the head runs where it is needed.

For a set of (context, continuation) pairs, in this order:
1. A prefix that several contexts share (few-shot header, RACE passage) goes through the model once;
   its keys and values are copied to the rows of the batch.
2. Every distinct context goes through once, behind its prefix. Its last state gives the first token
   of all its continuations; one-token continuations (MMLU's letters) need nothing more.
3. Continuations of several tokens run behind a copy of their context's keys and values.

Log-probabilities are float32 whatever the type of the weights. A result depends on the batch only
by rounding; the batches of a call are a pure function of its pairs and the token budget. A model
that gives no finite numbers has no scores: FloatingPointError.

Shape suffixes: B rows, T tokens, D width, N scored positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.cache import KVCache
from model.generate import require_finite
from model.llama import Llama
from tasks.evaluation.requests import TokenPair

Tokens = tuple[int, ...]

# A shorter prefix is not worth a forward pass of its own.
SHORTEST_SHARED_PREFIX = 32
# Logits held at a time: 2^24 float32 values are 64 MiB.
LOGIT_BUDGET = 2**24


@dataclass(frozen=True)
class Score:
    """Sum of log-probabilities (nats) of a continuation; greedy: each token was the likeliest."""

    logprob: float
    greedy: bool


@dataclass(frozen=True)
class _Group:
    """Distinct contexts with their first ``shared`` tokens in common."""

    contexts: list[Tokens]
    shared: int


class Scorer:
    """Scores pairs with one model.

    token_budget: bound on rows x length of one forward pass (a single longer row runs alone).
    """

    def __init__(self, model: Llama, token_budget: int = 8192):
        self.model = model.eval()
        self.token_budget = token_budget
        weight = model.output.weight
        self.device, self.dtype = weight.device, weight.dtype

    @property
    def context_length(self) -> int:
        """Longest sequence that the model reads."""
        return self.model.config.context

    @torch.inference_mode()
    def score(self, pairs: Sequence[TokenPair]) -> list[Score]:
        """Scores in the order of ``pairs``; equal pairs are computed once."""
        continuations: dict[Tokens, dict[Tokens, Score]] = {}
        for pair in pairs:
            if not pair.context or not pair.continuation:
                raise ValueError("a pair needs a context (at least BOS) and a continuation")
            continuations.setdefault(pair.context, {})[pair.continuation] = Score(math.nan, False)
        for group in group_by_prefix(list(continuations)):
            for batch in self._batches(group, continuations):
                self._score_batch(batch, group.shared, continuations)
        return [continuations[pair.context][pair.continuation] for pair in pairs]

    def _batches(
        self, group: _Group, continuations: dict[Tokens, dict[Tokens, Score]]
    ) -> Iterator[list[Tokens]]:
        """Contexts of a group, longest first, filled to the token budget."""
        ordered = sorted(group.contexts, key=lambda context: (-len(context), context))
        batch: list[Tokens] = []
        length = 0
        for context in ordered:
            longest = len(context) + max(map(len, continuations[context])) - 1
            if batch and (len(batch) + 1) * max(length, longest) > self.token_budget:
                yield batch
                batch, length = [], 0
            batch.append(context)
            length = max(length, longest)
        if batch:
            yield batch

    def _score_batch(
        self,
        contexts: list[Tokens],
        shared: int,
        continuations: dict[Tokens, dict[Tokens, Score]],
    ) -> None:
        """Fill in the scores of every continuation of ``contexts``."""
        tail = max(len(c) for context in contexts for c in continuations[context]) - 1
        slots = max(map(len, contexts)) + tail
        cache = self._cache(1 if shared else len(contexts), slots)
        if shared:
            self.model.hidden(self._tensor([contexts[0][:shared]]), cache=cache)
            cache = cache.select(torch.zeros(len(contexts), dtype=torch.long, device=self.device))
        x_BTD = self.model.hidden(self._tensor([c[shared:] for c in contexts]), cache=cache)
        lengths_B = torch.tensor([len(c) for c in contexts], device=self.device)
        # Padding on the right of a shorter row was written to the cache; the true length lets the
        # continuation overwrite it.
        cache.lengths_B = lengths_B
        rows_B = torch.arange(len(contexts), device=self.device)
        last_BD = x_BTD[rows_B, lengths_B - shared - 1]

        work = [(row, cont) for row, c in enumerate(contexts) for cont in continuations[c]]
        first = self._logprobs(
            last_BD, [row for row, _ in work], [continuation[0] for _, continuation in work]
        )
        longer = [index for index, (_, cont) in enumerate(work) if len(cont) > 1]
        totals = [value for value, _ in first]
        greedy = [flag for _, flag in first]
        for part in self._parts(longer, work, slots):
            chosen = [work[index] for index in part]
            rows = torch.tensor([row for row, _ in chosen], device=self.device)
            y_BTD = self.model.hidden(
                self._tensor([cont[:-1] for _, cont in chosen]), cache=cache.select(rows)
            )
            width = y_BTD.shape[1]
            positions = [
                line * width + t
                for line, (_, cont) in enumerate(chosen)
                for t in range(len(cont) - 1)
            ]
            targets = [token for _, cont in chosen for token in cont[1:]]
            rest = iter(self._logprobs(y_BTD.flatten(0, 1), positions, targets))
            for index, (_, cont) in zip(part, chosen, strict=True):
                for _ in cont[1:]:
                    value, flag = next(rest)
                    totals[index] += value
                    greedy[index] = greedy[index] and flag
        for index, (row, cont) in enumerate(work):
            continuations[contexts[row]][cont] = Score(totals[index], greedy[index])

    def _parts(
        self, longer: list[int], work: list[tuple[int, Tokens]], slots: int
    ) -> Iterator[list[int]]:
        """Continuations of several tokens, longest first, filled to the token budget."""
        ordered = sorted(longer, key=lambda index: (-len(work[index][1]), index))
        # Every row carries a copy of its context's keys and values, so slots are what counts.
        size = max(1, self.token_budget // slots)
        for start in range(0, len(ordered), size):
            yield ordered[start : start + size]

    def _logprobs(
        self, x_ND: Tensor, positions: list[int], targets: list[int]
    ) -> list[tuple[float, bool]]:
        """Log-probability of each target at its position, and whether it was the likeliest."""
        found: list[tuple[float, bool]] = []
        step = max(1, LOGIT_BUDGET // self.model.config.vocab_size)
        for start in range(0, len(positions), step):
            index = torch.tensor(positions[start : start + step], device=self.device)
            target_N = torch.tensor(targets[start : start + step], device=self.device)
            logits_NV = self.model.output(x_ND[index]).float()
            require_finite(logits_NV)
            value_N = logits_NV.gather(1, target_N[:, None])[:, 0] - logits_NV.logsumexp(1)
            greedy_N = logits_NV.argmax(1) == target_N
            found += zip(value_N.tolist(), greedy_N.tolist(), strict=True)
        return found

    def _tensor(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Rows padded on the right with token 0: what is there is never read."""
        width = max(map(len, rows))
        padded = [[*row, *[0] * (width - len(row))] for row in rows]
        return torch.tensor(padded, dtype=torch.long, device=self.device)

    def _cache(self, rows: int, slots: int) -> KVCache:
        return KVCache(self.model.config, rows, slots, device=self.device, dtype=self.dtype)


def group_by_prefix(contexts: Sequence[Tokens]) -> list[_Group]:
    """Contexts grouped by a long common prefix; all others form one group that shares nothing.

    The shared part always leaves at least one token of every context, whose state is needed.
    """
    alone: list[Tokens] = []
    groups: list[_Group] = []
    members: list[Tokens] = []
    shared = 0

    def close() -> None:
        if len(members) > 1:
            groups.append(_Group(members, shared))
        else:
            alone.extend(members)

    for context in sorted(contexts):
        if members:
            common = min(_common_prefix(members[0], context), shared, len(context) - 1)
            # A neighbour that would halve what is shared belongs to another group.
            enough = SHORTEST_SHARED_PREFIX
            if common >= (enough if len(members) == 1 else max(enough, shared // 2)):
                members.append(context)
                shared = common
                continue
            close()
        members, shared = [context], len(context) - 1
    close()
    return groups + ([_Group(alone, 0)] if alone else [])


def _common_prefix(first: Tokens, second: Tokens) -> int:
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return index
    return min(len(first), len(second))

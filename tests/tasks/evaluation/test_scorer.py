"""The engine against the plain way: one full forward pass per pair."""

from __future__ import annotations

import copy

import pytest
import torch

from model.config import ModelConfig
from model.llama import Llama
from tasks.evaluation.requests import TokenPair
from tasks.evaluation.scorer import SHORTEST_SHARED_PREFIX, Scorer, group_by_prefix

VOCABULARY = 50


@pytest.fixture(scope="module")
def model() -> Llama:
    torch.set_num_threads(1)
    config = ModelConfig(dim=32, layers=2, heads=4, vocab_size=VOCABULARY, context=128)
    model = Llama(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@torch.no_grad()
def plain(model: Llama, pair: TokenPair) -> tuple[float, bool]:
    tokens = torch.tensor([pair.context + pair.continuation])
    logprobs = model(tokens).log_softmax(-1)[0, len(pair.context) - 1 : -1]
    target = torch.tensor(pair.continuation)
    total = logprobs.gather(1, target[:, None]).sum().item()
    return total, bool((logprobs.argmax(-1) == target).all())


def random_tokens(generator: torch.Generator, count: int) -> tuple[int, ...]:
    return tuple(torch.randint(1, VOCABULARY, (count,), generator=generator).tolist())


@pytest.mark.parametrize("token_budget", [64, 300, 100_000])
def test_scores_equal_one_forward_pass_per_pair(model: Llama, token_budget: int) -> None:
    generator = torch.Generator().manual_seed(2)
    header = (0, *random_tokens(generator, 40))
    pairs = []
    for length in (1, 3, 17):  # behind a shared header, in choices of different length
        context = header + random_tokens(generator, length)
        pairs += [TokenPair(context, random_tokens(generator, n)) for n in (1, 5, 2, 9)]
    for length in (0, 4, 30):  # sharing nothing; the first is BOS alone
        context = (0, *random_tokens(generator, length))
        pairs += [TokenPair(context, random_tokens(generator, n)) for n in (3, 1)]
    pairs.append(pairs[4])  # asked twice
    scorer = Scorer(model, token_budget)
    for pair, score in zip(pairs, scorer.score(pairs), strict=True):
        expected, greedy = plain(model, pair)
        assert score.logprob == pytest.approx(expected, abs=2e-5)
        assert score.greedy == greedy


def test_greedy_is_true_for_the_models_own_continuation(model: Llama) -> None:
    context: tuple[int, ...] = (0, 7, 9)
    with torch.no_grad():
        first = int(model(torch.tensor([context]))[0, -1].argmax())
        second = int(model(torch.tensor([(*context, first)]))[0, -1].argmax())
    likeliest = TokenPair(context, (first, second))
    other = TokenPair(context, (first, (second + 1) % VOCABULARY))
    assert [score.greedy for score in Scorer(model).score([likeliest, other])] == [True, False]


def test_contexts_are_grouped_by_their_shared_header() -> None:
    generator = torch.Generator().manual_seed(3)
    size = SHORTEST_SHARED_PREFIX + 8
    first, second = (0, 1, *random_tokens(generator, size)), (0, 2, *random_tokens(generator, size))
    contexts = [(*first, 5), (*second, 6, 7), (*first, 8, 9), (0, 3, 4), (*second, 9), first]
    groups = group_by_prefix(contexts)
    # `first` is itself a context: one token of it must be left to run.
    assert [(sorted(g.contexts), g.shared) for g in groups] == [
        (sorted([first, (*first, 5), (*first, 8, 9)]), len(first) - 1),
        (sorted([(*second, 9), (*second, 6, 7)]), len(second)),
        ([(0, 3, 4)], 0),
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["blocks", "output"])
def test_a_model_that_gives_no_numbers_is_refused(model: Llama, value: float, place: str) -> None:
    """Its choices would all be equal, and the first one's share of the labels a plausible score."""
    broken = copy.deepcopy(model)
    part = broken.output if place == "output" else broken.blocks[0]
    with torch.no_grad():
        next(part.parameters()).view(-1)[3] = value
    pairs = [TokenPair((0, 7, 9), (3, 4)), TokenPair((0, 7, 9), (5,))]
    with pytest.raises(FloatingPointError, match="not finite"):
        Scorer(broken).score(pairs)


def test_a_pair_without_tokens_is_refused(model: Llama) -> None:
    with pytest.raises(ValueError, match="continuation"):
        Scorer(model).score([TokenPair((0,), ())])

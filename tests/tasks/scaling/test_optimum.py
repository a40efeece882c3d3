"""The cheapest size: against closed forms and brute force, and how it moves with what is served."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from model.flops import flops_per_token, forward_flops_per_token, parameter_counts
from model.presets import PRESETS
from tasks.scaling.family import counted, family
from tasks.scaling.law import LossLaw
from tasks.scaling.optimum import Work, best, compute, least_size, tokens_for
from tasks.scaling.parameters import Count
from tasks.scaling.points import LADDER_SHAPES
from tests.tasks.scaling.ladders import KNOWN, SMALL

PLAIN = Work(training=lambda n: 6 * n, serving=lambda n: 2 * n, mfu=0.5, serving_mfu=0.25)
TARGET = 2.4


def one(law: LossLaw = KNOWN) -> np.ndarray:
    return np.array([law.as_row()])


def test_training_alone_has_its_closed_form() -> None:
    """d/dN of log N + log D(N) = 0: A / N^alpha is beta / (alpha + beta) of what E leaves."""
    found = best(one(), TARGET, 0, PLAIN)
    share = KNOWN.beta / (KNOWN.alpha + KNOWN.beta)
    size = (KNOWN.A / (share * (TARGET - KNOWN.E))) ** (1 / KNOWN.alpha)
    assert found.size[0] == pytest.approx(size, rel=1e-5)
    assert KNOWN.loss(found.size[0], found.tokens[0]) == pytest.approx(TARGET, abs=1e-12)
    assert found.training[0] == pytest.approx(6 * found.size[0] * found.tokens[0])
    assert found.serving[0] == 0


@pytest.mark.parametrize("served", [0, 10**9, 10**11, 10**14])
@pytest.mark.parametrize("count", ["without_embeddings", "all"])
def test_no_size_of_a_brute_force_grid_is_cheaper(served: int, count: Count) -> None:
    shapes = family(LADDER_SHAPES, count, 256)
    work = Work(shapes.training, shapes.serving, 0.4, 0.1)
    target = SMALL.loss(1e6, 1e7)
    found = best(one(SMALL), target, served, work)
    grid = np.geomspace(least_size(one(SMALL), target)[0] * 1.000001, 1e12, 400_000)
    costs = compute(one(SMALL), grid[None, :], target, served, work)[0]
    here = compute(one(SMALL), found.size[:, None], target, served, work)[0, 0]
    assert here <= costs.min() * (1 + 1e-12)
    assert found.size[0] == pytest.approx(grid[costs.argmin()], rel=1e-3)


def test_more_served_tokens_never_ask_for_a_larger_model() -> None:
    served = [0, *np.geomspace(1e6, 1e16, 41).tolist()]
    sizes = [best(one(), TARGET, number, PLAIN).size[0] for number in served]
    assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(sizes))
    assert sizes[-1] < 0.5 * sizes[0]
    tokens = [best(one(), TARGET, number, PLAIN).tokens[0] for number in served]
    assert tokens[-1] > 2 * tokens[0]


def test_a_lower_target_asks_for_more_of_both() -> None:
    near, far = (best(one(), target, 1e10, PLAIN) for target in (2.1, 2.4))
    assert near.size[0] > far.size[0] and near.tokens[0] > far.tokens[0]


def test_many_laws_are_solved_as_each_alone_and_some_never_reach_it() -> None:
    laws = np.concatenate(
        [one(), one(SMALL), one(LossLaw(E=2.2, A=90, alpha=0.3, B=500, beta=0.4))]
    )
    found = best(laws, TARGET, 1e9, PLAIN)
    assert np.isinf([found.size[1], found.tokens[1], found.training[1], found.serving[1]]).all()
    for place in (0, 2):
        alone = best(laws[[place]], TARGET, 1e9, PLAIN)
        assert found.size[place] == alone.size[0]
        assert found.training[place] == alone.training[0]


def test_a_law_without_exponents_gives_no_numbers_that_are_none() -> None:
    laws = np.array([[1.0, 1.5, 0.01, 1e4, 0.5], [1.0, 2.0, 3.0, 1.39, 0.01], [0, 1e14, 3, 5, 0.1]])
    found = best(laws, TARGET, 0, PLAIN)
    for values in vars(found).values():
        assert not np.isnan(values).any()
    assert (found.size >= 1).all()


def test_tokens_for_a_size_below_the_least_are_infinite() -> None:
    least = least_size(one(), TARGET)
    around = np.array([[least[0] * 0.99, least[0] * 1.01]])
    tokens = tokens_for(one(), around, TARGET)[0]
    assert np.isinf(tokens[0]) and KNOWN.loss(around[0, 1], tokens[1]) == pytest.approx(TARGET)


@pytest.mark.parametrize("count", ["without_embeddings", "all"])
def test_the_family_gives_the_flops_of_its_shapes(count: Count) -> None:
    paper = [PRESETS[name] for name in ("7B", "13B", "33B", "65B")]
    shapes = family(paper, count, 2048)
    for shape in paper:
        size = np.array(float(counted(shape, count)))
        training, serving = flops_per_token(shape, 2048), forward_flops_per_token(shape, 2048)
        assert float(shapes.training(size)) == pytest.approx(
            training.value, rel=shapes.error + 1e-9
        )
        assert float(shapes.serving(size)) == pytest.approx(serving.value, rel=shapes.error + 1e-9)
        total = parameter_counts(shape).total
        assert float(shapes.parameters(size)) == pytest.approx(total, rel=0.01)
    assert shapes.error < 0.01
    tiny = family(LADDER_SHAPES, count, 256)
    assert 0 < tiny.error < 0.05


@pytest.mark.parametrize("tied", [False, True])
def test_flops_far_from_the_shapes_do_not_depend_on_what_is_counted(tied: bool) -> None:
    shapes = [s.model_copy(update={"tied_embeddings": tied}) for s in LADDER_SHAPES]
    bare, whole = (family(shapes, count, 256) for count in ("without_embeddings", "all"))
    bodies = np.geomspace(1, 1e13, 60)
    sizes = bare.parameters(bodies)
    assert whole.parameters(sizes) == pytest.approx(sizes)
    assert whole.training(sizes) == pytest.approx(bare.training(bodies), rel=1e-9)
    assert whole.serving(sizes) == pytest.approx(bare.serving(bodies), rel=1e-9)
    assert (np.diff(whole.serving(sizes)) > 0).all() and (whole.serving(sizes) > 0).all()


def test_tied_shapes_and_untied_ones_are_no_family() -> None:
    tied = LADDER_SHAPES[0].model_copy(update={"tied_embeddings": True})
    with pytest.raises(ValueError, match="one vocabulary"):
        family([tied, *LADDER_SHAPES[1:]], "all", 256)
    both = family([s.model_copy(update={"tied_embeddings": True}) for s in LADDER_SHAPES], "all", 8)
    shape = LADDER_SHAPES[1].model_copy(update={"tied_embeddings": True})
    exact = forward_flops_per_token(shape, 8).value
    assert float(both.serving(np.array(float(shape.parameters)))) == pytest.approx(exact, rel=0.02)


def test_the_papers_argument_follows_from_the_published_law() -> None:
    """Hoffmann's data as refitted by Besiroglu et al. 2024: training alone asks for about the
    10B and 200B tokens that the paper's introduction quotes; serving a trillion tokens asks for
    a model of less than half the size on three times the tokens, at two thirds of the cost."""
    law = LossLaw(E=1.8172, A=482.01, alpha=0.3478, B=2085.43, beta=0.3658)
    shapes = family([PRESETS[name] for name in ("7B", "13B", "33B", "65B")], "all", 2048)
    work = Work(shapes.training, shapes.serving, 0.5, 0.25)
    target = law.loss(10e9, 200e9)
    alone, serving = (best(one(law), target, served, work) for served in (0, 1e12))
    assert alone.size[0] == pytest.approx(10e9, rel=0.05)
    assert alone.tokens[0] == pytest.approx(200e9, rel=0.05)
    assert serving.size[0] < 4.5e9 and serving.tokens[0] > 6e11
    ten = compute(one(law), np.array([[10e9]]), target, 1e12, work)[0, 0]
    ours = serving.training[0] / 0.5 + serving.serving[0] / 0.25
    assert ours < 0.68 * ten

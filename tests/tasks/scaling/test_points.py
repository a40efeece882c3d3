"""The ladder of the form: its runs, and what is refused before anything is trained."""

from __future__ import annotations

import pytest

from model.flops import flops_per_token, parameter_counts
from tasks.scaling.points import LADDER_SHAPES, LadderParameters


def test_every_shape_runs_every_budget_to_its_own_end() -> None:
    ladder = LadderParameters()
    runs = ladder.runs()
    assert len(runs) == len(ladder.shapes) * len(ladder.tokens) == 12
    for name, run in runs.items():
        assert run.shape is not None
        trained = run.steps * run.global_batch * run.context
        assert name == f"N{parameter_counts(run.shape).without_embeddings}-D{trained}"
        budget = next(b for b in ladder.tokens if b <= trained < b + run.global_batch * run.context)
        assert budget in ladder.tokens
    same = {run.model_dump_json(exclude={"shape", "steps"}) for run in runs.values()}
    assert len(same) == 1
    sizes = [parameter_counts(shape).without_embeddings for shape in LADDER_SHAPES]
    assert min(sizes) > 1e5 and max(sizes) < 2e6


def test_the_default_ladder_is_small() -> None:
    """At 5e10 FLOP/s a core, half of what the engine reaches with `nano` on the 2-core machine."""
    runs = LadderParameters().runs().values()
    flops = sum(
        flops_per_token(run.shape, run.context).value * run.steps * run.global_batch * run.context
        for run in runs
        if run.shape
    )
    assert flops / 5e10 < 20 * 60


def test_the_cheapest_runs_first() -> None:
    work = [
        parameter_counts(run.shape).without_embeddings * run.steps
        for run in LadderParameters().runs().values()
        if run.shape
    ]
    assert work == sorted(work)


def test_all_problems_of_a_ladder_are_told() -> None:
    with pytest.raises(ValueError) as error:
        LadderParameters(tokens=(2000, 2001, 0), shapes=LADDER_SHAPES[:1], context=512)
    for text in (
        "1 distinct sizes are too few",
        "2 distinct token budgets are too few",
        "token budgets must be positive",
        "warmup_steps 20 must be below",
        "context 512 is longer than a shape's, 256",
    ):
        assert text in str(error.value)


def test_shapes_with_and_without_tied_embeddings_are_refused() -> None:
    tied = LADDER_SHAPES[0].model_copy(update={"tied_embeddings": True})
    with pytest.raises(ValueError, match="no one family"):
        LadderParameters(shapes=(tied, *LADDER_SHAPES[1:]))

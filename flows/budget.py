"""The carbon budget of a pipeline, asked before the expensive stage starts."""

from __future__ import annotations

import logging

from sqlalchemy import select

from flows.parameters import PipelineConfig
from flows.session import settle_emissions
from flows.tokenizer import Tokenized
from registry.emissions import sum_up
from registry.schema import Emission
from tasks.emissions.forecast import BudgetExceeded, PlanParameters, check_budget, plan
from tasks.runner import Workplace, key_of
from tasks.training.parameters import PretrainingParameters
from tasks.training.stage import PRETRAINING


def require_budget(
    place: Workplace, config: PipelineConfig, tokenized: Tokenized, log: logging.Logger
) -> None:
    """Refuse a pretraining whose forecast does not fit what is left of the budget.

    Spent is everything in the ledger, failed attempts included. A pretraining that is in the
    store costs nothing and is not asked about. On a CPU there is no forecast: only what is spent
    counts, and the log says so.

    Raises:
        BudgetExceeded: names the budget, what is spent and what the run may need.
    """
    budget = config.emissions.budget
    training = config.pretraining
    if budget is None or _is_stored(place, training, tokenized):
        return
    # What was spent up to now, by attempts of this very run and by those that crashed.
    settle_emissions(place, config.emissions)
    with place.registry.reading() as session:
        spent = sum_up(session.scalars(select(Emission)).all()).tco2eq
    if training.device == "cuda":
        report = plan(
            PlanParameters(
                preset=training.preset,
                tokens=training.steps * training.global_batch * training.context,
                gpus=training.world,
                context=training.context,
                emissions=config.emissions,
            ),
            training.shape,
        )
        check_budget(report, spent, budget)
    elif spent >= budget:
        raise BudgetExceeded(
            f"the budget of {budget:g} t CO2eq is spent ({spent:.3g} t); raise emissions.budget"
        )
    else:
        log.warning("no forecast on a CPU: the budget is held against what is spent alone")


def _is_stored(place: Workplace, training: PretrainingParameters, tokenized: Tokenized) -> bool:
    """Whether the checkpoint is there and whole; a damaged one is trained anew."""
    inputs = {"tokens": tokenized.tokens, "tokenizer": tokenized.tokenizer}
    stored = place.store.lookup(key_of(PRETRAINING, training, inputs))
    return stored is not None and not place.store.verify(stored)

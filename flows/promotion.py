"""Gates, then champion: decided in one registry transaction, with its evidence, never cached."""

from __future__ import annotations

import getpass

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from flows.references import find_artifact
from flows.session import recorded, settle_emissions
from registry import promotion as gates
from registry.artifacts import ArtifactRef, Kind
from registry.gates import GatePolicy
from registry.schema import ModelVersion
from tasks.runner import RunContext, Workplace, open_workplace, settled

NAME = "llama-i"


class PromotionParameters(BaseModel):
    """The form of the ``promotion`` deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Promotion")

    model: str = Field(
        "latest",
        title="Model",
        description="`latest`, or the digest of a model artifact (its start will do).",
    )
    policy: GatePolicy = Field(
        default_factory=GatePolicy, title="Gates", description="What the model must show."
    )
    force_reason: str | None = Field(
        None,
        title="Reason to overrule the gates",
        description="Promotes a refused model all the same; recorded with your name.",
    )


class PromotionOutcome(BaseModel):
    """What was decided; ``champion_version`` is the champion after it."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    verdict: str
    detail: str
    champion_version: int | None
    digest: str


@task(name="decide", task_run_name="decide", cache_policy=NO_CACHE, persist_result=True)
def decide(
    parameters: PromotionParameters, model: ArtifactRef, run: RunContext
) -> PromotionOutcome:
    """One decision on one model. Sample models compete under a name of their own."""
    place = open_workplace()
    # The budget gate reads the ledger, which the flows settle only when they end.
    settle_emissions(place, run.emissions)
    manifest = place.store.manifest(model)
    decision = gates.promote(
        place.registry,
        name=gates.registered_name(NAME, sample=manifest.sample),
        model=model,
        policy=parameters.policy,
        facts=gates.gather_facts(place.registry, place.store, model),
        decided_by=getpass.getuser(),
        force_reason=parameters.force_reason,
    )
    create_table_artifact(
        [gate.model_dump(include={"name", "outcome", "detail"}) for gate in decision.verdict.gates],
        key="gates",
        description=f"{decision.name} version {decision.version}: {decision.verdict.summary}",
    )
    return PromotionOutcome(
        name=decision.name,
        version=decision.version,
        verdict="approved" if decision.approved else "refused",
        detail=decision.verdict.summary,
        champion_version=decision.champion_version,
        digest=model.digest,
    )


@flow(name="promotion")
def promotion(parameters: PromotionParameters) -> PromotionOutcome:
    """Decide, and tell whoever listens that a model is registered."""
    with recorded("promotion", parameters) as run:
        place = open_workplace()
        model = find_artifact(place, parameters.model, Kind.MODEL, "export")
        known = is_registered(place, model)
        outcome: PromotionOutcome = settled(decide(parameters, model, run))
        if not known:
            # The evaluation deployment's trigger; an event can be lost, so the nightly evaluation
            # also looks for registered models without one.
            emit_event(
                event="arriero.model.registered",
                resource={
                    "prefect.resource.id": f"arriero.model.{model.digest}",
                    "prefect.resource.name": f"{outcome.name} version {outcome.version}",
                },
                payload=outcome.model_dump(mode="json"),
            )
        return outcome


def is_registered(place: Workplace, model: ArtifactRef) -> bool:
    """Whether a model has a version under any name."""
    query = select(ModelVersion.id).where(
        ModelVersion.artifact_key == model.key, ModelVersion.digest == model.digest
    )
    with place.registry.reading() as session:
        return session.scalars(query).first() is not None

"""A verdict, the champion and the message to MLflow are written together or not at all."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from registry import outbox, promotion
from registry.artifacts import ArtifactRef, Kind, Store
from registry.database import Registry
from registry.emissions import EmissionEntry, upsert_emissions
from registry.promotion import Decision, Facts, GatePolicy, champions, gather_facts, promote
from registry.runs import finish_run, record_evaluations, start_run
from registry.schema import ModelVersion, Promotion, now

SPAWN = multiprocessing.get_context("spawn")
CLEAN = Facts(lineage_problems=())


def evaluated(registry: Registry, put: Any, value: float, seed: int, **fields: Any) -> ArtifactRef:
    """A model with one figure."""
    model: ArtifactRef = put(Kind.MODEL, "export", {"m": f"weights {seed}"}, seed=seed, **fields)
    artifact = put(Kind.EVALUATION, "evaluation", {"r": f"rows {seed}"}, {"model": model})
    row = {"benchmark": "boolq", "metric": "acc", "value": value, "stderr": 0.001, "n": 100}
    with registry.session() as session:
        record_evaluations(session, artifact=artifact, model=model, rows=[row])
    return model


def decide_on(registry: Registry, model: ArtifactRef, **change: Any) -> Decision:
    arguments: dict[str, Any] = {
        "name": "llama-i",
        "policy": GatePolicy(),
        "facts": CLEAN,
        "decided_by": "ada",
    }
    return promote(registry, model=model, **(arguments | change))


def champion_version(registry: Registry, name: str = "llama-i") -> int | None:
    with registry.reading() as session:
        version = promotion.champion(session, name)
    return None if version is None else version.version


def messages(registry: Registry) -> list[str]:
    return [message.dedupe_key for message in outbox.pending(registry)]


def test_figures_speak_for_every_model_of_their_content(registry: Registry, put: Any) -> None:
    evaluated(registry, put, 0.5, 1)
    again = put(Kind.MODEL, "export", {"m": "weights 1"}, seed=2)
    decision = decide_on(registry, again, policy=GatePolicy(minimum={"boolq": 0.5}))
    assert decision.approved, decision.verdict.summary


def test_first_better_and_worse(registry: Registry, put: Any) -> None:
    first, better, worse = (
        evaluated(registry, put, value, seed) for seed, value in enumerate((0.5, 0.6, 0.4))
    )
    one = decide_on(registry, first)
    assert (one.approved, one.version, one.champion_version) == (True, 1, 1)
    two = decide_on(registry, better)
    assert (two.approved, two.version, two.champion_version) == (True, 2, 2)
    three = decide_on(registry, worse)
    assert (three.approved, three.version, three.champion_version) == (False, 3, 2)
    assert champion_version(registry) == 2
    with registry.reading() as session:
        assert champions(session) == [better]
    rows = promotion.list_promotions(registry, "llama-i")
    assert [(p.verdict, v.version, p.incumbent_id) for p, v in rows] == [
        ("refused", 3, 2),
        ("approved", 2, 1),
        ("approved", 1, None),
    ]
    newest = rows[0][0]
    assert newest.policy_hash == GatePolicy().hash
    assert newest.policy == GatePolicy().model_dump(mode="json")
    gates = {gate["name"]: gate for gate in newest.evidence["gates"]}
    assert "fell from 0.6000 to 0.4000" in gates["regression"]["detail"]
    assert messages(registry) == [
        "model-version:llama-i:1",
        "champion:1",
        "model-version:llama-i:2",
        "champion:2",
        "model-version:llama-i:3",
    ]


def test_same_model_again_keeps_its_version(registry: Registry, put: Any) -> None:
    model = evaluated(registry, put, 0.5, 0)
    decide_on(registry, model)
    again = decide_on(registry, model)
    assert (again.approved, again.version, again.champion_version) == (True, 1, 1)
    assert len(promotion.list_promotions(registry)) == 2


def test_refused_first_model_leaves_no_champion(registry: Registry, put: Any) -> None:
    decision = decide_on(registry, evaluated(registry, put, 0.5, 0), facts=Facts())
    assert (decision.approved, decision.champion_version) == (False, None)
    assert champion_version(registry) is None
    assert len(promotion.list_promotions(registry)) == 1


def test_force_needs_a_reason_and_is_recorded(registry: Registry, put: Any) -> None:
    decide_on(registry, evaluated(registry, put, 0.6, 0))
    worse = evaluated(registry, put, 0.4, 1)
    with pytest.raises(ValueError, match="needs a reason"):
        decide_on(registry, worse, force_reason="  ")
    decision = decide_on(registry, worse, force_reason="the old one leaks data")
    assert (decision.approved, decision.forced, decision.champion_version) == (True, True, 2)
    assert not decision.verdict.approved
    row = promotion.list_promotions(registry)[0][0]
    assert (row.verdict, row.forced, row.reason) == ("approved", True, "the old one leaks data")


def test_force_of_what_passes_anyway_is_no_force(registry: Registry, put: Any) -> None:
    decision = decide_on(registry, evaluated(registry, put, 0.5, 0), force_reason="to be sure")
    assert (decision.approved, decision.forced) == (True, False)


def test_sample_model_cannot_be_forced_over_a_real_champion(registry: Registry, put: Any) -> None:
    decide_on(registry, evaluated(registry, put, 0.5, 0))
    sample = evaluated(registry, put, 0.9, 1, sample=True)
    assert not decide_on(registry, sample).approved
    with pytest.raises(ValueError, match="cannot be forced"):
        decide_on(registry, sample, force_reason="it is better")
    assert champion_version(registry) == 1
    assert decide_on(registry, sample, name="llama-i-sample").approved
    assert champion_version(registry, "llama-i-sample") == 1


def test_only_present_models_are_promoted(registry: Registry, store: Store, put: Any) -> None:
    with pytest.raises(ValueError, match="is no model artifact"):
        decide_on(registry, put(Kind.TOKENS, "tokens"))
    model = evaluated(registry, put, 0.5, 0)
    store.quarantine(model, "flipped byte")
    with pytest.raises(ValueError, match="is quarantined"):
        decide_on(registry, model)
    assert promotion.list_promotions(registry) == []


def remade(store: Store, put: Any, model: ArtifactRef, text: str, seed: int) -> ArtifactRef:
    """The same recipe built again, with other bytes."""
    store.quarantine(model, "flipped byte")
    again: ArtifactRef = put(Kind.MODEL, "export", {"m": text}, seed=seed)
    assert again.key == model.key and again.digest != model.digest
    return again


def test_a_model_made_anew_is_another_version(registry: Registry, store: Store, put: Any) -> None:
    model = evaluated(registry, put, 0.5, 0)
    decide_on(registry, model)
    again = remade(store, put, model, "other weights", 0)
    with pytest.raises(ValueError, match="was made anew; look it up"):
        decide_on(registry, model)
    decision = decide_on(registry, again)
    assert decision.version == 2
    versions = {v.version: v.digest for _, v in promotion.list_promotions(registry)}
    assert versions == {1: model.digest, 2: again.digest}
    told = [m.payload["digest"] for m in outbox.pending(registry, topic="model-version")]
    assert told == [model.digest, again.digest]
    assert decide_on(registry, again).version == 2


def test_gates_judge_the_content_that_was_promoted(
    registry: Registry, store: Store, put: Any
) -> None:
    """The champion's figures stay its own when its artifact is made anew."""
    model = evaluated(registry, put, 0.9, 0)
    decide_on(registry, model)
    remade(store, put, model, "other weights", 0)
    decision = decide_on(registry, evaluated(registry, put, 0.5, 1))
    assert not decision.approved
    assert "fell from 0.9000 to 0.5000" in decision.verdict.summary


def test_a_champion_that_was_made_anew_is_no_champion(
    registry: Registry, store: Store, put: Any
) -> None:
    model = evaluated(registry, put, 0.5, 0)
    decide_on(registry, model)
    again = remade(store, put, model, "other weights", 0)
    with registry.reading() as session:
        assert champions(session) == []
    decide_on(registry, again, force_reason="no figures yet")
    with registry.reading() as session:
        assert champions(session) == [again]


def test_nothing_is_written_when_the_message_cannot_be(
    registry: Registry, put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = evaluated(registry, put, 0.5, 0)

    def stop(session: Any, topic: str, *rest: Any, **options: Any) -> bool:
        if topic == "champion":
            raise RuntimeError("killed here")
        return outbox.enqueue(session, topic, *rest, **options)

    monkeypatch.setattr(promotion, "enqueue", stop)
    with pytest.raises(RuntimeError, match="killed here"):
        decide_on(registry, model)
    with registry.reading() as session:
        assert session.query(ModelVersion).count() == 0
        assert session.query(Promotion).count() == 0
    assert messages(registry) == []


@pytest.mark.parametrize(
    "change", ["UPDATE promotion SET verdict = 'refused'", "DELETE FROM promotion"]
)
def test_database_refuses_to_change_a_verdict(registry: Registry, put: Any, change: str) -> None:
    decide_on(registry, evaluated(registry, put, 0.5, 0))
    with pytest.raises(IntegrityError, match="append-only"), registry.session() as session:
        session.execute(text(change))


def _promote_one(url: str, model_json: str) -> None:
    decide_on(Registry(url), ArtifactRef.model_validate_json(model_json))


def test_concurrent_promotions_number_one_after_the_other(
    registry: Registry, url: str, put: Any
) -> None:
    models = [evaluated(registry, put, 0.5, seed) for seed in range(3)]
    workers = [SPAWN.Process(target=_promote_one, args=(url, m.model_dump_json())) for m in models]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    rows = promotion.list_promotions(registry)
    assert [version.version for _, version in rows] == [3, 2, 1]
    assert [p.incumbent_id for p, _ in rows] == [2, 1, None]
    assert champion_version(registry) == 3


def test_facts_come_from_the_ancestors(
    registry: Registry, store: Store, chain: dict[str, ArtifactRef]
) -> None:
    for status, kwh in (("failed", 1.0), ("completed", 2.0)):
        run_id = start_run(registry, flow="pipeline", stage="tokens", recipe=chain["tokens"].key)
        finish_run(registry, run_id, status)
        entry = EmissionEntry(
            entry_id=run_id,
            run_id=run_id,
            stage="tokens",
            status="completed",
            node="n",
            began_at=now(),
            kwh_total=kwh,
            pue=1.1,
            intensity_kg_per_kwh=0.385,
            intensity_source="paper",
            method="codecarbon",
        )
        upsert_emissions(registry, [entry])
    facts = gather_facts(registry, store, chain["model"])
    assert facts.lineage_problems == ()
    assert facts.licenses == {"ODC-By": 7}
    assert facts.contamination is None
    assert facts.emissions is not None
    assert facts.emissions.kwh == 3.0  # the failed attempt is part of the cost

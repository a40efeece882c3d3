"""MLflow's models follow the registry's, whatever was lost, late or moved by hand."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import select, update

from registry.artifacts import ArtifactRef, Kind
from registry.promotion import Facts, GatePolicy, promote
from registry.schema import Artifact, Outbox, now
from tasks import projection, promoted, tracking
from tasks.projection import RUN_TAG
from tasks.runner import Workplace
from tests.tasks.conftest import Attempt

NAME = "llama-i"


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=mlflow_uri)


def crown(place: Workplace, model: ArtifactRef, name: str = NAME) -> int:
    """Promote a model; its version."""
    decision = promote(
        place.registry,
        name=name,
        model=model,
        policy=GatePolicy(),
        facts=Facts(lineage_problems=()),
        decided_by="ada",
        force_reason="a test",
    )
    assert decision.approved
    return decision.version


def export(attempt: Attempt, weights: str) -> ArtifactRef:
    return attempt(Kind.MODEL, "export", {"model.safetensors": weights})[1]


def champion(client: MlflowClient) -> str:
    """Digest of MLflow's champion."""
    found = client.get_model_version_by_alias(NAME, "champion")
    return str(found.tags[promoted.DIGEST_TAG])


def put_off(place: Workplace, *keys: str) -> None:
    """These messages failed and wait; all others are due."""
    far = now().replace(year=now().year + 1)
    with place.registry.session() as session:
        session.execute(update(Outbox).values(next_attempt_at=now()))
        session.execute(
            update(Outbox).where(Outbox.dedupe_key.in_(keys)).values(next_attempt_at=far)
        )


def waiting(place: Workplace) -> list[str]:
    query = select(Outbox.dedupe_key).where(Outbox.delivered_at.is_(None))
    with place.registry.reading() as session:
        return list(session.scalars(query.order_by(Outbox.id)))


def test_a_late_message_does_not_move_the_champion_back(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    first, second = export(attempt, "one"), export(attempt, "two")
    crown(place, first)
    put_off(place, "champion:1")
    crown(place, second)
    tracking.deliver(place)
    assert waiting(place) == ["champion:1"]
    put_off(place)
    assert tracking.deliver(place) == 1
    assert champion(client) == second.digest
    # The late message still tells what it was about.
    verdicts = {
        version.tags[promoted.DIGEST_TAG]: version.tags.get("arriero.verdict")
        for version in client.search_model_versions(f"name = '{NAME}'")
    }
    assert verdicts == {first.digest: "approved", second.digest: "approved"}


def test_the_champion_does_not_wait_for_a_late_version(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    model = export(attempt, "one")
    crown(place, model)
    put_off(place, f"model-version:{NAME}:1")
    tracking.deliver(place)
    assert waiting(place) == [f"model-version:{NAME}:1", "champion:1"]
    assert champion(client) == model.digest
    put_off(place)
    assert tracking.deliver(place) == 2
    assert champion(client) == model.digest
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1


def test_a_champion_that_was_moved_in_mlflow_is_put_back(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    models = [export(attempt, "one"), export(attempt, "two")]
    for model in models:
        crown(place, model)
    tracking.deliver(place)
    assert promoted.reconcile(client, place) == 0
    client.set_registered_model_alias(NAME, "champion", "1")
    client.set_registered_model_alias(NAME, "mine", "1")
    assert tracking.deliver(place) == 0
    assert champion(client) == models[1].digest
    client.delete_registered_model_alias(NAME, "champion")
    assert promoted.reconcile(client, place) == 1
    assert champion(client) == models[1].digest
    assert client.get_model_version_by_alias(NAME, "mine").version in (1, "1")


def test_a_champion_that_mlflow_lost_is_registered_again(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    model = export(attempt, "one")
    crown(place, model)
    tracking.deliver(place)
    client.delete_registered_model(NAME)
    tracking.deliver(place)
    assert champion(client) == model.digest


def test_a_champion_whose_content_is_gone_keeps_no_other_from_repair(
    place: Workplace,
    client: MlflowClient,
    attempt: Attempt,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone, kept = export(attempt, "one"), export(attempt, "two")
    for name, model in ((f"a-{NAME}", gone), (NAME, kept)):
        crown(place, model, name)
    tracking.deliver(place)
    for name in (f"a-{NAME}", NAME):
        client.delete_registered_model(name)
    place.store.quarantine(gone, "a flipped byte")
    assert promoted.reconcile(client, place) == 1
    assert champion(client) == kept.digest
    assert f"MLflow has no a-{NAME}@champion" in caplog.text


def test_a_failing_repair_fails_no_delivery(
    place: Workplace,
    client: MlflowClient,
    attempt: Attempt,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    crown(place, export(attempt, "one"))

    def stop(*_: Any) -> int:
        raise MlflowException("the database is gone")

    monkeypatch.setattr(promoted, "reconcile", stop)
    assert tracking.deliver(place) == 3
    assert "the aliases of MLflow are compared later: the database is gone" in caplog.text


def test_an_adopted_model_gets_a_run_of_its_own(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    model = export(attempt, "one")
    with place.registry.session() as session:
        # The registry was lost, the store was not: adoption knows no run.
        session.get_one(Artifact, model.key).run_id = None
        session.execute(update(Outbox).values(delivered_at=now()))
    crown(place, model)
    assert tracking.deliver(place) == 2
    assert champion(client) == model.digest
    version = client.get_model_version_by_alias(NAME, "champion")
    assert version.run_id is not None
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"{NAME} version 1"
    assert RUN_TAG not in run.data.tags and "mlflow.parentRunId" not in run.data.tags
    # Taken away and delivered again, it is found, not made a second time.
    client.delete_registered_model(NAME)
    assert promoted.reconcile(client, place) == 1
    assert client.get_model_version_by_alias(NAME, "champion").run_id == version.run_id
    assert len(client.search_runs([projection.experiment_id(client)])) == 1


def test_a_model_made_anew_is_not_registered_as_the_promoted_one(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    model = export(attempt, "one")
    crown(place, model)
    with place.registry.session() as session:
        row = session.get_one(Artifact, model.key)
        # What the store does when it makes a recipe again that gives other bytes.
        row.digest = "0f" * 32
        row.manifest = {**row.manifest, "digest": row.digest}
    folder = place.store.root / model.uri
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(model.digest, "0f" * 32))
    tracking.deliver(place)
    assert waiting(place) == [f"model-version:{NAME}:1", "champion:1"]
    assert client.search_model_versions(f"name = '{NAME}'") == []

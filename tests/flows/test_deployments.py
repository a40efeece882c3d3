"""prefect.yaml and the forms: what Prefect would ignore or refuse without a word."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prefect.cli.deploy._models import RawScheduleConfig
from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate
from pydantic import BaseModel, SecretBytes, SecretStr

ROOT = Path(__file__).resolve().parents[2]
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: list[dict[str, Any]] = SPEC["deployments"]
NAMES = [str(deployment["name"]) for deployment in DEPLOYMENTS]

# Prefect ignores unknown keys of a file, a deployment, a pool and a trigger: a misspelt one would
# be lost in silence, so the keys in use are listed here.
TOP = {"name", "prefect-version", "pull", "definitions", "deployments"}
DEPLOYMENT = {
    "name",
    "entrypoint",
    "description",
    "tags",
    "work_pool",
    "schedules",
    "triggers",
    "concurrency_limit",
}
POOL = {"name", "work_queue_name", "job_variables"}
# Never `active`: a redeploy would undo a pause in the UI.
SCHEDULE = {"cron", "timezone", "slug", "parameters"}
TRIGGER = {"name", "type", "enabled", "expect", "match", "parameters"}
JOB_VARIABLES = {"stream_output"}


def flow_of(deployment: Mapping[str, Any]) -> Flow[Any, Any]:
    module, _, name = deployment["entrypoint"].partition(":")
    return getattr(importlib.import_module(module), name)


def schema_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    return parameter_schema(flow_of(deployment)).model_dump()


def fields_of(schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of the form, the nested models' too; `$ref` resolved one step."""
    definitions: dict[str, Any] = schema.get("definitions") or {}
    for owner, model in [("", schema), *definitions.items()]:
        for name, given in model.get("properties", {}).items():
            target = given.get("$ref", "").rpartition("/")[2]
            inherited = definitions[target] if target else {}
            yield f"{owner}.{name}", {**inherited, **given}


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
        for info in annotation.model_fields.values():
            yield from models_in(info.annotation)
    for inner in get_args(annotation):
        yield from models_in(inner)


def annotations_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from annotations_in(inner)


def test_every_key_is_one_that_prefect_reads() -> None:
    assert set(SPEC) <= TOP
    for deployment in DEPLOYMENTS:
        name = deployment["name"]
        assert set(deployment) <= DEPLOYMENT, name
        assert set(deployment["work_pool"]) == POOL, name
        assert set(deployment["work_pool"]["job_variables"]) == JOB_VARIABLES, name
        for schedule in deployment.get("schedules", []):
            assert {"cron", "timezone", "slug"} <= set(schedule) <= SCHEDULE, name
            RawScheduleConfig.model_validate(schedule)
        for trigger in deployment.get("triggers", []):
            assert set(trigger) <= TRIGGER, name


def test_the_death_of_the_worker_kills_no_run() -> None:
    pools = [d["work_pool"] for d in DEPLOYMENTS]
    assert {p["job_variables"]["stream_output"] for p in pools} == {False}


def test_every_flow_of_the_chain_has_one_deployment() -> None:
    assert sorted(NAMES) == sorted(
        {
            "pipeline",
            "preparation",
            "quality_models",
            "shards",
            "tokenizer",
            "pretraining",
            "finetuning",
            "evaluation",
            "nightly-evaluation",
            "promotion",
            "planning",
            "scaling",
        }
    )
    assert [s["cron"] for d in DEPLOYMENTS for s in d.get("schedules", [])] == ["0 2 * * *"]
    assert [t["expect"] for d in DEPLOYMENTS for t in d.get("triggers", [])] == [
        ["arriero.model.registered"]
    ]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_entrypoints_are_modules_and_import(deployment: dict[str, Any]) -> None:
    module = deployment["entrypoint"].partition(":")[0]
    assert module.startswith("flows.") and not module.endswith(".py")
    found = flow_of(deployment)
    assert isinstance(found, Flow)
    assert found.name == deployment["name"]
    assert not inspect.iscoroutinefunction(found.fn), "async flows miss heartbeats"
    assert inspect.getdoc(found.fn)
    assert deployment["description"] and deployment["tags"][0] == "arriero"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_every_field_of_the_form_is_explained_and_bounded(deployment: dict[str, Any]) -> None:
    fields = dict(fields_of(schema_of(deployment)))
    assert len(fields) > 3
    problems = []
    for place, field in fields.items():
        for key in ("title", "description"):
            if not str(field.get(key, "")).strip():
                problems.append(f"{place}: no {key}")
        for kind in [field, *field.get("anyOf", [])]:
            bounded = {"minimum", "exclusiveMinimum", "enum", "const"} & set(kind)
            if kind.get("type") in ("integer", "number") and not bounded:
                problems.append(f"{place}: a number without a lower bound")
    assert problems == []


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_forms_refuse_unknown_fields_and_take_no_secret(deployment: dict[str, Any]) -> None:
    parameters = inspect.signature(flow_of(deployment).fn, eval_str=True).parameters.values()
    models = [model for p in parameters for model in models_in(p.annotation)]
    assert models
    for model in models:
        assert model.model_config.get("extra") == "forbid", model
        assert model.model_config.get("frozen") is True, model
        for name, info in model.model_fields.items():
            # Prefect stores and shows a SecretStr parameter in clear text.
            secret = {SecretStr, SecretBytes} & set(annotations_in(info.annotation))
            assert not secret, f"{model.__name__}.{name}"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_what_schedules_and_triggers_give_fits_the_form(deployment: dict[str, Any]) -> None:
    schema = schema_of(deployment)
    for given in [*deployment.get("schedules", []), *deployment.get("triggers", [])]:
        validate(given.get("parameters", {"parameters": {}}), schema, raise_on_error=True)
    if deployment.get("schedules"):
        # Without a `parameters` of its own a scheduled run lacks the flow's one argument.
        assert all("parameters" in s for s in deployment["schedules"]), deployment["name"]


def test_the_zombie_settler_waits_for_three_heartbeats() -> None:
    loaded = yaml.safe_load((ROOT / "deploy" / "automations.yaml").read_text(encoding="utf-8"))
    (settler,) = loaded["automations"]
    trigger = settler["trigger"]
    assert trigger["posture"] == "Proactive" and trigger["within"] >= 3 * 30
    # Every final state must end the watch, or finished runs are marked crashed.
    for state in ("Completed", "Failed", "Cancelled", "Crashed"):
        assert f"prefect.flow-run.{state}" in trigger["expect"]
    assert settler["actions"][0]["state"] == "CRASHED"

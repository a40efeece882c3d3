"""Where and as what a stage runs: its identity and key, the store, the recorded flow run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from typing import Any

from pydantic import BaseModel, ConfigDict

from registry.artifacts import ArtifactRef, Kind, Store, recipe_key
from registry.database import Registry, open_registry
from registry.settings import Settings, load_settings
from tasks.context import recipe_parameters
from tasks.emissions.parameters import PAPER_FACTORS, EmissionsParameters


class RunContext(BaseModel):
    """Which recorded flow run a task belongs to. Small and JSON, so it is a task parameter."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    flow: str
    purpose: str = "final"
    model_size: str | None = None
    emissions: EmissionsParameters = PAPER_FACTORS


@dataclass(frozen=True)
class Stage:
    """Identity of a stage's code: part of every recipe key it makes.

    version: integer, raised whenever the stage's output for the same input changes.
    libraries: distributions whose version decides the output.
    """

    name: str
    version: int
    kind: Kind
    libraries: tuple[str, ...] = ()

    def library_versions(self) -> dict[str, str]:
        """Installed versions, local build tags (``+cpu``) kept: they change numerics."""
        return {name: installed_version(name) for name in self.libraries}


def key_of(
    stage: Stage,
    parameters: BaseModel,
    inputs: Mapping[str, ArtifactRef],
    extra_recipe: Mapping[str, Any] | None = None,
) -> str:
    """Key of the recipe that ``run_stage`` looks up."""
    recipe = {**recipe_parameters(parameters), **(extra_recipe or {})}
    digests = {name: ref.digest for name, ref in inputs.items()}
    return recipe_key(stage.name, stage.version, stage.library_versions(), recipe, digests)


@dataclass(frozen=True)
class Workplace:
    """The registry and the store of this process's settings."""

    settings: Settings
    registry: Registry
    store: Store


def open_workplace(settings: Settings | None = None) -> Workplace:
    """Open the registry (checking its revision) and the store."""
    settings = settings or load_settings()
    registry = open_registry(settings)
    return Workplace(settings, registry, Store(settings.store, registry))

"""Everything about one run in one value: what the run page and the run card both show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from dashboards import comparison, contents, queries
from dashboards.comparison import Evaluations
from dashboards.contents import Curve, Mixture, ShardFunnel, SourceFunnel
from dashboards.queries import ArtifactRow, EventRow, LedgerRow, ModelRow, RunRow
from dashboards.rejects import Reject, rejects
from registry import emissions
from registry.artifacts import ArtifactRef, Kind, Store
from registry.database import Registry
from registry.emissions import EmissionTotals
from registry.files import StoreError

T = TypeVar("T")
FROZEN = ConfigDict(frozen=True, extra="forbid")


class Corpus(BaseModel):
    """Funnel and mixture of a corpus; ``problems`` say which file could not be read."""

    model_config = FROZEN

    ref: ArtifactRef
    sample: bool
    sources: list[SourceFunnel]
    mixture: Mixture | None
    problems: list[str]


class Training(BaseModel):
    """One training: its curve and its summary. ``ref`` is None while it still runs."""

    model_config = FROZEN

    stage: str
    ref: ArtifactRef | None
    curve: Curve | None
    summary: dict[str, Any]
    problems: list[str]


class RunReport(BaseModel):
    """One run with everything under it. ``making``: every attempt, of any run, at its artifacts."""

    model_config = FROZEN

    run: RunRow
    tree: list[RunRow]
    artifacts: list[ArtifactRow]
    events: list[EventRow]
    corpora: list[Corpus]
    trainings: list[Training]
    evaluations: Evaluations
    ledger: list[LedgerRow]
    making: EmissionTotals
    models: list[ModelRow]

    @property
    def sample(self) -> bool:
        """True when anything of it was made from sample data."""
        return any(row.sample for row in self.artifacts)

    @property
    def stages(self) -> list[RunRow]:
        """The attempts of stages, in order of their start."""
        return sorted(
            (row for row in self.tree if row.stage is not None),
            key=lambda row: (row.started_at, row.id),
        )

    @property
    def energy(self) -> EmissionTotals:
        """Sums over the whole tree."""
        return self.run.energy

    @property
    def versions(self) -> dict[str, str]:
        """Versions of libraries that decided a result, of the interpreter and of the code."""
        found: dict[str, set[str]] = {}
        for artifact in self.artifacts:
            for name, version in artifact.manifest.get("libraries", {}).items():
                found.setdefault(str(name), set()).add(str(version))
            environment = artifact.manifest.get("environment", {})
            for name in ("python", "git_commit", "lock_hash"):
                if environment.get(name):
                    found.setdefault(name, set()).add(str(environment[name]))
        return {name: ", ".join(sorted(found[name])) for name in sorted(found)}


def run_report(registry: Registry, store: Store, run_id: str) -> RunReport:
    """Collect everything about a run; raises ``registry.runs.UnknownRun``."""
    tree = queries.run_tree(registry, run_id)
    made = queries.run_artifacts(registry, tree)
    refs = [row.ref for row in made]
    ledger, _ = queries.ledger(registry, tree[0].id)
    finished = [training(store, ref) for ref in refs if ref.kind is Kind.CHECKPOINT]
    models = {ref.key for ref in refs if ref.kind is Kind.MODEL}
    return RunReport(
        run=tree[0],
        tree=tree,
        artifacts=made,
        events=queries.run_events(registry, tree),
        corpora=[
            corpus(store, row)
            for row in made
            if row.ref.kind is Kind.DOCUMENTS and row.ref.stage == "corpus"
        ],
        trainings=finished + _running(store, tree),
        evaluations=comparison.evaluations(
            registry, artifact_keys=[ref.key for ref in refs if ref.kind is Kind.EVALUATION]
        ),
        ledger=ledger,
        making=emissions.sum_up(emissions.entries_of_recipes(registry, [ref.key for ref in refs])),
        models=[row for row in queries.models(registry) if row.key in models],
    )


def corpus(store: Store, row: ArtifactRow) -> Corpus:
    """Funnel and mixture of a corpus, or of one source's documents (which has no mixture)."""
    problems: list[str] = []
    mixed = row.ref.stage == "corpus"
    return Corpus(
        ref=row.ref,
        sample=row.sample,
        sources=_read(lambda: contents.funnel(store, row.ref), problems) or [],
        mixture=_read(lambda: contents.mixture(store, row.ref), problems) if mixed else None,
        problems=problems,
    )


def shards(store: Store, ref: ArtifactRef) -> tuple[list[ShardFunnel], list[str]]:
    """Funnel of each shard of a corpus, and why there is none."""
    problems: list[str] = []
    return _read(lambda: contents.funnel_by_shard(store, ref), problems) or [], problems


def rejected(store: Store, ref: ArtifactRef) -> tuple[list[Reject], list[str]]:
    """Samples of what a corpus rejected, and why there are none."""
    problems: list[str] = []
    return _read(lambda: rejects(store, ref), problems) or [], problems


def training(store: Store, ref: ArtifactRef) -> Training:
    """Curve and summary of a checkpoint."""
    problems: list[str] = []
    return Training(
        stage=ref.stage,
        ref=ref,
        curve=_read(lambda: contents.curve(store, ref), problems),
        summary=_read(lambda: contents.summary(store, ref), problems) or {},
        problems=problems,
    )


def _running(store: Store, tree: list[RunRow]) -> list[Training]:
    """Trainings that have written losses but no artifact yet; a retry continues the same one."""
    made = {row.recipe for row in tree if row.artifact_key is not None}
    found: dict[str, Training] = {}
    for row in tree:
        if row.recipe is None or row.recipe in made or row.recipe in found:
            continue
        curve = contents.live_curve(store, row.recipe)
        if curve is not None and row.stage is not None:
            found[row.recipe] = Training(
                stage=row.stage, ref=None, curve=curve, summary={}, problems=[]
            )
    return list(found.values())


def _read(read: Callable[[], T], problems: list[str]) -> T | None:
    """What ``read`` returns, or None and its complaint among ``problems``."""
    try:
        return read()
    except (contents.ContentError, StoreError) as error:
        problems.append(str(error))
        return None

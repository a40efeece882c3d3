"""Evaluations beside the paper's figures.

Rows on sample items, or of models made from sample data, never stand in a table with the paper's:
they come as a type of their own that has no place for a published figure.
"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from registry import paper
from registry.contamination import contamination, share_of
from registry.database import Registry
from registry.schema import Artifact, ArtifactInput, Evaluation, ModelVersion

FROZEN = ConfigDict(frozen=True, extra="forbid")
SIZES = ("7B", "13B", "33B", "65B")  # of LLaMA in the paper
# Section 3.5: pass@1 at temperature 0.1, pass@80 and pass@100 at 0.8; all else is greedy or scored.
TEMPERATURES = {"pass@1": 0.1, "pass@80": 0.8, "pass@100": 0.8}


class Score(BaseModel):
    """One figure of one model. ``value`` and ``stderr`` in percent; None when it did not run.

    contaminated: percent of the benchmark's items that the model's training documents hold; None
    when that was not checked.
    """

    model_config = FROZEN

    model: str
    model_key: str
    model_digest: str
    benchmark: str
    metric: str
    shots: int
    value: float | None
    stderr: float | None
    n: int
    truncated: int
    temperature: float | None
    reason: str | None
    contaminated: float | None = None


class Compared(BaseModel):
    """A real figure and LLaMA's by size, percent; ``paper_shots`` says how those were prompted."""

    model_config = FROZEN

    score: Score
    paper: dict[str, float]
    paper_shots: str


class Evaluations(BaseModel):
    """Real results beside the paper's; results on sample data apart."""

    model_config = FROZEN

    compared: list[Compared]
    sample: list[Score]


def evaluations(
    registry: Registry,
    *,
    model_keys: Collection[str] | None = None,
    artifact_keys: Collection[str] | None = None,
) -> Evaluations:
    """Every recorded figure, or those of some models or evaluation artifacts."""
    query = (
        select(Evaluation, Artifact.sample)
        .join(Artifact, Artifact.key == Evaluation.model_key)
        .order_by(Evaluation.benchmark, Evaluation.metric, Evaluation.shots, Evaluation.id)
    )
    if model_keys is not None:
        query = query.where(Evaluation.model_key.in_(model_keys))
    if artifact_keys is not None:
        query = query.where(Evaluation.artifact_key.in_(artifact_keys))
    with registry.reading() as session:
        rows = session.execute(query).all()
    keys = {row.model_key for row, _ in rows}
    names = model_names(registry, keys)
    checked = {key: contamination(registry, key) for key in keys}
    compared: list[Compared] = []
    sample: list[Score] = []
    for row, sample_model in rows:
        share = share_of(checked[row.model_key], row.benchmark, row.data_sha256)
        score = _score(row, names[row.model_key], share)
        if row.sample or sample_model:
            sample.append(score)
        else:
            compared.append(_beside_paper(score))
    return Evaluations(compared=compared, sample=sample)


def model_names(registry: Registry, keys: Collection[str]) -> dict[str, str]:
    """What to call models and checkpoints: name and version if registered, else the stage that
    trained them."""
    names = dict.fromkeys(keys, "model")
    with registry.reading() as session:
        trained = session.execute(
            select(ArtifactInput.artifact_key, Artifact.stage)
            .join(Artifact, Artifact.key == ArtifactInput.input_key)
            .where(ArtifactInput.artifact_key.in_(keys), Artifact.kind == "checkpoint")
        ).all()
        registered = session.scalars(
            select(ModelVersion)
            .where(ModelVersion.artifact_key.in_(keys))
            .order_by(ModelVersion.id)
        ).all()
        checkpoints = session.execute(
            select(Artifact.key, Artifact.stage).where(
                Artifact.key.in_(keys), Artifact.kind == "checkpoint"
            )
        ).all()
    names.update((row[0], row[1]) for row in [*trained, *checkpoints])
    names.update({row.artifact_key: f"{row.name} {row.version}" for row in registered})
    return names


def _score(row: Evaluation, model: str, contaminated: float | None) -> Score:
    return Score(
        model=model,
        model_key=row.model_key,
        model_digest=row.model_digest,
        benchmark=row.benchmark,
        metric=row.metric,
        shots=row.shots,
        value=None if row.value is None else 100 * row.value,
        stderr=None if row.stderr is None else 100 * row.stderr,
        n=row.n,
        truncated=row.truncated,
        temperature=row.sampling.get("temperature"),
        reason=row.reason,
        contaminated=None if contaminated is None else 100 * contaminated,
    )


def _beside_paper(score: Score) -> Compared:
    published = [
        row
        for row in paper.llama_results(score.benchmark, score.shots)
        if row.metric == score.metric and row.model == "LLaMA" and row.size in SIZES
    ]
    wanted = TEMPERATURES.get(score.metric)
    if published and score.value is not None and wanted not in (None, score.temperature):
        return Compared(score=score, paper={}, paper_shots=f"at temperature {wanted}")
    figures: dict[str, float] = {}
    for row in published:
        figures.setdefault(row.size, row.value)  # the same cell may be printed in two tables
    if not published and paper.llama_results(score.benchmark):
        stated = "not so measured"
    elif not published:
        stated = "not in the paper"
    elif published[0].shots is None:
        stated = "shots unknown"
    else:
        stated = f"{published[0].shots}-shot"
    return Compared(score=score, paper=figures, paper_shots=stated)

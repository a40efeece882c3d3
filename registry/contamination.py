"""Which share of a benchmark's items a model's training documents hold: told beside its scores.

It is a property of the corpus, so it is looked up over the lineage when scores are shown, and not
kept in evaluations: those are found by their recipe, and a corpus that is checked again would leave
them with an old figure. The figures are in the manifests of the corpora, so no file is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from registry.database import Registry
from registry.lineage import ancestors
from registry.manifest import Kind

CORPUS = "corpus"
# Names in the counts of a corpus' manifest: share by benchmark, sha256 of the files by benchmark.
SHARES = "contamination"
DATA = "contamination_data"
NOT_CHECKED = "not checked"


class Contamination(BaseModel):
    """Of one benchmark. share: contaminated items over checked ones, 0 to 1. data_sha256: of the
    files with the items, as evaluation rows have it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(ge=0, le=1)
    data_sha256: str


def contamination(registry: Registry, model_key: str) -> dict[str, Contamination]:
    """By benchmark, for what was made from corpora; empty when nobody compared all of them.

    An imported model has no corpus, and one of a corpus that was not checked no figure. Of several
    corpora the worst counts.
    """
    corpora = [
        row
        for row in ancestors(registry, model_key)
        if row.kind == Kind.DOCUMENTS and row.stage == CORPUS
    ]
    checked = [_of_corpus(row.manifest["counts"]) for row in corpora]
    if not checked:
        return {}
    found: dict[str, Contamination] = {}
    for name in checked[0]:
        rows = [own[name] for own in checked if name in own]
        same = {row.data_sha256 for row in rows}
        if len(rows) == len(checked) and len(same) == 1:
            found[name] = max(rows, key=lambda row: row.share)
    return found


def share_of(
    found: Mapping[str, Contamination], benchmark: str, data_sha256: str | None
) -> float | None:
    """The share for a score on these items; None when they are not those that were looked for."""
    row = found.get(benchmark)
    return row.share if row is not None and row.data_sha256 == data_sha256 else None


def shown(share: float | None) -> str:
    """A share for a table: ``1.3 %`` or ``not checked``."""
    return NOT_CHECKED if share is None else f"{100 * share:.1f} %"


def _of_corpus(counts: Mapping[str, Any]) -> dict[str, Contamination]:
    shares, data = counts.get(SHARES), counts.get(DATA)
    if not isinstance(shares, dict) or not isinstance(data, dict):
        return {}
    return {
        name: Contamination(share=share, data_sha256=data[name])
        for name, share in shares.items()
        if name in data
    }

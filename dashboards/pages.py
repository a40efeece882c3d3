"""What each page is given: values for its template, from one view of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dashboards import charts, comparison, figure_one, formats, queries, scaling
from dashboards.queries import ArtifactRow
from dashboards.report import Corpus, Training, corpus, rejected, run_report, shards, training
from registry.artifacts import Kind, Store
from registry.database import Registry
from registry.lineage import LineageNode, ancestors, lineage_problems, lineage_tree
from registry.manifest import ref_of

LEDGER_ROWS = 500  # newest attempts that the emissions page lists
LISTED = 50  # corpora and trainings to choose from
RAW_FILES = 10  # of each dump that a lineage lists
SHARDS = 500  # that a corpus lists


class PageNotFound(ValueError):
    """A page of something that is not there."""


class Pages:
    """Values of the pages. Each method is one page."""

    def __init__(self, registry: Registry, store: Path) -> None:
        self.registry = registry
        self.store = Store(store, registry)

    def overview(self) -> dict[str, Any]:
        """Champion, last runs, totals."""
        return {"overview": queries.overview(self.registry)}

    def runs(self) -> dict[str, Any]:
        """Flow runs, newest first."""
        return {"runs": queries.list_runs(self.registry)}

    def run(self, run_id: str) -> dict[str, Any]:
        """One run with everything under it."""
        report = run_report(self.registry, self.store, run_id)
        return {
            "report": report,
            "parameters": list(formats.flatten(report.run.parameters)),
            "trainings": [_with_figure(item) for item in report.trainings],
        }

    def corpus(self, key: str | None) -> dict[str, Any]:
        """Funnel and mixture of one corpus, by default the newest."""
        rows = queries.artifacts(self.registry, kind=Kind.DOCUMENTS, limit=LISTED)
        merged = [row for row in rows if row.ref.stage == "corpus"]
        chosen = self._choose(key, Kind.DOCUMENTS, merged or rows)
        shown: Corpus | None = corpus(self.store, chosen) if chosen else None
        by_shard, problems = shards(self.store, chosen.ref) if chosen else ([], [])
        return {
            "corpus": shown,
            "shards": by_shard[:SHARDS],
            "shard_count": len(by_shard),
            "shard_problems": problems,
            "rows": rows,
            "funnel_figure": charts.funnel_figure(shown.sources) if shown else None,
            "mixture_figure": (
                charts.mixture_figure(shown.mixture) if shown and shown.mixture else None
            ),
        }

    def rejects(self, key: str) -> dict[str, Any]:
        """Samples of what the rules rejected, also where what was joined came from."""
        chosen = self._choose(key, Kind.DOCUMENTS, [])
        assert chosen is not None  # an unknown key is not found
        above = ancestors(self.registry, key)
        before = [ref_of(row) for row in above if row.kind == Kind.DOCUMENTS.value]
        refs = [chosen.ref, *sorted(before, key=lambda ref: ref.stage)]
        return {"chosen": chosen, "groups": [(ref, *rejected(self.store, ref)) for ref in refs]}

    def training(self, key: str | None) -> dict[str, Any]:
        """Loss curve of one training, by default the newest."""
        rows = queries.artifacts(self.registry, kind=Kind.CHECKPOINT, limit=LISTED)
        chosen = self._choose(key, Kind.CHECKPOINT, rows)
        shown = [_with_figure(training(self.store, chosen.ref))] if chosen else []
        together = figure_one.token_curves(self.store, rows)
        return {
            "trainings": shown,
            "rows": rows,
            "chosen": chosen,
            "curves": together,
            "together": figure_one.figure(together) if len(together) > 1 else None,
        }

    def scaling(self, key: str | None) -> dict[str, Any]:
        """Law and answers of one scaling study, by default the newest."""
        listed = queries.artifacts(self.registry, kind=Kind.REPORT, limit=LISTED)
        rows = [row for row in listed if row.ref.stage == scaling.STAGE]
        chosen = self._choose(key, Kind.REPORT, rows)
        if chosen and chosen.ref.stage != scaling.STAGE:
            raise PageNotFound(f"the report with the key {key} is of no scaling study")
        shown = scaling.study(self.store, chosen.ref) if chosen else None
        law = shown.law if shown else None
        return {
            "study": shown,
            "chosen": chosen,
            "rows": rows,
            "law_figure": scaling.law_figure(law, shown.ladder) if shown and law else None,
            "cost_figure": scaling.cost_figure(law) if law else None,
        }

    def evaluation(self) -> dict[str, Any]:
        """Every figure; real ones beside the paper's, sample ones apart."""
        return {"evaluations": comparison.evaluations(self.registry), "sizes": comparison.SIZES}

    def emissions(self) -> dict[str, Any]:
        """The end of the ledger, and the sums over all of it."""
        entries, totals = queries.ledger(self.registry)
        return {"entries": entries[-LEDGER_ROWS:], "count": len(entries), "totals": totals}

    def models(self) -> dict[str, Any]:
        """Versions, verdicts and their evidence."""
        return {"models": queries.models(self.registry)}

    def lineage(self, reference: str | None) -> dict[str, Any]:
        """Trees of the champions, or of what ``reference`` names."""
        trees: list[tuple[str, LineageNode, list[str]]] = []
        if reference is not None:
            trees.append(self._tree(reference, reference))
        else:
            for model in queries.champions(self.registry):
                title = f"{model.name} {model.version}, champion"
                trees.append(self._tree(title, f"{model.name}:{model.version}"))
        return {"trees": trees, "reference": reference}

    def _tree(self, title: str, reference: str) -> tuple[str, LineageNode, list[str]]:
        tree = lineage_tree(self.registry, self.store, reference, max_files=RAW_FILES)
        return title, tree, lineage_problems(tree)

    def _choose(self, key: str | None, kind: Kind, rows: list[ArtifactRow]) -> ArtifactRow | None:
        """The artifact asked for, else the first of the list."""
        if key is None:
            return rows[0] if rows else None
        found = [
            row
            for row in queries.artifacts(self.registry, kind=kind, keys=[key])
            if row.ref.key == key
        ]
        if not found:
            raise PageNotFound(f"no {kind} artifact with the key {key}")
        return found[0]


def _with_figure(item: Training) -> tuple[Training, str | None]:
    """A training and its chart."""
    return item, charts.loss_figure(item.curve) if item.curve else None

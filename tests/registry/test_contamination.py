"""What is told beside a score of the model's training documents: looked up over the lineage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from registry.artifacts import ArtifactRef, Kind
from registry.contamination import contamination, share_of, shown
from registry.database import Registry

Put = Callable[..., ArtifactRef]
A, B = "a" * 64, "b" * 64


def counts(**rows: tuple[float, str]) -> dict[str, Any]:
    return {
        "documents": 7,
        "contamination": {name: share for name, (share, _) in rows.items()},
        "contamination_data": {name: data for name, (_, data) in rows.items()},
    }


def model_of(put: Put, *corpora: dict[str, Any]) -> ArtifactRef:
    """A model made, some steps down, from corpora with these counts."""
    source = put(Kind.DOCUMENTS, "documents.c4", None, {}, counts={"documents": 9})
    made = {
        f"tokens{n}": put(
            Kind.TOKENS,
            "tokens",
            None,
            {"corpus": put(Kind.DOCUMENTS, "corpus", None, {"c4": source}, seed=n, counts=own)},
            seed=n,
        )
        for n, own in enumerate(corpora)
    }
    checkpoint = put(Kind.CHECKPOINT, "pretraining", None, made)
    return put(Kind.MODEL, "export", None, {"checkpoint": checkpoint})


def test_the_corpus_is_found_over_the_lineage(registry: Registry, put: Put) -> None:
    model = model_of(put, counts(boolq=(0.25, A), piqa=(0.0, B)))
    found = contamination(registry, model.key)
    assert share_of(found, "boolq", A) == 0.25
    assert share_of(found, "piqa", B) == 0.0
    assert share_of(found, "mmlu", A) is None


def test_other_items_were_not_looked_for(registry: Registry, put: Put) -> None:
    found = contamination(registry, model_of(put, counts(boolq=(0.25, A))).key)
    assert share_of(found, "boolq", B) is None
    assert share_of(found, "boolq", None) is None


def test_of_several_corpora_the_worst_counts(registry: Registry, put: Put) -> None:
    model = model_of(put, counts(boolq=(0.1, A), piqa=(0.2, B)), counts(boolq=(0.3, A)))
    found = contamination(registry, model.key)
    assert {name: row.share for name, row in found.items()} == {"boolq": 0.3}


@pytest.mark.parametrize(
    "corpora",
    [
        [],
        [{"documents": 7}],
        [{"documents": 7, "contamination": {"boolq": 0.0}}],
        [counts(boolq=(0.1, A)), {"documents": 7}],
        [counts(boolq=(0.1, A)), counts(boolq=(0.0, B))],
    ],
)
def test_what_nobody_compared_is_not_checked(
    registry: Registry, put: Put, corpora: list[dict[str, Any]]
) -> None:
    assert contamination(registry, model_of(put, *corpora).key) == {}


def test_an_imported_model_is_not_checked(registry: Registry, put: Put) -> None:
    assert contamination(registry, put(Kind.MODEL, "import").key) == {}
    assert contamination(registry, "unknown") == {}


def test_a_share_is_a_share(registry: Registry, put: Put) -> None:
    with pytest.raises(ValueError, match="share"):
        contamination(registry, model_of(put, counts(boolq=(25.0, A))).key)


def test_how_it_is_shown() -> None:
    assert shown(None) == "not checked"
    assert shown(0.0) == "0.0 %"
    assert shown(0.0133) == "1.3 %"

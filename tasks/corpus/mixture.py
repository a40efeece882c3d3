"""Table 1 of the paper: which share of the training tokens each source gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Sampling proportions of Table 1; their order is the order of the sources everywhere.
TABLE1 = {
    "commoncrawl": 0.67,
    "c4": 0.15,
    "github": 0.045,
    "wikipedia": 0.045,
    "books": 0.045,
    "arxiv": 0.025,
    "stackexchange": 0.02,
}
SOURCES = tuple(TABLE1)
# Epochs over each source in Table 1, for 1.4T tokens.
TABLE1_EPOCHS = {
    "commoncrawl": 1.10,
    "c4": 1.06,
    "github": 0.64,
    "wikipedia": 2.45,
    "books": 2.23,
    "arxiv": 1.06,
    "stackexchange": 1.03,
}


def mixture(present: Iterable[str]) -> dict[str, Any]:
    """Weights over the sources that are there, summing to 1, with what is missing.

    Raises:
        ValueError: no source, or one that Table 1 does not have.
    """
    names = set(present)
    unknown = sorted(names - set(SOURCES))
    if unknown or not names:
        raise ValueError(f"mixture needs sources among {list(SOURCES)}; got {sorted(names)}")
    total = sum(TABLE1[name] for name in SOURCES if name in names)
    missing = [name for name in SOURCES if name not in names]
    return {
        "weights": {name: TABLE1[name] / total for name in SOURCES if name in names},
        "table1": dict(TABLE1),
        "missing": missing,
        "renormalised": bool(missing),
    }


def epochs(
    weights: Mapping[str, float], tokens: Mapping[str, int], budget: int
) -> dict[str, dict[str, float | None]]:
    """Passes over each source in a run of ``budget`` tokens, beside Table 1's.

    Args:
        weights: share of the run per source. tokens: unique training tokens per source.
    Returns:
        Per source ``{"epochs", "table1"}``; epochs is None when the source has no tokens.
    """
    return {
        name: {
            "epochs": weights[name] * budget / tokens[name] if tokens.get(name) else None,
            "table1": TABLE1_EPOCHS[name],
        }
        for name in weights
    }

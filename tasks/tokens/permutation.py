"""A seeded bijection of range(n), evaluated at one point: shuffling without a shuffled list.

A balanced Feistel network over the smallest domain 4^h >= n, walked until it lands inside range(n)
(cycle-walking, Black and Rogaway 2002): a bijection for any round function, so every window is seen
exactly once an epoch. Expected walks are below 4. Nothing here is meant to resist an adversary.
"""

from __future__ import annotations

import hashlib

_ROUNDS = 6
_MASK64 = (1 << 64) - 1


def _mix(x: int) -> int:
    """splitmix64 finaliser: 64 bits to 64 well-mixed bits."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK64
    return x ^ (x >> 31)


class Permutation:
    """Bijection of ``range(n)`` that is a pure function of ``(n, key)``.

    key: any values with a stable ``repr`` (seed, source, epoch). ``permutation[i]`` costs a few
    microseconds and no memory, at any n up to 2^62.
    """

    def __init__(self, n: int, *key: int | str) -> None:
        if n < 1:
            raise ValueError(f"a permutation needs at least one element, got n={n}")
        self.n = n
        self._half = max(1, ((n - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half) - 1
        digest = hashlib.blake2b(
            repr(key).encode(), digest_size=8 * _ROUNDS, person=b"arriero order"
        ).digest()
        self._keys = tuple(
            int.from_bytes(digest[8 * r : 8 * r + 8], "little") for r in range(_ROUNDS)
        )

    def __getitem__(self, i: int) -> int:
        """Image of ``i``; ``IndexError`` outside range(n)."""
        if not 0 <= i < self.n:
            raise IndexError(f"index {i} is outside range({self.n})")
        x = i
        while True:
            left, right = x >> self._half, x & self._mask
            for key in self._keys:
                # Adding the key after multiplying right by an odd constant spreads small domains.
                value = _mix((right * 0x9E3779B97F4A7C15 + key) & _MASK64)
                left, right = right, left ^ (value >> 32) & self._mask
            x = left << self._half | right
            if x < self.n:
                return x

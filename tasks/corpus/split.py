"""The validation split: a pure function of each document's text or near-duplicate cluster."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def split_key(content: bytes, cluster: str | None, seed: int) -> int:
    """64-bit key of a document, from its cluster's name where it has one, else from its content.

    Documents of one near-duplicate cluster have one key, so they are never split apart.
    """
    what = b"cluster:" + cluster.encode() if cluster else b"text:" + content
    digest = hashlib.sha256(seed.to_bytes(8, "little") + what).digest()
    return int.from_bytes(digest[:8], "big")


def choose_validation(
    key_N: NDArray[np.uint64], fraction: float, minimum: int
) -> NDArray[np.bool_]:
    """Which documents are held out.

    Those whose key falls under ``fraction`` of its range; when these are fewer than ``minimum``,
    the smallest keys up to it; never more than half of the documents. Equal keys stay together.

    Args:
        key_N: keys of a source's documents (see :func:`split_key`).
    """
    order_N = np.sort(key_N)
    under = int(np.searchsorted(order_N, np.uint64(int(fraction * 2**64))))
    count = min(max(under, minimum), len(key_N) // 2)
    # Keys equal to the first one left out stay in training with it.
    limit = order_N[count] if count < len(order_N) else np.uint64(0)
    return key_N < limit

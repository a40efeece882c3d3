"""datasketch's MinHash and LSH on texts of a JSON file (a list of strings).

Runs in the peers' environment; see :class:`benchmarks.parts.PeerProcess`. A request is
``{"permutations": 128, "threshold": 0.6, "chunk": 0}``; the answer has the ``pairs`` found. The
work timed is a user's: text to 5-word shingles, to signatures, into the index, every document
queried. It is done in the fastest way that datasketch documents: its default scheme (affine32),
bulk updates, an insertion session without duplicate checks, a fast hash function. With ``chunk``, a
text is given in batches of so many shingles, which spares the caches on long texts.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import xxhash
from datasketch import MinHash, MinHashLSH

WORD = re.compile(r"\w+")


def shingles(text: str) -> list[bytes]:
    """The 5-word shingles of a text, as bytes; its words when it has fewer."""
    words = [word.encode("utf-8", "surrogatepass") for word in WORD.findall(text.lower())]
    if len(words) < 5:
        return words
    return list(map(b" ".join, zip(*(words[place:] for place in range(5)), strict=False)))


def sign(texts: Sequence[str], permutations: int, chunk: int) -> Iterator[Any]:
    """A MinHash of every text."""
    options = {"num_perm": permutations, "hashfunc": xxhash.xxh32_intdigest}
    if not chunk:
        yield from MinHash.generator(map(shingles, texts), **options)
        return
    empty = MinHash(**options)
    for text in texts:
        signature = empty.copy()
        found = shingles(text)
        for start in range(0, len(found), chunk):
            signature.update_batch(found[start : start + chunk])
        yield signature


def candidates(
    texts: Sequence[str], permutations: int, threshold: float, chunk: int
) -> list[tuple[int, int]]:
    """Pairs of texts that the index finds, the earlier first."""
    signatures = list(sign(texts, permutations, chunk))
    index = MinHashLSH(threshold=threshold, num_perm=permutations)
    with index.insertion_session() as session:
        for number, signature in enumerate(signatures):
            session.insert(number, signature, check_duplication=False)
    return [
        (number, other)
        for number, signature in enumerate(signatures)
        for other in index.query(signature)
        if number < other
    ]


def main() -> None:
    """Answer requests until standard input ends."""
    texts = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    for line in sys.stdin:
        request = json.loads(line)
        begun, begun_processor = time.perf_counter(), time.process_time()
        pairs = candidates(texts, request["permutations"], request["threshold"], request["chunk"])
        answer = {
            "seconds": time.perf_counter() - begun,
            "processor": time.process_time() - begun_processor,
            "pairs": pairs,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

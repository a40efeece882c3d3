r"""Near-duplicates of books and of C4-size documents: Arriero against datasketch.

Run: ``python -m benchmarks.corpus_minhash`` (needs ARRIERO_DATA and ``make peers``). The texts are
the sample's, and near-duplicates planted among them: of every second text one copy with some words
replaced, here and there or in one run, so that Jaccard similarities from 0.5 to 0.98 are there.
What is true is computed exactly: the Jaccard similarity of the sets of 5-word shingles of every
pair that shares a shingle. Each side is timed from texts to pairs. datasketch gets the highest
threshold at which it finds no fewer of the pairs of 0.8 and more than ours, hence the fewest bands;
where its recall stays below ours, the best that it has.

Recall and precision are those of pairs in one cluster: both sides' pairs are joined.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Rounds, data_folder, interleave, versions
from benchmarks.parts import PartResult, PeerProcess, ratio, seconds_of

PEER = "datasketch 2.0.0"
# Similarity from which a pair is a near-duplicate.
NEAR = 0.8
LEVELS = (0.5, 0.6, 0.7, 0.78, 0.82, 0.86, 0.9, 0.94, 0.98)
THRESHOLDS = (0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
# Permutations of datasketch, and the shingles given to it at a time: 0 is all of a text, as its own
# bulk functions do.
PEERS = {"c4": ((128, 0), (256, 0)), "books": ((128, 0), (128, 2000), (256, 2000))}
# Ours as it removes documents: surer, and at the similarity itself half of the pairs are missed. No
# part of the ratio, which is at the same recall.
CONFIRMED = "confirmed by signature"
_WORD = re.compile(r"\w+")
Pairs = dict[tuple[int, int], float]


def collections(data: Path) -> dict[str, list[str]]:
    """Texts of each kind with the near-duplicates planted among them."""
    from tasks.corpus.sources.book_files import decode
    from tasks.corpus.sources.gutenberg import unframed

    found: dict[str, list[str]] = {"c4": [], "books": []}
    for path in sorted((data / "corpus/c4").glob("*.json*")):
        for line in path.read_text("utf-8").splitlines():
            found["c4"].append(json.loads(line)["text"])
    for path in sorted((data / "corpus/books").glob("*.txt")):
        found["books"].append(unframed(decode(path.read_bytes())[0]).text)
    return {kind: planted(texts) for kind, texts in found.items()}


def planted(texts: Sequence[str]) -> list[str]:
    """``texts`` and a near-duplicate of every second one, each of the levels in turn."""
    copies = [
        near_duplicate(text, LEVELS[number % len(LEVELS)], number)
        for number, text in enumerate(texts[::2])
    ]
    return [*texts, *copies]


def near_duplicate(text: str, similarity: float, seed: int) -> str:
    """A copy whose words are replaced at random places, or in one run, to about a similarity."""
    chooser = random.Random(seed)
    parts = re.split(r"(\s+)", text)
    places = range(0, len(parts), 2)
    # Of n shingles, s are shared when 2 s / (2 n - 2 s + ...) is the similarity: s = 2 J / (1 + J).
    shared = 2 * similarity / (1 + similarity)
    if seed % 2:
        run = round(len(places) * (1 - shared))
        start = chooser.randrange(max(1, len(places) - run))
        chosen = set(places[start : start + run])
    else:
        share = 1 - shared ** (1 / 5)  # every word is in five shingles
        chosen = {place for place in places if chooser.random() < share}
    return "".join(
        f"new{chooser.randrange(10**6)}" if place in chosen else part
        for place, part in enumerate(parts)
    )


def exact_pairs(texts: Sequence[str], least: float) -> Pairs:
    """Jaccard similarity of all pairs that have at least ``least``: on the sets themselves.

    Shingles become numbers by a dictionary, not by a hash. Pairs are counted over the texts of each
    shingle; shingles of more than 200 texts, boilerplate, count for the pairs that others found.
    """
    numbers: dict[tuple[str, ...], int] = {}
    sets = []
    for text in texts:
        words = _WORD.findall(text.lower())
        grams = {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}
        sets.append(np.sort(np.array([numbers.setdefault(gram, len(numbers)) for gram in grams])))
    owner = np.repeat(np.arange(len(sets)), [len(own) for own in sets])
    shingle = np.concatenate(sets)
    order = np.argsort(shingle, kind="stable")
    cuts = np.flatnonzero(np.diff(shingle[order])) + 1
    met: set[tuple[int, int]] = set()
    for group in np.split(owner[order], cuts):
        if 1 < len(group) <= 200:
            met.update(combinations(group.tolist(), 2))
    found = {}
    for one, other in sorted(met):
        # Sizes bound the similarity: most pairs need no look at their sets.
        sizes = sorted((len(sets[one]), len(sets[other])))
        if sizes[0] < least * sizes[1]:
            continue
        common = len(np.intersect1d(sets[one], sets[other], assume_unique=True))
        similarity = common / (sum(sizes) - common)
        if similarity >= least:
            found[one, other] = similarity
    return found


def by_signatures(
    texts: Sequence[str], folder: Path, similarity: float | None = None
) -> dict[str, Any]:
    """Ours: texts signed to a file, clusters by its bands; with a similarity, confirmed."""
    from tasks.corpus.clusters import cluster, sign_file

    begun, begun_processor = time.perf_counter(), time.process_time()
    sign_file(texts, 0, folder / "signed")
    label_N = cluster([folder / "signed"], folder, similarity=similarity)
    return _answer(begun, begun_processor) | {"labels": np.array(label_N)}


def by_containment(texts: Sequence[str], folder: Path) -> dict[str, Any]:
    """Ours for books: sketches, and every candidate measured exactly on all its shingles."""
    from tasks.corpus.sources.book_editions import read_decisions, write_decisions, write_survey

    begun, begun_processor = time.perf_counter(), time.process_time()
    write_survey(((f"{n:06d}", text) for n, text in enumerate(texts)), 0, folder)
    # Of Jaccard similarity J, the shorter one has at least 2 J / (1 + J) in common.
    write_decisions([folder], 2 * NEAR / (1 + NEAR) - 1e-9, folder)
    removed, _ = read_decisions(folder, folder)
    spent = _answer(begun, begun_processor)
    pairs = [(int(decision.kept), int(name)) for name, decision in removed.items()]
    return spent | {"labels": joined(pairs, len(texts))}


def _answer(begun: float, begun_processor: float) -> dict[str, Any]:
    return {
        "seconds": time.perf_counter() - begun,
        "processor": time.process_time() - begun_processor,
    }


def joined(pairs: Sequence[Sequence[int]], texts: int) -> NDArray[np.int64]:
    """Clusters that pairs connect, named by their first text."""
    label = list(range(texts))

    def root(index: int) -> int:
        while label[index] != index:
            label[index] = label[label[index]]
            index = label[index]
        return index

    for one, other in pairs:
        first, second = sorted((root(one), root(other)))
        label[second] = first
    return np.array([root(index) for index in range(texts)])


def quality(labels: NDArray[np.int64], exact: Pairs) -> dict[str, float]:
    """Recall of the near pairs, and precision: how many pairs of a cluster are near."""
    near = {pair for pair, similarity in exact.items() if similarity >= NEAR}
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels.tolist()):
        members.setdefault(label, []).append(index)
    said = {pair for group in members.values() for pair in combinations(group, 2)}
    return {
        "recall": round(len(near & said) / len(near), 4),
        "precision": round(len(near & said) / max(1, len(said)), 4),
        "near_pairs": len(near),
        "pairs": len(said),
    }


def tuned(
    peer: PeerProcess, texts: int, exact: Pairs, wanted: float, permutations: int, chunk: int
) -> dict[str, Any]:
    """The request with the highest threshold that reaches the recall wanted, or the best one."""
    best: tuple[float, dict[str, Any]] = (-1.0, {})
    for threshold in THRESHOLDS:
        request = {"permutations": permutations, "threshold": threshold, "chunk": chunk}
        recall = quality(joined(peer.ask(request)["pairs"], texts), exact)["recall"]
        if recall > best[0]:
            best = (recall, request)
        if recall >= wanted:
            break
    return best[1]


def measure_kind(
    kind: str, texts: Sequence[str], rounds: int, budget_seconds: float
) -> tuple[dict[str, Rounds], dict[str, dict[str, float]]]:
    """Timed variants of one kind of texts, and the quality of what each found; ours first."""
    exact = exact_pairs(texts, 0.4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "texts.json").write_text(json.dumps(texts), "utf-8")
        ours: dict[str, Any] = {"arriero": partial(by_signatures, texts, folder)}
        ours[f"arriero, {CONFIRMED}"] = partial(by_signatures, texts, folder, NEAR)
        if kind == "books":
            ours["arriero, exact containment"] = partial(by_containment, texts, folder)
        wanted = quality(by_signatures(texts, folder)["labels"], exact)["recall"]
        with PeerProcess("minhash", str(folder / "texts.json")) as peer:
            variants = dict(ours)
            for permutations, chunk in PEERS[kind]:
                request = tuned(peer, len(texts), exact, wanted, permutations, chunk)
                label = f"datasketch {permutations}, threshold {request['threshold']}"
                label += f", by {chunk}" if chunk else ""
                variants[label] = partial(peer.ask, request)
            timed = interleave(
                variants, rounds, budget_seconds=budget_seconds, seconds_of=seconds_of
            )
    found = {}
    for variant, item in timed.items():
        labels = item.output.get("labels")
        if labels is None:
            labels = joined(item.output["pairs"], len(texts))
        found[variant] = quality(labels, exact)
    return timed, found


def measure(data: Path, rounds: int, budget_seconds: float) -> PartResult:
    """The part ``datasketch_minhash``: the least ratio, over both kinds and ways of ours.

    Against the fastest of the peer's variants, by processor time.
    """
    rows, load, ratios = [], [], {}
    facts: dict[str, Any] = {}
    given = collections(data)
    for kind, texts in given.items():
        timed, found = measure_kind(kind, texts, rounds, budget_seconds / len(given))
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        peers = [item for variant, item in timed.items() if variant.startswith("datasketch")]
        fastest = min(peers, key=lambda item: item.processor_median)
        for variant, item in timed.items():
            if item not in peers and CONFIRMED not in variant:
                ratios[f"{kind}: {variant}"] = round(ratio(item, fastest), 2)
            rows.append(
                [
                    f"{kind}: {variant}",
                    f"{size / 1e6 / item.processor_median:.1f}",
                    f"{len(texts) / item.processor_median:,.0f}",
                    f"{item.processor_median:.3f}",
                    f"{fastest.processor_median / item.processor_median:.1f}",
                    f"{found[variant]['recall']:.3f}",
                    f"{found[variant]['precision']:.3f}",
                    item.spread,
                    str(len(item.seconds)),
                ]
            )
            load += item.load
        facts[kind] = {"texts": len(texts), "megabytes": round(size / 1e6, 1), "found": found}
    return PartResult(
        name="datasketch_minhash",
        title="Near-duplicates: text to clusters",
        ratio=min(ratios.values()),
        columns=[
            "texts: variant", "MB/s, CPU", "texts/s, CPU", "CPU s", "x fastest peer",
            "recall", "precision", "spread", "rounds",
        ],
        rows=rows,
        libraries=f"{PEER} (peers' environment), {versions('numpy')}",
        load=load,
        notes=_notes(facts),
        facts=facts | {"ratios": ratios},
    )  # fmt: skip


def _notes(facts: Mapping[str, Any]) -> list[str]:
    sizes = "; ".join(
        f"{kind}: {said['texts']} texts, {said['megabytes']} MB,"
        f" {next(iter(said['found'].values()))['near_pairs']} pairs of {NEAR} and more"
        for kind, said in facts.items()
    )
    return [
        f"{sizes}. Exact Jaccard similarity of the sets of 5-word shingles.",
        "Recall: near pairs in one cluster. Precision: pairs of a cluster that are near. Candidates"
        " are taken as they are on both sides, except where it says confirmed or exact.",
        "The ratio is the least of ours over the fastest of the peer's variants, by processor"
        " time. `by 2000`: a book given in parts, faster than the peer's own bulk functions.",
    ]


def main() -> None:
    """Print the table; with ``--json`` end with the ratio and the facts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="default: ARRIERO_DATA")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-seconds", type=float, default=240.0)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    options = parser.parse_args()
    result = measure(data_folder(options.data), options.rounds, options.budget_seconds)
    result.show(1)
    if options.json:
        print(json.dumps({"ratios": {result.name: result.ratio}, "facts": result.facts}))


if __name__ == "__main__":
    main()

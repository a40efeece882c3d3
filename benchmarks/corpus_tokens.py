"""Our token shards against raw SentencePiece and transformers' fast tokenizer.

The text is 100 English novels, as pages of about 4,000 characters and as they are; the model has
the paper's 32,000 pieces and is trained on a sample of it here. Arriero's time is that of the whole
stage: worker processes started, Parquet read, tokens, offsets, ids and report written and flushed.
SentencePiece's is that of one call on a list of strings in memory. Alone:
``python -m benchmarks.corpus_tokens``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Rounds, data_folder, interleave, versions
from benchmarks.parts import PartResult, PeerProcess, seconds_of

NAME = "sentencepiece_encode"
VOCABULARY = 32_000
SAMPLE_BYTES = 10_000_000
MEGABYTES = 32.0
PAGE = 4_000
RAW = "sentencepiece, 1 thread"


def novels(data: Path, megabytes: float) -> list[str]:
    """English novels, up to ``megabytes`` of UTF-8."""
    texts: list[str] = []
    size = 0
    for archive in sorted((data / "corpus" / "english").glob("100_english_novels.*.tar.gz")):
        with tarfile.open(archive) as members:
            for member in members:
                if member.isfile() and member.name.endswith(".txt") and size < megabytes * 1e6:
                    file = members.extractfile(member)
                    assert file is not None
                    texts.append(file.read().decode("utf-8", "replace"))
                    size += len(texts[-1].encode())
    if size < megabytes * 1e6:
        raise SystemExit(f"{data}/corpus/english holds {size / 1e6:.0f} MB of novels, not enough")
    return texts


def pages(texts: list[str]) -> list[str]:
    """The texts cut at the first line break after every ``PAGE`` characters."""
    found = []
    for text in texts:
        start = 0
        while start < len(text):
            stop = text.find("\n", start + PAGE) + 1 or len(text)
            found.append(text[start:stop])
            start = stop
    return found


def write_corpus(folder: Path, texts: list[str]) -> None:
    """A corpus artifact with one source, in row groups and files as the corpus stage writes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = folder / "train" / "books"
    source.mkdir(parents=True)
    ids = [f"books:{number}" for number in range(len(texts))]
    table = pa.table({"id": ids, "text": texts, "language": ["en"] * len(texts)})
    half = -(-len(texts) // 2)
    for number in range(2):
        part = table.slice(number * half, half)
        pq.write_table(part, source / f"{number:05d}.parquet", row_group_size=1024)
    (folder / "mixture.json").write_text(json.dumps({"weights": {"books": 1.0}}))


def processor_seconds() -> float:
    """Processor time of this process and of the children that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def shards(corpus: Path, model: Path, folder: Path, workers: int) -> Callable[[], dict[str, Any]]:
    """The stage, from nothing, in ``workers`` processes."""
    from tasks.context import StageContext
    from tasks.tokens.parameters import TokensParameters
    from tasks.tokens.parts import forget_encoder
    from tasks.tokens.shards import build_tokens

    def run() -> dict[str, Any]:
        forget_encoder()  # the words that an earlier round has kept
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "out").mkdir(parents=True)
        (folder / "work").mkdir()
        context = StageContext(out=folder / "out", work=folder / "work")
        wall, busy = time.perf_counter(), processor_seconds()
        result = build_tokens(TokensParameters(workers=workers), corpus, model, context)
        answer = {"seconds": time.perf_counter() - wall, "processor": processor_seconds() - busy}
        data = (folder / "out" / "train" / "books.bin").read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        return {**answer, "tokens": result.counts["tokens"], "sha256": digest}

    return run


def fast_tokenizer(folder: Path, texts: list[str]) -> Callable[[], dict[str, Any]]:
    """transformers' fast tokenizer of the exported files, on all threads."""
    import numpy as np
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = tokenizer.eos_token_id

    def run() -> dict[str, Any]:
        wall, busy = time.perf_counter(), time.process_time()
        rows = tokenizer(texts, return_attention_mask=False, verbose=False)["input_ids"]
        answer = {"seconds": time.perf_counter() - wall, "processor": time.process_time() - busy}
        digest = hashlib.sha256()
        for row in rows:
            digest.update(np.array([*row, end], "<u2").tobytes())
        tokens = sum(map(len, rows)) + len(rows)
        return {**answer, "tokens": tokens, "sha256": digest.hexdigest()}

    return run


def train(corpus: Path, folder: Path, threads: int) -> Path:
    """A tokenizer of the corpus; its model file, with transformers' files beside it."""
    from model.hf_tokenizer import tokenizer_config, tokenizer_json
    from model.tokenizer import Tokenizer
    from tasks.context import StageContext
    from tasks.tokens.parameters import TokenizerParameters
    from tasks.tokens.tokenizer import build_tokenizer

    work = folder / "work"
    work.mkdir(parents=True)
    parameters = TokenizerParameters(
        vocab_size=VOCABULARY, sample_bytes=SAMPLE_BYTES, threads=threads
    )
    build_tokenizer(parameters, corpus, StageContext(out=folder, work=work))
    model = folder / "tokenizer.model"
    trained = Tokenizer(model)
    for name, content in (
        ("tokenizer.json", tokenizer_json(trained)),
        ("tokenizer_config.json", tokenizer_config(trained, 2048)),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return model


def measure(data: Path, rounds: int, budget_seconds: float) -> PartResult:
    """Rates on pages and on whole novels; the ratio is that of the pages, the lower of the two.

    The ratio is wall time on all cores over (cores x SentencePiece's rate on one).
    """
    cores = len(os.sched_getaffinity(0))
    # Read by the Rust tokenizer when it first runs.
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if cores > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(cores)
    whole = novels(data, MEGABYTES)
    kinds = {"pages": pages(whole), "novels": whole}
    size = sum(len(text.encode()) for text in whole)
    timed: dict[str, dict[str, Rounds]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for kind, texts in kinds.items():
            write_corpus(folder / kind, texts)
            (folder / f"{kind}.json").write_text(json.dumps(texts), encoding="utf-8")
        model = train(folder / "pages", folder / "tokenizer", cores)
        for kind, texts in kinds.items():
            with PeerProcess(NAME, str(model), str(folder / f"{kind}.json")) as peer:
                corpus, work = folder / kind, folder / "stage"
                variants: dict[str, Callable[[], dict[str, Any]]] = {
                    f"arriero shards, {cores} workers": shards(corpus, model, work, cores),
                    "arriero shards, 1 worker": shards(corpus, model, work, 1),
                    RAW: partial(peer.ask, {}),
                }
                if kind == "pages":
                    name = f"transformers fast, {cores} threads"
                    variants[name] = fast_tokenizer(model.parent, texts)
                timed[kind] = interleave(
                    variants,
                    rounds,
                    budget_seconds=budget_seconds / len(kinds),
                    seconds_of=seconds_of,
                )
    return _result(timed, size, cores, {kind: len(texts) for kind, texts in kinds.items()})


def _result(
    timed: dict[str, dict[str, Rounds]], size: int, cores: int, documents: dict[str, int]
) -> PartResult:
    rows: list[list[str]] = []
    facts: dict[str, Any] = {"cores": cores, "megabytes": size / 1e6}
    for kind, variants in timed.items():
        raw = variants[RAW]
        for name, found in variants.items():
            used = cores if f"{cores} " in name else 1
            wall = raw.median / found.median / used
            busy = raw.processor_median / found.processor_median
            same = found.output["sha256"] == raw.output["sha256"]
            rows.append(
                [
                    f"{kind}: {name}",
                    f"{size / 1e6 / found.median:.2f}",
                    f"{wall:.2f}",
                    f"{busy:.2f}",
                    "same tokens" if same else "DIFFERENT OUTPUT",
                    f"{found.output['tokens']:,}",
                    found.spread,
                    str(len(found.seconds)),
                ]
            )
            facts[f"{kind}: {name}"] = {"wall": wall, "processor": busy, "same_tokens": same}
    ours = f"arriero shards, {cores} workers"
    return PartResult(
        name=NAME,
        title=f"Token shards of {size / 1e6:.1f} MB of novels, vocabulary {VOCABULARY}",
        ratio=facts[f"pages: {ours}"]["wall"],
        columns=[
            "variant",
            "MB/s",
            "x cores x raw, wall",
            "x raw, CPU time",
            "output",
            "tokens",
            "spread",
            "rounds",
        ],
        rows=rows,
        libraries=versions("sentencepiece", "transformers", "tokenizers", "pyarrow"),
        load=[value for held in timed.values() for found in held.values() for value in found.load],
        notes=[
            f"{documents['pages']:,} pages of about {PAGE:,} characters; {documents['novels']}"
            " novels. The ratio in the JSON is that of the pages, by wall time.",
            "x cores x raw: the variant's rate over its cores times the rate of SentencePiece on"
            " one; x raw, CPU time: per second of processor time, worker processes counted in.",
            "Arriero's time is the whole stage's: processes, Parquet, tokens, offsets, ids, report,"
            " fsync. SentencePiece's is one call on strings in memory, nothing written.",
        ],
        facts=facts,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="default: ARRIERO_DATA")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-seconds", type=float, default=120.0)
    options = parser.parse_args()
    found = measure(data_folder(options.data), options.rounds, options.budget_seconds)
    found.show(threads=len(os.sched_getaffinity(0)))
    print(json.dumps({"ratios": {found.name: found.ratio}, **found.facts}))


if __name__ == "__main__":
    main()

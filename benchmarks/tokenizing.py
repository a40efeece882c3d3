"""Our token shards against a plain SentencePiece loop and transformers' fast tokenizer.

Run: ``python -m benchmarks.tokenizing`` (needs transformers and ARRIERO_DATA). The text is real
books and C4; the model is trained on it here. All variants must give the same tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import data_folder, interleave, show, versions

VOCABULARY = 4096


def real_documents(root: Path, megabytes: float) -> list[tuple[str, str]]:
    """(id, text) of books and C4 records, books cut to 20,000 characters, up to ``megabytes``."""
    found: list[tuple[str, str]] = []
    texts: list[str] = []
    for path in sorted((root / "corpus" / "c4").glob("*.json*")):
        with path.open(encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in lines if line.strip()]
    for path in sorted((root / "corpus" / "books").glob("*.txt")):
        text = path.read_text(encoding="utf-8", errors="replace")
        texts += [text[start : start + 20_000] for start in range(0, len(text), 20_000)]
    size = 0
    # Every 7th, so that both kinds are in a small sample.
    for number in sorted(range(len(texts)), key=lambda n: (n % 7, n)):
        found.append((f"document:{number}", texts[number]))
        size += len(texts[number].encode())
        if size >= megabytes * 1e6:
            break
    return found


def write_corpus(folder: Path, documents: list[tuple[str, str]]) -> None:
    """A corpus artifact with one source."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids, texts = zip(*documents, strict=True)
    table = pa.table({"id": list(ids), "text": list(texts)})
    for split in ("train", "validation"):
        (folder / split).mkdir(parents=True)
    pq.write_table(table, folder / "train" / "books.parquet", row_group_size=32)
    (folder / "mixture.json").write_text(json.dumps({"weights": {"books": 1.0}}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="default: ARRIERO_DATA")
    parser.add_argument("--megabytes", type=float, default=3.0, help="text to encode")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget-seconds", type=float, default=50.0)
    options = parser.parse_args()
    # Read by the Rust tokenizer when it first runs.
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if options.threads > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(options.threads)

    import pyarrow.parquet as pq
    import sentencepiece
    from transformers import AutoTokenizer

    from model.config import ModelConfig
    from model.llama import Llama
    from model.weights import export_hf
    from tasks.context import StageContext
    from tasks.tokens.parameters import TokenizerParameters, TokensParameters
    from tasks.tokens.shards import build_tokens
    from tasks.tokens.tokenizer import build_tokenizer

    documents = real_documents(data_folder(options.data), options.megabytes)
    size = sum(len(text.encode()) for _, text in documents)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_corpus(folder / "corpus", documents)

        def context(name: str) -> StageContext:
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name / "out").mkdir(parents=True)
            (folder / name / "work").mkdir()
            return StageContext(out=folder / name / "out", work=folder / name / "work")

        learned = context("tokenizer")
        settings = TokenizerParameters(vocab_size=VOCABULARY, threads=options.threads)
        build_tokenizer(settings, folder / "corpus", learned)
        trained = learned.out / "tokenizer.model"
        shape = ModelConfig.model_validate(
            {"dim": 32, "layers": 1, "heads": 2, "vocab_size": VOCABULARY, "context": 64}
        )
        export_hf(Llama(shape), trained, folder / "hf")

        def stage(workers: int) -> Callable[[], np.ndarray]:
            def run() -> np.ndarray:
                made = context(f"tokens-{workers}")
                build_tokens(TokensParameters(workers=workers), folder / "corpus", trained, made)
                return np.fromfile(made.out / "train" / "books.bin", dtype="<u2")

            return run

        def read() -> list[str]:
            column = pq.read_table(folder / "corpus" / "train" / "books.parquet").column("text")
            texts: list[str] = column.to_pylist()
            return texts

        def written(rows: list[Any], name: str) -> np.ndarray:
            tokens = np.concatenate([np.array(row, dtype="<u2") for row in rows])
            tokens.tofile(folder / name)
            return tokens

        processor = sentencepiece.SentencePieceProcessor(model_file=str(trained))

        def plain_loop() -> np.ndarray:
            bos, eos = processor.bos_id(), processor.eos_id()
            return written([[bos, *processor.encode(text), eos] for text in read()], "sp.bin")

        fast = AutoTokenizer.from_pretrained(folder / "hf")
        assert fast.is_fast
        eos = fast.eos_token_id

        def fast_batch() -> np.ndarray:
            rows = fast(read(), return_attention_mask=False, verbose=False)["input_ids"]
            return written([[*row, eos] for row in rows], "fast.bin")

        variants: dict[str, Callable[[], np.ndarray]] = {"arriero shards, 1 worker": stage(1)}
        if options.threads > 1:
            variants[f"arriero shards, {options.threads} workers"] = stage(options.threads)
        variants["sentencepiece loop"] = plain_loop
        variants["transformers fast"] = fast_batch
        timed = interleave(variants, options.rounds, budget_seconds=options.budget_seconds)
    reference = timed["sentencepiece loop"].output
    rows = []
    for name, rounds in timed.items():
        same = np.array_equal(rounds.output, reference)
        differing = "same tokens" if same else "DIFFERENT OUTPUT"
        several = name.startswith("arriero") and not name.endswith("1 worker")
        wall, processor_time = rounds.against(timed["sentencepiece loop"])
        rows.append(
            [
                name,
                f"{size / 1e6 / rounds.median:.2f}",
                wall,
                "-" if several else processor_time,  # its work is done in child processes
                differing,
                f"{len(rounds.output):,}",
                rounds.spread,
                str(len(rounds.seconds)),
            ]
        )
    show(
        f"Tokenizing {size / 1e6:.1f} MB, {len(documents)} documents, vocabulary {VOCABULARY}",
        ["variant", "MB/s", "x loop", "x loop, CPU time", "output", "tokens", "spread", "rounds"],
        rows,
        threads=options.threads,
        libraries=versions("sentencepiece", "transformers", "tokenizers", "pyarrow"),
        load=[value for rounds in timed.values() for value in rounds.load],
        notes=[
            "All read the same Parquet file and write flat uint16; BOS before and EOS behind.",
            "Arriero also writes offsets and ids, and flushes to disk (fsync).",
        ],
    )


if __name__ == "__main__":
    main()

"""Tiny artifacts and configurations for the trainer's tests, written by us."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = 64
BOS, EOS = 1, 2
CONTEXT = 16

TINY_MODEL = {
    "dim": 16,
    "layers": 2,
    "heads": 2,
    "ffn_hidden": 32,
    "vocab_size": VOCABULARY,
    "context": CONTEXT,
}


def write_tokens(root: Path, sources: tuple[str, ...] = ("wikipedia", "books")) -> Path:
    """A tokens artifact in which the next token mostly follows from the last one."""
    generator = np.random.default_rng(3)
    splits: dict[str, dict[str, Any]] = {"train": {}, "validation": {}}
    for split, documents in (("train", 40), ("validation", 3)):
        (root / split).mkdir(parents=True)
        for source in sources:
            stream: list[int] = []
            offsets = [0]
            for _ in range(documents):
                start = int(generator.integers(3, VOCABULARY))
                length = int(generator.integers(10, 60))
                body = [(start + 5 * i) % (VOCABULARY - 3) + 3 for i in range(length)]
                stream += [BOS, *body, EOS]
                offsets.append(len(stream))
            np.array(stream, dtype="<u2").tofile(root / split / f"{source}.bin")
            np.save(root / split / f"{source}.offsets.npy", np.array(offsets, dtype=np.int64))
            splits[split][source] = {"documents": documents, "tokens": len(stream)}
    summary = {
        "dtype": "uint16",
        "vocab_size": VOCABULARY,
        "bos_id": BOS,
        "eos_id": EOS,
        "splits": splits,
        "weights": {source: 1 / len(sources) for source in sources},
    }
    (root / "tokens.json").write_text(json.dumps(summary))
    return root


def write_instructions(root: Path, rows: int = 24) -> Path:
    """Packed rows of two examples; the second half of each example is the answer."""
    for folder, count, seed in ((root, rows, 1), (root / "validation", 4, 2)):
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(seed)
        width = CONTEXT
        ids = generator.integers(3, VOCABULARY, (count, width)).astype(np.int32)
        segments = np.repeat([[1] * 7 + [2] * 6 + [0] * (width - 13)], count, axis=0)
        positions = np.repeat([[*range(7), *range(6), *range(width - 13)]], count, axis=0)
        mask = np.repeat([[0] * 3 + [1] * 4 + [0] * 3 + [1] * 3 + [0] * (width - 13)], count, 0)
        ids[segments == 0] = 0
        np.save(folder / "input_ids.npy", ids)
        np.save(folder / "segment_ids.npy", segments.astype(np.int32))
        np.save(folder / "positions.npy", positions.astype(np.int32))
        np.save(folder / "loss_mask.npy", mask.astype(np.uint8))
    summary = {"examples": 2 * rows, "rows": rows, "context": CONTEXT}
    (root / "instructions.json").write_text(json.dumps(summary))
    return root


def config_values(data: Path, work: Path, **changes: Any) -> dict[str, Any]:
    """A run of 12 steps as run.json holds it; ``changes`` replace whole fields."""
    values: dict[str, Any] = {
        "mode": "pretrain",
        "model": TINY_MODEL,
        "data": str(data),
        "work": str(work),
        "steps": 12,
        "global_batch": 8,
        "micro_batch": 8,
        "context": CONTEXT,
        "seed": 5,
        "optimizer": {"learning_rate": 3e-3},
        "schedule": {"warmup_steps": 3},
        "checkpoint_every": 4,
        "grace_seconds": 20.0,
    }
    return {**values, **changes}


def write_config(data: Path, work: Path, **changes: Any) -> Path:
    """run.json in ``work``."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "run.json"
    path.write_text(json.dumps(config_values(data, work, **changes)))
    return path


def losses(work: Path) -> dict[int, float]:
    """Step -> loss of metrics.jsonl."""
    lines = map(json.loads, (work / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def events(work: Path) -> list[dict[str, Any]]:
    """All lines of events.jsonl."""
    return [json.loads(line) for line in (work / "events.jsonl").read_text().splitlines()]

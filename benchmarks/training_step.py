"""Our optimizer step against a plain Hugging Face loop of the same shape, batch and optimizer.

Run: ``python -m benchmarks.training_step --preset nano``. Every variant lives in a process of its
own (so that its peak memory is its own) and works only when it is its turn. All variants start
from the same weights and see the same batches; their losses are compared step by step.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from benchmarks.measure import Rounds, interleave, show, versions

SEED = 5
TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2}  # nats of loss, over the steps of one run
LEARNING_RATE = 1e-3
GEMM = 2048  # rows and columns of the product that stands for the peak


def batches(vocabulary: int, batch: int, context: int) -> Callable[[int], np.ndarray]:
    """Token rows [batch, context + 1] of a step: the same for every variant."""

    def rows(step: int) -> np.ndarray:
        generator = np.random.default_rng([SEED, step])
        return generator.integers(0, vocabulary, (batch, context + 1), dtype=np.int64)

    return rows


def engine_steps(options: argparse.Namespace, precision: str) -> Callable[[int], float]:
    """The product's step, as ``tasks.training.engine.loop`` calls it."""
    from model.llama import Llama
    from model.presets import preset
    from tasks.training.engine import distributed
    from tasks.training.engine.config import EngineConfig
    from tasks.training.engine.data import make_batch, micro_batches
    from tasks.training.engine.faults import Faults
    from tasks.training.engine.loss import LossModule
    from tasks.training.engine.optimizer import build_optimizer
    from tasks.training.engine.state import TrainState
    from tasks.training.engine.step import train_step

    shape = preset(options.preset)
    work = Path(tempfile.mkdtemp(prefix="arriero-benchmark-"))
    config = EngineConfig.model_validate(
        {
            "mode": "pretrain",
            "model": shape,
            "data": work,
            "work": work,
            "steps": 1_000_000,
            "global_batch": options.batch,
            "micro_batch": options.batch,
            "context": options.context,
            "threads": options.threads,
            "seed": SEED,
            "precision": precision,
            "optimizer": {"learning_rate": LEARNING_RATE},
            # A constant rate: the peer has no schedule.
            "schedule": {"warmup_steps": 0, "final_ratio": 1.0},
        }
    )
    work.rmdir()
    accelerator = distributed.start(config)
    module = LossModule(Llama(shape))
    module.model.init_weights(SEED)
    wrapped = accelerator.prepare(module)
    state = TrainState(module.model, build_optimizer(module.model, config.optimizer))
    faults = Faults(config)
    rows = batches(shape.vocab_size, options.batch, options.context)

    def step(number: int) -> float:
        parts = micro_batches(make_batch(rows(number), config, None), config, 0)
        result = train_step(
            accelerator, wrapped, state, parts, config, stop_requested=False, faults=faults
        )
        return result.loss

    return step


def peer_steps(options: argparse.Namespace, precision: str) -> Callable[[int], float]:
    """transformers' LlamaForCausalLM in the loop that its users write."""
    import torch
    from torch.nn import functional as F
    from transformers import LlamaConfig, LlamaForCausalLM

    from model.hf_config import to_hf_config
    from model.llama import Llama
    from model.presets import preset
    from model.weights import native_state, to_hf_state

    torch.set_num_threads(options.threads)
    shape = preset(options.preset)
    ours = Llama(shape)
    ours.init_weights(SEED)
    model = LlamaForCausalLM(LlamaConfig(**to_hf_config(shape, "float32")))
    missing, unexpected = model.load_state_dict(
        to_hf_state(native_state(ours), shape), strict=False
    )
    assert not unexpected and set(missing) <= {"lm_head.weight"}  # tied: it is the embedding
    del ours
    model.train()
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True)
    rows = batches(shape.vocab_size, options.batch, options.context)

    def step(number: int) -> float:
        ids = torch.from_numpy(rows(number))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits
            loss = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def gemm_steps(options: argparse.Namespace, precision: str) -> Callable[[int], float]:
    """A large matrix product: what the machine gives at this moment. One step is one product."""
    import torch

    torch.set_num_threads(options.threads)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    size = GEMM
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)

    def product(number: int) -> float:
        torch.mm(a, b)
        return 0.0

    return product


MAKERS = {"arriero": engine_steps, "transformers": peer_steps, "gemm": gemm_steps}


def serve(connection: Connection, who: str, precision: str, options: argparse.Namespace) -> None:
    """Child process: do the number of steps asked for, answer with times and results."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    step = MAKERS[who](options, precision)
    number = 0
    while count := connection.recv():
        results = []
        begun, begun_processor = time.perf_counter(), time.process_time()
        for _ in range(count):
            results.append(step(number))
            number += 1
        wall, spent = time.perf_counter() - begun, time.process_time() - begun_processor
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        connection.send((wall / count, spent / count, results, peak))


class Child:
    """A variant in its own process; keeps every step's result."""

    def __init__(self, who: str, precision: str, options: argparse.Namespace) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, who, precision, options))
        self.process.start()
        theirs.close()
        self.steps = 1 if who == "gemm" else options.steps
        self.results: list[float] = []
        self.peak_bytes = 0

    def __call__(self) -> tuple[float, float]:
        """Do one round; wall and processor seconds per step."""
        self._connection.send(self.steps)
        wall, processor, results, self.peak_bytes = self._connection.recv()
        self.results += results
        return wall, processor

    def close(self) -> None:
        self._connection.send(0)
        self.process.join()


def verdict(ours: Child, theirs: Child, precision: str) -> str:
    """Largest difference of the two loss curves, and whether they are the same computation."""
    pairs = zip(ours.results, theirs.results, strict=True)  # whole rounds: as many steps each
    off = max(abs(a - b) for a, b in pairs)
    same = off <= TOLERANCE[precision]
    return f"{off:.1e}" if same else f"{off:.1e} DIFFERENT OUTPUT"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", default="nano", help="shape, e.g. nano or 8M")
    parser.add_argument("--batch", type=int, default=8, help="sequences of a step")
    parser.add_argument("--context", type=int, default=256, help="tokens of a sequence")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--steps", type=int, default=3, help="steps of one round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget-seconds", type=float, default=60.0)
    options = parser.parse_args()

    from model.flops import flops_per_token
    from model.presets import preset

    shape = preset(options.preset)
    flops = flops_per_token(shape, options.context)
    tokens = options.batch * options.context
    names = [(who, precision) for precision in ("fp32", "bf16") for who in MAKERS]
    children = {f"{who} {precision}": Child(who, precision, options) for who, precision in names}
    found: dict[str, Rounds] = interleave(
        children,
        options.rounds,
        budget_seconds=options.budget_seconds,
        seconds_of=lambda wall_and_processor: wall_and_processor,
    )
    for child in children.values():
        child.close()
    rows: list[list[str]] = []
    notes: list[str] = [
        f"% of peak: {flops.formula}, over a {GEMM}^3 product measured in the same rounds.",
        "Both: eager, fused AdamW (0.9, 0.95), decay 0.1 on matrices, clip 1.0, random tokens.",
        "transformers: attention sdpa (its default), bf16 by torch.autocast as in the engine.",
    ]
    load: list[float] = []
    for precision in ("fp32", "bf16"):
        product = found[f"gemm {precision}"]
        peak, quiet = (2 * GEMM**3 / s for s in (product.median, product.processor_median))
        notes.append(
            f"GEMM peak {precision}: {peak / 1e9:.0f} GFLOP/s, {quiet / 1e9:.0f} per processor"
            " second."
        )
        base = found[f"transformers {precision}"]
        for who in ("arriero", "transformers"):
            name = f"{who} {precision}"
            timed = found[name]
            load += timed.load
            speed = tokens / timed.median
            peer = children[f"transformers {precision}"]
            rows.append(
                [
                    name,
                    f"{speed:,.0f}",
                    *timed.against(base),
                    f"{100 * speed * flops.value / peak:.0f}"
                    f" / {100 * tokens / timed.processor_median * flops.value / quiet:.0f}",
                    f"{children[name].peak_bytes / 1e6:,.0f}",
                    verdict(children[name], peer, precision) if who == "arriero" else "-",
                    timed.spread,
                    str(len(timed.seconds)),
                ]
            )
    show(
        f"Training step, {options.preset} ({shape.parameters:,} parameters), batch"
        f" {options.batch} x {options.context}",
        ["variant", "tokens/s", "x peer", "x peer, CPU time", "% of peak, wall / CPU",
         "peak RSS MB", "max |loss diff|", "spread", "rounds"],
        rows,
        threads=options.threads,
        libraries=versions("torch", "transformers", "accelerate"),
        load=load,
        notes=notes,
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""The golden run: every stage once, on small inputs, through the tasks that the flows call."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from pydantic import BaseModel, ConfigDict

from registry.artifacts import ArtifactRef, Kind
from registry.files import content_digest, hash_file, list_files
from tasks.context import StageContext, StageResult
from tasks.runner import RunContext, Stage, open_workplace, run_stage, settled
from tests.golden.inputs import write_data

CONTEXT = 32
VOCABULARY = 512
STEPS = 20


class NoParameters(BaseModel):
    """The exact checkpoint has nothing to choose."""

    model_config = ConfigDict(frozen=True)


class LadderRun(BaseModel):
    """A run of a ladder whose loss follows a law, with a ripple in place of noise."""

    model_config = ConfigDict(frozen=True)

    layers: int
    tokens: int
    context: int = CONTEXT

    def write(self, inputs: Mapping[str, Path], context: StageContext) -> StageResult:
        """The files of a checkpoint that the law is fitted to."""
        model = shape().model_copy(update={"layers": self.layers})
        size = model.parameters - model.embedding_parameters
        ripple = ((7 * self.layers + self.tokens // 100_000) % 5 - 2) / 1000
        loss = round(2.0 + 40 / size**0.35 + 300 / self.tokens**0.45 + ripple, 6)
        summary = {
            "tokens": self.tokens,
            "steps": 10,
            "loss": loss,
            "validation": {"c4": {"loss": loss, "tokens": 1000}},
        }
        (context.out / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        (context.out / "config.json").write_text(model.model_dump_json(), encoding="utf-8")
        return StageResult()


@dataclass(frozen=True)
class Golden:
    """What one stage gave.

    digest: content of its artifact, logs left out. inputs: digests of its inputs by role.
    numbers: for stages whose bits depend on the machine, what is compared on another one (losses
    of every step, log-likelihoods of every choice); empty where the bits must agree everywhere.
    """

    version: int
    digest: str
    libraries: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    numbers: list[float] = field(default_factory=list)


def machine() -> dict[str, str]:
    """What decides the bits of floating-point kernels, beside the number of threads (one)."""
    import torch

    return {
        "torch": torch.__version__,
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "vendor": _vendor(),  # MKL chooses its kernels by it, within one instruction set
        "device": "cuda" if torch.cuda.is_available() else "cpu",
    }


def _vendor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "vendor_id":
                return value.strip()
    return platform.machine()


def run_chain(folder: Path) -> dict[str, Golden]:
    """Run every stage with state and data under ``folder``; {stage: what it gave}."""
    with _own_registry(folder / "home") as run:
        return _Chain(write_data(folder / "data"), run).stages()


@contextmanager
def _own_registry(home: Path) -> Iterator[RunContext]:
    """A registry and a store of this run's own; one thread for torch."""
    import torch

    from registry import runs
    from registry.database import upgrade
    from registry.settings import load_settings

    home.mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ARRIERO_")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with mock.patch.dict(os.environ, {**kept, "ARRIERO_HOME": str(home)}, clear=True):
        settings = load_settings()
        upgrade(settings.registry_url)
        registry = open_workplace(settings).registry
        identity = runs.start_run(registry, flow="golden", stage="golden")
        try:
            yield RunContext(run_id=identity, flow="golden")
        finally:
            torch.set_num_threads(threads)


class _Chain:
    def __init__(self, data: Path, run: RunContext) -> None:
        self.root, self.run = str(data), run
        self.found: dict[str, Golden] = {}

    def stages(self) -> dict[str, Golden]:
        corpus = self.corpus()
        tokenizer, tokens, instructions = self.tokens(corpus)
        # Not the trained model: its last bits, an input of what follows, are the machine's.
        checkpoint = self.exact_checkpoint(tokenizer)
        self.training(tokens, tokenizer, instructions, checkpoint)
        self.scaling(tokens)
        self.evaluation(checkpoint)
        return self.found

    def keep(self, made: Any, numbers: Any = None) -> ArtifactRef:
        """Note a stage's artifact: the digest is computed here, from the files that lie there."""
        ref: ArtifactRef = settled(made)
        store = open_workplace().store
        path, manifest = store.path(ref), store.manifest(ref)
        digest = content_digest({name: hash_file(path / name) for name in list_files(path)})
        assert digest == ref.digest and manifest.stage == ref.stage
        self.found[ref.stage] = Golden(
            version=manifest.stage_version,
            digest=digest,
            libraries=manifest.libraries,
            inputs=manifest.inputs,
            numbers=numbers(path) if numbers else [],
        )
        return ref

    def corpus(self) -> ArtifactRef:
        from tasks.corpus.mixture import SOURCES
        from tasks.corpus.parameters import CorpusParameters
        from tasks.corpus.quality.parameters import QualityModelParameters, QualityParameters
        from tasks.corpus.quality.stage import filter_pages, train_quality_models
        from tasks.corpus.stage import assemble_corpus, fingerprint_source, prepare_source
        from tasks.evaluation.parameters import EvaluationParameters
        from tasks.evaluation.stage import fingerprint_bench

        parameters = CorpusParameters(workers=1, validation_fraction=0.1, keep_rejected=True)
        documents = {}
        for source in SOURCES:
            raw = self.keep(fingerprint_source.fn(source, parameters, self.root, False, self.run))
            documents[source] = self.keep(
                prepare_source.fn(source, parameters, raw, self.root, self.run)
            )
        # Whether KenLM is installed must not decide a digest.
        models = self.keep(
            train_quality_models.fn(
                QualityModelParameters(perplexity="off"),
                documents["wikipedia"],
                documents["commoncrawl"],
                documents["c4"],
                self.run,
            )
        )
        documents["commoncrawl"] = self.keep(
            filter_pages.fn(QualityParameters(), documents["commoncrawl"], models, self.run)
        )
        # Not kept: evaluation's listing, of fewer benchmarks, is the one of this name.
        wanted = EvaluationParameters(benchmarks=parameters.decontamination_benchmarks)
        bench = settled(fingerprint_bench.fn(wanted, self.root, False, self.run))
        corpus = self.keep(assemble_corpus.fn(parameters, documents, self.run, bench, self.root))
        path = open_workplace().store.path(corpus) / "contamination.json"
        report = json.loads(path.read_text(encoding="utf-8"))
        found = report["benchmarks"]["piqa"]
        assert report["documents"] and (found["contaminated"], found["checked"]) == (1, 2)
        return corpus

    def tokens(self, corpus: ArtifactRef) -> tuple[ArtifactRef, ArtifactRef, ArtifactRef]:
        from tasks.tokens.parameters import TokenizerParameters, TokensParameters
        from tasks.tokens.stage import tokenize_corpus, train_tokenizer
        from tasks.training.instructions.parameters import InstructionParameters
        from tasks.training.instructions.stage import fingerprint_instructions, prepare_instructions

        settings = TokenizerParameters(vocab_size=VOCABULARY, sample_bytes=60_000, threads=1)
        tokenizer = self.keep(train_tokenizer.fn(settings, corpus, self.run))
        tokens = self.keep(
            tokenize_corpus.fn(TokensParameters(workers=1), corpus, tokenizer, self.run)
        )
        raw = self.keep(fingerprint_instructions.fn(self.root, False, self.run))
        rows = InstructionParameters(context=2 * CONTEXT, validation_fraction=0.1)
        instructions = self.keep(prepare_instructions.fn(rows, raw, tokenizer, self.root, self.run))
        return tokenizer, tokens, instructions

    def exact_checkpoint(self, tokenizer: ArtifactRef) -> ArtifactRef:
        """A checkpoint whose weights are multiples of 1/256: the same on every machine."""

        def write(inputs: dict[str, Path], context: StageContext) -> StageResult:
            import torch

            from model.llama import Llama
            from model.weights import save_native

            model = Llama(shape())
            with torch.no_grad():
                for number, parameter in enumerate(model.parameters()):
                    if parameter.ndim > 1:
                        index = torch.arange(parameter.numel()) + 7919 * number
                        value = (index * 2654435761 % 2**32 // 2**16) % 97 - 48
                        parameter.copy_(value.reshape(parameter.shape) / 256)
            save_native(model, context.out)
            data = (inputs["tokenizer"] / "tokenizer.model").read_bytes()
            (context.out / "tokenizer.model").write_bytes(data)
            return StageResult()

        stage = Stage(name="golden.checkpoint", version=1, kind=Kind.CHECKPOINT)
        return settled(run_stage(stage, NoParameters(), {"tokenizer": tokenizer}, self.run, write))

    def training(
        self,
        tokens: ArtifactRef,
        tokenizer: ArtifactRef,
        instructions: ArtifactRef,
        checkpoint: ArtifactRef,
    ) -> None:
        from tasks.training.parameters import FinetuningParameters, PretrainingParameters
        from tasks.training.stage import export_model, finetune, pretrain

        pretraining = PretrainingParameters(
            shape=shape(),
            steps=STEPS,
            context=CONTEXT,
            global_batch=8,
            micro_batch=4,
            learning_rate=3e-3,
            warmup_steps=4,
            threads=1,
            checkpoint_every=10,
        )
        self.keep(pretrain.fn(pretraining, tokens, tokenizer, self.run), step_losses)
        finetuning = FinetuningParameters(
            epochs=2.0, global_batch=4, micro_batch=4, learning_rate=1e-3, threads=1
        )
        self.keep(finetune.fn(finetuning, checkpoint, instructions, self.run), step_losses)
        self.keep(export_model.fn(checkpoint, self.run))

    def scaling(self, tokens: ArtifactRef) -> None:
        """A ladder whose losses are written down: those of the trainer are the machine's."""
        from tasks.emissions.parameters import EmissionsParameters
        from tasks.scaling.parameters import ScalingParameters
        from tasks.scaling.stage import fit_ladder

        stage = Stage(name="golden.run", version=1, kind=Kind.CHECKPOINT)
        inputs = {"tokens": tokens}
        runs = {
            f"{run.layers} layers, {run.tokens} tokens": settled(
                run_stage(stage, run, inputs, self.run, run.write)
            )
            for run in (
                LadderRun(layers=n, tokens=d)
                for n in (2, 4, 8)
                for d in (100_000, 300_000, 1_000_000)
            )
        }
        parameters = ScalingParameters(draws=100, served_tokens=(0, 10**9))
        self.keep(fit_ladder.fn(parameters, EmissionsParameters(), runs, self.run), fitted_law)

    def evaluation(self, checkpoint: ArtifactRef) -> None:
        from tasks.evaluation.parameters import EvaluationParameters
        from tasks.evaluation.stage import evaluate_model, fingerprint_bench

        parameters = EvaluationParameters(
            benchmarks=["hellaswag", "boolq", "mmlu", "triviaqa"], max_new_tokens=8
        )
        bench = self.keep(fingerprint_bench.fn(parameters, self.root, False, self.run))
        self.keep(
            evaluate_model.fn(parameters, checkpoint, bench, self.root, self.run), log_likelihoods
        )


def shape() -> Any:
    """nano in small: the same blocks, two layers of width 32."""
    from model.config import ModelConfig

    return ModelConfig(
        dim=32, layers=2, heads=4, ffn_hidden=96, vocab_size=VOCABULARY, context=8 * CONTEXT
    )


def step_losses(artifact: Path) -> list[float]:
    """Training loss of every step, nats per token."""
    lines = (artifact / "logs" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


def log_likelihoods(artifact: Path) -> list[float]:
    """Log-likelihood of every choice of every item, nats."""
    return [
        value
        for path in sorted((artifact / "items").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
        for value in json.loads(line).get("logprobs", [])
    ]


def fitted_law(artifact: Path) -> list[float]:
    """Irreducible loss and exponents of the law, and the logarithm of each best size."""
    report = json.loads((artifact / "law.json").read_text(encoding="utf-8"))
    law = [report["law"][name]["value"] for name in ("E", "alpha", "beta")]
    return [*law, *(math.log(answer["size"]["value"]) for answer in report["answers"])]

"""Our scorer against lm-evaluation-harness's ``hf`` model on real HellaSwag and 5-shot MMLU items.

Run: ``python -m benchmarks.evaluation`` (needs ``arriero[harness]``, transformers, ARRIERO_DATA).
Both score the same choices with the same random weights and the same tokenizer; every single
log-likelihood is compared.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Rounds, data_folder, interleave, show, versions

VOCABULARY = 4096
TOLERANCE = 1e-4  # nats per choice, the bound of the parity test


def write_model(folder: Path, texts: list[str], preset_name: str, context: int) -> Path:
    """A random model with a tokenizer trained on ``texts``, as a Hugging Face folder."""
    import torch

    from model.llama import Llama
    from model.presets import preset
    from model.weights import export_hf
    from tasks.tokens.parameters import TokenizerParameters
    from tasks.tokens.tokenizer import train_sentencepiece

    lines = (line for text in texts for line in text.split("\n"))
    parameters = TokenizerParameters(vocab_size=VOCABULARY, threads=1)
    (folder / "trained.model").write_bytes(train_sentencepiece(lines, parameters))
    shape = preset(preset_name).model_copy(update={"vocab_size": VOCABULARY, "context": context})
    model = Llama(shape)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():  # larger than an untrained model's weights: the choices must differ
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.08 * torch.randn(parameter.shape, generator=generator))
    export_hf(model, folder / "trained.model", folder / "model")
    return folder / "model"


def chosen_requests(root: Path, name: str, count: int) -> tuple[list[Any], list[Any], Any]:
    from tasks.evaluation.benchmarks.base import ChoiceBenchmark
    from tasks.evaluation.benchmarks.registry import benchmark
    from tasks.evaluation.items import load_items, select_items

    found = benchmark(name)
    assert isinstance(found, ChoiceBenchmark)
    items = select_items(load_items(name, root), count)
    shots_for = found.shots_for(root, found.shots)
    return items, [found.request(item, shots_for(item)) for item in items], found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="default: ARRIERO_DATA")
    parser.add_argument("--items", type=int, default=32, help="items of each benchmark")
    parser.add_argument("--preset", default="nano", help="shape of the random model")
    parser.add_argument("--context", type=int, default=4096, help="tokens the model may read")
    parser.add_argument("--peer-batch", type=int, default=16, help="batch size of the harness")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-seconds", type=float, default=60.0)
    options = parser.parse_args()
    os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
    os.environ.update({"CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"})

    import logging

    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from model.tokenizer import Tokenizer
    from model.weights import load_model
    from tasks.evaluation.answering import answer_choices
    from tasks.evaluation.requests import fit_choices
    from tasks.evaluation.scorer import Scorer

    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    root = data_folder(options.data) / "bench"
    chosen = {name: chosen_requests(root, name, options.items) for name in ("hellaswag", "mmlu")}
    texts = [
        request.prompt.text(len(request.prompt.shots)) + choice.text
        for _, requests, _ in chosen.values()
        for request in requests
        for choice in request.choices
    ]
    rows: list[list[str]] = []
    notes: list[str] = []
    load: list[float] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_model(Path(temporary), texts, options.preset, options.context)
        tokenizer = Tokenizer(folder / "tokenizer.model")
        scorer = Scorer(load_model(folder))
        harness = HFLM(
            pretrained=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            tokenizer=AutoTokenizer.from_pretrained(folder),
            batch_size=options.peer_batch,
            add_bos_token=True,
            device="cpu",
        )
        for name, (all_items, all_requests, found) in chosen.items():
            # A prompt that is cut is cut differently by the two: such items are left out.
            whole = [
                not fit_choices(tokenizer, request, scorer.context_length)[1].truncated
                for request in all_requests
            ]
            items = [item for item, keep in zip(all_items, whole, strict=True) if keep]
            requests = [r for r, keep in zip(all_requests, whole, strict=True) if keep]
            instances = [
                Instance(
                    request_type="loglikelihood",
                    doc={},
                    arguments=(
                        request.prompt.text(len(request.prompt.shots), choice.question),
                        choice.text,
                    ),
                    idx=number,
                )
                for request in requests
                for number, choice in enumerate(request.choices)
            ]

            def ours(
                items: Any = items, requests: Any = requests, found: Any = found
            ) -> list[float]:
                records = answer_choices(found, items, requests, scorer, tokenizer)
                return [value for record in records for value in record["logprobs"]]

            def theirs(instances: Any = instances) -> list[float]:
                answers = harness.loglikelihood(instances, disable_tqdm=True)
                return [float(value) for value, _ in answers]

            timed: dict[str, Rounds] = interleave(
                {"arriero": ours, "lm_eval hf": theirs},
                options.rounds,
                budget_seconds=options.budget_seconds / len(chosen),
            )
            pairs = zip(timed["arriero"].output, timed["lm_eval hf"].output, strict=True)
            off = max(abs(a - b) for a, b in pairs)
            said = f"{off:.1e}" + ("" if off <= TOLERANCE else " DIFFERENT OUTPUT")
            for who, rounds in timed.items():
                load += rounds.load
                rows.append(
                    [
                        f"{name}: {who}",
                        f"{len(items) / rounds.median:.2f}",
                        *rounds.against(timed["lm_eval hf"]),
                        said if who == "arriero" else "-",
                        f"{len(items)}",
                        rounds.spread,
                        str(len(rounds.seconds)),
                    ]
                )
            if len(items) < len(all_items):
                notes.append(f"{name}: {len(all_items) - len(items)} too long for the context.")
    notes.append(
        "Time from request to log-likelihood, tokenization included; fp32. max |diff|: largest"
        " difference of one choice's log-likelihood, nats."
    )
    notes.append(
        f"lm_eval: batch size {options.peer_batch}; Arriero: batches of 8,192 tokens."
        " MMLU has 5 shots; the random model is in the shape named, with its own vocabulary."
    )
    show(
        f"Evaluation, {options.preset} shape, vocabulary {VOCABULARY}, context {options.context}",
        ["benchmark: engine", "questions/s", "x peer", "x peer, CPU time", "max |diff|",
         "questions", "spread", "rounds"],
        rows,
        threads=options.threads,
        libraries=versions("torch", "transformers", "lm_eval"),
        load=load,
        notes=notes,
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""Parity with lm-evaluation-harness on real HellaSwag and ARC-Easy items.

The anchor is the harness's own task files, its own Hugging Face model class and transformers'
tokenizer and Llama, run on a random tiny model: same token ids for every request, log-likelihoods
within 1e-4, same acc and acc_norm.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        importlib.util.find_spec("lm_eval") is None
        or importlib.util.find_spec("transformers") is None,
        reason="needs arriero[harness] and transformers",
    ),
]

ITEMS = 100
VOCABULARY = 2048

# The harness's task files with another source of documents; nothing else is changed.
TASK = """include: {stock}
task: parity_{name}
dataset_path: json
dataset_name: null
dataset_kwargs:
  data_files:
    {split}: {data}
  cache_dir: {cache}
training_split: null
"""


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Iterator[None]:
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TOKENIZERS_PARALLELISM")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="module")
def chosen(arriero_data: Path) -> dict[str, list[Any]]:
    """The same 100 items of each benchmark for both sides."""
    from tasks.evaluation.items import load_items, select_items

    root = arriero_data / "bench"
    return {name: select_items(load_items(name, root), ITEMS) for name in ("hellaswag", "arc_easy")}


@pytest.fixture(scope="module")
def folder(chosen: dict[str, list[Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random tiny Llama with a tokenizer trained here, in the Hugging Face format."""
    import sentencepiece

    from model.config import ModelConfig
    from model.llama import Llama
    from model.weights import export_hf

    path = tmp_path_factory.mktemp("parity")
    texts = [text for items in chosen.values() for i in items for text in (i.question, *i.choices)]
    with (path / "trained.model").open("wb") as handle:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=handle,
            vocab_size=VOCABULARY,
            model_type="bpe",
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            num_threads=1,
            minloglevel=2,
        )
    config = ModelConfig(dim=64, layers=2, heads=4, vocab_size=VOCABULARY, context=512)
    model = Llama(config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():  # larger than an untrained model's weights: the choices must differ
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    export_hf(model, path / "trained.model", path / "model")
    return path / "model"


def split_context(context: str) -> tuple[str, str]:
    """ctx_a (whole sentences) and ctx_b (the begun one, as it is) of a joined context."""
    words = context.split(" ")
    begun = len(words)
    while begun and words[begun - 1].rstrip("\"')]")[-1:] not in (".", "!", "?"):
        begun -= 1
    return " ".join(words[:begun]), " ".join(words[begun:])


@pytest.fixture(scope="module")
def tasks_folder(
    chosen: dict[str, list[Any]], arriero_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Task files of the harness over local JSON files of the chosen items.

    HellaSwag's rows are those of the data file, not of our items: the harness makes the context.
    """
    import lm_eval

    stock = Path(lm_eval.__file__).parent / "tasks"
    path = tmp_path_factory.mktemp("tasks")
    rows: dict[str, list[dict[str, Any]]] = {"hellaswag": [], "arc_easy": []}
    source = arriero_data / "bench" / "hellaswag" / "val_full_preprocessed.jsonl"
    lines = source.read_text(encoding="utf-8").splitlines()
    for item in chosen["hellaswag"]:
        row = json.loads(lines[int(item.id)])
        ctx_a, ctx_b = split_context(row["ctx"])
        kept = {key: row[key] for key in ("activity_label", "endings")}
        rows["hellaswag"].append(
            kept | {"ctx_a": ctx_a, "ctx_b": ctx_b, "label": str(row["label"])}
        )
    # Without such items nothing would show what becomes of ctx_b.
    assert sum(row["ctx_b"][:1].islower() for row in rows["hellaswag"]) > ITEMS // 10
    for item in chosen["arc_easy"]:
        labels = [chr(ord("A") + number) for number in range(len(item.choices))]
        rows["arc_easy"].append(
            {
                "question": item.question,
                "choices": {"text": item.choices, "label": labels},
                "answerKey": labels[item.gold],
            }
        )
    files = {
        "hellaswag": ("validation", stock / "hellaswag" / "hellaswag.yaml"),
        "arc_easy": ("test", stock / "arc" / "arc_easy.yaml"),
    }
    for name, (split, source) in files.items():
        data = path / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows[name]))
        text = TASK.format(stock=source, name=name, split=split, data=data, cache=path / "cache")
        if split == "test":
            text += "validation_split: null\n"
        (path / f"{name}.yaml").write_text(text)
    return path


def run_harness(model: Any, tasks_folder: Path) -> dict[str, dict[str, float]]:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    names = ["hellaswag", "arc_easy"]
    result = simple_evaluate(
        model=model,
        tasks=[f"parity_{name}" for name in names],
        task_manager=TaskManager(include_path=str(tasks_folder), include_defaults=False),
        bootstrap_iters=0,
        log_samples=False,
    )
    return {
        name: {m: result["results"][f"parity_{name}"][f"{m},none"] for m in ("acc", "acc_norm")}
        for name in names
    }


@pytest.fixture(scope="module")
def anchor(
    folder: Path, tasks_folder: Path
) -> tuple[dict[str, dict[str, float]], dict[Any, float]]:
    """Scores of the harness's own model, and (context ids, continuation ids) -> log-likelihood."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    seen: dict[Any, float] = {}

    class Recording(HFLM):  # type: ignore[misc]
        def _loglikelihood_tokens(self, requests: Any, *args: Any, **options: Any) -> Any:
            answers = super()._loglikelihood_tokens(requests, *args, **options)
            for (_, context, continuation), (value, _) in zip(requests, answers, strict=True):
                seen[tuple(context), tuple(continuation)] = float(value)
            return answers

    harness = Recording(
        pretrained=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        batch_size=16,
        add_bos_token=True,
        device="cpu",
    )
    return run_harness(harness, tasks_folder), seen


def test_same_tokens_log_likelihoods_and_scores(
    chosen: dict[str, list[Any]],
    folder: Path,
    anchor: tuple[dict[str, dict[str, float]], dict[Any, float]],
) -> None:
    from model.tokenizer import Tokenizer
    from model.weights import load_model
    from tasks.evaluation.answering import answer_choices
    from tasks.evaluation.benchmarks.base import ChoiceBenchmark
    from tasks.evaluation.benchmarks.registry import benchmark
    from tasks.evaluation.requests import fit_choices
    from tasks.evaluation.scorer import Scorer

    expected, seen = anchor
    tokenizer = Tokenizer(folder / "tokenizer.model")
    scorer = Scorer(load_model(folder))
    requests_made = 0
    worst = 0.0
    asked = set()
    for name, items in chosen.items():
        found = benchmark(name)
        assert isinstance(found, ChoiceBenchmark) and len(items) == ITEMS
        requests = [found.request(item, ()) for item in items]
        records = answer_choices(found, items, requests, scorer, tokenizer)
        for request, record in zip(requests, records, strict=True):
            pairs, fitted = fit_choices(tokenizer, request, scorer.context_length)
            assert not fitted.truncated
            for pair, value in zip(pairs, record["logprobs"], strict=True):
                key = (pair.context, pair.continuation)
                assert key in seen, f"{name} {request.item_id}: other token ids"
                asked.add(key)
                # Sums beyond 512 nats have float32 neighbours 6e-5 apart: two of these, then.
                spacing = math.ulp(seen[key]) * 2**29
                worst = max(worst, abs(seen[key] - value) * min(1.0, 1e-4 / (2 * spacing)))
                requests_made += 1
        for metric in ("acc", "acc_norm"):
            mean = sum(record["values"][metric] for record in records) / len(records)
            assert mean == pytest.approx(expected[name][metric], abs=1e-12), (name, metric)
            assert 0.1 < mean < 0.6  # a model that prefers one place for all would prove nothing
    assert requests_made >= 2 * ITEMS * 3
    assert asked == set(seen)
    assert worst < 1e-4, worst


@pytest.fixture(scope="module")
def plain_anchor(folder: Path) -> Any:
    """The harness's own model without a BOS of the tokenizer's: rolling brings its own."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        batch_size=4,
        add_bos_token=False,
        device="cpu",
    )


def instances(kind: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type=kind, doc={}, arguments=given, idx=number)
        for number, given in enumerate(arguments)
    ]


def test_rolling_log_likelihoods_are_the_harness_own(
    chosen: dict[str, list[Any]], folder: Path, plain_anchor: Any
) -> None:
    from tasks.evaluation.adapter import HarnessModel

    ours = HarnessModel.load(folder)
    whole = " ".join(item.question for item in chosen["hellaswag"])
    tokens = len(ours.tokenizer.encode(whole))
    assert tokens > 3 * ours.scorer.context_length  # a first window, whole ones, a rest
    texts = [whole, whole[:300], chosen["arc_easy"][0].question]
    requests = instances("loglikelihood_rolling", [(text,) for text in texts])
    found = ours.loglikelihood_rolling(requests)
    expected = plain_anchor.loglikelihood_rolling(requests, disable_tqdm=True)
    # Thousands of nats are summed in float32 over there: 1e-4 per window would be below its ulp.
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-4)


def test_generated_texts_are_the_harness_own(chosen: dict[str, list[Any]], folder: Path) -> None:
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tasks.evaluation.adapter import HarnessModel

    anchor = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        batch_size=4,
        add_bos_token=True,
        device="cpu",
    )
    questions = [f"Question: {item.question}\nAnswer:" for item in chosen["arc_easy"][:24]]
    options = [{"until": ["e"], "max_gen_toks": 24}, {"until": [], "max_gen_toks": 12}]
    requests = instances(
        "generate_until",
        [(question, options[n % 2]) for n, question in enumerate(questions)],
    )
    expected = anchor.generate_until(requests, disable_tqdm=True)
    found = HarnessModel.load(folder).generate_until(requests)
    # transformers' decoder loses the space of a text's first word, and shows every byte of a run
    # that is no UTF-8 as a mark, where SentencePiece shows those that are.
    whole = [n for n, text in enumerate(expected) if "\ufffd" not in text]
    assert [found[n].removeprefix(" ") for n in whole] == [expected[n] for n in whole]
    assert len({expected[n] for n in whole}) > len(questions) // 2


def test_the_harness_on_our_engine_gives_the_same_scores(
    folder: Path,
    tasks_folder: Path,
    anchor: tuple[dict[str, dict[str, float]], dict[Any, float]],
) -> None:
    from tasks.evaluation.adapter import HarnessModel

    assert run_harness(HarnessModel.load(folder), tasks_folder) == anchor[0]

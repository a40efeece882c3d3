"""The stage: rows, files, resuming after a kill, and what is not run."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.context import StageContext, StageResult
from tasks.evaluation import evaluate, sandbox
from tasks.evaluation.benchmarks.registry import BENCHMARKS
from tasks.evaluation.evaluate import build_evaluation
from tasks.evaluation.journal import ItemJournal
from tasks.evaluation.parameters import EvaluationParameters
from tasks.evaluation.rows import mean_and_error
from tests.tasks.evaluation.conftest import write_jsonl, write_model

NO_SANDBOX = sandbox.Probe(None, "bubblewrap (bwrap) is not installed")


class Killed(BaseException):
    """Stands for SIGKILL: nothing below may catch it."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def context_in(folder: Path, **options: Any) -> StageContext:
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir(exist_ok=True)
    return StageContext(out=folder / "out", work=folder / "work", **options)


def run(
    folder: Path, parameters: EvaluationParameters, model: Path, bench: Path, **options: Any
) -> StageResult:
    return build_evaluation(parameters, model, bench, False, context_in(folder, **options))


def content(folder: Path) -> dict[str, bytes]:
    """Files that the artifact's digest covers."""
    out = folder / "out"
    names = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    return {name: (out / name).read_bytes() for name in names if not name.startswith("logs/")}


def rows_of(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    rows = json.loads((folder / "out" / "results.json").read_text())
    return {(row["benchmark"], row["metric"]): row for row in rows}


SMALL = EvaluationParameters(
    benchmarks=["hellaswag", "boolq", "triviaqa"], max_new_tokens=4, token_budget=2048
)


def test_rows_items_and_protocol(tmp_path: Path, model_folder: Path, bench_root: Path) -> None:
    seen: list[tuple[float, str]] = []
    sent: dict[str, float] = {}

    def metrics(values: Mapping[str, float], step: int) -> None:
        sent.update(values)

    result = run(
        tmp_path,
        SMALL,
        model_folder,
        bench_root,
        progress=lambda fraction, line: seen.append((fraction, line)),
        metrics=metrics,
    )
    rows = rows_of(tmp_path)
    assert list(rows) == [
        ("hellaswag", "acc_norm"),
        ("hellaswag", "acc"),
        ("boolq", "acc_answer"),
        ("boolq", "acc"),
        ("boolq", "acc_norm"),
        ("triviaqa", "exact_match"),
    ]
    for (name, metric), row in rows.items():
        records = [
            json.loads(line)
            for line in (tmp_path / "out" / "items" / f"{name}.jsonl").read_text().splitlines()
        ]
        values = [record["values"][metric] for record in records]
        p = sum(values) / len(values)
        assert row["n"] == len(records) == 70
        assert row["value"] == pytest.approx(p) == sent[f"{name}.{metric}"]
        assert row["stderr"] == pytest.approx(math.sqrt(p * (1 - p) / 69))
        assert (row["status"], row["reason"], row["sample"]) == ("ok", None, False)
        assert len(row["prompt_hash"]) == len(row["data_sha256"]) == 64
    assert rows["triviaqa", "exact_match"]["shots"] == 5
    assert rows["triviaqa", "exact_match"]["sampling"]["temperature"] == 0.0
    assert rows["boolq", "acc"]["sampling"] == {"precision": "float32"}
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
    assert seen[-1] == (1.0, "triviaqa 70/70")
    assert result.counts == {"benchmarks": 3, "not_run": 0, "items": 210, "truncated": 0}
    assert result.reproducibility == "bit"
    protocol = json.loads((tmp_path / "out" / "protocol.json").read_text())
    assert protocol["boolq"]["paper_metric"] == "acc_answer"
    assert set(content(tmp_path)) == {
        "results.json",
        "protocol.json",
        *(f"items/{name}.jsonl" for name in SMALL.benchmarks),
    }


@pytest.mark.parametrize("chunks_done", [0, 1, 3])
def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path,
    model_folder: Path,
    bench_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    chunks_done: int,
) -> None:
    run(tmp_path / "whole", SMALL, model_folder, bench_root)
    answer = evaluate.answer_chunk
    calls: list[str] = []

    def dies(benchmark: Any, *arguments: Any) -> Any:
        if len(calls) == chunks_done:
            raise Killed
        calls.append(benchmark.name)
        return answer(benchmark, *arguments)

    monkeypatch.setattr(evaluate, "answer_chunk", dies)
    with pytest.raises(Killed):
        run(tmp_path / "first", SMALL, model_folder, bench_root)
    journals = sorted((tmp_path / "first" / "work" / "items").iterdir())
    with journals[-1].open("ab") as handle:  # a line torn in the middle of its write
        handle.write(b'{"id": "64", "gold": 0, "logpr')
    assert "results.json" not in content(tmp_path / "first")
    (tmp_path / "second").mkdir()
    shutil.move(tmp_path / "first" / "work", tmp_path / "second" / "work")

    again: list[str] = []

    def counts(benchmark: Any, *arguments: Any) -> Any:
        again.append(benchmark.name)
        return answer(benchmark, *arguments)

    monkeypatch.setattr(evaluate, "answer_chunk", counts)
    run(tmp_path / "second", SMALL, model_folder, bench_root)
    # 70 items: 2 chunks of 64 for the choices, 3 of 32 for TriviaQA; none is done twice.
    whole = ["hellaswag"] * 2 + ["boolq"] * 2 + ["triviaqa"] * 3
    assert calls + again == whole
    assert content(tmp_path / "second") == content(tmp_path / "whole")


def test_a_journal_keeps_whole_chunks_of_the_same_questions(tmp_path: Path) -> None:
    path = tmp_path / "items" / "x.jsonl"
    ids = [str(n) for n in range(10)]
    journal = ItemJournal(path, {"prompt_hash": "a"}, ids, chunk=4)
    assert [list(part) for part in journal.remaining()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    journal.append([{"id": n} for n in ids[:4]])
    journal.append([{"id": n} for n in ids[4:8]])
    text = path.read_bytes()

    path.write_bytes(text[:-3])  # the last line of the second chunk is torn
    assert [r["id"] for r in ItemJournal(path, {"prompt_hash": "a"}, ids, 4).records] == ids[:4]
    assert path.read_bytes().count(b"\n") == 5  # what was torn is gone from the file, too

    path.write_bytes(text.replace(b'{"id": "2"}', b"\x00\xff\x00"))
    assert ItemJournal(path, {"prompt_hash": "a"}, ids, 4).records == []
    for other in (
        lambda: ItemJournal(path, {"prompt_hash": "b"}, ids, 4),
        lambda: ItemJournal(path, {"prompt_hash": "a"}, ids, 5),
        lambda: ItemJournal(path, {"prompt_hash": "a"}, ids[::-1], 4),
    ):
        path.write_bytes(text)
        assert other().records == []
    path.write_bytes(text)
    journal = ItemJournal(path, {"prompt_hash": "a"}, ids, 4)
    journal.append([{"id": n} for n in ids[8:]])
    assert [r["id"] for r in ItemJournal(path, {"prompt_hash": "a"}, ids, 4).records] == ids
    with pytest.raises(AssertionError, match="out of order"):
        ItemJournal(path.with_name("y"), {}, ids, 4).append([{"id": "3"}])


def test_what_cannot_run_says_why(
    tmp_path: Path, model_folder: Path, bench_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "probe", lambda limits: NO_SANDBOX)
    parameters = EvaluationParameters(benchmarks=["humaneval", "mmlu", "hellaswag"], item_limit=3)
    result = run(tmp_path, parameters, model_folder, bench_root)
    rows = rows_of(tmp_path)
    code, absent = rows["humaneval", "pass@1"], rows["mmlu", "acc"]
    assert code["status"] == absent["status"] == "not run"
    assert code["value"] is code["stderr"] is absent["value"] is None
    assert code["reason"] == ("no sandbox for generated code: bubblewrap (bwrap) is not installed")
    assert "mmlu/test.jsonl, mmlu/dev.jsonl" in absent["reason"]
    assert rows["hellaswag", "acc"]["status"] == "ok" and rows["hellaswag", "acc"]["n"] == 3
    assert result.counts["not_run"] == 2
    assert len(result.notes) == 2
    from registry.runs import EvaluationRow

    for row in rows.values():
        EvaluationRow.model_validate(row)


def test_without_any_benchmark_file_no_model_is_loaded(tmp_path: Path) -> None:
    result = run(tmp_path, EvaluationParameters(), tmp_path / "no model", tmp_path / "no bench")
    assert result.counts["benchmarks"] == 0
    assert all(row["status"] == "not run" for row in rows_of(tmp_path).values())


@pytest.mark.skipif(sandbox.probe().mode is None, reason="bubblewrap does not work here")
def test_programs_are_judged_in_the_sandbox(
    tmp_path: Path, model_folder: Path, bench_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {
        "Own/0": ["    return x\n", "    return 1\n", "    return x + 1\n"],
        "Own/1": ["    import sys; sys.exit(0)\n", "    return x + 1\n", "    while True: pass\n"],
        "Own/2": ["    return x +\n", "    raise ValueError\n", "    return None\n"],
    }
    monkeypatch.setattr(
        "tasks.evaluation.answering.generate_texts",
        lambda model, tokenizer, jobs, *rest: [texts[job.item_id][job.sample] for job in jobs],
    )
    parameters = EvaluationParameters(
        benchmarks=["humaneval"], code_samples=3, sandbox={"seconds": 1.0}
    )
    result = run(tmp_path, parameters, model_folder, bench_root)
    lines = (tmp_path / "out" / "items" / "humaneval.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["verdicts"] for record in records] == [
        ["passed", "passed", "failed"],
        ["failed", "passed", "timeout"],
        ["failed", "failed", "failed"],
    ]
    assert records[1]["details"] == ["SystemExit: 0", "", ""]
    assert records[2]["details"][1] == "ValueError: "
    # A verdict can hang on the time a program takes.
    assert result.reproducibility.startswith("numeric: a program near the time limit")
    row = rows_of(tmp_path)["humaneval", "pass@1"]
    drawn = {"precision": "float32", "temperature": 0.1, "top_p": 1.0, "samples": 3}
    drawn["max_new_tokens"] = 64  # half of this model's context
    assert row["sampling"] == drawn
    protocol = json.loads((tmp_path / "out" / "protocol.json").read_text())
    assert protocol["humaneval"]["sampling"] == drawn
    assert row["value"] == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert row["stderr"] == pytest.approx(1 / 3 / math.sqrt(3))


@pytest.mark.skipif(sandbox.probe().mode is None, reason="bubblewrap does not work here")
def test_a_sandbox_that_breaks_under_way_fails_the_run_which_goes_on_later(
    tmp_path: Path, model_folder: Path, bench_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = sandbox.run_program
    calls: list[str] = []

    def breaks(program: str, *rest: Any) -> sandbox.Outcome:
        calls.append(program)
        if len(calls) == 3:
            raise sandbox.SandboxError("Cannot allocate memory")
        return judge(program, *rest)

    monkeypatch.setattr("tasks.evaluation.answering.run_program", breaks)
    monkeypatch.setattr(evaluate, "CODE_CHUNK", 2)
    parameters = EvaluationParameters(benchmarks=["humaneval"], max_new_tokens=4)
    with pytest.raises(sandbox.SandboxError, match="Cannot allocate memory"):
        run(tmp_path / "first", parameters, model_folder, bench_root)
    (tmp_path / "second").mkdir()
    shutil.move(tmp_path / "first" / "work", tmp_path / "second" / "work")
    run(tmp_path / "second", parameters, model_folder, bench_root)
    assert len(calls) == 4  # the two of the first chunk were not judged again
    assert rows_of(tmp_path / "second")["humaneval", "pass@1"]["n"] == 3


@pytest.mark.skipif(sandbox.probe().mode is None, reason="bubblewrap does not work here")
@pytest.mark.data
def test_reference_solutions_of_humaneval_pass(arriero_data: Path) -> None:
    from tasks.evaluation.benchmarks.humaneval import HumanEval
    from tasks.evaluation.items import load_items

    mode = sandbox.probe().mode
    assert mode is not None
    items = list(load_items("humaneval", arriero_data / "bench"))
    for item in items[::8]:
        program = HumanEval().program(item, item.answers[0])
        outcome = sandbox.run_program(program, sandbox.Limits(), mode)
        assert outcome.passed, (item.id, outcome.detail)


def test_shots_beyond_a_benchmarks_own_are_reported(
    tmp_path: Path, model_folder: Path, bench_root: Path
) -> None:
    parameters = EvaluationParameters(
        benchmarks=["hellaswag", "triviaqa"], shots=12, item_limit=2, max_new_tokens=2
    )
    result = run(tmp_path, parameters, model_folder, bench_root)
    rows = rows_of(tmp_path)
    assert rows["hellaswag", "acc"]["shots"] == BENCHMARKS["hellaswag"].max_shots == 0
    assert result.notes == ["hellaswag: 12 shots asked for, it takes at most 0"]
    trivia = rows["triviaqa", "exact_match"]
    assert trivia["shots"] == 12
    lines = (tmp_path / "out" / "items" / "triviaqa.jsonl").read_text().splitlines()
    dropped = [json.loads(line)["shots_dropped"] for line in lines]
    assert trivia["truncated"] == sum(count > 0 for count in dropped)


def test_a_shortened_answer_is_stated(tmp_path: Path, model_folder: Path, bench_root: Path) -> None:
    """A model of a short context generates less than the protocol lets it."""
    short = tmp_path / "short"
    write_model(short, context=40)
    parameters = EvaluationParameters(benchmarks=["triviaqa", "hellaswag"], item_limit=1)
    cut = run(tmp_path / "cut", parameters, short, bench_root)
    assert cut.notes == [
        "triviaqa: at most 20 tokens are generated, not 24: half of the model's context of 40"
    ]
    rows = rows_of(tmp_path / "cut")
    assert rows["triviaqa", "exact_match"]["sampling"]["max_new_tokens"] == 20
    assert "max_new_tokens" not in rows["hellaswag", "acc"]["sampling"]
    protocol = json.loads((tmp_path / "cut" / "out" / "protocol.json").read_text())
    assert protocol["triviaqa"]["sampling"]["max_new_tokens"] == 20
    whole = run(tmp_path / "whole", parameters, model_folder, bench_root)
    assert whole.notes == []
    sampling = rows_of(tmp_path / "whole")["triviaqa", "exact_match"]["sampling"]
    assert sampling["max_new_tokens"] == 24


def test_an_item_with_an_overlong_choice_is_counted_as_wrong(
    tmp_path: Path, model_folder: Path
) -> None:
    rows = [{"goal": "count", "sol1": "one", "sol2": "two"} for _ in range(3)]
    rows[1]["sol2"] = "counts to twelve " * 60
    write_jsonl(tmp_path / "bench" / "piqa" / "valid.jsonl", rows)
    (tmp_path / "bench" / "piqa" / "valid-labels.lst").write_text("0\n1\n0\n")
    parameters = EvaluationParameters(benchmarks=["piqa"])
    result = run(tmp_path, parameters, model_folder, tmp_path / "bench")
    row = rows_of(tmp_path)["piqa", "acc"]
    assert (row["n"], row["truncated"], row["status"]) == (3, 1, "ok")
    assert result.notes == [
        "piqa: 1 of 3 items counted as wrong: a choice is longer than the model's context"
    ]
    protocol = json.loads((tmp_path / "out" / "protocol.json").read_text())
    assert protocol["piqa"]["unasked_items"] == 1


def test_samples_do_not_depend_on_the_batch(model_folder: Path) -> None:
    from model.tokenizer import Tokenizer
    from model.weights import load_model
    from tasks.evaluation.generation import Job, Sampling, generate_texts

    model, tokenizer = load_model(model_folder), Tokenizer(model_folder / "tokenizer.model")
    jobs = [
        Job(f"item {n}", tuple(tokenizer.encode("Q: What comes after " * (1 + n), bos=True)), s)
        for n in range(3)
        for s in range(2)
    ]
    sampling = Sampling(temperature=1.0, seed=5)
    together = generate_texts(model, tokenizer, jobs, 8, ("\n",), sampling, 100_000)
    alone = generate_texts(model, tokenizer, jobs, 8, ("\n",), sampling, 1)
    assert together == alone
    assert together[0] != together[1]  # two samples of one problem
    other = generate_texts(model, tokenizer, jobs, 8, (), Sampling(1.0, 1.0, 6), 100_000)
    assert other != together


def test_the_standard_error_of_one_item_is_zero() -> None:
    assert mean_and_error([1.0]) == (1.0, 0.0)
    assert mean_and_error([0.0, 1.0]) == (0.5, 0.5)

"""The whole stage: listing, duplicates, caps, splits, rows, counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from model.tokenizer import Tokenizer
from tasks.context import StageContext, recipe_parameters
from tasks.training.instructions.build import InstructionDataError, build_instructions, collect
from tasks.training.instructions.parameters import Caps, InstructionParameters
from tasks.training.instructions.stage import list_files
from tests.conftest import ROOT
from tests.tasks.instructions.support import PARAMETERS, Writer, build, content, lines


def test_counts_dedup_caps_and_reports(data: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    out, result = build(data, tokenizer_file, tmp_path / "out")
    summary = json.loads((out / "instructions.json").read_text())
    files = summary["files"]
    one, two = files["instruct/alpaca/one.json"], files["instruct/alpaca/two.json"]
    cot, t0 = files["instruct/flan_cot/gsm8k_train.tsv"], files["instruct/t0/long.jsonl"]
    assert one["duplicates"] == 1 and one["train"] + one["validation"] == 60
    assert two["duplicates"] == 5 and two["train"] + two["validation"] == 0
    assert cot["over_cap"] == 8 and cot["train"] + cot["validation"] == 12
    assert t0["too_long"] == 1 and t0["train"] + t0["validation"] == 4
    assert summary["left_out_too_long"] == 1 and summary["truncated"] == 0
    assert list(summary["unread"]) == ["instruct/SOURCES.md"]
    assert summary["splits"]["validation"]["examples"] > 3
    assert any("GSM8k is not held out" in note for note in result.notes)
    assert any("SOURCES.md" in note for note in result.notes)
    listed = [json.loads(line) for line in (out / "examples.jsonl").read_text().splitlines()]
    assert len(listed) == result.counts["examples"] + summary["splits"]["validation"]["examples"]


def test_duplicates_are_removed_before_the_cap(write: Writer, tmp_path: Path) -> None:
    def records(*numbers: int) -> str:
        return lines(*({"instruction": f"n {n}", "output": "x"} for n in numbers))

    write("a.jsonl", records(*range(8)) * 3)
    write("b.jsonl", records(*range(10)))
    write("c.jsonl", lines(*({"prompt": f"n {n}", "response": "x"} for n in range(12))))
    names = [f"instruct/{name}.jsonl" for name in "abc"]
    parameters = PARAMETERS.model_copy(update={"caps": Caps(instructions=4)})
    tasks, counts, _ = collect(parameters, tmp_path / "data", names)
    kept = {name: {task.prompt for task in tasks if task.file == name} for name in names}
    # Of 12 different examples each file gives as many as its cap allows, none of them twice.
    assert [len(kept[name]) for name in names] == [4, 4, 4]
    assert len(set().union(*kept.values())) == 12
    found = [(counts[n].examples, counts[n].duplicates, counts[n].over_cap) for n in names]
    assert found == [(24, 16, 4), (10, 4, 2), (12, 8, 0)]


def test_a_family_that_is_left_out_hides_no_example_of_another(
    write: Writer, tmp_path: Path
) -> None:
    task = {"Definition": "Name it", "Instances": [{"input": "red", "output": "colour"}]}
    write("a.json", json.dumps(task))
    write("b.jsonl", lines({"instruction": "Name it", "input": "red", "output": "colour"}))
    parameters = PARAMETERS.model_copy(update={"caps": Caps(natural_instructions=0)})
    names = ["instruct/a.json", "instruct/b.jsonl"]
    tasks, counts, _ = collect(parameters, tmp_path / "data", names)
    assert [task.file for task in tasks] == ["instruct/b.jsonl"]
    assert counts["instruct/a.json"].over_cap == 1 and counts["instruct/b.jsonl"].duplicates == 0


def test_rows_hold_prompt_and_target_and_the_loss_is_on_the_target(
    data: Path, tokenizer_file: Path, tmp_path: Path
) -> None:
    out, _ = build(data, tokenizer_file, tmp_path / "out")
    tokenizer = Tokenizer(tokenizer_file)
    prompts: dict[str, set[str]] = {}
    for line in (out / "examples.jsonl").read_text().splitlines():
        entry = json.loads(line)
        folder = out if entry["split"] == "train" else out / "validation"
        row = {
            name: np.load(folder / f"{name}.npy")[entry["row"]]
            for name in ("input_ids", "segment_ids", "positions", "loss_mask")
        }
        assert row["input_ids"].shape == (64,)
        where = row["segment_ids"] == entry["segment"]
        ids, mask = row["input_ids"][where], row["loss_mask"][where].astype(bool)
        assert len(ids) == entry["prompt_tokens"] + entry["target_tokens"]
        assert mask.sum() == entry["target_tokens"] and not mask[: entry["prompt_tokens"]].any()
        assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id
        prompt = tokenizer.decode(ids[~mask].tolist())
        assert prompt.endswith("\nAnswer:\n")
        number = prompt.split("\n")[0].split()[-1].strip("?p")
        target = tokenizer.decode(ids.tolist())[len(prompt) :]
        expected = {
            "name": f"blue {number}",
            "sum": f"add {number}\nSo the answer is {number}.",
        }.get(prompt.split()[0], "c")
        assert target == expected
        prompts.setdefault(entry["split"], set()).add(prompt)
    assert not prompts["train"] & prompts["validation"]


def test_the_same_bytes_whatever_the_workers_and_the_order_of_files(
    data: Path, tokenizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.instructions.build._CHUNK", 20)
    one, _ = build(data, tokenizer_file, tmp_path / "one")
    two, _ = build(data, tokenizer_file, tmp_path / "two", workers=2)
    assert content(one) == content(two)
    names = [row["path"] for row in list_files(data, "instruct")]
    forward, _, _ = collect(PARAMETERS, data, names)
    backward, _, _ = collect(PARAMETERS, data, reversed(names))
    assert forward == backward
    assert "workers" not in recipe_parameters(PARAMETERS)
    other, _ = build(data, tokenizer_file, tmp_path / "other", seed=1)
    assert content(one)["examples.jsonl"] != content(other)["examples.jsonl"]


def test_changed_files_and_hopeless_data_are_refused(
    data: Path, tokenizer_file: Path, tmp_path: Path
) -> None:
    digests = {row["path"]: row["sha256"] for row in list_files(data, "instruct")}
    (data / "instruct" / "t0" / "long.jsonl").write_text(lines({"prompt": "a", "completion": "b"}))
    context = StageContext(out=tmp_path, work=tmp_path)
    with pytest.raises(InstructionDataError, match=r"long\.jsonl is not the file"):
        build_instructions(PARAMETERS, data, digests, tokenizer_file, context, digests)
    with pytest.raises(InstructionDataError, match=r"1 files gave none \(instruct/SOURCES"):
        build_instructions(PARAMETERS, data, ["instruct/SOURCES.md"], tokenizer_file, context)
    with pytest.raises(ValueError, match="no folder"):
        list_files(tmp_path, "instruct")


def test_links_out_of_the_folder_are_not_listed(data: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("[]")
    (data / "instruct" / "link.json").symlink_to(secret)
    (data / "instruct" / ".hidden.json").write_text("[]")
    names = [row["path"] for row in list_files(data, "instruct")]
    assert names == sorted(names) and len(names) == 5
    assert not any("link" in name or "hidden" in name for name in names)


def test_files_whose_names_are_no_utf8_are_listed_and_read(write: Writer, tmp_path: Path) -> None:
    write("a.jsonl", lines({"instruction": "Say one", "output": "one"}))
    write("b.jsonl", "")
    folder = tmp_path / "data/instruct"
    for path in list(folder.iterdir()):
        path.rename(folder / os.fsdecode(b"\xff" + path.name.encode()))
    rows = list_files(tmp_path / "data", "instruct")
    assert [row["path"] for row in rows] == ["instruct/\\xffa.jsonl", "instruct/\\xffb.jsonl"]
    digests = {row["path"]: row["sha256"] for row in rows}
    tasks, counts, unread = collect(PARAMETERS, tmp_path / "data", digests, digests)
    assert [task.file for task in tasks] == list(counts) == ["instruct/\\xffa.jsonl"]
    assert list(unread) == ["instruct/\\xffb.jsonl"]
    json.dumps([rows, unread], ensure_ascii=False).encode()


@pytest.mark.data
def test_real_folder_is_packed(arriero_data: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    files = [
        row["path"]
        for row in list_files(arriero_data, "instruct")
        if row["path"].startswith(("instruct/alpaca", "instruct/oasst"))
    ]
    parameters = InstructionParameters(context=1024, caps=Caps(instructions=150))
    context = StageContext(out=tmp_path, work=tmp_path)
    result = build_instructions(parameters, arriero_data, files, tokenizer_file, context)
    summary = json.loads((tmp_path / "instructions.json").read_text())
    assert summary["files"]["instruct/oasst/en_100_tree.jsonl"]["duplicates"] == 142
    assert set(summary["unread"]) == {
        "instruct/alpaca/prompt.txt",
        "instruct/oasst/en_100_text.jsonl",
    }
    assert result.counts["examples"] > 250 and summary["splits"]["train"]["filled"] > 0.9


def test_workers_end_with_the_stage_however_it_dies(tokenizer_file: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from types import SimpleNamespace\n"
        "from tasks.training.instructions import build\n"
        "if __name__ == '__main__':\n"
        "    build._CHUNK = 1\n"
        "    rows = [SimpleNamespace(prompt=f'Name {n}', target='x') for n in range(40)]\n"
        "    found = build._encoded(rows, Path(sys.argv[1]), 2)\n"
        "    next(found)\n"
        "    print('working', flush=True)\n"
        "    time.sleep(600)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    with subprocess.Popen(
        [sys.executable, str(script), str(tokenizer_file)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"working\n"
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 2
        process.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    for left in alive:
        left.kill()
    assert not alive

"""Instruction formats, packing and order."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tokenizer import Tokenizer
from tasks.context import StageContext, recipe_parameters
from tasks.training.instructions.build import InstructionDataError, build_instructions, collect
from tasks.training.instructions.formats import read_file
from tasks.training.instructions.order import InstructionOrder
from tasks.training.instructions.packing import Encoded, pack
from tasks.training.instructions.parameters import Caps, InstructionParameters
from tasks.training.instructions.records import Example
from tasks.training.instructions.stage import list_files
from tasks.training.instructions.template import TemplateError, encode, render

Writer = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def _write(name: str, text: str) -> Path:
        path = tmp_path / "data" / "instruct" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with the paper's flags, trained on lines (so no piece holds a line break)."""
    model = io.BytesIO()
    text = ["name the colour of the sky and of the grass", "blue green red answer instruction"] * 9
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        model_type="bpe",
        vocab_size=330,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(model.getvalue())
    return path


# ---- formats ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "format", "expected"),
    [
        (
            "a.json",
            json.dumps([{"instruction": " Add. ", "input": "1 2", "output": "3\n", "text": "x"}]),
            "alpaca",
            ("Add.", "1 2", "3"),
        ),
        (
            "d.jsonl",
            lines({"instruction": "Who?", "context": "", "response": "Me", "category": "qa"}),
            "dolly",
            ("Who?", "", "Me"),
        ),
        (
            "h.jsonl",
            lines(
                {
                    "prompt": "Preamble.\n\n### Instruction:\nSay it\n\n### Input:\nit\n\n"
                    "### Response:\n",
                    "response": "done",
                }
            ),
            "prompt-response",
            ("Say it", "it", "done"),
        ),
        ("p.jsonl", lines({"prompt": "Free form", "response": "ok"}), "prompt-response",
         ("Free form", "", "ok")),
        (
            "t.jsonl",
            lines({"prompt": "Label?\n", "completion": "Sports<|endoftext|>"}),
            "t0",
            ("Label?", "", "Sports"),
        ),
        (
            "s.jsonl",
            lines({"id": "x", "instruction": "Do", "instances": [{"input": "a", "output": "b"}]}),
            "self-instruct",
            ("Do", "a", "b"),
        ),
        (
            "n.json",
            json.dumps(
                {"Definition": ["Sort."], "Instances": [{"id": "1", "input": "b a",
                                                         "output": ["a b", "x"]}]}
            ),
            "natural-instructions",
            ("Sort.", "b a", "a b"),
        ),
        ("c.tsv", "2+2?\\n(A) 4\t(A)\t2+2 = 4\n", "flan-cot",
         ("2+2?\n(A) 4", "", "2+2 = 4\nSo the answer is (A).")),
    ],
)  # fmt: skip
def test_each_format_is_read(
    write: Writer, name: str, text: str, format: str, expected: tuple[str, str, str]
) -> None:
    content = read_file(write(name, text))
    assert (content.format, content.reason, dict(content.rejected)) == (format, "", {})
    assert content.examples == [Example(0, *expected)]


def message(identity: str, role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"message_id": identity, "role": role, "text": text, "lang": "en", **more}


def test_oasst_takes_the_best_ranked_path(write: Writer) -> None:
    best = message(
        "b", "assistant", "best", rank=0, replies=[
            message("c", "prompter", "more?", replies=[
                message("d", "assistant", "gone", rank=0, deleted=True),
                message("e", "assistant", "second", rank=None),
                message("f", "assistant", "first", rank=1),
            ])
        ],
    )  # fmt: skip
    worse = message("w", "assistant", "worse", rank=1)
    tree = {"message_tree_id": "t", "prompt": message("a", "prompter", "hi", replies=[worse, best])}
    lonely = {"message_tree_id": "u", "prompt": message("z", "prompter", "nobody answers")}
    foreign = {"message_tree_id": "v", "prompt": message("y", "prompter", "hola", lang="es")}
    content = read_file(write("tree.jsonl", lines(tree, lonely, foreign)), ("en",))
    assert content.format == "oasst" and content.records == 3
    assert content.examples == [
        Example(0, "hi", "", "best"),
        Example(0, "User: hi\n\nAssistant: best\n\nUser: more?", "", "first"),
    ]
    assert content.rejected == {
        "conversation without a reply": 1,
        "message in another language": 1,
    }
    # The same tree as flat messages, children linked by parent_id.
    flat = [
        message("a", "prompter", "hi", parent_id=None),
        message("w", "assistant", "worse", parent_id="a", rank=1),
        message("b", "assistant", "best", parent_id="a", rank=0),
        message("q", "assistant", "orphan", parent_id="nowhere"),
    ]
    content = read_file(write("flat.jsonl", lines(*flat)))
    assert content.examples == [Example(0, "hi", "", "best")]
    assert content.rejected == {"message whose parent is missing": 1}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("readme.md", "# hello", "not .json, .jsonl or .tsv"),
        ("empty.jsonl", "\n", "empty"),
        ("bad.json", "[{", "not JSON"),
        ("deep.json", "[" * 100_000, "not JSON"),
        ("prompts.jsonl", lines("just a prompt"), "record is a str"),
        ("other.jsonl", lines({"foo": 1, "bar": 2}), "no reader for the fields bar, foo"),
        ("hollow.jsonl", lines({"prompt": "x", "completion": "<|endoftext|>"}), "empty target"),
    ],
)
def test_unknown_files_say_why(write: Writer, name: str, text: str, reason: str) -> None:
    content = read_file(write(name, text))
    assert not content.examples and reason in content.reason


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "instruction",
                    "input",
                    "output",
                    "instances",
                    "prompt",
                    "completion",
                    "response",
                    "text",
                    "role",
                    "parent_id",
                    "message_id",
                    "replies",
                    "rank",
                    "Definition",
                    "Instances",
                    "lang",
                    "deleted",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(records=st.lists(JSON, max_size=4), broken=st.text(max_size=10))
def test_no_content_makes_a_reader_raise(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any], broken: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_bytes((lines(*records) + broken).encode("utf-8", "surrogatepass"))
    content = read_file(path)
    assert content.examples or content.reason
    assert all(example.target for example in content.examples)


def test_half_characters_and_huge_numbers_are_rejected(write: Writer) -> None:
    text = '{"prompt": "a \\ud800", "completion": "b"}\n' + "9" * 5000 + "\n"
    content = read_file(write("odd.jsonl", text))
    assert content.rejected == {"half a character (lone surrogate)": 1, "not JSON": 1}


def test_bad_records_are_counted_and_the_rest_is_read(write: Writer) -> None:
    text = (
        lines({"instruction": "a", "output": "b"})
        + "{broken\n"
        + lines(
            {"instruction": "a", "output": 7},
            {"instruction": "", "input": None, "output": "b"},
            {"instruction": "a", "output": "  "},
            [1],
        )
    )
    content = read_file(write("mixed.jsonl", text))
    assert content.examples == [Example(0, "a", "", "b")] and content.records == 6
    assert content.rejected == {
        "not JSON": 1,
        "output is no text": 1,
        "empty prompt": 1,
        "empty target": 1,
        "record is a list, no object": 1,
    }
    rows = read_file(write("rows.tsv", "q\ta\tr\nonly two\tcolumns\n"))
    assert len(rows.examples) == 1 and rows.rejected == {"not three columns": 1}


@pytest.mark.parametrize(
    ("instances", "definition", "read", "rejected"),
    [
        ([{"output": 7}, {"output": ["a"]}, 3, {"input": [], "output": "x"}], ["Sort."], 1,
         {"output is no text": 1, "instance is no object": 1, "input is no text": 1}),
        ([{"output": []}, {"output": "b"}], "Sort.", 1, {"empty target": 1}),
        ([{"output": ["a"]}], None, 0, {"Definition is no text": 1}),
        ([{"output": ["a"]}], ["Sort.", {}], 0, {"Definition is no text": 1}),
        ({"output": "a"}, ["Sort."], 0, {"Instances is no list": 1}),
    ],
)  # fmt: skip
def test_a_bad_instance_costs_nothing_but_itself(
    write: Writer, instances: Any, definition: Any, read: int, rejected: dict[str, int]
) -> None:
    record = {"Definition": definition, "Instances": instances}
    content = read_file(write("task.json", json.dumps(record)))
    assert (len(content.examples), dict(content.rejected)) == (read, rejected)
    if isinstance(definition, list) and len(definition) == 1 and read:
        task = {"instruction": "Sort.", "instances": instances}
        content = read_file(write("seed.json", json.dumps([task])))
        instead = {"input is no text": 1, "output is no text": 2, "instance is no object": 1}
        assert (len(content.examples), dict(content.rejected)) == (0, instead)


def test_records_are_numbered_by_their_place_in_the_file(write: Writer) -> None:
    good = lines({"instruction": "a", "output": "b"})
    content = read_file(write("gaps.jsonl", good + "{broken\n\n" + good))
    assert [example.record for example in content.examples] == [0, 2] and content.records == 3


# ---- template --------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["plain", "alpaca"])
@pytest.mark.parametrize("input_text", ["", "the sky"])
def test_prompt_tokens_are_a_prefix_and_the_target_ends_with_eos(
    tokenizer_file: Path, template: str, input_text: str
) -> None:
    tokenizer = Tokenizer(tokenizer_file)
    prompt, target = render(template, Example(0, "name the colour", input_text, "blue"))
    ids, start = encode(tokenizer, prompt, target)
    assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id
    assert tokenizer.decode(ids[:start]) == prompt and tokenizer.decode(ids) == prompt + target
    assert ids[:start] == tokenizer.encode(prompt, bos=True)
    assert ("the sky" in prompt) == bool(input_text) and prompt.endswith(":\n")


def test_a_prompt_that_melts_into_its_target_is_refused(tokenizer_file: Path) -> None:
    with pytest.raises(TemplateError, match="joins the prompt's end"):
        encode(Tokenizer(tokenizer_file), "name the col", "our")
    with pytest.raises(ValueError, match="choose plain or alpaca"):
        render("chat", Example(0, "a", "", "b"))


# ---- packing ---------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 8)), max_size=40),
    order=st.randoms(use_true_random=False),
)
def test_packing_keeps_every_example_whole_and_masks_exactly_the_targets(
    shapes: list[tuple[int, int]], order: Any
) -> None:
    context = 20
    examples = [
        Encoded(tuple(range(100 * k + 1, 100 * k + 1 + p + t)), p, k.to_bytes(4, "big"))
        for k, (p, t) in enumerate(shapes)
    ]
    packed = pack(examples, context)
    arrays = packed.arrays()
    rows = len(packed.input_ids_NT)
    covered = np.zeros((rows, context), bool)
    for example, (row, segment) in zip(examples, packed.placement, strict=True):
        where = packed.segment_ids_NT[row] == segment
        places = np.flatnonzero(where)
        assert np.array_equal(places, np.arange(places[0], places[0] + len(example.ids)))
        assert packed.input_ids_NT[row][where].tolist() == list(example.ids)
        assert packed.positions_NT[row][where].tolist() == list(range(len(example.ids)))
        expected = [0] * example.target_start + [1] * (len(example.ids) - example.target_start)
        assert packed.loss_mask_NT[row][where].tolist() == expected
        covered[row] |= where
    for array in arrays.values():
        assert not array[~covered].any()
    assert [a.dtype.name for a in arrays.values()] == ["int32"] * 3 + ["uint8"]
    # First fit leaves at most one row that is not half full.
    total = sum(len(example.ids) for example in examples)
    assert rows <= 2 * total / context + 1
    shuffled = list(examples)
    order.shuffle(shuffled)
    again = pack(shuffled, context)
    for name, array in again.arrays().items():
        assert np.array_equal(array, arrays[name])


def test_packing_is_first_fit_decreasing() -> None:
    def example(size: int, key: int) -> Encoded:
        return Encoded((7,) * size, 1, bytes([key]))

    sizes = [5, 6, 3, 4, 2]
    packed = pack([example(size, k) for k, size in enumerate(sizes)], 10)
    # 6 | 5 -> 2nd row | 4 -> 1st | 3 -> 2nd | 2 -> 2nd
    assert packed.placement == [(1, 1), (0, 1), (1, 2), (0, 2), (1, 3)]
    with pytest.raises(ValueError, match="11 tokens in rows of 10"):
        pack([example(11, 0)], 10)


# ---- the whole stage -------------------------------------------------------------------------


@pytest.fixture
def data(write: Writer, tmp_path: Path) -> Path:
    alpaca = [{"instruction": f"name colour {n}", "output": f"blue {n}"} for n in range(60)]
    write("alpaca/one.json", json.dumps([*alpaca, alpaca[0]]))
    write("alpaca/two.json", json.dumps(alpaca[:5]))
    write("flan_cot/gsm8k_train.tsv", "".join(f"sum {n}?\t{n}\tadd {n}\n" for n in range(20)))
    long = {"prompt": "x " * 300, "completion": "y<|endoftext|>"}
    write("t0/long.jsonl", lines(long, *({"prompt": f"p{n}", "completion": "c"} for n in range(4))))
    write("SOURCES.md", "notes")
    return tmp_path / "data"


PARAMETERS = InstructionParameters(
    context=64, validation_fraction=0.2, caps=Caps(chain_of_thought=12)
)


def build(data: Path, tokenizer: Path, out: Path, **changes: Any) -> tuple[Path, Any]:
    out.mkdir()
    files = {row["path"]: row["sha256"] for row in list_files(data, "instruct")}
    parameters = PARAMETERS.model_copy(update=changes)
    context = StageContext(out=out, work=out)
    return out, build_instructions(parameters, data, files, tokenizer, context, files)


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "logs"
    }


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


# ---- order -----------------------------------------------------------------------------------


def test_instruction_order_is_stateless(data: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    out, _ = build(data, tokenizer_file, tmp_path / "out")
    order = InstructionOrder(out, seed=3)
    n = order.rows_per_epoch
    assert order.context == 64 and n == len(np.load(out / "input_ids.npy"))
    for epoch in range(3):
        rows = [order.locate(epoch * n + k) for k in range(n)]
        assert sorted(row for row, _ in rows) == list(range(n)) and {e for _, e in rows} == {epoch}
    batch = order.batch(5, 8)
    assert {a.shape for a in batch.values()} == {(8, 64)}
    assert list(batch) == ["input_ids", "segment_ids", "positions", "loss_mask"]
    copy = pickle.loads(pickle.dumps(order))
    for name, array in copy.batch(5, 8).items():
        assert np.array_equal(array, batch[name])
    parts = [order.rows(5, 8, r, 2, m, 2) for m in range(2) for r in range(2)]
    joined = np.concatenate([part["input_ids"] for part in parts])
    assert np.array_equal(joined, batch["input_ids"])
    skipping = InstructionOrder(out, seed=3, skips=[0, 2])
    assert np.array_equal(skipping.batch(1, 8)["input_ids"], order.batch(3, 8)["input_ids"])
    assert order.epochs(n, 2) == 2.0
    held_out = InstructionOrder(out, seed=3, split="validation")
    assert held_out.sample(0)["input_ids"].shape == (64,)
    with pytest.raises(ValueError, match="input_ids, segment_ids"):
        InstructionOrder(tmp_path, seed=3)


# ---- real files ------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "format", "examples"),
    [
        ("alpaca/alpaca_tiny.json", "alpaca", 100),
        ("dolly/litgpt_dolly_fixture.json", "dolly", 12),
        ("dolly/dolly_hhrlhf_train_small.jsonl", "prompt-response", 1000),
        ("self_instruct/seed_tasks.jsonl", "self-instruct", 175),
        ("self_instruct/user_oriented_instructions.jsonl", "self-instruct", 252),
        ("self_instruct/t0_train_50k_per_template/ag_news_classify.jsonl", "t0", 200),
        ("flan_cot/strategyqa_train.tsv", "flan-cot", 2061),
        ("oasst/en_100_tree.jsonl", "oasst", 142),
        ("oasst/realistic_seed_data.json", "oasst", 170),
        ("oasst/en_100_text.jsonl", "", 0),
    ],
)
def test_real_files_are_read(arriero_data: Path, name: str, format: str, examples: int) -> None:
    content = read_file(arriero_data / "instruct" / name, ("en",))
    assert (content.format, len(content.examples)) == (format, examples)
    for example in content.examples:
        assert example.target and "<|endoftext|>" not in example.target
        assert "### Instruction:" not in example.instruction


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

"""Every format is read; what cannot be read is counted with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.training.instructions.formats import read_file
from tasks.training.instructions.records import Example
from tests.tasks.instructions.support import Writer, lines


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

"""Conversations of OpenAssistant."""

from __future__ import annotations

from typing import Any

from tasks.training.instructions.formats import read_file
from tasks.training.instructions.records import Example
from tests.tasks.instructions.support import Writer, lines


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

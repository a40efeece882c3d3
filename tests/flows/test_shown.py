"""Names and texts of dumps on a terminal."""

from __future__ import annotations

import io
from dataclasses import asdict

import pytest
from rich.console import Console

from flows.reading import render_batch, render_document
from flows.shown import shown, visible
from tasks.corpus.show import DocumentStory, Passage

HOSTILE = "[red]hi[/red] \x1b]52;c;ZXZpbA==\x07 \x1b[2J\x9b2J \u202egpj.exe\rend"


def test_control_characters_are_written_out() -> None:
    assert visible("a\x1b[2J\x9b\x7f\r\u202eb") == r"a\x1b[2J\x9b\x7f\r\u202eb"
    plain = "Grüße, 日本 ‏שלום‎ e\u0301 \U0001f999\n\tx [1]"
    assert visible(plain) == plain
    assert shown("[red]x") == r"\[red]x"


@pytest.mark.parametrize("terminal", [True, False])
def test_no_document_writes_to_the_terminal_but_as_text(terminal: bool) -> None:
    story = DocumentStory(
        id=f"c4:{HOSTILE}",
        source="c4",
        fate="rejected",
        stage="documents.c4",
        file=HOSTILE,
        offset=1,
        rules=(Passage("length", False),),
        reason=HOSTILE,
        uri=HOSTILE,
        license=HOSTILE,
        text=HOSTILE,
    )
    row = {"row": 0, "source": "c4", "documents": [HOSTILE], "epoch": 0, "text": HOSTILE}
    batch = {"step": 1, "checkpoint": "0" * 64, "rows": [row]}
    for table in (render_document(asdict(story)), render_batch(batch)):
        out = io.StringIO()
        Console(file=out, force_terminal=terminal, width=400).print(table)
        for control in ("\x1b]52", "\x1b[2J", "\x9b", "\x07", "\u202e", "\r"):
            assert control not in out.getvalue()
        assert "[red]hi[/red]" in out.getvalue() and r"\x1b]52;c;" in out.getvalue()

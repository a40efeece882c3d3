"""Text as it grows: the pieces make up the finished text, and none is taken back."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from model.stream import TextStream


def decode(tokens: Sequence[int]) -> str:
    """Bytes as tokens: a character may take four."""
    return bytes(tokens).decode("utf-8", "replace")


def cut(text: str, stop: Sequence[str]) -> str:
    return text[: min((text.find(s) for s in stop if s in text), default=len(text))]


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=4), max_size=3))
@example("abENDcd", ["END"])
@example("aaab", ["aab"])
@example("💡 and 🦙", ["and"])
@example("E\ufffdN", [])
def test_pieces_make_up_the_text(text: str, stop: list[str]) -> None:
    data = text.encode("utf-8", "replace")
    stream = TextStream(decode, stop)
    given_out = ""
    for end in range(1, len(data) + 1):
        so_far = decode(data[:end])
        if any(s in so_far for s in stop):
            break  # the token that completes a stop string ends the row: nobody asks for more
        given_out += stream.more(data[:end])
        assert cut(decode(data), stop).startswith(given_out)
    assert given_out + stream.rest(cut(decode(data), stop)) == cut(decode(data), stop)


def test_text_comes_as_soon_as_it_is_certain() -> None:
    stream = TextStream(decode, ["END"])
    assert [stream.more(b"abE"[:n]) for n in (1, 2, 3)] == ["a", "b", ""]
    assert stream.more(b"abEx") == "Ex"
    assert stream.more("abEx🦙".encode()[:6]) == ""
    assert stream.rest("abEx🦙") == "🦙"

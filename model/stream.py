"""Text of a generation as it grows: only what no later token can change or take back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"  # what a decoder gives for the first bytes of a character


class TextStream:
    """New text of one row, piece by piece; what could become a stop string is held back."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode, self._stop = decode, [s for s in stop if s]
        self._given = 0

    def more(self, tokens: Sequence[int]) -> str:
        """What is certain now and was not given yet."""
        text = self._decode(tokens)
        certain = text.rstrip(UNFINISHED)
        longest = max(map(len, self._stop), default=1) - 1
        for length in range(min(longest, len(certain)), 0, -1):
            if any(stop.startswith(certain[-length:]) for stop in self._stop):
                certain = certain[:-length]
                break
        return self._give(certain)

    def rest(self, text: str) -> str:
        """What the finished row's text has beyond what was given."""
        return self._give(text)

    def _give(self, text: str) -> str:
        piece, self._given = text[self._given :], max(self._given, len(text))
        return piece

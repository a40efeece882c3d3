"""Strings that tokenizers stumble over, drawn from a seed: valid Unicode of every kind."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

# First and last code points; the gap is the surrogates. Each is drawn as often as the others.
PLANES = (
    (0x00, 0x1F),  # controls, NUL among them
    (0x20, 0x7E),
    (0x7F, 0x7FF),
    (0x800, 0x2FFF),
    (0x3000, 0xD7FF),
    (0xE000, 0xF8FF),  # private use
    (0xF900, 0xFFFF),  # with the noncharacters at the end
    (0x10000, 0x1FFFF),
    (0x20000, 0x3FFFF),
    (0x40000, 0x10FFFF),
)
MARKS = "\u2581\u2585"
"""SentencePiece's space and its boundary."""
LITERALS = ("<s>", "</s>", "<unk>", "<pad>", "<0x41>", "<0x0A>", "<0xE4><0xB8><0xAD>")
"""What looks like a control id or a byte in a text, and is neither."""
SPACES = " \t\n\r\v\f\0\x1c\x7f\x85\u00a0\u1680\u2003\u2028\u2029\u200b\u202f\u3000\ufeff" + MARKS
JOINERS = (
    "e\u0301\u0300\u0327\u0345\u20dd\u200d\ufe0e\ufe0f\U0001f468\U0001f469\U0001f3fd\U0001f1ea"
    "\u1100\u1161\u11a8\ufb01\u212b\u00e9\u0e33\u0b95\u0bcd\u0640\u0651\u05b0"
)
RUNS = (
    " ",
    "=",
    "-",
    "a",
    "ha",
    "0",
    "\n",
    "\t ",
    ". ",
    "\0",
    "\u4e2d",
    "\U0001f9c9",
    *MARKS,
    "ab",
)


def strings(seed: int, count: int, pieces: Sequence[str]) -> Iterator[str]:
    """``count`` strings; the same for the same seed and vocabulary.

    pieces: the vocabulary's, joined at random they reach what chance letters would not.
    """
    draw = random.Random(seed)
    alphabets = (
        "ab",
        "ab c",
        "a -=1\u00e9\n<s>",
        "etaoin shrdlu",
        "\u2581 a\u2585",
        "0123456789 .,",
    )
    texts = [piece.replace(MARKS[0], " ") for piece in pieces]

    def letters(alphabet: str, most: int) -> str:
        return "".join(draw.choices(alphabet, k=draw.randrange(most)))

    def anywhere() -> str:
        return "".join(chr(draw.randint(*draw.choice(PLANES))) for _ in range(draw.randrange(25)))

    def run() -> str:
        return draw.choice(RUNS) * draw.choice((1, 2, 3, draw.randrange(40), draw.randrange(400)))

    kinds: tuple[Callable[[], str], ...] = (
        anywhere,
        lambda: letters(SPACES + "ab", 30),
        lambda: letters(JOINERS, 25),
        lambda: letters(draw.choice(alphabets), 60),
        lambda: "".join(draw.choices(texts, k=draw.randrange(1, 15))),
        lambda: " " * draw.randrange(4) + " ".join(draw.choices(texts, k=draw.randrange(8))) + " ",
        run,
        lambda: "".join(draw.choice((*LITERALS, " ", "a", "<", ">", *MARKS)) for _ in range(8)),
    )
    for number in range(count):
        text = kinds[number % len(kinds)]()
        # One in four is of two kinds.
        yield text + draw.choice(kinds)() if draw.random() < 0.25 else text

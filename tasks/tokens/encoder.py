"""Encodes documents word by word, each different word once: the ids of SentencePiece, faster.

Why the ids are the same. A BPE model joins two neighbours when the union is a piece; the order in
which neighbours are joined depends on scores alone. So at a place where no piece can reach across,
what stands left and what stands right are encoded independently, and a text may be cut there:

1. before a space that follows another character, when no piece has a space behind another
   character. Trained with ``split_by_whitespace``, none has;
2. before and behind a line break, when no piece of more than one character holds one. Trained on
   lines, none does; it becomes its byte;
3. before and behind a digit that no piece of more than one character holds (``split_digits``);
4. between a sign and what is none. Signs are ASCII's punctuation and all characters that pieces
   hold side by side with a sign: other punctuation, but no letters with
   ``split_by_unicode_script``.

All are read from the vocabulary, not assumed: a model that breaks 1 or 2, is no BPE, changes text
or has symbols of the user encodes whole documents. What is between two cuts, a word or its
punctuation with the spaces before it, is asked of SentencePiece the first time and kept.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence, Set
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from model.tokenizer import Tokenizer

SPACE = "\u2581"  # SentencePiece's space; the character itself is a space to it as well
KEPT_WORDS = 1 << 17
"""Words in one of the two generations that an encoder keeps, about 25 MB each."""
KEPT_CHARACTERS = 64
"""Longest word that is kept: longer ones hardly come again."""
WINDOW = 1 << 20
"""Characters of a document that are cut into words at a time."""
RUN = 1 << 16
"""A word of more characters (base64, a line of Chinese) is cut further where no piece reaches."""
_REACHES_SPACE = re.compile(f"[^{SPACE}]{SPACE}")
_LEARNED, _CONTROLS = 1, {2, 3, 6}  # SentencePiece's types of pieces: unknown, control, byte
_BPE = 2


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Little-endian uint16 where every id fits, else uint32."""
    return np.dtype("<u2" if vocab_size <= 65_536 else "<u4")


class DocumentEncoder:
    """Tokens of documents as bytes of little-endian integers, ``dtype``."""

    def __init__(self, path: Path) -> None:
        self.tokenizer = Tokenizer(path)
        self.dtype = token_dtype(self.tokenizer.vocab_size)
        self._bos = self._bytes([self.tokenizer.bos_id])
        self._eos = self._bytes([self.tokenizer.eos_id])
        self._ids = self.tokenizer.processor.encode
        pieces = _pieces(path)
        # Characters that some piece holds side by side.
        self._joined = {a + b for piece in pieces for a, b in pairwise(piece)}
        self._cuts = _cuts_of(pieces, self._joined) if pieces else None
        self._words = _Words(self)
        # Encoded before a word that has no space in front: it takes SentencePiece's own space, and
        # nothing joins it.
        self._anchor = len(self._ids("\n"))

    def encode(self, text: str) -> Iterator[bytes]:
        """BOS, the text's tokens in parts, EOS. The text must have a UTF-8 form."""
        yield self._bos
        if text:
            if self._cuts:
                yield from self._encode_words(text, *self._cuts)
            else:
                yield self._bytes(self._ids(text))
        yield self._eos

    def _encode_words(
        self, text: str, words: re.Pattern[str], ends: re.Pattern[str]
    ) -> Iterator[bytes]:
        if SPACE in text:
            text = text.replace(SPACE, " ")
        text = " " + text  # the space that SentencePiece puts before every text
        start = 0
        while start < len(text):
            end = ends.search(text, start + WINDOW)
            stop = end.start() if end else len(text)
            yield b"".join(map(self._words.__getitem__, words.findall(text, start, stop)))
            start = stop

    def encode_word(self, word: str) -> bytes:
        """Tokens of a line break, or of one word with the spaces before it."""
        if len(word) > RUN:
            return b"".join(map(self._encode_run, self._runs(word)))
        return self._encode_run(word)

    def _encode_run(self, run: str) -> bytes:
        # A text of one space alone would be empty without it.
        if run[0] == " " and len(run) > 1:
            return self._bytes(self._ids(run[1:]))
        return self._bytes(self._ids("\n" + run)[self._anchor :])

    def _runs(self, word: str) -> Iterator[str]:
        """A long word in parts, cut between characters that no piece holds side by side."""
        start = 0
        while len(word) - start > RUN:
            cut = start + RUN
            while cut < len(word) and word[cut - 1 : cut + 1].replace(" ", SPACE) in self._joined:
                cut += 1
            yield word[start:cut]
            start = cut
        if start < len(word):
            yield word[start:]

    def _bytes(self, ids: list[int]) -> bytes:
        return np.array(ids, self.dtype).tobytes()


class _Words(dict[str, bytes]):
    """Tokens of the words seen lately; asks the encoder for others.

    When there are ``KEPT_WORDS``, they become the old generation and the one before is forgotten;
    a word of the old generation that is asked for is young again. So frequent words stay.
    """

    def __init__(self, encoder: DocumentEncoder) -> None:
        super().__init__()
        self._encoder = encoder
        self._old: dict[str, bytes] = {}

    def __missing__(self, word: str) -> bytes:
        tokens = self._old.get(word)
        if tokens is None:
            tokens = self._encoder.encode_word(word)
        if len(word) <= KEPT_CHARACTERS:
            if len(self) >= KEPT_WORDS:
                self._old = dict(self)
                self.clear()
            self[word] = tokens
        return tokens


def _pieces(path: Path) -> list[str]:
    """The learned pieces of a BPE model that takes text as it is; none of another model."""
    proto = import_module("sentencepiece.sentencepiece_model_pb2").ModelProto()
    proto.ParseFromString(path.read_bytes())
    normalizer, trainer = proto.normalizer_spec, proto.trainer_spec
    plain = normalizer.add_dummy_prefix and normalizer.escape_whitespaces
    changed = normalizer.precompiled_charsmap or normalizer.remove_extra_whitespaces
    if trainer.model_type != _BPE or trainer.treat_whitespace_as_suffix or changed or not plain:
        return []
    if any(piece.type not in {_LEARNED, *_CONTROLS} for piece in proto.pieces):
        return []
    return [piece.piece for piece in proto.pieces if piece.type == _LEARNED]


def _cuts_of(
    pieces: Sequence[str], joined: Set[str]
) -> tuple[re.Pattern[str], re.Pattern[str]] | None:
    """What a text may be cut into, and where a window of it may end; None when it stays whole."""
    if any(_REACHES_SPACE.search(pair) or "\n" in pair for pair in joined):
        return None
    beside: dict[str, set[str]] = {}
    for pair in joined:
        left, right = pair[0], pair[1]
        if left != SPACE:
            beside.setdefault(left, set()).add(right)
            beside.setdefault(right, set()).add(left)
    held = {character for piece in pieces if len(piece) > 1 for character in piece}
    digits = "".join(digit for digit in string.digits if digit not in held)
    signs, reached = set(string.punctuation), list(string.punctuation)
    while reached:
        more = beside.get(reached.pop(), set()) - signs
        signs |= more
        reached += more
    sign = re.escape("".join(sorted(signs)))
    words = rf" *[^{sign}{digits} \n]+| *[{sign}]+|\n+| +" + (rf"|[{digits}]" if digits else "")
    ends = r"(?<=[^ ]) |\n" + (rf"|[{digits}]" if digits else "")
    return re.compile(words), re.compile(ends)

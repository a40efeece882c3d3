"""Encodes documents word by word, each different word once: the ids of SentencePiece, faster.

Why the ids are the same. A BPE model joins two neighbours when the union is a piece; the order in
which neighbours are joined depends on scores alone. So at a place where no piece can reach across,
what stands left and what stands right are encoded independently, and a text may be cut there:

1. before a space that follows another character, when no piece has a space behind another
   character. Trained with ``split_by_whitespace``, none has;
2. before and behind a line break, when no piece of more than one character holds one. Trained on
   lines, none does; it becomes its byte;
3. before and behind a digit, and between a letter and what is no letter, when no piece of more
   than one character holds a digit or both kinds. Trained with ``split_digits`` and
   ``split_by_unicode_script``, none does for the letters named here.

All are looked up in the vocabulary, not assumed: a model that breaks 3 is cut at spaces and lines
only; one that breaks 1 or 2, is no BPE or has symbols of the user encodes whole documents. What
is between two cuts, a word or its punctuation with the spaces before it, is asked of SentencePiece
the first time and kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from model.tokenizer import Tokenizer

SPACE = "\u2581"  # SentencePiece's space; the character itself is a space to it as well
KEPT_WORDS = 1 << 19
"""Words kept by one encoder, about 100 MB; all are forgotten when they are more."""
KEPT_CHARACTERS = 64
"""Longest word that is kept: longer ones hardly come again."""
WINDOW = 1 << 20
"""Characters of a document that are cut into words at a time."""
RUN = 1 << 16
"""A word of more characters (base64, a line of Chinese) is cut further where no piece reaches."""
# Latin, Greek, Cyrillic and their accents.
_LETTERS = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0300-\u036f\u0388-\u052f"
_FINE = re.compile(rf" *[{_LETTERS}]+| *[^{_LETTERS}0-9 \n]+|\n+|[0-9]| +")
_COARSE = re.compile(r" *[^ \n]+|\n+| +")
# Where a window may end.
_FINE_CUT = re.compile(r"(?<=[^ ]) |\n|[0-9]")
_COARSE_CUT = re.compile(r"(?<=[^ ]) |\n")
# Places in a piece that the cuts rule out.
_REACHES_SPACE = re.compile(f"[^{SPACE}]{SPACE}")
_REACHES_KIND = re.compile(
    rf"[0-9].|.[0-9]|[{_LETTERS}][^{_LETTERS}]|[^{_LETTERS}{SPACE}][{_LETTERS}]", re.DOTALL
)


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
        pieces = _bpe_pieces(self.tokenizer)
        self._cuts = _cuts_of(pieces or [])
        # Characters that some piece holds side by side.
        self._joined = {p[k : k + 2] for p in pieces or () for k in range(len(p) - 1)}
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
    """Tokens of the words seen so far; asks the encoder for others."""

    def __init__(self, encoder: DocumentEncoder) -> None:
        super().__init__()
        self._encoder = encoder

    def __missing__(self, word: str) -> bytes:
        tokens = self._encoder.encode_word(word)
        if len(word) <= KEPT_CHARACTERS:
            if len(self) >= KEPT_WORDS:
                self.clear()
            self[word] = tokens
        return tokens


def _bpe_pieces(tokenizer: Tokenizer) -> list[str] | None:
    """The learned pieces of a BPE model with SentencePiece's space in front; None for others."""
    processor = tokenizer.processor
    learned = [
        token
        for token in range(tokenizer.vocab_size)
        if not (
            processor.is_control(token) or processor.is_unknown(token) or processor.is_byte(token)
        )
    ]
    # The scores of BPE are 0, -1, -2 ... in the order of learning, characters last.
    if any(processor.get_score(token) != -rank for rank, token in enumerate(learned)):
        return None
    if any(processor.is_unused(token) for token in learned):
        return None
    if processor.normalize(" a  b ") != SPACE + " a  b ".replace(" ", SPACE):
        return None
    return [processor.id_to_piece(token) for token in learned]


def _cuts_of(pieces: list[str]) -> tuple[re.Pattern[str], re.Pattern[str]] | None:
    """What a text may be cut into and where, given the pieces; None when it must stay whole."""
    if not pieces or any(_REACHES_SPACE.search(p) or (len(p) > 1 and "\n" in p) for p in pieces):
        return None
    if any(map(_REACHES_KIND.search, pieces)):
        return _COARSE, _COARSE_CUT
    return _FINE, _FINE_CUT

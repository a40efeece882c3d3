"""SentencePiece, made safe for untrusted text: text is text, control ids come from the caller."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sentencepiece


class TokenizerError(ValueError):
    """The tokenizer's file, or a text or id given to it, cannot be used."""


class Tokenizer:
    """Byte-pair encoding of a SentencePiece model file (paper, section 2.1).

    Control pieces (``<s>``, ``</s>``) and ``<unk>`` written in a text are encoded as the
    characters they are made of; BOS and EOS come only from the arguments of `encode`.
    Any text survives `decode(encode(text))` if the model has byte fallback and no normaliser, but
    for U+2581: SentencePiece uses that character for the space.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise TokenizerError(
                f"no tokenizer at {self.path}: expected a SentencePiece model (tokenizer.model)"
            )
        serialized = self.path.read_bytes()
        if not serialized:
            # SentencePiece takes zero bytes for a model and fails later, at the first text.
            raise TokenizerError(f"{self.path} is empty: make the tokenizer again or copy it anew")
        try:
            self.processor = sentencepiece.SentencePieceProcessor(model_proto=serialized)
        except RuntimeError as error:
            raise TokenizerError(
                f"{self.path} ({len(serialized)} bytes) is no readable SentencePiece model; "
                f"make the tokenizer again or copy it anew ({error})"
            ) from error
        self.vocab_size: int = self.processor.vocab_size()
        self.bos_id: int = self.processor.bos_id()
        self.eos_id: int = self.processor.eos_id()
        self.unk_id: int = self.processor.unk_id()
        missing = [
            name
            for name, token in (("BOS", self.bos_id), ("EOS", self.eos_id), ("UNK", self.unk_id))
            if token < 0
        ]
        if missing:
            raise TokenizerError(
                f"{self.path} has no {' and no '.join(missing)}: train it with these control ids"
            )
        # What stands before a continuation when only the continuation's text is wanted.
        self._anchor = self.processor.encode("a")
        self._anchor_text = self.processor.decode(self._anchor)

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """Ids of the text, with BOS before and EOS behind where asked for.

        Raises TokenizerError for a string with lone surrogates: it has no UTF-8 form.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"character {error.start} of the text is a lone surrogate "
                f"(U+{ord(text[error.start]):04X}): decode the source as UTF-8 with replacement"
            ) from error
        ids: list[int] = self.processor.encode(text)
        return [self.bos_id] * bos + ids + [self.eos_id] * eos

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids; control ids give no text, bytes that are no UTF-8 give U+FFFD.

        Raises TokenizerError for an id outside the vocabulary.
        """
        for token in ids:
            if not 0 <= token < self.vocab_size:
                raise TokenizerError(f"id {token} is outside the vocabulary of {self.vocab_size}")
        return self.processor.decode(list(ids))

    def decode_continuation(self, ids: Sequence[int]) -> str:
        """Text that the ids add behind other text: a space at their start is kept.

        `decode` drops it, since SentencePiece puts a space before every text it encodes.
        """
        return self.decode([*self._anchor, *ids])[len(self._anchor_text) :]

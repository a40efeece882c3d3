"""Hugging Face tokenizer files made from a SentencePiece model, as plain JSON.

transformers can read a bare ``tokenizer.model``, but then adds no BOS and tokenises text that
begins with a space differently. A ``tokenizer.json`` of our own gives the ids of SentencePiece.
Neither transformers nor tokenizers nor protobuf is needed to write it.
"""

from __future__ import annotations

from typing import Any

from model.tokenizer import Tokenizer, TokenizerError

SPACE = "\u2581"  # what SentencePiece writes for a space inside pieces
# Shows all the normalisation there is: compatibility forms, runs of spaces, and the dummy prefix.
_PROBE = "  \u24b6 e\u0301  b "


def _pieces(tokenizer: Tokenizer) -> list[str]:
    """All pieces by id. Raises TokenizerError for a model this module cannot express in JSON."""
    processor = tokenizer.processor
    pieces = [processor.id_to_piece(token) for token in range(tokenizer.vocab_size)]
    learned = _learned(tokenizer)
    scores = [processor.get_score(token) for token in learned]
    problems = []
    if any(score != -rank for rank, score in enumerate(scores)):
        problems.append("its scores are no BPE ranks (a unigram model, or user-defined symbols)")
    if sum(processor.is_byte(token) for token in range(tokenizer.vocab_size)) != 256:
        problems.append("it has no byte fallback")
    if processor.normalize(_PROBE) != SPACE + _PROBE.replace(" ", SPACE):
        problems.append(
            "it changes text (needed: identity normalisation, a dummy prefix, spaces kept)"
        )
    if problems:
        raise TokenizerError(f"cannot export {tokenizer.path}: {'; '.join(problems)}")
    return pieces


def _learned(tokenizer: Tokenizer) -> list[int]:
    """Ids of the pieces that text can become, apart from single bytes."""
    processor = tokenizer.processor
    special = (
        processor.is_control,
        processor.is_unknown,
        processor.is_unused,
        processor.is_byte,
    )
    return [t for t in range(tokenizer.vocab_size) if not any(is_(t) for is_ in special)]


def merges(pieces: list[str], learned: list[int]) -> list[list[str]]:
    """BPE merges, best first.

    SentencePiece joins the neighbours whose union is the best piece, however that piece is cut in
    two, of several the leftmost; tokenizers joins the best-ranked pair, of several the leftmost.
    So every cut of a piece into two pieces becomes a merge, pieces in order of their rank.

    In what order the cuts of one piece stand makes no difference. Where a piece P is about to be
    made, nothing was joined across the ends of its span, so inside the span the joins were those
    of P alone, in their order; and all joins better than P are done. So the two parts are the same
    ones wherever P comes about: no two different cuts of P are ever candidates.
    """
    known = {pieces[token] for token in learned}
    found = []
    for token in learned:
        piece = pieces[token]
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in known and right in known:
                found.append([left, right])
    return found


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """Content of ``tokenizer.json``: same ids as `Tokenizer.encode(text, bos=True)`.

    Decoding gives the same text but for bytes that are no UTF-8: tokenizers then replaces the
    whole run of bytes by U+FFFD, SentencePiece only those that are wrong.

    Raises TokenizerError for a model that is not BPE with byte fallback and identity
    normalisation, i.e. not made with the paper's settings.
    """
    pieces = _pieces(tokenizer)
    bos, unk = pieces[tokenizer.bos_id], pieces[tokenizer.unk_id]
    first: dict[str, Any] = {"SpecialToken": {"id": bos, "type_id": 0}}
    text: dict[str, Any] = {"Sequence": {"id": "A", "type_id": 0}}
    second = [
        {"SpecialToken": {"id": bos, "type_id": 1}},
        {"Sequence": {"id": "B", "type_id": 1}},
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token,
                "content": pieces[token],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in sorted((tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id))
        ],
        # Prepend, not Metaspace: that one omits the prefix where the text begins with a space.
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, text],
            "pair": [first, text, *second],
            "special_tokens": {bos: {"id": bos, "ids": [tokenizer.bos_id], "tokens": [bos]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unk,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: token for token, piece in enumerate(pieces)},
            "merges": merges(pieces, _learned(tokenizer)),
        },
    }


def tokenizer_config(tokenizer: Tokenizer, context: int) -> dict[str, Any]:
    """Content of ``tokenizer_config.json``; `context` in tokens.

    The class is the generic one: LlamaTokenizer would rebuild its own normaliser and ignore
    tokenizer.json's. Control ids are not recognised in text, as in `Tokenizer`.
    """
    piece = tokenizer.processor.id_to_piece
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": piece(tokenizer.bos_id),
        "eos_token": piece(tokenizer.eos_id),
        "unk_token": piece(tokenizer.unk_id),
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
    }

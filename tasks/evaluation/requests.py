"""Structured requests and how they become tokens.

A request keeps its parts apart (header, shots, passage, question, choices), so that the engine can
share what is common and a prompt that is too long can lose whole shots: never half a shot, never
the BOS (DESIGN section 7).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class TextEncoder(Protocol):
    """What is needed of `model.tokenizer.Tokenizer`."""

    @property
    def bos_id(self) -> int: ...

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]: ...


@dataclass(frozen=True)
class Choice:
    """One continuation: ``text`` with its leading space, and the context if it is its own.

    question: replaces the request's question for this choice (WinoGrande scores one continuation
    behind two contexts); None for the usual case.
    """

    text: str
    question: str | None = None

    @property
    def characters(self) -> int:
        """Length by which the likelihood is normalised: without the leading space."""
        return len(self.text.removeprefix(" "))


@dataclass(frozen=True)
class Prompt:
    """What stands before the answer, in parts; the text is their plain concatenation."""

    question: str
    header: str = ""
    shots: tuple[str, ...] = ()
    passage: str = ""

    def text(self, shots: int, question: str | None = None) -> str:
        """The prompt with its first ``shots`` examples."""
        asked = self.question if question is None else question
        return self.header + "".join(self.shots[:shots]) + self.passage + asked


@dataclass(frozen=True)
class ChoiceRequest:
    """Multiple choice: which of ``choices`` follows the prompt.

    unconditional: context of the likelihood that BoolQ and OpenBookQA divide by ("Answer:"), or
    None where the protocol has no such term.
    """

    item_id: str
    prompt: Prompt
    choices: tuple[Choice, ...]
    unconditional: str | None = None


@dataclass(frozen=True)
class GenerationRequest:
    """Text to be continued until one of ``stop`` or ``max_new_tokens`` tokens."""

    item_id: str
    prompt: Prompt
    stop: tuple[str, ...]
    max_new_tokens: int


@dataclass(frozen=True)
class TokenPair:
    """Tokens of one scoring call: log P(continuation | context); the context begins with BOS."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(frozen=True)
class Fitted:
    """How a prompt was made to fit: shots left out, and context tokens cut (0 nearly always)."""

    shots_dropped: int = 0
    tokens_cut: int = 0

    @property
    def truncated(self) -> bool:
        """True when the model did not see the whole prompt."""
        return self.shots_dropped > 0 or self.tokens_cut > 0


def token_pair(tokenizer: TextEncoder, context: str, continuation: str) -> TokenPair:
    """Tokens of ``continuation`` behind ``context``: encode(ctx+cont)[len(encode(ctx)):].

    Spaces at the end of the context move to the continuation, as in lm-evaluation-harness
    (`TemplateLM._encode_pair`), because SentencePiece joins a space to the word behind it.
    """
    bare = context.rstrip(" ")
    continuation = context[len(bare) :] + continuation
    before = tokenizer.encode(bare)
    whole = tokenizer.encode(bare + continuation)
    tail = whole[len(before) :]
    if not tail:
        raise ValueError(f"the continuation {continuation!r} has no token of its own to score")
    return TokenPair((tokenizer.bos_id, *before), tuple(tail))


def fit_choices(
    tokenizer: TextEncoder, request: ChoiceRequest, context_length: int
) -> tuple[list[TokenPair], Fitted]:
    """Token pairs of every choice, all with the same number of shots, fitting ``context_length``.

    Shots are dropped from the end, so the common beginning stays shareable. What is still too long
    without shots loses context tokens behind the BOS, from the left; both are reported.
    """
    prompt = request.prompt
    for shots in range(len(prompt.shots), -1, -1):
        pairs = [
            token_pair(tokenizer, prompt.text(shots, choice.question), choice.text)
            for choice in request.choices
        ]
        # The last continuation token is predicted, never read.
        over = max(len(p.context) + len(p.continuation) - 1 for p in pairs) - context_length
        if over <= 0 or shots == 0:
            break
    dropped = len(prompt.shots) - shots
    if over <= 0:
        return pairs, Fitted(shots_dropped=dropped)
    return [_cut(p, over, context_length) for p in pairs], Fitted(dropped, over)


def _cut(pair: TokenPair, over: int, context_length: int) -> TokenPair:
    body = pair.context[1:]
    if over > len(body):
        raise ValueError(
            f"a choice of {len(pair.continuation)} tokens does not fit a context of "
            f"{context_length} tokens: use a model with a longer context"
        )
    return TokenPair((pair.context[0], *body[over:]), pair.continuation)


def fit_prompt(
    tokenizer: TextEncoder, request: GenerationRequest, context_length: int
) -> tuple[list[int], int, Fitted]:
    """``(prompt tokens with BOS, tokens to generate at most, Fitted)``.

    The second is min(max_new_tokens, half the context) for every prompt; shots are dropped as in
    `fit_choices`.
    """
    new_tokens = min(request.max_new_tokens, context_length // 2)
    room = context_length - new_tokens
    prompt = request.prompt
    for shots in range(len(prompt.shots), -1, -1):
        tokens = [tokenizer.bos_id, *tokenizer.encode(prompt.text(shots))]
        if len(tokens) <= room:
            break
    over = max(0, len(tokens) - room)
    if over:
        tokens = [tokens[0], *tokens[1 + over :]]
    return tokens, new_tokens, Fitted(len(prompt.shots) - shots, over)


def prompt_hash(requests: Sequence[ChoiceRequest | GenerationRequest]) -> str:
    """sha256 over every rendered prompt, choice and stop rule, in order.

    Equal hashes mean that exactly the same questions were asked in the same words.
    """
    total = hashlib.sha256()
    for request in requests:
        value: dict[str, Any] = {
            "id": request.item_id,
            "prompt": request.prompt.text(len(request.prompt.shots)),
        }
        if isinstance(request, ChoiceRequest):
            value["choices"] = [[c.question, c.text] for c in request.choices]
            value["unconditional"] = request.unconditional
        else:
            value["stop"] = list(request.stop)
            value["max_new_tokens"] = request.max_new_tokens
        total.update(json.dumps(value, sort_keys=True).encode() + b"\n")
    return total.hexdigest()

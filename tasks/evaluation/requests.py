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
    """How a prompt was made to fit: shots left out, and context tokens cut (0 nearly always).

    reason: why the question cannot be asked at all, None where it can.
    """

    shots_dropped: int = 0
    tokens_cut: int = 0
    reason: str | None = None

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
    """Token pairs of every choice, and then, if there is one, of every choice behind the
    unconditional context; all with the same number of shots, fitting ``context_length``.

    Shots are dropped from the end, so the common beginning stays shareable. Without shots, a pair
    that is still too long loses context tokens behind the BOS, from the left, as many as its own
    choice takes; the most that one lost is reported. A choice that does not fit even so leaves no
    pairs, and a reason.
    """
    prompt, choices = request.prompt, request.choices
    for shots in range(len(prompt.shots), -1, -1):
        pairs = [
            token_pair(tokenizer, prompt.text(shots, choice.question), choice.text)
            for choice in choices
        ]
        over = max(_tokens_read(pair) for pair in pairs) - context_length
        if over <= 0 or shots == 0:
            break
    dropped = len(prompt.shots) - shots
    # BOS is read, the last token of a choice is not: the number of its own tokens is what counts.
    needed = [len(pair.continuation) for pair in pairs]
    behind = ""
    without: list[TokenPair] = []
    if request.unconditional is not None:
        without = [token_pair(tokenizer, request.unconditional, c.text) for c in choices]
        needed = [max(n, _tokens_read(pair)) for n, pair in zip(needed, without, strict=True)]
        behind = f" with {request.unconditional!r}"
    longest = max(needed)
    if longest > context_length:
        reason = (
            f"choice {needed.index(longest) + 1} of {len(choices)} has {longest} tokens{behind}, "
            f"the model reads {context_length}"
        )
        return [], Fitted(dropped, max(over, longest - context_length), reason)
    fitting = [_cut(pair, context_length) for pair in pairs]
    return fitting + without, Fitted(dropped, max(0, over))


def _tokens_read(pair: TokenPair) -> int:
    return len(pair.context) + len(pair.continuation) - 1  # the last one is predicted, never read


def _cut(pair: TokenPair, context_length: int) -> TokenPair:
    over = max(0, _tokens_read(pair) - context_length)
    return TokenPair((pair.context[0], *pair.context[1 + over :]), pair.continuation)


def new_tokens(request: GenerationRequest, context_length: int) -> int:
    """Tokens generated at most: half of the context is the prompt's."""
    return min(request.max_new_tokens, context_length // 2)


def fit_prompt(
    tokenizer: TextEncoder, request: GenerationRequest, context_length: int
) -> tuple[list[int], int, Fitted]:
    """``(prompt tokens with BOS, tokens to generate at most, Fitted)``.

    The second is that of `new_tokens` for every prompt; shots are dropped as in `fit_choices`.
    """
    length = new_tokens(request, context_length)
    room = context_length - length
    prompt = request.prompt
    for shots in range(len(prompt.shots), -1, -1):
        tokens = [tokenizer.bos_id, *tokenizer.encode(prompt.text(shots))]
        if len(tokens) <= room:
            break
    over = max(0, len(tokens) - room)
    if over:
        tokens = [tokens[0], *tokens[1 + over :]]
    return tokens, length, Fitted(len(prompt.shots) - shots, over)


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

"""How an example becomes prompt and target, and these become tokens.

Every prompt ends with a line break, and SentencePiece models of this project have no piece that
crosses one: the target's tokens are the same whether or not the prompt stands before them.
"""

from __future__ import annotations

from model.tokenizer import Tokenizer
from tasks.training.instructions.records import Example


class TemplateError(ValueError):
    """The tokenizer joins the end of the prompt with the beginning of the target."""


def render(template: str, example: Example) -> tuple[str, str]:
    """(prompt, target) as text. Errors: ``ValueError`` for an unknown template."""
    parts = [part for part in (example.instruction, example.input) if part]
    if template == "plain":
        return "\n\n".join(parts) + "\nAnswer:\n", example.target
    if template == "alpaca":
        prompt = f"### Instruction:\n{example.instruction or example.input}\n\n"
        if example.instruction and example.input:
            prompt += f"### Input:\n{example.input}\n\n"
        return prompt + "### Response:\n", example.target
    raise ValueError(f"unknown template {template!r}: choose plain or alpaca")


def encode(tokenizer: Tokenizer, prompt: str, target: str) -> tuple[list[int], int]:
    """(BOS, prompt, target, EOS as one list of ids; number of ids before the target).

    Errors: ``TemplateError`` when the prompt's tokens are no prefix of the whole's.
    """
    whole = tokenizer.encode(prompt + target, bos=True, eos=True)
    before = tokenizer.encode(prompt, bos=True)
    if whole[: len(before)] != before:
        raise TemplateError(
            f"the tokenizer {tokenizer.path} joins the prompt's end with the target's beginning "
            f"in {prompt[-20:] + target[:20]!r}: it cannot be used with this template"
        )
    return whole, len(before)

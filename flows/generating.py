"""``arriero generate``: continue prompts with a model of the store, in batches, as text comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.generate import generate
from model.stream import TextStream
from model.tokenizer import Tokenizer
from registry import lineage
from registry.artifacts import Kind
from tasks.runner import open_workplace

Show = Callable[[int, str], None]


@dataclass(frozen=True)
class Sampling:
    """How to continue. temperature 0 is greedy; stop: strings that end an answer."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    batch: int = 16


def model_folder(reference: str) -> tuple[Path, str]:
    """Folder and digest of the model or checkpoint that a user means; its files are verified.

    Raises:
        ValueError: there is none, several match, or its files are damaged.
    """
    place = open_workplace()
    ref = lineage.resolve(place.registry, reference)
    if ref.kind not in (Kind.MODEL, Kind.CHECKPOINT):
        raise ValueError(f"{ref.kind.value} {ref.digest[:12]} is no model: give a model")
    problems = place.store.verify(ref)
    if problems:
        raise ValueError(f"{ref.kind.value} {ref.digest[:12]} is damaged: {'; '.join(problems)}")
    return place.store.path(ref), ref.digest


def continued(
    reference: str, prompts: Sequence[str], how: Sampling, show: Show = lambda row, text: None
) -> Iterator[dict[str, Any]]:
    """Prompt, text and what ended it of every prompt, in order; ``show`` has text as it comes.

    Raises:
        ValueError: see ``model_folder`` and ``model.generate.generate``.
    """
    from model.weights import load_model

    if not prompts:
        raise ValueError("no prompt: give one with --prompt, or one in each line of --file")
    folder, digest = model_folder(reference)
    model = load_model(folder)
    tokenizer = Tokenizer(folder / "tokenizer.model")
    decode = tokenizer.decode_continuation
    for first in range(0, len(prompts), how.batch):
        part = prompts[first : first + how.batch]
        streams = [TextStream(decode, how.stop) for _ in part]

        def on_token(
            place: int,
            tokens: Sequence[int],
            streams: list[TextStream] = streams,
            first: int = first,
        ) -> None:
            if piece := streams[place].more(tokens):
                show(first + place, piece)

        outputs = generate(
            model,
            [tokenizer.encode(text, bos=True) for text in part],
            how.max_new_tokens,
            temperature=how.temperature,
            top_p=how.top_p,
            stop=how.stop,
            eos_id=tokenizer.eos_id,
            decode=decode,
            seed=how.seed,
            rows=range(first, first + len(part)),
            on_token=on_token,
        )
        for place, (prompt, output) in enumerate(zip(part, outputs, strict=True)):
            text = output.text or ""
            if piece := streams[place].rest(text):
                show(first + place, piece)
            yield {
                "model": digest,
                "prompt": prompt,
                "text": text,
                "finish": output.finish,
                "tokens": len(output.tokens),
            }

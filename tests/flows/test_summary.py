"""The summary tells what every stage of the chain noted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flows.finetuning import Finetuned
from flows.pretraining import Trained
from flows.summary import notes_of
from flows.tokenizer import Tokenized
from registry.artifacts import ArtifactRef, Kind, recipe_key
from tasks.runner import Workplace

Put = Callable[..., ArtifactRef]


@pytest.fixture
def put(place: Workplace) -> Put:
    """``put(kind, stage, **inputs)`` publishes an artifact whose stage noted its name."""

    def publish(kind: Kind, stage: str, **inputs: ArtifactRef) -> ArtifactRef:
        staging = place.store.new_staging()
        (staging / "file.txt").write_text(stage)
        digests = {name: ref.digest for name, ref in inputs.items()}
        return place.store.publish(
            staging,
            key=recipe_key(stage, 1, {}, {}, digests),
            kind=kind,
            stage=stage,
            stage_version=1,
            parameters={},
            inputs=inputs,
            notes=[f"{len(inputs)} inputs"],
        )

    return publish


def test_notes_of_the_whole_chain_name_their_stage(place: Workplace, put: Put) -> None:
    pages = put(Kind.DOCUMENTS, "documents.commoncrawl")
    judged = put(Kind.DOCUMENTS, "quality.commoncrawl", pages=pages)
    corpus = put(Kind.DOCUMENTS, "corpus", commoncrawl=judged)
    tokenizer = put(Kind.TOKENIZER, "tokenizer", corpus=corpus)
    tokens = put(Kind.TOKENS, "tokens", corpus=corpus, tokenizer=tokenizer)
    base = put(Kind.CHECKPOINT, "pretraining", tokens=tokens, tokenizer=tokenizer)
    raw = put(Kind.RAW, "instructions.raw")
    rows = put(Kind.INSTRUCTIONS, "instructions", raw=raw, tokenizer=tokenizer)
    tuned = put(Kind.CHECKPOINT, "finetuning", checkpoint=base, instructions=rows)
    model = put(Kind.MODEL, "export", checkpoint=tuned)
    assert notes_of(
        place,
        corpus,
        Tokenized(tokenizer=tokenizer, tokens=tokens),
        Trained(checkpoint=base, model=model),
        Finetuned(checkpoint=tuned, model=model, instructions=rows),
    ) == [
        "documents.commoncrawl: 0 inputs",
        "quality.commoncrawl: 1 inputs",
        "corpus: 1 inputs",
        "tokenizer: 1 inputs",
        "tokens: 2 inputs",
        "pretraining: 2 inputs",
        "instructions: 2 inputs",
        "finetuning: 2 inputs",
    ]

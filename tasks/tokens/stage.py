"""The tasks of this package: train the tokenizer, encode the corpus."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from registry.artifacts import ArtifactRef, Kind
from tasks.runner import RunContext, Stage, run_stage
from tasks.tokens.parameters import TokenizerParameters, TokensParameters

TOKENIZER = Stage(name="tokenizer", version=1, kind=Kind.TOKENIZER, libraries=("sentencepiece",))
TOKENS = Stage(
    name="tokens", version=2, kind=Kind.TOKENS, libraries=("sentencepiece", "numpy", "pyarrow")
)


@task(name="tokenizer", task_run_name="tokenizer", cache_policy=NO_CACHE, persist_result=True)
def train_tokenizer(parameters: TokenizerParameters, corpus: ArtifactRef, run: RunContext) -> Any:
    """SentencePiece BPE from the training split of a corpus; returns its ``ArtifactRef``."""
    from tasks.tokens.tokenizer import build_tokenizer

    return run_stage(
        TOKENIZER,
        parameters,
        {"corpus": corpus},
        run,
        lambda inputs, context: build_tokenizer(parameters, inputs["corpus"], context),
    )


@task(name="tokens", task_run_name="tokens", cache_policy=NO_CACHE, persist_result=True)
def tokenize_corpus(
    parameters: TokensParameters, corpus: ArtifactRef, tokenizer: ArtifactRef, run: RunContext
) -> Any:
    """Token shards of a corpus; returns their ``ArtifactRef``."""
    from tasks.tokens.shards import build_tokens

    return run_stage(
        TOKENS,
        parameters,
        {"corpus": corpus, "tokenizer": tokenizer},
        run,
        lambda inputs, context: build_tokens(
            parameters, inputs["corpus"], inputs["tokenizer"], context
        ),
    )

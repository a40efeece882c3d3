"""Corpus to a SentencePiece tokenizer and token shards."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows.references import find_artifact
from flows.session import recorded
from registry.artifacts import ArtifactRef, Kind
from tasks.runner import open_workplace, settled
from tasks.tokens.parameters import TokenizerParameters, TokensParameters
from tasks.tokens.stage import tokenize_corpus, train_tokenizer


class TokenizerFlowParameters(BaseModel):
    """The form of the ``tokenizer`` deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Tokenizer and tokens")

    corpus: str = Field(
        "latest", title="Corpus", description="`latest`, or the digest of a corpus artifact."
    )
    tokenizer: TokenizerParameters = Field(
        default_factory=TokenizerParameters, title="Tokenizer", description="SentencePiece BPE."
    )
    tokens: TokensParameters = Field(
        default_factory=TokensParameters, title="Tokens", description="Token shards."
    )


class Tokenized(BaseModel):
    """What the flow made."""

    model_config = ConfigDict(frozen=True)

    tokenizer: ArtifactRef
    tokens: ArtifactRef


@flow(name="tokenizer")
def tokenizer(parameters: TokenizerFlowParameters) -> Tokenized:
    """Train the tokenizer on a deterministic sample of the corpus, then encode all of it."""
    with recorded("tokenizer", parameters) as run:
        corpus = find_artifact(open_workplace(), parameters.corpus, Kind.DOCUMENTS, "corpus")
        trained = settled(train_tokenizer(parameters.tokenizer, corpus, run))
        tokens = settled(tokenize_corpus(parameters.tokens, corpus, trained, run))
        return Tokenized(tokenizer=trained, tokens=tokens)

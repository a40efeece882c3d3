"""Train the SentencePiece model: BPE, the paper's settings, the same bytes every time.

Three things made two runs differ and are switched off or normalised: SentencePiece's own sampling
and shuffling (the sample is ours, chosen by document hash), and the number of threads, which the
model file records although it changes no piece.
"""

from __future__ import annotations

import io
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.context import StageContext, StageResult, atomic_write_bytes, atomic_write_json
from tasks.corpus.execute import Executor
from tasks.tokens.corpus import mixture_weights, sources_of
from tasks.tokens.execution import executor_of
from tasks.tokens.parameters import TokenizerParameters
from tasks.tokens.sample import Drawn, draw_sample

# SentencePiece marks boundaries with this character and leaves out, without a word, every line that
# holds one. Lines are split at it instead, and counted.
_BOUNDARY = "\u2585"


class TokenizerTrainingError(ValueError):
    """The corpus and the parameters do not make a vocabulary; says which number to change."""


@dataclass
class Sample:
    """What the tokenizer learned from. bytes and characters are counted per document."""

    documents: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    lines_split: int = 0
    lines_with_boundary_mark: int = 0


def split_line(line: str, limit: int) -> Iterator[str]:
    """Parts of ``line`` of at most ``limit`` UTF-8 bytes, cut at a space where there is one.

    The space at a cut is left out: SentencePiece puts one before every line.
    """
    data = line.encode("utf-8")
    while len(data) > limit:
        cut = data.rfind(b" ", 1, limit + 1)
        if cut > 0:
            yield data[:cut].decode("utf-8")
            data = data[cut + 1 :]
            continue
        cut = limit
        while data[cut] & 0xC0 == 0x80:  # never inside a character
            cut -= 1
        yield data[:cut].decode("utf-8")
        data = data[cut:]
    if data:
        yield data.decode("utf-8")


def training_lines(
    drawn: Mapping[str, Drawn], parameters: TokenizerParameters, sample: Sample
) -> Iterator[str]:
    """Lines of the sample's documents, source by source in file order; fills ``sample``."""
    for source in sorted(drawn):
        for text in drawn[source].texts():
            sample.documents[source] += 1
            sample.characters[source] += len(text)
            sample.bytes[source] += len(text.encode("utf-8"))
            for line in text.split("\n"):
                sample.lines_with_boundary_mark += _BOUNDARY in line
                parts = [
                    part
                    for piece in line.split(_BOUNDARY)
                    for part in split_line(piece, parameters.max_sentence_length)
                ]
                sample.lines += len(parts)
                sample.lines_split += len(parts) > 1
                yield from parts


def train_sentencepiece(lines: Iterator[str], parameters: TokenizerParameters) -> bytes:
    """Serialized model. Errors: ``TokenizerTrainingError`` names the possible vocabulary."""
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            model_type="bpe",
            vocab_size=parameters.vocab_size,
            character_coverage=parameters.character_coverage,
            max_sentence_length=parameters.max_sentence_length,
            num_threads=parameters.threads,
            normalization_rule_name="identity",
            add_dummy_prefix=True,
            remove_extra_whitespaces=False,
            split_digits=True,
            byte_fallback=True,
            allow_whitespace_only_pieces=True,
            split_by_unicode_script=True,
            split_by_number=True,
            split_by_whitespace=True,
            treat_whitespace_as_suffix=False,
            max_sentencepiece_length=16,
            hard_vocab_limit=True,
            input_sentence_size=0,
            shuffle_input_sentence=False,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            unk_surface=" \u2047 ",
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(error, parameters) from error
    return _without_threads(model.getvalue())


def _explained(error: RuntimeError, parameters: TokenizerParameters) -> TokenizerTrainingError:
    message = str(error)
    if found := re.search(r"set it to a value <= (\d+)", message):
        return TokenizerTrainingError(
            f"the training sample is too small for a vocabulary of {parameters.vocab_size} pieces: "
            f"{found[1]} are possible. Use more text (sample_bytes, more documents) or set "
            f"vocab_size to at most {found[1]}."
        )
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return TokenizerTrainingError(
            f"a vocabulary of {parameters.vocab_size} pieces cannot hold the characters of the "
            f"sample: {found[1]} are needed at character_coverage "
            f"{parameters.character_coverage}. Raise vocab_size above {found[1]} or lower "
            f"character_coverage (rarer characters become bytes)."
        )
    return TokenizerTrainingError(f"SentencePiece could not train: {message}")


def _without_threads(model: bytes) -> bytes:
    """The model with the recorded number of threads set to 1."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    proto.ParseFromString(model)
    proto.trainer_spec.num_threads = 1
    serialized: bytes = proto.SerializeToString(deterministic=True)
    return serialized


def build_tokenizer(
    parameters: TokenizerParameters,
    corpus: Path,
    context: StageContext,
    executor: Executor | None = None,
) -> StageResult:
    """Write ``tokenizer.model`` and ``tokenizer.json`` from the corpus's training documents.

    executor: where the sample is drawn; by default what the parameters say.
    Errors: ``TokenizerTrainingError``; ``ValueError`` for a corpus that is none.
    """
    import sentencepiece

    weights = {source: weight for source, weight in mixture_weights(corpus).items() if weight > 0}
    whole = sum(weights.values())
    quotas = {s: parameters.sample_bytes * weight / whole for s, weight in weights.items()}
    held = sources_of(corpus, "train")
    files = [path for source in quotas for path in held[source]]
    started = time.monotonic()
    drawn = draw_sample(
        held,
        quotas,
        parameters.seed,
        context.work / "sample",
        executor or executor_of(parameters, context, len(files), files, reading=True),
        lambda done, jobs: context.progress(
            0.3 * done / jobs, f"choosing documents: {done} of {jobs} files"
        ),
    )
    chosen = time.monotonic()
    context.progress(0.3, "training")
    sample = Sample()
    model = train_sentencepiece(training_lines(drawn, parameters, sample), parameters)
    trained = time.monotonic()
    atomic_write_bytes(context.out / "tokenizer.model", model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    trained_on = {
        "documents": dict(sample.documents),
        "characters": dict(sample.characters),
        "bytes": dict(sample.bytes),
        "lines": sample.lines,
        "lines_split": sample.lines_split,
        "lines_with_boundary_mark": sample.lines_with_boundary_mark,
    }
    summary = {
        "vocab_size": processor.vocab_size(),
        "unk_id": processor.unk_id(),
        "bos_id": processor.bos_id(),
        "eos_id": processor.eos_id(),
        "trained_on": trained_on,
    }
    atomic_write_json(context.out / "tokenizer.json", summary)
    seconds = {"sample_seconds": chosen - started, "training_seconds": trained - chosen}
    atomic_write_json(context.logs / "tokenizer.json", {"seconds": trained - started, **seconds})
    context.progress(1.0, f"{processor.vocab_size()} pieces from {sample.lines} lines")
    notes = [
        f"tokenizer sample: {source} gives {sample.bytes[source]} bytes,"
        f" its share is {round(quota)}"
        for source, quota in sorted(quotas.items())
        if sample.bytes[source] < quota * 0.99
    ]
    return StageResult(
        counts={"vocab_size": processor.vocab_size(), **trained_on},
        seeds={"sample": parameters.seed},
        notes=notes,
    )

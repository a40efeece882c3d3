"""Trains one language's pieces and n-grams on its Wikipedia articles."""

from __future__ import annotations

import io
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tasks.context import atomic_write_bytes
from tasks.corpus.documents import read_chosen, read_documents
from tasks.corpus.quality.kenlm import Kenlm
from tasks.corpus.quality.normalise import normalised, normalised_segments, segments
from tasks.corpus.quality.parameters import QualityModelParameters
from tasks.corpus.quality.perplexity import NGRAMS, PIECES
from tasks.corpus.quality.sampling import document_hash

# The model file records the number, and the sums of the training depend on it: never the machine's.
THREADS = 16
SENTENCE = 2000


class QualityTrainingError(ValueError):
    """Text and parameters do not make a model; says which number to change."""


@dataclass
class LanguageText:
    """The articles of one language: how many, their bytes, and the hash of each."""

    documents: int = 0
    bytes: int = 0
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, hashed: int, size: int) -> None:
        """Count one article of ``size`` UTF-8 bytes."""
        self.documents += 1
        self.bytes += size
        self.hashes.append(hashed)
        self.sizes.append(size)

    def greatest_hash(self, quota: int) -> int:
        """Articles up to this hash are the ones with the lowest that first hold ``quota`` bytes."""
        order_N = np.argsort(np.frombuffer(self.hashes, np.uint64), kind="stable")
        total_N = np.cumsum(np.frombuffer(self.sizes, np.uint64)[order_N])
        last = min(int(np.searchsorted(total_N, quota)), len(order_N) - 1)
        return self.hashes[int(order_N[last])]


def measure_text(files: Sequence[Path], languages: set[str], seed: int) -> dict[str, LanguageText]:
    """What the Wikipedia documents hold of each of ``languages``; sorted by language."""
    found = {language: LanguageText() for language in sorted(languages)}
    for path in files:
        for row in read_documents(path, ["id", "language", "text"]):
            text = found.get(row["language"])
            if text is not None:
                text.add(document_hash(seed, row["id"]), len(row["text"].encode()))
    return found


def articles(files: Sequence[Path], language: str, greatest: int, seed: int) -> Iterator[str]:
    """Texts of the language's articles with a hash up to ``greatest``, in the files' order."""

    def chosen(row: dict[str, str]) -> bool:
        return row["language"] == language and document_hash(seed, row["id"]) <= greatest

    for path in files:
        for row in read_chosen(path, ["text"], ["id", "language"], chosen):
            yield row["text"]


def train_pieces(texts: Iterable[str], parameters: QualityModelParameters) -> bytes:
    """SentencePiece unigram model, serialized; the same bytes for the same texts.

    The vocabulary is an upper bound: a small text gives the pieces that it has.

    Raises:
        QualityTrainingError: the vocabulary cannot hold the characters that must be covered.
    """
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=parameters.vocabulary,
            hard_vocab_limit=False,
            character_coverage=parameters.character_coverage,
            normalization_rule_name="identity",
            max_sentence_length=4 * SENTENCE,
            input_sentence_size=0,
            shuffle_input_sentence=False,
            num_threads=THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        message = str(error)
        if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
            message = (
                f"a vocabulary of {parameters.vocabulary} pieces cannot hold the {found[1]}"
                f" characters of the text; raise vocabulary above {found[1]} or lower"
                " character_coverage"
            )
        raise QualityTrainingError(f"SentencePiece could not train: {message}") from error
    return model.getvalue()


def train_language(
    files: Sequence[Path],
    language: str,
    text: LanguageText,
    parameters: QualityModelParameters,
    programs: Kenlm,
    out: Path,
    scratch: Path,
    log: Path,
) -> dict[str, int]:
    """Write the two files of one language's model to ``out``.

    Args:
        scratch: folder for the text of pieces, the n-grams' sorting and the ARPA file.

    Returns:
        Counts for the report: what was read, and the pieces there are.
    """
    import sentencepiece

    out.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(parents=True, exist_ok=True)
    seed = parameters.seed
    greatest = text.greatest_hash(parameters.sentencepiece_bytes)
    model = train_pieces(articles(files, language, greatest, seed), parameters)
    atomic_write_bytes(out / PIECES, model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    greatest = text.greatest_hash(parameters.ngram_bytes)
    counts = {"ngram_documents": 0, "ngram_bytes": 0, "ngram_pieces": 0}
    corpus = scratch / f"{language}.pieces"
    with corpus.open("w", encoding="utf-8", newline="\n") as file:
        for article in articles(files, language, greatest, seed):
            counts["ngram_documents"] += 1
            counts["ngram_bytes"] += len(article.encode())
            # One article a line: a document is scored as one sequence, too.
            for segment in normalised_segments(article):
                pieces = processor.encode(segment, out_type=str)
                counts["ngram_pieces"] += len(pieces)
                file.write(" ".join(pieces) + " ")
            file.write("\n")
    programs.train(
        corpus, parameters.ngram_order, parameters.kenlm_memory, scratch, out / NGRAMS, log
    )
    corpus.unlink()
    return {
        "documents": text.documents,
        "bytes": text.bytes,
        "vocabulary": processor.vocab_size(),
        **counts,
    }


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    """Normalised lines, the long ones in parts: SentencePiece leaves out what is too long."""
    for text in texts:
        for line in text.split("\n"):
            for part in segments(line, SENTENCE):
                if sentence := normalised(part):
                    yield from (
                        sentence[i : i + SENTENCE] for i in range(0, len(sentence), SENTENCE)
                    )

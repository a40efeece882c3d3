"""Tokenizer training and token shards: the same bytes every time, text back from tokens."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizer import Tokenizer
from tasks.context import StageContext, recipe_parameters
from tasks.tokens.order import TokenOrder
from tasks.tokens.parameters import TokenizerParameters, TokensParameters
from tasks.tokens.shards import build_tokens, token_dtype
from tasks.tokens.show import BOUNDARY, describe_batch
from tasks.tokens.tokenizer import (
    Sample,
    TokenizerTrainingError,
    build_tokenizer,
    choose_documents,
    split_line,
    training_lines,
)

ROOT = Path(__file__).resolve().parents[3]
SPECIAL = (
    "Control </s> text <s> and <unk>, digits 2026, tabs\tand\n\nlines, \u00e9\u4e2d\U0001f9c9."
)


def words(source: str, count: int) -> list[tuple[str, str]]:
    """Documents of made-up sentences, the same in every process."""
    made = random.Random(source)
    syllables = [a + b for a in "bdfklmnprst" for b in ("a", "e", "i", "o", "u", "an", "er")]
    lexicon = ["".join(made.choices(syllables, k=made.randint(1, 4))) for _ in range(400)]
    return [
        (f"{source}:{n}", " ".join(made.choices(lexicon, k=made.randint(20, 120))) + f". {n}\n")
        for n in range(count)
    ]


def write_corpus(folder: Path) -> Path:
    """A corpus artifact of two sources, several row groups each."""
    for split, counts in {
        "train": {"wikipedia": 120, "books": 60},
        "validation": {"wikipedia": 6},
    }.items():
        (folder / split).mkdir(parents=True)
        for source, count in counts.items():
            rows = words(source + split, count)
            if split == "train" and source == "books":
                rows[3] = ("books:special", SPECIAL)
                rows[4] = ("books:empty", "")
            table = pa.table({"id": [i for i, _ in rows], "text": [t for _, t in rows]})
            pq.write_table(table, folder / split / f"{source}.parquet", row_group_size=25)
    (folder / "mixture.json").write_text(
        json.dumps({"weights": {"wikipedia": 0.75, "books": 0.25}})
    )
    return folder


def stage(folder: Path) -> StageContext:
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir()
    return StageContext(out=folder / "out", work=folder / "work")


def tree_hash(folder: Path) -> dict[str, str]:
    """sha256 of every file that is part of the content digest."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.relative_to(folder).parts[0] != "logs"
    }


SMALL = TokenizerParameters(vocab_size=400, sample_bytes=60_000)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("tokens")
    corpus = write_corpus(base / "corpus")
    build_tokenizer(SMALL, corpus, one := stage(base / "tokenizer"))
    build_tokens(TokensParameters(workers=1), corpus, one.out, two := stage(base / "tokens"))
    return {"corpus": corpus, "tokenizer": one.out, "tokens": two.out}


# ---- tokenizer -------------------------------------------------------------------------------


def test_another_process_with_other_threads_makes_the_same_bytes(
    built: dict[str, Path], tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tasks.context import StageContext\n"
        "from tasks.tokens.parameters import TokenizerParameters\n"
        "from tasks.tokens.tokenizer import build_tokenizer\n"
        "p = TokenizerParameters(vocab_size=400, sample_bytes=60_000, threads=4)\n"
        "c = StageContext(out=Path(sys.argv[2]), work=Path(sys.argv[2]))\n"
        "build_tokenizer(p, Path(sys.argv[1]), c)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(built["corpus"]), str(tmp_path)], check=True, cwd=ROOT
    )
    assert tree_hash(tmp_path) == tree_hash(built["tokenizer"])
    recipe = recipe_parameters(SMALL)
    assert "threads" not in recipe and recipe["vocab_size"] == 400


def test_settings_are_the_papers(built: dict[str, Path]) -> None:
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString((built["tokenizer"] / "tokenizer.model").read_bytes())
    spec, normalizer = proto.trainer_spec, proto.normalizer_spec
    assert spec.model_type == spec.BPE and spec.split_digits and spec.byte_fallback
    assert spec.allow_whitespace_only_pieces and spec.max_sentencepiece_length == 16
    assert spec.split_by_unicode_script and spec.split_by_number and spec.split_by_whitespace
    assert spec.unk_surface == " \u2047 " and not spec.treat_whitespace_as_suffix
    assert (spec.unk_id, spec.bos_id, spec.eos_id, spec.pad_id) == (0, 1, 2, -1)
    assert normalizer.name == "identity" and normalizer.add_dummy_prefix
    assert not normalizer.remove_extra_whitespaces
    assert spec.character_coverage == pytest.approx(0.99995)
    # Nothing of the machine is in the file.
    assert not spec.input and not spec.model_prefix and spec.num_threads == 1
    pieces = [p.piece for p in proto.pieces]
    assert len(pieces) == 400 and pieces[:3] == ["<unk>", "<s>", "</s>"]
    assert pieces[3:259] == [f"<0x{b:02X}>" for b in range(256)]
    assert not [p for p in pieces[259:] if len(p) > 1 and any(c.isdigit() for c in p)]


def test_sample_is_by_hash_weighted_and_independent_of_row_order(
    built: dict[str, Path], tmp_path: Path
) -> None:
    summary = json.loads((built["tokenizer"] / "tokenizer.json").read_text())
    sizes = summary["trained_on"]["bytes"]
    assert 45_000 <= sizes["wikipedia"] <= 46_500
    assert 15_000 <= sizes["books"] <= 16_500
    path = built["corpus"] / "train" / "books.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(list(reversed(range(len(table))))), tmp_path / "r.parquet")
    chosen = choose_documents(path, 5_000, seed=3)
    assert chosen == choose_documents(tmp_path / "r.parquet", 5_000, seed=3)
    assert chosen != choose_documents(path, 5_000, seed=4)
    assert 0 < len(chosen) < len(table)


def test_a_source_that_is_too_small_is_noted(built: dict[str, Path], tmp_path: Path) -> None:
    parameters = TokenizerParameters(vocab_size=400, sample_bytes=10_000_000)
    result = build_tokenizer(parameters, built["corpus"], stage(tmp_path))
    assert len(result.notes) == 2 and "books gives" in result.notes[0]


@given(line=st.text(max_size=300), limit=st.integers(8, 64))
def test_long_lines_are_split_not_lost(line: str, limit: int) -> None:
    line = "".join(c for c in line if not "\ud800" <= c <= "\udfff")
    parts = list(split_line(line, limit))
    assert all(0 < len(part.encode()) <= limit for part in parts)
    # A cut either takes one space away or nothing.
    rest = line
    for k, part in enumerate(parts):
        if (k and rest.startswith(" ") and not part.startswith(" ")) or (
            k and rest.startswith(" " + part)
        ):
            rest = rest[1:]
        assert rest.startswith(part)
        rest = rest[len(part) :]
    assert rest in ("", " ")


def test_split_lines_and_boundary_marks_are_counted(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    text = "one two three " * 20 + "\nleft\u2585right\n"
    pq.write_table(pa.table({"id": ["a"], "text": [text]}), tmp_path / "train" / "books.parquet")
    sample = Sample()
    parameters = TokenizerParameters(max_sentence_length=64)
    lines = list(training_lines(tmp_path, {"books": 1.0}, parameters, sample))
    assert max(len(line) for line in lines) <= 64 and lines[-2:] == ["left", "right"]
    assert " ".join(lines[:-2]).split() == text.split("\n")[0].split()
    assert sample.lines == len(lines) and sample.lines_with_boundary_mark == 1


def test_impossible_vocabularies_say_what_is_possible(
    built: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(
        TokenizerTrainingError, match=r"too small .* 60000 pieces: \d+ are possible"
    ):
        build_tokenizer(TokenizerParameters(vocab_size=60_000), built["corpus"], stage(tmp_path))
    with pytest.raises(TokenizerTrainingError, match=r"Raise vocab_size above 3\d\d"):
        full = TokenizerParameters(vocab_size=300, character_coverage=1.0)
        (tmp_path / "train").mkdir()
        alphabet = "".join(chr(c) for c in range(0x4E00, 0x4E40)) * 30
        table = pa.table({"id": ["a"], "text": [alphabet]})
        pq.write_table(table, tmp_path / "train" / "books.parquet")
        (tmp_path / "mixture.json").write_text('{"weights": {"books": 1}}')
        build_tokenizer(full, tmp_path, stage(tmp_path / "b"))


def test_a_weighted_source_without_documents_is_an_error(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    (corpus / "train" / "books.parquet").unlink()
    with pytest.raises(ValueError, match=r"gives weight to books.*holds only wikipedia"):
        build_tokenizer(SMALL, corpus, stage(tmp_path / "t"))
    with pytest.raises(ValueError, match="not a corpus artifact"):
        build_tokenizer(SMALL, tmp_path, stage(tmp_path / "u"))


# ---- shards ----------------------------------------------------------------------------------


def test_tokens_give_the_text_back_and_no_control_id_comes_from_text(
    built: dict[str, Path],
) -> None:
    tokenizer = Tokenizer(built["tokenizer"] / "tokenizer.model")
    summary = json.loads((built["tokens"] / "tokens.json").read_text())
    assert summary["dtype"] == "uint16" and summary["weights"] == {"wikipedia": 0.75, "books": 0.25}
    for split, sources in summary["splits"].items():
        for source, counts in sources.items():
            folder = built["tokens"] / split
            flat = np.fromfile(folder / f"{source}.bin", "<u2")
            offsets = np.load(folder / f"{source}.offsets.npy")
            ids = pq.read_table(folder / f"{source}.documents.parquet").column("id").to_pylist()
            rows = pq.read_table(built["corpus"] / split / f"{source}.parquet").to_pylist()
            assert ids == [row["id"] for row in rows] and len(flat) == counts["tokens"]
            assert offsets.dtype == np.int64 and offsets[0] == 0 and offsets[-1] == len(flat)
            assert counts["documents"] == len(rows)
            assert counts["characters"] == sum(len(row["text"]) for row in rows)
            assert counts["bytes"] == sum(len(row["text"].encode()) for row in rows)
            for row, start, stop in zip(rows, offsets, offsets[1:], strict=False):
                tokens = flat[start:stop].tolist()
                assert tokens[0] == tokenizer.bos_id and tokens[-1] == tokenizer.eos_id
                assert min(tokens[1:-1], default=3) > 2
                assert tokenizer.decode(tokens) == row["text"]


def test_shards_do_not_depend_on_the_number_of_workers(
    built: dict[str, Path], tmp_path: Path
) -> None:
    context = stage(tmp_path)
    build_tokens(TokensParameters(workers=2), built["corpus"], built["tokenizer"], context)
    assert tree_hash(context.out) == tree_hash(built["tokens"])
    assert json.loads((context.out / "logs" / "tokens.json").read_text())["workers"] == 2
    assert recipe_parameters(TokensParameters(workers=2)) == {}


def test_large_vocabularies_take_four_bytes() -> None:
    assert token_dtype(65_536).itemsize == 2 and token_dtype(65_537).itemsize == 4


def test_show_batch_names_documents_and_honours_skips(built: dict[str, Path]) -> None:
    def rows(step: int, skips: tuple[int, ...] = ()) -> list:
        return describe_batch(
            built["tokens"],
            built["tokenizer"],
            context=32,
            seed=1,
            step=step,
            global_batch=8,
            skips=skips,
        )

    plain = rows(1)
    assert rows(0, skips=(0,)) == plain != rows(0)
    order = TokenOrder(built["tokens"], "train", 32, 1)
    texts = {
        row["id"]: row["text"]
        for source in ("wikipedia", "books")
        for row in pq.read_table(built["corpus"] / "train" / f"{source}.parquet").to_pylist()
    }
    for row in plain:
        assert (row.source, row.window, row.epoch) == order.locate(row.sample)
        assert row.position == 1 and row.sample == 8 + row.row
        assert row.text.split(BOUNDARY)[0].strip()[:40] in texts[row.documents[0]]


@pytest.mark.data
def test_real_books_are_learned_from_and_come_back(arriero_data: Path, tmp_path: Path) -> None:
    books = sorted((arriero_data / "corpus" / "books").rglob("*.txt"))[:2]
    assert books
    texts = [book.read_bytes()[:400_000].decode("utf-8", "ignore") for book in books]
    (tmp_path / "train").mkdir()
    table = pa.table({"id": [f"books:{k}" for k in range(len(texts))], "text": texts})
    pq.write_table(table, tmp_path / "train" / "books.parquet")
    (tmp_path / "mixture.json").write_text('{"weights": {"books": 1.0}}')
    one, two = stage(tmp_path / "a"), stage(tmp_path / "b")
    build_tokenizer(TokenizerParameters(vocab_size=1000), tmp_path, one)
    build_tokens(TokensParameters(workers=1), tmp_path, one.out, two)
    tokenizer = Tokenizer(one.out / "tokenizer.model")
    flat = np.fromfile(two.out / "train" / "books.bin", "<u2").tolist()
    offsets = np.load(two.out / "train" / "books.offsets.npy").tolist()
    for text, start, stop in zip(texts, offsets, offsets[1:], strict=False):
        assert tokenizer.decode(flat[start:stop]) == text
    assert sum(len(text.encode()) for text in texts) / len(flat) > 2

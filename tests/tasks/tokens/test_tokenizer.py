"""Tokenizer training: the same bytes every time, whatever cannot be is said."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.context import recipe_parameters
from tasks.corpus.execute import InlineExecutor
from tasks.tokens.corpus import sources_of
from tasks.tokens.parameters import TokenizerParameters
from tasks.tokens.sample import draw_sample
from tasks.tokens.tokenizer import (
    Sample,
    TokenizerTrainingError,
    build_tokenizer,
    split_line,
    training_lines,
)
from tests.conftest import ROOT
from tests.tasks.tokens.corpora import (
    SMALL,
    read_rows,
    stage,
    tree_hash,
    write_corpus,
    write_mixture,
    write_rows,
)


def test_another_process_with_other_threads_makes_the_same_bytes(
    built: dict[str, Path], tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tasks.context import StageContext\n"
        "from tasks.tokens.parameters import TokenizerParameters\n"
        "from tasks.tokens.tokenizer import build_tokenizer\n"
        "p = TokenizerParameters(vocab_size=400, sample_bytes=60_000, threads=4)\n"
        "c = StageContext(out=Path(sys.argv[2]), work=Path(sys.argv[3]))\n"
        "build_tokenizer(p, Path(sys.argv[1]), c)\n"
    )
    context = stage(tmp_path)
    folders = [str(built["corpus"]), str(context.out), str(context.work)]
    subprocess.run([sys.executable, "-c", code, *folders], check=True, cwd=ROOT)
    assert tree_hash(context.out) == tree_hash(built["tokenizer"])
    recipe = recipe_parameters(SMALL)
    assert "threads" not in recipe and recipe["vocab_size"] == 400


def test_the_order_of_rows_and_files_makes_no_difference(
    built: dict[str, Path], tmp_path: Path
) -> None:
    """All of the text and a sample of it, the documents in another order, in other files."""
    for source in ("wikipedia", "books"):
        rows = read_rows(built["corpus"] / "train" / source)
        random.Random(7).shuffle(rows)
        write_rows(tmp_path / "corpus" / "train" / source, rows, files=4, row_group=11)
    shutil.copy(built["corpus"] / "mixture.json", tmp_path / "corpus")
    for size in (60_000, 20_000, 10_000_000):
        parameters = TokenizerParameters(vocab_size=400, sample_bytes=size, threads=3)
        build_tokenizer(parameters, tmp_path / "corpus", one := stage(tmp_path / f"a{size}"))
        build_tokenizer(parameters, built["corpus"], two := stage(tmp_path / f"b{size}"))
        assert tree_hash(one.out) == tree_hash(two.out)


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


def test_the_sample_is_shared_out_by_the_mixture(built: dict[str, Path]) -> None:
    summary = json.loads((built["tokenizer"] / "tokenizer.json").read_text())
    sizes = summary["trained_on"]["bytes"]
    assert 45_000 <= sizes["wikipedia"] <= 46_500
    assert 15_000 <= sizes["books"] <= 16_500


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
    text = "one two three " * 20 + "\nleft\u2585right\n"
    write_rows(tmp_path / "train" / "books", [{"id": "a", "text": text}])
    sample = Sample()
    parameters = TokenizerParameters(max_sentence_length=64)
    files = sources_of(tmp_path, "train")
    drawn = draw_sample(files, {"books": 1e9}, 0, tmp_path / "work", InlineExecutor())
    lines = list(training_lines(drawn, parameters, sample))
    assert max(len(line) for line in lines) <= 64 and lines[-2:] == ["left", "right"]
    assert " ".join(lines[:-2]).split() == text.split("\n")[0].split()
    assert sample.lines == len(lines) and sample.lines_with_boundary_mark == 1


def test_impossible_vocabularies_say_what_is_possible(
    built: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(
        TokenizerTrainingError, match=r"too small .* 60000 pieces: \d+ are possible"
    ) as refused:
        build_tokenizer(TokenizerParameters(vocab_size=60_000), built["corpus"], stage(tmp_path))
    found = re.search(r"set vocab_size to at most (\d+)", str(refused.value))
    assert found
    largest = TokenizerParameters(vocab_size=int(found[1]))
    result = build_tokenizer(largest, built["corpus"], stage(tmp_path / "largest"))
    assert result.counts["vocab_size"] == int(found[1])
    more = TokenizerParameters(vocab_size=int(found[1]) + 1)
    with pytest.raises(TokenizerTrainingError, match=f"{found[1]} are possible"):
        build_tokenizer(more, built["corpus"], stage(tmp_path / "more"))


def test_a_vocabulary_too_small_for_the_characters_says_what_is_needed(tmp_path: Path) -> None:
    alphabet = "".join(chr(c) for c in range(0x4E00, 0x4E40)) * 30
    write_rows(tmp_path / "train" / "books", [{"id": "a", "text": alphabet}])
    write_mixture(tmp_path, {"books": 1})
    full = TokenizerParameters(vocab_size=300, character_coverage=1.0)
    with pytest.raises(TokenizerTrainingError, match=r"Raise vocab_size above 3\d\d"):
        build_tokenizer(full, tmp_path, stage(tmp_path / "b"))


def test_a_weighted_source_without_documents_is_an_error(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    shutil.rmtree(corpus / "train" / "books")
    with pytest.raises(ValueError, match=r"gives weight to books.*holds only wikipedia"):
        build_tokenizer(SMALL, corpus, stage(tmp_path / "t"))
    with pytest.raises(ValueError, match="not a corpus artifact"):
        build_tokenizer(SMALL, tmp_path, stage(tmp_path / "u"))

"""Token shards: text back from tokens, the same bytes however they were made, a true report."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizer import Tokenizer
from tasks.context import recipe_parameters
from tasks.tokens.order import TokenOrder
from tasks.tokens.parameters import TokenizerParameters, TokensParameters
from tasks.tokens.parts import words
from tasks.tokens.report import fertility, make_report, shown
from tasks.tokens.shards import append_file, build_tokens
from tasks.tokens.show import BOUNDARY, describe_batch
from tasks.tokens.tokenizer import build_tokenizer
from tests.tasks.tokens.corpora import (
    read_rows,
    stage,
    tree_hash,
    write_mixture,
    write_rows,
)


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
            rows = read_rows(built["corpus"] / split / source)
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


def same_content(one: Path, two: Path) -> bool:
    """The same artifact but for the row groups of the ids, which follow the parts."""
    left, right = tree_hash(one), tree_hash(two)
    assert left.keys() == right.keys()
    for name in [name for name in left if name.endswith(".parquet")]:
        assert pq.read_table(one / name).equals(pq.read_table(two / name))
        left[name] = right[name]
    return left == right


def test_shards_do_not_depend_on_the_number_of_workers(
    built: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    monkeypatch.setattr("tasks.tokens.execution.POOL_BYTES", 0)
    found = []
    for workers in (1, 2, 3):
        context = stage(tmp_path / str(workers))
        parameters = TokensParameters(workers=workers)
        build_tokens(parameters, built["corpus"], built["tokenizer"], context)
        found.append(tree_hash(context.out))
        said = json.loads((context.out / "logs" / "tokens.json").read_text())
        assert said["workers"] == workers and said["parts"] > 10
        assert same_content(context.out, built["tokens"])
    assert found[0] == found[1] == found[2]
    assert recipe_parameters(TokensParameters(workers=2)) == {}


def test_a_window_names_its_documents_whatever_row_groups_their_ids_are_in(
    built: dict[str, Path], tmp_path: Path, small_parts: None
) -> None:
    context = stage(tmp_path)
    build_tokens(TokensParameters(workers=1), built["corpus"], built["tokenizer"], context)
    path = context.out / "train" / "wikipedia.documents.parquet"
    assert pq.read_metadata(path).num_row_groups > 3
    one, two = (TokenOrder(f, "train", 900, 1) for f in (context.out, built["tokens"]))
    found = [one.provenance(i) for i in range(60)]
    assert found == [two.provenance(i) for i in range(60)]
    rows = {s: read_rows(built["corpus"] / "train" / s) for s in ("wikipedia", "books")}
    for origin in found:
        assert [d.id for d in origin.documents] == [
            rows[origin.source][d.index]["id"] for d in origin.documents
        ]


def test_by_default_every_core_works(
    built: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    monkeypatch.setattr("tasks.tokens.execution.POOL_BYTES", 0)
    monkeypatch.setattr("tasks.tokens.execution.available_cores", lambda: 3)
    context = stage(tmp_path)
    build_tokens(TokensParameters(), built["corpus"], built["tokenizer"], context)
    assert json.loads((context.out / "logs" / "tokens.json").read_text())["workers"] == 3


def test_offsets_are_what_numpy_writes(built: dict[str, Path], tmp_path: Path) -> None:
    path = built["tokens"] / "train" / "books.offsets.npy"
    np.save(tmp_path / "again.npy", np.load(path))
    assert path.read_bytes() == (tmp_path / "again.npy").read_bytes()


def test_files_are_appended_where_the_kernel_cannot_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 40)

    def refuses_after_some(source: int, target: int, count: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.EXDEV, "another file system")
        return os.write(target, os.read(source, min(count, 100)))

    for refuse in (False, True):
        calls = 0
        if refuse:
            monkeypatch.setattr(os, "copy_file_range", refuses_after_some, raising=False)
        with (tmp_path / "joined").open("wb") as target:
            target.write(b"before")
            append_file(tmp_path / "a", target)
            append_file(tmp_path / "a", target)
            target.write(b"behind")
        expected = b"before" + bytes(range(256)) * 80 + b"behind"
        assert (tmp_path / "joined").read_bytes() == expected


@given(texts=st.lists(st.text("ab \t\n\r\v\f\u00e9\u4e2d", max_size=12), max_size=9))
def test_words_stand_between_white_space(texts: list[str]) -> None:
    expected = [len(text.encode().split()) for text in texts]
    assert words(pa.array(texts, pa.string())).tolist() == expected
    assert words(pa.array(["x", *texts], pa.string())[1:]).tolist() == expected


def test_report_gives_fertility_by_language_and_epochs_beside_table_1(
    built: dict[str, Path],
) -> None:
    report = json.loads((built["tokens"] / "report.json").read_text())
    summary = json.loads((built["tokens"] / "tokens.json").read_text())
    tokenizer = Tokenizer(built["tokenizer"] / "tokenizer.model")
    for split, sources in summary["splits"].items():
        for source in sources:
            said = report["fertility"][split][source]
            rows = read_rows(built["corpus"] / split / source)
            assert set(said["languages"]) == {"en", "es"}
            for language, held in said["languages"].items():
                texts = [row["text"] for row in rows if row["language"] == language]
                pieces = sum(len(tokenizer.encode(text)) for text in texts)
                assert held["documents"] == len(texts)
                assert held["tokens"] == pieces + 2 * len(texts)
                assert held["words"] == sum(len(text.split()) for text in texts)
                assert held["tokens_per_word"] == pytest.approx(pieces / held["words"], abs=1e-6)
                size = sum(len(text.encode()) for text in texts)
                assert held["tokens_per_byte"] == pytest.approx(pieces / size, abs=1e-6)
            for name, total in summary["splits"][split][source].items():
                assert total == said[name]
                assert total == sum(held[name] for held in said["languages"].values())
    tokens = {s: counts["tokens"] for s, counts in summary["splits"]["train"].items()}
    once = report["epochs"]["corpus"]
    assert once["tokens"] == sum(tokens.values())
    assert once["sources"]["books"]["table1"] == 2.23
    passes = 0.25 * once["tokens"] / tokens["books"]
    assert once["sources"]["books"]["epochs"] == pytest.approx(passes, abs=1e-6)
    assert report["epochs"]["paper"]["tokens"] == 1_400_000_000_000


def test_nothing_to_divide_by_gives_no_figure() -> None:
    empty = dict.fromkeys(("documents", "tokens", "characters", "bytes", "words"), 0)
    report = make_report({"train": {"books": {}, "c4": {"": empty}}}, {"books": 1.0})
    assert list(report["fertility"]["train"]["c4"]["languages"]) == ["unknown"]
    assert report["epochs"]["corpus"]["sources"]["books"]["epochs"] is None
    assert fertility(empty)["tokens_per_word"] is None
    assert shown(report)["fertility"]["train"]["c4"] == {"languages": {"unknown": {}}}


def test_the_manifest_counts_hold_the_ratios(built: dict[str, Path], tmp_path: Path) -> None:
    parameters = TokensParameters(workers=1)
    result = build_tokens(parameters, built["corpus"], built["tokenizer"], stage(tmp_path))
    held = result.counts["fertility"]["validation"]["wikipedia"]
    assert set(held) == {"tokens_per_word", "tokens_per_character", "tokens_per_byte", "languages"}
    assert set(held["languages"]) == {"en", "es"} and held["languages"]["es"]["tokens_per_word"] > 1
    assert result.counts["epochs"]["paper"]["sources"]["wikipedia"]["table1"] == 2.45


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
        for row in read_rows(built["corpus"] / "train" / source)
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
    rows = [{"id": f"books:{k}", "text": text} for k, text in enumerate(texts)]
    write_rows(tmp_path / "train" / "books", rows)
    write_mixture(tmp_path, {"books": 1.0})
    one, two = stage(tmp_path / "a"), stage(tmp_path / "b")
    build_tokenizer(TokenizerParameters(vocab_size=1000), tmp_path, one)
    build_tokens(TokensParameters(workers=1), tmp_path, one.out, two)
    tokenizer = Tokenizer(one.out / "tokenizer.model")
    flat = np.fromfile(two.out / "train" / "books.bin", "<u2").tolist()
    offsets = np.load(two.out / "train" / "books.offsets.npy").tolist()
    for text, start, stop in zip(texts, offsets, offsets[1:], strict=False):
        assert tokenizer.decode(flat[start:stop]) == text
    assert sum(len(text.encode()) for text in texts) / len(flat) > 2

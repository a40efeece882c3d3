"""The tokenizer's sample: by hash, the same whoever draws it, in one pass over the corpus."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.execute import InlineExecutor, LocalExecutor
from tasks.tokens import sample as sample_module
from tasks.tokens.corpus import sources_of
from tasks.tokens.parameters import TokenizerParameters
from tasks.tokens.sample import Drawn, document_hash, draw_sample
from tasks.tokens.tokenizer import build_tokenizer
from tests.tasks.tokens.corpora import SMALL, read_rows, stage, tree_hash, write_mixture, write_rows


def draw(files: Sequence[Path], quota: float, folder: Path, seed: int = 0) -> Drawn:
    """The sample of one source."""
    return draw_sample({"books": files}, {"books": quota}, seed, folder, InlineExecutor())["books"]


def expected_ids(rows: Sequence[dict[str, str]], quota: float, seed: int = 0) -> list[str]:
    """Ids of the sample, by sorting all documents."""
    sizes = {row["id"]: len(row["text"].encode()) for row in rows}
    chosen, total = [], 0
    for _, identity in sorted((document_hash(seed, row["id"]), row["id"]) for row in rows):
        if total >= quota:
            break
        chosen.append(identity)
        total += sizes[identity]
    return chosen


def test_the_sample_does_not_depend_on_rows_files_and_processes(
    built: dict[str, Path], tmp_path: Path
) -> None:
    files = sources_of(built["corpus"], "train")["books"]
    rows = read_rows(built["corpus"] / "train" / "books")
    write_rows(tmp_path / "r", rows[::-1], files=5, row_group=7)
    turned = sorted((tmp_path / "r").glob("*"))
    one = draw(files, 5_000, tmp_path / "a", seed=3)
    two = draw(turned, 5_000, tmp_path / "b", seed=3)
    assert one.highest == two.highest != draw(files, 5_000, tmp_path / "c", seed=4).highest
    texts = list(one.texts())
    assert 0 < len(texts) < len(rows) and sorted(texts) == sorted(two.texts())
    chosen = set(expected_ids(rows, 5_000, seed=3))
    assert texts == [row["text"] for row in rows if row["id"] in chosen]
    quotas = {"wikipedia": 9_000.0, "books": 5_000.0}
    by_source = sources_of(built["corpus"], "train")
    inline = draw_sample(by_source, quotas, 3, tmp_path / "d", InlineExecutor())
    spread = draw_sample(by_source, quotas, 3, tmp_path / "e", LocalExecutor(2))
    for source, drawn in inline.items():
        assert list(drawn.texts()) == list(spread[source].texts())
        assert drawn.highest == spread[source].highest
    assert list(inline["books"].texts()) == texts


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 60), max_size=40),
    quota=st.floats(0.5, 800),
    spare=st.sampled_from([0, 1, 64]),
)
def test_the_documents_chosen_are_those_of_a_full_sort(
    sizes: list[int], quota: float, spare: int
) -> None:
    """Also where the first guess is too low, and the source is gone through again."""
    rows = [{"id": f"d{n}", "text": "x" * size} for n, size in enumerate(sizes)]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_module, "SPARE_DOCUMENTS", spare)
        schema = pa.schema([("id", pa.string()), ("text", pa.string())])
        path = Path(name) / "00000.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=9)
        highest = draw([path], quota, Path(name) / "work").highest
    chosen = [row["id"] for row in rows if not highest or document_hash(0, row["id"]) <= highest]
    assert sorted(chosen) == sorted(expected_ids(rows, quota))


def test_texts_are_read_once_and_only_where_the_sample_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": f"books:{n}", "text": f"{n} " * 50, "language": "en"} for n in range(8_000)]
    write_rows(tmp_path / "books", rows, files=2, row_group=20)
    files = sorted((tmp_path / "books").glob("*"))
    read: list[tuple[Path, int]] = []
    batches = sample_module.group_batches

    def noted(file: pq.ParquetFile, group: int, columns: Sequence[str]) -> Any:
        read.append((file.metadata.row_group(group).column(0).statistics.min, group))
        return batches(file, group, columns)

    monkeypatch.setattr(sample_module, "group_batches", noted)
    quota = 2_000.0
    drawn = draw(files, quota, tmp_path / "work")
    chosen = set(expected_ids(rows, quota))
    assert list(drawn.texts()) == [row["text"] for row in rows if row["id"] in chosen]
    assert len(read) == len(set(read)) < 100 < 8_000 // 20
    held = sum(pq.read_metadata(path).num_rows for path in drawn.files)
    assert held < 2 * (len(chosen) + sample_module.SPARE_DOCUMENTS)


def test_an_ended_attempt_is_gone_on_with(
    built: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files whose part of the sample is there are not read again, unless it is another one's."""
    context = stage(tmp_path)
    real = sample_module._low_hashes
    read: list[str] = []

    def ending(limit: int) -> None:
        def counted(path: Path, seed: int, bound: bytes) -> Any:
            if len(read) == limit:
                raise KeyboardInterrupt
            read.append(path.name)
            return real(path, seed, bound)

        read.clear()
        monkeypatch.setattr(sample_module, "_low_hashes", counted)

    ending(2)
    with pytest.raises(KeyboardInterrupt):
        build_tokenizer(SMALL, built["corpus"], context)
    ending(100)
    build_tokenizer(SMALL, built["corpus"], context)
    files = sum(map(len, sources_of(built["corpus"], "train").values()))
    assert len(read) == files - 2
    assert tree_hash(context.out) == tree_hash(built["tokenizer"])
    ending(100)
    build_tokenizer(
        TokenizerParameters(**SMALL.model_dump() | {"seed": 1}), built["corpus"], context
    )
    assert len(read) == files


def test_a_source_of_one_long_document_is_all_of_its_sample(tmp_path: Path) -> None:
    write_rows(tmp_path / "train" / "books", [{"id": "a", "text": "word " * 90_000}])
    write_mixture(tmp_path, {"books": 1})
    drawn = draw(sources_of(tmp_path, "train")["books"], 1_000.0, tmp_path / "work")
    assert drawn.highest == document_hash(0, "a") and len(list(drawn.texts())) == 1


def test_a_later_attempt_goes_on_in_the_pass_in_which_the_first_was_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_module, "SPARE", 0.5)
    monkeypatch.setattr(sample_module, "SPARE_DOCUMENTS", 0)
    rows = [{"id": f"{n}", "text": f"{n:05d} " * 9} for n in range(600)]
    write_rows(tmp_path / "r", rows, files=6, row_group=50)
    files = sorted((tmp_path / "r").glob("*"))
    quota = 600 * 54 * 0.3
    whole = draw(files, quota, tmp_path / "whole")
    real = sample_module._low_hashes
    read: list[str] = []

    def ended(limit: int) -> None:
        def low(path: Path, seed: int, bound: bytes) -> Any:
            if len(read) == limit:
                raise KeyboardInterrupt
            read.append(path.name)
            return real(path, seed, bound)

        read.clear()
        monkeypatch.setattr(sample_module, "_low_hashes", low)

    ended(9)  # six of the first pass, three of the second
    with pytest.raises(KeyboardInterrupt):
        draw(files, quota, tmp_path / "w")
    ended(99)
    again = draw(files, quota, tmp_path / "w")
    assert again.highest == whole.highest and list(again.texts()) == list(whole.texts())
    # The file at which it was ended had lost its folder of the first pass: it is read twice.
    assert read == [files[3].name, *(path.name for path in files[3:])]

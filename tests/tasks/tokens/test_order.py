"""The stateless order: proportions, bijections, random access, invariance, skips."""

from __future__ import annotations

import json
import pickle
import warnings
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.tokens.apportionment import FALLBACK_PARTS, Apportionment, exact_weights
from tasks.tokens.order import TokenOrder, position_of_step, row_indices
from tasks.tokens.permutation import Permutation

TABLE_1 = {
    "commoncrawl": 0.67,
    "c4": 0.15,
    "github": 0.045,
    "wikipedia": 0.045,
    "books": 0.045,
    "arxiv": 0.025,
    "stackexchange": 0.02,
}
BOS, EOS = 1, 2
GOLDEN_SOURCES = "aababaabacaa"
GOLDEN_WINDOWS = [6, 11, 2, 19, 1, 3, 4, 9, 12, 0, 1, 15, 18, 18]


def write_tokens(
    folder: Path, documents: dict[str, list[int]], weights: dict[str, float], dtype: str = "uint16"
) -> Path:
    """A tokens artifact whose documents (lengths without BOS and EOS) hold running numbers."""
    (folder / "train").mkdir(parents=True)
    held = {}
    for source, lengths in documents.items():
        flat, offsets, number = [], [0], 10
        for length in lengths:
            flat += [BOS, *range(number, number + length), EOS]
            number += length
            offsets.append(len(flat))
        np.array(flat, dtype).tofile(folder / "train" / f"{source}.bin")
        np.save(folder / "train" / f"{source}.offsets.npy", np.array(offsets, np.int64))
        ids = [f"{source}:{d}" for d in range(len(lengths))]
        pq.write_table(pa.table({"id": ids}), folder / "train" / f"{source}.documents.parquet")
        held[source] = {"documents": len(lengths), "tokens": len(flat)}
    summary = {"dtype": dtype, "splits": {"train": held}, "weights": weights}
    (folder / "tokens.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    documents = {"a": [30, 5, 61, 17, 44], "b": [9] * 12, "c": [100]}
    return write_tokens(tmp_path / "t", documents, {"a": 0.6, "b": 0.3, "c": 0.1})


# ---- apportionment ---------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.integers(1, 400), min_size=1, max_size=9),
    far=st.integers(0, 10**12),
)
def test_every_source_is_within_one_sample_of_its_share_at_every_n(
    parts: list[int], far: int
) -> None:
    whole = sum(parts)
    order = Apportionment({f"s{k}": Fraction(p, whole) for k, p in enumerate(parts)})
    seen: Counter[str] = Counter()
    for n in range(1, min(order.parts, 600) + 1):
        source, drawn = order.locate(n - 1)
        assert drawn == seen[source]
        seen[source] += 1
        for s, w in order.weights.items():
            assert abs(seen[s] - n * w) < 1
        if n % 50 == 0:
            assert order.counts(n) == {s: seen[s] for s in order.sources}
    counts = order.counts(far)
    assert sum(counts.values()) == far
    for s, w in order.weights.items():
        assert abs(counts[s] - far * w) < 1
    source, drawn = order.locate(far)
    assert drawn == counts[source]
    assert order.counts(far + 1)[source] == drawn + 1


@settings(max_examples=6, deadline=None)
@given(
    weights=st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=8),
    n=st.integers(0, 10**12),
)
def test_any_float_mixture_is_kept_to_two_parts_in_a_million(weights: list[float], n: int) -> None:
    exact = exact_weights({f"s{k}": w for k, w in enumerate(weights)})
    assert sum(exact.values()) == 1
    for k, w in enumerate(weights):
        assert abs(float(exact[f"s{k}"]) - w / sum(weights)) < 2e-6
    order = Apportionment(exact)
    counts = order.counts(n)
    assert all(abs(counts[s] - n * w) < 1 for s, w in order.weights.items())


def test_table_1_is_exact_also_when_renormalised_without_a_source() -> None:
    assert exact_weights(TABLE_1)["commoncrawl"] == Fraction(67, 100)
    assert Apportionment(TABLE_1).parts == 200
    rest = {s: w for s, w in TABLE_1.items() if s != "github"}
    total = sum(rest.values())
    renormalised = exact_weights({s: w / total for s, w in rest.items()})
    assert renormalised["commoncrawl"] == Fraction(134, 191)
    assert exact_weights(rest) == renormalised


def test_incommensurable_weights_fall_back_to_parts_and_keep_tiny_sources() -> None:
    exact = exact_weights({"a": 2**0.5, "b": 3**0.5, "tiny": 1e-9})
    assert sum(exact.values()) == 1
    assert exact["tiny"] == Fraction(1, FALLBACK_PARTS)


@pytest.mark.parametrize("weights", [{"a": -0.1, "b": 1.1}, {"a": float("nan")}, {"a": 0.0}, {}])
def test_impossible_mixtures_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        Apportionment(weights)


# ---- permutation -----------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(n=st.integers(1, 700), seed=st.integers(0, 2**63), epoch=st.integers(0, 50))
def test_permutation_is_a_bijection(n: int, seed: int, epoch: int) -> None:
    permutation = Permutation(n, seed, "books", epoch)
    assert sorted(permutation[i] for i in range(n)) == list(range(n))


def test_permutation_depends_on_every_part_of_its_key() -> None:
    def order(*key: int | str) -> list[int]:
        permutation = Permutation(500, *key)
        return [permutation[i] for i in range(500)]

    base = order(1, "a", 0)
    assert base == order(1, "a", 0)
    others = [order(2, "a", 0), order(1, "b", 0), order(1, "a", 1)]
    for other in others:
        assert sum(x == y for x, y in zip(base, other, strict=True)) < 20


def test_permutation_mixes_neighbours_and_small_domains() -> None:
    permutation = Permutation(10_000, 7)
    images = np.array([permutation[i] for i in range(10_000)], float)
    assert abs(np.corrcoef(np.arange(10_000), images)[0, 1]) < 0.05
    assert abs(np.corrcoef(images[:-1], images[1:])[0, 1]) < 0.05
    # All 24 orders of four windows appear over many seeds, none of them favoured grossly.
    orders = Counter(tuple(Permutation(4, s)[i] for i in range(4)) for s in range(4800))
    assert len(orders) == 24
    assert min(orders.values()) > 100 and max(orders.values()) < 320


def test_permutation_at_scale_and_out_of_range() -> None:
    permutation = Permutation(10**12, 3)
    images = [permutation[i] for i in range(2000)]
    assert len(set(images)) == 2000 and max(images) < 10**12
    with pytest.raises(IndexError):
        permutation[10**12]


# ---- windows, samples, batches ---------------------------------------------------------------


def test_each_window_once_an_epoch_and_the_next_epoch_in_another_order(artifact: Path) -> None:
    order = TokenOrder(artifact, "train", context=8, seed=5)
    drawn: dict[str, list[tuple[int, int]]] = {s: [] for s in order.sources}
    for i in range(400):
        source, window, epoch = order.locate(i)
        drawn[source].append((epoch, window))
    for source, n in order.windows.items():
        epochs = [[w for e, w in drawn[source] if e == k] for k in range(3)]
        for windows in epochs[:2]:
            assert sorted(windows) == list(range(n))
    a = [[w for e, w in drawn["a"] if e == k] for k in (0, 1)]
    assert a[0] != a[1]


def test_sample_is_the_window_of_the_file(artifact: Path) -> None:
    order = TokenOrder(artifact, "train", context=8, seed=5)
    for i in (0, 3, 77, 10**12):
        source, window, _ = order.locate(i)
        flat = np.fromfile(artifact / "train" / f"{source}.bin", np.uint16)
        expected = flat[window * 8 : window * 8 + 9]
        sample = order.sample(i)
        assert sample.dtype == np.int64 and sample.shape == (9,)
        assert np.array_equal(sample, expected)


def test_random_access_equals_sequential_access_and_another_process_state(artifact: Path) -> None:
    one = TokenOrder(artifact, "train", context=8, seed=5)
    forward = [one.sample(i) for i in range(50)]
    other = pickle.loads(pickle.dumps(one))
    assert len(pickle.dumps(one)) < 60_000 and other._arrays == {}
    for i in reversed(range(50)):
        assert np.array_equal(other.sample(i), forward[i])


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_world_and_accumulation_do_not_change_the_tokens_of_a_step(
    artifact: Path, world: int, accumulation: int
) -> None:
    order = TokenOrder(artifact, "train", context=8, seed=5, skips=[2])
    for step in (0, 2, 9):
        batch = order.batch(step, 24)
        got = np.zeros_like(batch)
        for rank in range(world):
            for micro in range(accumulation):
                rows = order.rows(step, 24, rank, world, micro, accumulation)
                got[list(row_indices(24, rank, world, micro, accumulation))] = rows
        assert np.array_equal(got, batch)


def test_rows_partition_the_batch_and_refuse_uneven_splits() -> None:
    rows = [list(row_indices(12, r, 2, m, 3)) for r in range(2) for m in range(3)]
    assert sorted(row for part in rows for row in part) == list(range(12))
    with pytest.raises(ValueError, match="multiple of 8"):
        row_indices(12, 0, 4, 0, 2)
    with pytest.raises(ValueError, match="does not exist"):
        row_indices(12, 2, 2, 0, 1)


@settings(max_examples=60, deadline=None)
@given(skips=st.sets(st.integers(0, 60), max_size=20))
def test_position_is_the_next_position_that_is_not_skipped(skips: set[int]) -> None:
    open_positions = [p for p in range(200) if p not in skips]
    assert [position_of_step(s, skips) for s in range(100)] == open_positions[:100]


def test_skips_shift_later_steps_and_are_not_counted(artifact: Path) -> None:
    plain = TokenOrder(artifact, "train", context=8, seed=5)
    skipping = TokenOrder(artifact, "train", context=8, seed=5, skips=[4, 3])
    assert np.array_equal(skipping.batch(2, 6), plain.batch(2, 6))
    assert np.array_equal(skipping.batch(3, 6), plain.batch(5, 6))
    trained = Counter(plain.locate(p * 6 + r)[0] for p in (0, 1, 2, 5, 6) for r in range(6))
    assert skipping.counts(5, 6) == {s: trained[s] for s in skipping.sources}
    assert skipping.epochs(5, 6)["a"] == trained["a"] / skipping.windows["a"]


def test_provenance_and_segments_name_the_documents_of_a_window(artifact: Path) -> None:
    order = TokenOrder(artifact, "train", context=20, seed=5)
    for i in range(40):
        origin = order.provenance(i)
        sample, segments = order.sample(i), order.sample_segments(i)
        assert origin.documents[0].start == 0 and origin.documents[-1].stop == 21
        flat = np.fromfile(artifact / "train" / f"{origin.source}.bin", np.uint16)
        offsets = np.load(artifact / "train" / f"{origin.source}.offsets.npy")
        for k, span in enumerate(origin.documents):
            assert span.id == f"{origin.source}:{span.index}"
            begin = offsets[span.index] + span.offset
            text = flat[begin : begin + span.stop - span.start]
            assert np.array_equal(text, sample[span.start : span.stop])
            assert (segments[span.start : span.stop] == k + 1).all()
            if k:
                assert sample[span.start] == BOS and span.offset == 0


def test_small_sources_are_dropped_with_a_warning(artifact: Path) -> None:
    with pytest.warns(UserWarning, match=r"left out.*: c"):
        order = TokenOrder(artifact, "train", context=110, seed=5)
    assert order.dropped == ("c",)
    assert order.weights == {"a": Fraction(2, 3), "b": Fraction(1, 3)}
    with pytest.raises(ValueError, match="shorter context"):
        TokenOrder(artifact, "train", context=5000, seed=5)


def test_errors_name_the_split_and_the_damaged_file(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no split 'test'"):
        TokenOrder(artifact, "test", context=8, seed=5)
    with pytest.raises(FileNotFoundError, match="not a tokens artifact"):
        TokenOrder(tmp_path, "train", context=8, seed=5)
    with (artifact / "train" / "a.bin").open("ab") as handle:
        handle.write(b"xx")
    with pytest.raises(ValueError, match=r"a\.bin has .* damaged"):
        TokenOrder(artifact, "train", context=8, seed=5)


def test_weights_can_be_overridden(artifact: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        order = TokenOrder(artifact, "train", context=8, seed=5, weights={"a": 1, "b": 3})
    assert order.counts(1, 100) == {"a": 25, "b": 75}


def test_the_order_never_changes_under_a_checkpoint(artifact: Path) -> None:
    """A run's data must stay the same over versions: change the stage's version if this changes."""
    order = TokenOrder(artifact, "train", context=8, seed=5)
    drawn = [order.locate(i) for i in (*range(12), 10**6, 10**12)]
    assert [source for source, _, _ in drawn[:12]] == list(GOLDEN_SOURCES)
    assert [window for _, window, _ in drawn] == GOLDEN_WINDOWS
    assert [epoch for _, _, epoch in drawn[-2:]] == [30000, 30000000000]


@pytest.mark.parametrize("context", [1, 7, 64])
def test_windows_cover_the_file_and_share_one_token(artifact: Path, context: int) -> None:
    order = TokenOrder(artifact, "train", context=context, seed=0)
    for source in order.sources:
        flat = np.fromfile(artifact / "train" / f"{source}.bin", np.uint16)
        windows = [order.window(source, w) for w in range(order.windows[source])]
        joined = np.concatenate([*(w[:-1] for w in windows), windows[-1][-1:]])
        assert np.array_equal(joined, flat[: len(joined)]) and len(flat) - len(joined) < context
        with pytest.raises(IndexError):
            order.window(source, order.windows[source])

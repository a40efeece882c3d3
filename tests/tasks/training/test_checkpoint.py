"""Commit, refusal, walk-back and retention of checkpoints, and reading them in other parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tasks.training.engine import checkpoint
from tasks.training.engine.pieces import Piece, chunk, share

MODEL, OPTIMIZER = "model-00000.safetensors", "optimizer-00000.safetensors"
Hook = Callable[[str], None]


class Killed(Exception):
    """Stands for the process ending at a hook point."""


def tensors(value: float) -> dict[str, dict[str, torch.Tensor]]:
    model = {"a": torch.full((3, 4), value), "b": torch.arange(5, dtype=torch.float32)}
    return {"model": model, "optimizer": {"step.a": torch.tensor(value)}}


def save(
    root: Path,
    step: int,
    named: dict[str, dict[str, torch.Tensor]] | None = None,
    *,
    world: int = 1,
    temporary_one: bool = False,
    hook: Hook = lambda point: None,
) -> Path:
    """All processes of a save, one after the other."""
    for rank in range(world):
        held = {
            stem: {
                name: part
                for name, tensor in parts.items()
                if (part := share(tensor, rank, world)) is not None
            }
            for stem, parts in (named or tensors(float(step))).items()
        }
        checkpoint.write_part(root / checkpoint.temporary_name(step), rank, held, hook=hook)
    return checkpoint.commit(
        root, step, {"step": step}, world, temporary_one=temporary_one, hook=hook
    )


def test_round_trip(tmp_path: Path) -> None:
    directory = save(tmp_path, 7)
    assert checkpoint.problems(directory) == []
    found, refused = checkpoint.newest_valid(tmp_path)
    assert found == directory and refused == []
    loaded = checkpoint.Reader(directory)
    assert loaded.scalars == {"step": 7}
    assert loaded.names("model") == ["a", "b"] and loaded.shape("optimizer", "step.a") == ()
    assert torch.equal(loaded.read("model", "a"), torch.full((3, 4), 7.0))
    assert float(loaded.read("optimizer", "step.a")) == 7.0


def test_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = save(tmp_path / "one", 3), save(tmp_path / "two", 3)
    names = sorted(path.name for path in one.iterdir())
    assert names == ["manifest.json", MODEL, OPTIMIZER, "state.json"]
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_rows_are_read_back_whoever_wrote_them(tmp_path: Path, world: int) -> None:
    rows = 700  # of 2,000 bytes: more than a process writes alone
    named = {"model": {"w": torch.randn(rows, 500), "g": torch.randn(7)}, "optimizer": {}}
    directory = save(tmp_path, 1, named, world=world)
    assert checkpoint.problems(directory) == []
    assert len(list(directory.glob("model-*"))) == world
    loaded = checkpoint.Reader(directory)
    for parts in (1, 2, 5, 800):
        for part in {0, parts // 2, parts - 1}:
            start, count = chunk(rows, parts, part)
            wanted = Piece((rows, 500), start, count)
            expected = named["model"]["w"][start : start + count]
            assert torch.equal(loaded.read("model", "w", wanted), expected)
    assert torch.equal(loaded.read("model", "g"), named["model"]["g"])


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER, "state.json"])
def test_flipped_byte_is_refused_by_name_and_the_older_one_is_taken(
    tmp_path: Path, name: str
) -> None:
    older, newer = save(tmp_path, 4), save(tmp_path, 8)
    damaged = bytearray((newer / name).read_bytes())
    damaged[-1] ^= 1
    (newer / name).write_bytes(damaged)
    found, refused = checkpoint.newest_valid(tmp_path)
    assert found == older
    assert [r.directory.name for r in refused] == [newer.name]
    assert name in refused[0].reason and "sha256" in refused[0].reason
    assert checkpoint.listed(tmp_path) == [older]  # the damaged one no longer counts as kept


@pytest.mark.parametrize("spoil", ["manifest.json", MODEL])
def test_missing_file_is_refused(tmp_path: Path, spoil: str) -> None:
    directory = save(tmp_path, 4)
    (directory / spoil).unlink()
    found, refused = checkpoint.newest_valid(tmp_path)
    assert found is None and spoil in refused[0].reason


def test_truncated_file_is_refused_with_its_sizes(tmp_path: Path) -> None:
    directory = save(tmp_path, 4)
    path = directory / MODEL
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert checkpoint.problems(directory) == [
        f"{MODEL}: {len(whole) - 3} bytes, published {len(whole)}"
    ]


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_pieces_that_do_not_make_up_a_tensor_are_refused(tmp_path: Path, rows: int) -> None:
    directory = save(tmp_path, 4)
    manifest = checkpoint.read_manifest(directory)
    manifest["tensors"]["model"]["a"]["pieces"][0][1] = rows
    (directory / "manifest.json").write_text(json.dumps(manifest))
    assert checkpoint.problems(directory) == [
        "manifest.json: the pieces of model a do not make up 3 rows"
    ]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "files": {}, "tensors": []}'])
def test_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    directory = save(tmp_path, 4)
    (directory / "manifest.json").write_text(text)
    found, refused = checkpoint.newest_valid(tmp_path)
    assert found is None and "manifest.json: unreadable" in refused[0].reason


@pytest.mark.parametrize(
    ("point", "newest"),
    [("begun", 4), ("file", 4), ("files", 4), ("manifest", 4), ("rename", 8)],
)
def test_death_inside_save_leaves_a_valid_checkpoint(
    tmp_path: Path, point: str, newest: int
) -> None:
    save(tmp_path, 4)

    def die(reached: str) -> None:
        if reached == point:
            raise Killed

    with pytest.raises(Killed):
        save(tmp_path, 8, hook=die)
    found, refused = checkpoint.newest_valid(tmp_path)
    assert found is not None and found.name == checkpoint.directory_name(newest)
    assert refused == []
    checkpoint.clear_leftovers(tmp_path)
    assert list(tmp_path.glob("tmp-*")) == []
    assert checkpoint.newest_valid(tmp_path)[0] == found


def test_retention_keeps_the_last_and_every_nth(tmp_path: Path) -> None:
    for step in range(1, 8):
        save(tmp_path, step)
    removed = checkpoint.prune(tmp_path, keep_last=2, keep_every=3)
    assert [int(p.name[5:]) for p in removed] == [1, 2, 4, 5]
    assert [int(p.name[5:]) for p in checkpoint.listed(tmp_path)] == [3, 6, 7]


def test_temporary_ones_do_not_count_and_go_with_the_next(tmp_path: Path) -> None:
    def kept_after(step: int, *, temporary_one: bool) -> list[int]:
        save(tmp_path, step, temporary_one=temporary_one)
        checkpoint.prune(tmp_path, keep_last=2, keep_every=3)
        return [int(p.name[5:]) for p in checkpoint.listed(tmp_path)]

    assert kept_after(1, temporary_one=False) == [1]
    assert kept_after(2, temporary_one=False) == [1, 2]
    assert kept_after(3, temporary_one=True) == [1, 2, 3]  # two others, though it is newer
    assert kept_after(5, temporary_one=True) == [1, 2, 5]
    assert kept_after(6, temporary_one=False) == [2, 6]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 4)
    save(tmp_path, 4, tensors(9.0))
    found, _ = checkpoint.newest_valid(tmp_path)
    assert found is not None
    assert float(checkpoint.Reader(found).read("model", "a")[0, 0]) == 9.0

"""Commit, refusal, walk-back and retention of checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.training.engine import checkpoint


class Killed(Exception):
    """Stands for the process ending at a hook point."""


def tensors(value: float) -> dict[str, dict[str, torch.Tensor]]:
    model = {"a": torch.full((3, 4), value), "b": torch.arange(5, dtype=torch.float32)}
    return {"model": model, "optimizer": {"step.a": torch.tensor(value)}}


def save(root: Path, step: int, **options) -> Path:
    return checkpoint.save(root, step, {"step": step}, tensors(float(step)), **options)


def test_round_trip(tmp_path: Path) -> None:
    directory = save(tmp_path, 7)
    assert checkpoint.problems(directory) == []
    found, refused = checkpoint.newest_valid(tmp_path)
    assert found == directory and refused == []
    scalars, loaded = checkpoint.load(directory)
    assert scalars == {"step": 7}
    assert torch.equal(loaded["model"]["a"], torch.full((3, 4), 7.0))
    assert float(loaded["optimizer"]["step.a"]) == 7.0


def test_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = save(tmp_path / "one", 3), save(tmp_path / "two", 3)
    for name in ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
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


@pytest.mark.parametrize("spoil", ["manifest.json", "model.safetensors"])
def test_missing_file_is_refused(tmp_path: Path, spoil: str) -> None:
    directory = save(tmp_path, 4)
    (directory / spoil).unlink()
    found, refused = checkpoint.newest_valid(tmp_path)
    assert found is None and spoil in refused[0].reason


def test_truncated_file_is_refused_with_its_sizes(tmp_path: Path) -> None:
    directory = save(tmp_path, 4)
    path = directory / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert checkpoint.problems(directory) == [
        f"model.safetensors: {len(whole) - 3} bytes, published {len(whole)}"
    ]


@pytest.mark.parametrize(("point", "newest"), [("files", 4), ("manifest", 4), ("rename", 8)])
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


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 4)
    checkpoint.save(tmp_path, 4, {"step": 4}, tensors(9.0))
    found, _ = checkpoint.newest_valid(tmp_path)
    assert found is not None
    assert float(checkpoint.load(found)[1]["model"]["a"][0, 0]) == 9.0

"""Folders of crews that start while others start and end."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.corpus.crew_folder import crew_folder


@pytest.mark.parametrize("owner, name", [("fcntl", "flock"), ("pathlib.Path", "mkdir")])
@pytest.mark.parametrize("after", [False, True])
def test_a_crew_that_starts_in_between_leaves_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str, name: str, after: bool
) -> None:
    """Before and after each step that makes a folder, another one starts, sweeps, and ends."""
    target = f"{owner}.{name}"
    within = False
    starts = 0

    def other() -> None:
        nonlocal within, starts
        if not within:
            within, starts = True, starts + 1
            with crew_folder(tmp_path) as folder:
                (folder / "other").touch()
            within = False

    def patched(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **more: Any) -> Any:
            if not after:
                other()
            result = real(*arguments, **more)
            if after:
                other()
            return result

        return step

    real = fcntl.flock if name == "flock" else Path.mkdir
    with monkeypatch.context() as patch:
        patch.setattr(target, patched(real))
        with crew_folder(tmp_path) as folder:
            (folder / "mine").touch()
            other()
            assert [path.name for path in folder.iterdir()] == ["mine"]
    assert starts > 1
    assert [path.name for path in tmp_path.iterdir()] == [".locks"]
    assert not list((tmp_path / ".locks").iterdir())

"""A user's mistakes before anything starts: one message, exit status 2, nothing made."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import shutil
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from flows import cli, installation, stack
from flows.problems import flow_message
from registry.database import VERSION_TABLE, upgrade
from registry.settings import load_settings
from tests.bad_input import dumps

SOURCES = ("commoncrawl", "c4", "github", "wikipedia", "books", "arxiv", "stackexchange")
Say = Callable[..., str]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty state folder; nothing may have been started in it."""
    for name in [name for name in os.environ if name.startswith("ARRIERO_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("ARRIERO_HOME", str(folder))
    yield folder
    assert not (folder / "stack.json").exists(), "services were started"
    assert not list(folder.glob("store/*/*")), "something was published or staged"


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run ``arriero`` with arguments that it must refuse; returns its one message."""

    def run(*arguments: str, status: int = 2) -> str:
        monkeypatch.setattr(sys, "argv", ["arriero", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert ended.value.code == status, printed.err
        assert "Traceback" not in printed.err and not printed.out
        assert printed.err.count("error:") == 1, printed.err
        assert "errors.pydantic.dev" not in printed.err
        return printed.err.removeprefix("error: ").strip()

    return run


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "--preset", "nan"], ["no preset 'nan'", "did you mean nano?", "65B"]),
        (["run", "--set", "foo"], ["override 'foo'", "stage.field=value"]),
        (["run", "--set", "trainin.x=1"], ["no stage 'trainin'", "stages: corpus, quality_models"]),
        (
            ["run", "--set", "pretraining.stps=5"],
            ["pretraining.stps: no such field; did you mean steps?"],
        ),
        (["run", "--set", "pretraining.steps=-1"], ["pretraining.steps", "(given: -1)"]),
        (["run", "--set", "pretraining.steps=many"], ["pretraining.steps", "(given: 'many')"]),
        (["run", "--set", "evaluation.item_limit=0"], ["evaluation.item_limit", "(given: 0)"]),
        (
            ["run", "--set", "evaluation.benchmarks=[foo]"],
            ["evaluation.benchmarks.0", "'hellaswag'", "(given: 'foo')"],
        ),
        (
            ["run", "--set", "pretraining.micro_batch=5"],
            ["pretraining: global_batch 16 must be a multiple of micro_batch 5 x world 1"],
        ),
        (
            ["run", "--set", "pretraining.context=4096"],
            ["pretraining: context 4096 is longer than the model's: preset nano has 256"],
        ),
        (
            ["run", "--set", "instructions.context=4096"],
            ["instructions.context 4096 is longer", "preset nano of pretraining has 256"],
        ),
        (["run", "--set", "tokenizer.vocab_size=100"], ["tokenizer.vocab_size", "300"]),
        (["run", "--set", "pretraining.preset=8Q"], ["unknown model preset '8Q'", "65B"]),
        (["run", "--data", "/nonexistent"], ["/nonexistent has no 'corpus' folder", "corpus/<s"]),
        (["plan", "--preset", "8B"], ["unknown model preset '8B'", "Llama-3-8B"]),
        (["plan", "--tokens", "-5"], ["tokens: ", "(given: -5.0)"]),
        (["plan", "--gpus", "0"], ["gpus: ", "(given: 0)"]),
        (["plan", "--gpu", "B9000"], ["unknown GPU 'B9000'", "A100-80GB", "V100-32GB"]),
        (["plan", "--gpu", "v100", "--precision", "bf16"], ["V100-32GB has no bf16"]),
        (["plan", "--sharding", "zero"], ["sharding: ", "'ddp'"]),
        (["status"], ["never migrated", "run `arriero up`"]),
        (["lineage", "deadbeef"], ["never migrated", "run `arriero up`"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0] in ("run", "plan") else None,
)
def test_wrong_arguments(home: Path, refused: Say, arguments: list[str], parts: list[str]) -> None:
    message = refused(*arguments)
    for part in parts:
        assert part in message, message


def test_all_wrong_parameters_at_once(home: Path, refused: Say) -> None:
    given = ["pretraining.steps=-1", "evaluation.item_limit=0", "corpuss.seed=1"]
    lines = refused("run", *(word for item in given for word in ("--set", item))).splitlines()
    assert lines[0] == "the pipeline's parameters do not hold:" and len(lines) == 4


@pytest.mark.parametrize("command", [["lineage"], ["show", "artifact"]])
def test_unknown_artifact(home: Path, refused: Say, command: list[str]) -> None:
    upgrade(load_settings().registry_address)
    assert "deadbeef" in refused(*command, "deadbeef")
    assert "champion" in refused("lineage", "champion")


def test_brackets_of_a_message_are_shown(home: Path, refused: Say) -> None:
    assert "override '[red]x'" in refused("run", "--set", "[red]x")


def test_missing_sources_are_all_named(home: Path, tmp_path: Path, refused: Say) -> None:
    for source in SOURCES:
        if source not in ("books", "arxiv", "github"):
            dumps.put(tmp_path / "data", source, "a", b"x")
    (tmp_path / "data/corpus/books").mkdir()
    message = refused("run", "--data", str(tmp_path / "data"))
    # The nano preset reads GitHub from the installed packages.
    assert message.startswith("no files for books, arxiv:")
    assert str(tmp_path / "data/corpus/books") in message
    assert "--allow-missing-sources" in message
    message = refused("run", "--data", str(tmp_path / "data"), "--preset", "7B")
    assert message.startswith("no files for github, books, arxiv:")


@pytest.mark.parametrize("variable", ["ARRIERO_HOME", "ARRIERO_STORE"])
@pytest.mark.parametrize("command", [["run"], ["up"], ["status"]])
def test_place_that_cannot_be_written(
    home: Path,
    tmp_path: Path,
    refused: Say,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    command: list[str],
) -> None:
    (tmp_path / "file").write_text("in the way")
    place = tmp_path / "file" / "place"
    monkeypatch.setenv(variable, str(place))
    message = refused(*command)
    assert message.startswith(f"{variable}: cannot write in {place} (Not a directory)")
    assert f"set {variable} to another folder" in message


@pytest.mark.parametrize("command", [["run"], ["up"]])
def test_full_disk(
    home: Path, refused: Say, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 0))
    message = refused(*command)
    assert message.startswith("no disk space (1 GB free are needed):")
    assert str(home) in message and "free space, or set ARRIERO_HOME" in message
    assert not (home / "registry.sqlite").exists()


def test_disk_that_fills_while_services_start(
    home: Path, refused: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(home / "logs"))

    monkeypatch.setattr(stack, "start", no_room)
    message = refused("up")
    assert message.startswith(f"No space left on device: {home / 'logs'}; free space")


@pytest.mark.parametrize("command", [["run"], ["up"], ["status"], ["lineage"]])
def test_registry_of_a_newer_schema(home: Path, refused: Say, command: list[str]) -> None:
    address = load_settings().registry_address
    upgrade(address)
    with create_engine(address).begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    message = refused(*command)
    assert str(home / "registry.sqlite") in message
    assert "has revision 9999" in message and "upgrade arriero" in message


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("garbage", ["ARRIERO_REGISTRY_URL is not a database URL", "postgresql+psycopg://"]),
        ("mysql://a@b/c", ["names a mysql database", "SQLite and PostgreSQL"]),
        ("postgresql://u@127.0.0.1/x", ["psycopg2", "pip install", "postgresql+psycopg://"]),
        ("postgresql+psycopg://u:secret@h/x", ["holds a password", "ARRIERO_REGISTRY_PASSWORD"]),
    ],
)
def test_registry_url(
    home: Path, refused: Say, monkeypatch: pytest.MonkeyPatch, url: str, parts: list[str]
) -> None:
    monkeypatch.setenv("ARRIERO_REGISTRY_URL", url)
    message = refused("up")
    for part in parts:
        assert part in message, message
    assert "secret" not in message


@pytest.mark.parametrize("command", [["run"], ["up"]])
@pytest.mark.parametrize(
    ("name", "found"),
    [("sqlalchemy", "2.1.3"), ("fastapi", "0.160.0"), ("torch", None), ("sentencepiece", "0.1.9")],
)
def test_package_outside_the_pins(
    home: Path,
    refused: Say,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    name: str,
    found: str | None,
) -> None:
    real = importlib.metadata.version

    def version(asked: str) -> str:
        if asked != name:
            return real(asked)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(asked)
        return found

    monkeypatch.setattr(installation, "version", version)
    if name == "sentencepiece":  # declared by the metadata of an installed Arriero alone
        monkeypatch.setattr(installation, "requires", lambda _: ["sentencepiece>=0.2.1"])
    message = refused(*command)
    first, line, last = message.splitlines()
    assert first.startswith("the installed packages are not those")
    wanted = str(installation.PINS.get(name, (">=0.2.1",))[0])
    assert line.startswith(f"- {name} {found or 'not installed'}, needed {wanted}: pip install")
    assert last == "Run `make setup`, which installs requirements.lock; nothing was started."
    assert not home.exists()


def test_extras_are_not_required(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = ["nothing-of-this-name>=1; extra == 'dev'", "pydantic>=2"]
    monkeypatch.setattr(installation, "requires", lambda _: declared)
    assert installation.check_requirements() == []


def test_taken_ports_are_named_with_the_ones_used_instead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import socket

    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    taken = {
        name: server.getsockname()[1] for name, server in zip(stack.USUAL_PORTS, held, strict=True)
    }
    said: list[str] = []
    try:
        monkeypatch.setattr(stack, "USUAL_PORTS", taken)
        chosen = stack._choose_ports(said.append)
    finally:
        for server in held:
            server.close()
    assert not set(chosen.values()) & set(taken.values()) and len(set(chosen.values())) == 3
    assert said == [
        f"port {port} is taken; {name} uses {chosen[name]}" for name, port in taken.items()
    ]


def test_a_state_s_message_is_reduced_to_the_error_s_own() -> None:
    assert flow_message("Flow run encountered an exception: ValueError: no x") == "no x"
    assert flow_message("Task run encountered an exception BadFileError: no y") == (
        "BadFileError: no y"
    )
    assert flow_message("Flow run process exited with status code 1") == (
        "Flow run process exited with status code 1"
    )

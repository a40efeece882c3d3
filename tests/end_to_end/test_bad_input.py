"""Bad input through the real command line: services, deployment, worker, one message."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from flows.stack import USUAL_PORTS
from tasks.sample.make import make_sample
from tests.bad_input import dumps
from tests.services import arriero, living, stack_of, sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good data folder; the tests break copies of it."""
    folder = tmp_path_factory.mktemp("sample")
    make_sample(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """State of services that stay up for the module, the usual ports taken where possible."""
    folder = tmp_path_factory.mktemp("home")
    held = []
    for port in USUAL_PORTS.values():
        try:
            held.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue  # somebody else holds it, which is as good
    try:
        started = arriero(folder, "up")
        assert started.returncode == 0, started.stderr
        chosen = stack_of(folder)["ports"]
        for name, port in USUAL_PORTS.items():
            assert f"port {port} is taken; {name} uses {chosen[name]}" in started.stderr
        yield folder
    finally:
        stopped = arriero(folder, "down")
        for server in held:
            server.close()
        left = [" ".join(process.cmdline()) for process in living(folder)]
        sweep(folder)
    assert stopped.returncode == 0 and left == [], left


def rows(home: Path, query: str) -> list[tuple[object, ...]]:
    engine = create_engine(f"sqlite:///{home / 'registry.sqlite'}")
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def failed(home: Path, *arguments: str) -> str:
    """The output of a run that must fail, with what no failed run may print or leave."""
    done = arriero(home, "run", "--once", *arguments)
    printed = done.stdout + done.stderr
    assert done.returncode == 1, printed
    assert 'File "' not in printed and "Traceback (most" not in printed
    messages = [line for line in done.stdout.splitlines() if line.startswith("failed in ")]
    assert len(messages) == 1 and f"traceback: {home}" in done.stdout, printed
    assert not list((home / "store" / "tmp").glob("tmp-*"))
    for key, uri in rows(home, "SELECT key, uri FROM artifact"):
        assert (home / "store" / str(uri) / "manifest.json").is_file(), key
    return printed


def test_source_of_empty_files(home: Path, sample: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(sample, data)
    for path in (data / "corpus/commoncrawl").iterdir():
        path.write_bytes(b"")
    printed = failed(home, "--data", str(data))
    assert "failed in documents.commoncrawl: MissingSourceError: source 'commoncrawl'" in printed
    assert str(data / "corpus/commoncrawl") in printed and "empty file (2)" in printed
    assert rows(home, "SELECT 1 FROM artifact WHERE stage = 'documents.commoncrawl'") == []
    stage = "SELECT status, artifact_key FROM run WHERE stage = 'documents.commoncrawl'"
    assert rows(home, stage) == [("failed", None)]


def test_truncated_dump_with_strict(home: Path, sample: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(sample, data)
    broken = next((data / "corpus/commoncrawl").glob("*.warc.gz"))
    broken.write_bytes(dumps.half(broken.read_bytes()))
    printed = failed(home, "--data", str(data), "--strict")
    name = f"corpus/commoncrawl/{broken.name}"
    assert f"failed in documents.commoncrawl: BadFileError: commoncrawl: {name}:" in printed
    assert "truncated gzip" in printed and "without strict" in printed


def test_mistakes_found_before_the_start_touch_nothing(home: Path, tmp_path: Path) -> None:
    before = rows(home, "SELECT count(*) FROM run")
    for arguments in (
        ("--set", "evaluation.benchmarks=[foo]"),
        ("--data", str(tmp_path)),
        ("--preset", "nan"),
    ):
        done = arriero(home, "run", "--once", *arguments)
        assert done.returncode == 2 and done.stdout == "", done.stdout
        assert done.stderr.startswith("error: ") and done.stderr.count("error:") == 1
    assert rows(home, "SELECT count(*) FROM run") == before

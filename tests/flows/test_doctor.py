"""The doctor names what is wrong, where, and what to do."""

from __future__ import annotations

import importlib.metadata
import io
import socket
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from rich.console import Console

from flows import doctor, installation, stack
from flows.preflight import NotReady
from registry.database import upgrade
from registry.settings import Settings
from tasks.emissions.records import ChainWriter, node_id

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    for name in ("PREFECT_API_URL", "PREFECT_API_DATABASE_CONNECTION_URL", "ARRIERO_STACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI", raising=False)
    yield Settings(home=tmp_path / "home", data=None, registry_url="")


def test_pins_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    for name, (pin, _) in installation.PINS.items():
        assert declared[name] == Requirement(name + pin).specifier, name
    assert project["requires-python"] == installation.PYTHON


def test_a_package_outside_the_pins_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.metadata.version
    monkeypatch.setattr(
        installation, "version", lambda name: "0.165.0" if name == "fastapi" else installed(name)
    )
    checks = {c.name: c for c in installation.check_pins()}
    assert checks["fastapi"].status == "fail"
    assert (checks["fastapi"].found, checks["fastapi"].expected) == ("0.165.0", ">=0.139,<0.151")
    assert "pip install 'fastapi>=0.139,<0.151'" in checks["fastapi"].remedy
    assert [n for n, c in checks.items() if c.status != "ok"] == ["fastapi"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "codecarbon":
            raise importlib.metadata.PackageNotFoundError(name)
        return importlib.metadata.version(name)

    monkeypatch.setattr(installation, "version", version)
    bad = [c for c in installation.check_pins() if c.status == "fail"]
    assert [(c.name, c.found) for c in bad] == [("codecarbon", "not installed")]


def test_the_whole_diagnosis_is_quick_and_renders(settings: Settings) -> None:
    started = time.monotonic()
    checks = doctor.diagnose(settings)
    assert time.monotonic() - started < 10  # 1 to 2 s alone; the machine may be busy
    assert not settings.home.exists(), "looking must not create anything"
    names = [c.name for c in checks]
    assert len(names) == len(set(names))
    assert {"python", "torch", "home", "registry", "port 4200", "sandbox"} <= set(names)
    assert all(c.remedy for c in checks if c.status != "ok")
    odd = installation.Check(name="odd", status="fail", found="[Errno 13] no", expected="")
    console = Console(width=160, file=io.StringIO())
    console.print(doctor.render([*checks, odd]))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "[Errno 13] no" in text
    assert all(name in text for name in names)


def test_registry_states(settings: Settings) -> None:
    fresh = doctor.check_registry(settings)
    assert fresh.status == "warn" and "arriero up" in fresh.remedy
    upgrade(settings.registry_url)
    assert doctor.check_registry(settings).status == "ok"
    (settings.home / "registry.sqlite").write_bytes(b"no database at all, but long enough" * 99)
    broken = doctor.check_registry(settings)
    assert broken.status == "fail" and "registry.sqlite" in broken.found


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    home, store = doctor.check_places(Settings(home=file / "home", store=tmp_path / "store"))
    assert home.status == "fail" and "ARRIERO_HOME" in home.remedy and str(file) in home.remedy
    assert "not made yet" in store.found and not (tmp_path / "store").exists()


def test_shared_databases_are_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_databases(settings).status == "ok"
    shared = settings.home / "registry.sqlite"
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{shared}")
    check = doctor.check_databases(settings)
    assert check.status == "fail" and "prefect and registry share" in check.found


def test_foreign_owner_of_a_package_name_is_named() -> None:
    owners = {name: ["arriero"] for name in installation.PACKAGES} | {"model": ["arriero", "other"]}
    check = installation.check_packages(lambda: owners)
    assert check.status == "fail" and check.found == "model is also of other"
    assert "pip uninstall other" in check.remedy
    assert installation.check_packages(dict).status == "warn"


def test_telemetry_that_would_speak_is_named() -> None:
    assert installation.check_telemetry({}).status == "ok"
    check = installation.check_telemetry(
        {"DO_NOT_TRACK": "1"}
    )  # MLflow does not know this spelling
    assert check.status == "warn" and check.found == "DO_NOT_TRACK=1"


def test_dead_services_and_taken_ports(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr("flows.services.USUAL_PORTS", {"prefect": port})
        (check,) = doctor.check_services(settings)
        assert (check.name, check.found, check.status) == (f"port {port}", "taken", "warn")
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    checks = {c.name: c for c in doctor.check_services(settings)}
    assert checks["prefect api"].status == "fail"
    assert checks[f"port {port}"].status == "ok"


def test_an_edited_energy_record_is_found(settings: Settings) -> None:
    assert doctor.check_meter(settings).status == "ok"
    folder = settings.home / "emissions" / node_id()
    folder.mkdir(parents=True)
    writer = ChainWriter(folder / "s.jsonl")
    writer.append({"kind": "reading", "joules": {"cpu": 10.0}})
    writer.close()
    assert doctor.check_meter(settings).status == "ok"
    path = folder / "s.jsonl"
    path.write_text(path.read_text().replace("10.0", "11.0"))
    check = doctor.check_meter(settings)
    assert check.status == "fail" and "s.jsonl:1" in check.found


def test_data_layout(tmp_path: Path) -> None:
    def check(root: Path) -> installation.Check:
        return doctor.check_data(Settings(home=tmp_path / "home", data=root))

    assert check(tmp_path / "nowhere").status == "fail"
    root = tmp_path / "data"
    for part in [*(f"corpus/{s}" for s in doctor.SOURCES if s != "github"), "bench", "instruct"]:
        (root / part / "x").mkdir(parents=True)
    assert check(root).status == "ok"
    (root / "corpus" / "books" / "x").rmdir()
    assert check(root).status == "warn" and "corpus/books" in check(root).found


def test_an_installation_without_a_checkout_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor.check_checkout().status == "ok"
    found = doctor.check_checkout(tmp_path)
    assert found.status == "fail"
    assert found.found == f"{tmp_path} holds no prefect.yaml and no deploy/automations.yaml"
    assert "checkout of the repository" in found.remedy
    monkeypatch.setattr(doctor, "check_checkout", lambda: found)
    with pytest.raises(NotReady, match="Nothing was started"):
        stack.start(Settings(home=tmp_path), print)


def test_a_damaged_record_of_the_services_fails(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text("{", encoding="utf-8")
    services = doctor.check_services(Settings(home=tmp_path))[0]
    assert (services.name, services.status) == ("services", "fail")
    assert "stack.json" in services.found

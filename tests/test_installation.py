"""The installed environment is the one that works together."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from flows import installation

ROOT = Path(__file__).resolve().parent.parent
OWN = ("flows", "tasks", "model", "registry", "dashboards")


def test_the_prefect_server_imports() -> None:
    """FastAPI 0.154 and later refuse an argument that Prefect 3.8 gives."""
    server = importlib.import_module("prefect.server.api.server")
    assert callable(server.create_app)


def test_pins_hold() -> None:
    failed = [check for check in installation.check_pins() if check.status != "ok"]
    assert failed == []


def test_prefect_yaml_names_the_installed_prefect() -> None:
    spec = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    assert spec["prefect-version"] == version("prefect")


def test_the_lock_holds_every_pin() -> None:
    lock = dict(
        line.strip().split("==")
        for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    )
    names = {name.lower().replace("_", "-"): number for name, number in lock.items()}
    for name, (pin, _) in installation.PINS.items():
        assert Requirement(name + pin).specifier.contains(names[name.lower()]), name


def test_imports_go_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("name", OWN)
def test_package_names_are_ours(name: str) -> None:
    """They are plain words: a dependency that brought one would shadow ours, or be shadowed."""
    assert name not in sys.stdlib_module_names
    owners = set(packages_distributions().get(name, []))
    assert owners <= {"arriero"}, f"{name} is brought by {owners}"
    found = importlib.import_module(name).__file__
    assert found is not None and Path(found).parent == ROOT / name


def test_no_flow_module_hides_a_library() -> None:
    """A flow run by its file puts flows/ first on sys.path: its modules then shadow libraries."""
    owners = set(packages_distributions())
    assert {path.stem for path in (ROOT / "flows").glob("*.py")} & owners == set()

"""A registry as the pipeline leaves it, and a client on the dashboard over it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboards.app import create_app
from dashboards.links import Links


def _load_example() -> Any:
    """``example.py`` beside this file; tests are no package, so it is loaded by its path."""
    name = "dashboards_example"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "example.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def hostile() -> str:
    """Text that runs as a script where it is not escaped; the example is full of it."""
    return str(_load_example().HOSTILE)


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One real and one sample pipeline run; tests must not change it."""
    return _load_example().build_example(tmp_path_factory.mktemp("dashboard"))


@pytest.fixture(scope="session")
def client(example: Any) -> Iterator[TestClient]:
    """The dashboard over the example, asked as a browser on this machine would."""
    links = Links(prefect="http://127.0.0.1:4200", mlflow="http://127.0.0.1:5000")
    app = create_app(example.settings, links)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as made:
        yield made

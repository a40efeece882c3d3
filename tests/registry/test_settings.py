"""Settings come from the environment, are absolute, and refuse unusable places by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.problems import message_of
from registry.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ARRIERO_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_defaults_hang_on_home_and_are_absolute(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.home == tmp_path / ".arriero"
    assert settings.store == tmp_path / ".arriero" / "store"
    assert settings.registry_url == f"sqlite:///{tmp_path}/.arriero/registry.sqlite"
    assert settings.data is None
    assert settings.store.is_dir()
    assert list(settings.store.iterdir()) == []  # the probe file is gone


def test_environment_is_read_at_the_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARRIERO_HOME", "state")
    monkeypatch.setenv("ARRIERO_DATA", str(tmp_path))
    settings = load_settings()
    assert settings.home == tmp_path / "state"
    assert settings.data == tmp_path
    with pytest.raises(ValidationError, match="frozen"):
        settings.home = tmp_path  # type: ignore[misc]


@pytest.mark.parametrize("variable", ["ARRIERO_HOME", "ARRIERO_STORE"])
def test_unwritable_place_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(variable, str(tmp_path / "file" / "below"))
    with pytest.raises(ValueError, match=f"{variable}: cannot write in .*file/below"):
        load_settings()


def test_absent_data_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARRIERO_DATA", "nowhere")
    with pytest.raises(ValueError, match=r"ARRIERO_DATA names .*nowhere, which is not a folder"):
        load_settings()


def test_password_stays_out_of_every_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARRIERO_REGISTRY_URL", "postgresql+psycopg://me@host/registry")
    monkeypatch.setenv("ARRIERO_REGISTRY_PASSWORD", "pa55word")
    settings = load_settings()
    assert "pa55word" not in repr(settings) + settings.model_dump_json()
    assert settings.registry_address.password == "pa55word"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ARRIERO_REGISTRY_URL", "postgresql+psycopg://me:pa55word@host/registry"),
        ("ARRIERO_REGISTRY_URL", "postgresql+psycopg://me@host/registry?password=pa55word"),
        ("ARRIERO_REGISTRY_URL", "postgresql+psycopg://me@host/registry?sslPassword=pa55word"),
        ("ARRIERO_REGISTRY_URL", "postgresql+psycopg://me@host/registry?passfile=/pa55word"),
        ("ARRIERO_MLFLOW_TRACKING_URI", "http://me:pa55word@host:5000"),
        ("ARRIERO_MLFLOW_TRACKING_URI", "http://pa55word@host:5000"),
    ],
)
def test_password_in_an_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f"{variable} holds a password") as raised:
        load_settings()
    assert "pa55word" not in message_of(raised.value)


def test_a_relative_registry_is_made_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ARRIERO_REGISTRY_URL", "sqlite:///my/registry.sqlite")
    assert load_settings().registry_url == f"sqlite:///{tmp_path}/my/registry.sqlite"
    monkeypatch.setenv("ARRIERO_REGISTRY_URL", "sqlite:///:memory:")
    assert load_settings().registry_url == "sqlite:///:memory:"


def test_misspelt_variable_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARRIERO_REGISTY_URL", "sqlite:///x")
    with pytest.warns(UserWarning, match="ARRIERO_REGISTY_URL is ignored; ARRIERO_REGISTRY_URL"):
        load_settings()

"""Where things run and live: read from ``ARRIERO_*`` variables, never from flow parameters.

What to compute is a stage's parameter model; this is only where. Passwords are ``SecretStr``
fields of their own, so a URL can be printed, logged and stored without a second thought.
"""

from __future__ import annotations

import difflib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "ARRIERO_"
# Options of PostgreSQL's connection string that hold a secret or the way to one.
SECRET_OPTIONS = ("password", "passfile", "sslpassword")


class Settings(BaseSettings):
    """Places and addresses of one installation. Paths are absolute once loaded."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True
    )

    home: Path = Field(
        default=Path(".arriero"),
        title="State root",
        description="Folder of everything that is kept.",
    )
    data: Path | None = Field(
        default=None, title="Data folder", description="Real dumps: corpus/, bench/, instruct/."
    )
    registry_url: str = Field(
        default="",
        title="Registry database",
        description="SQLAlchemy URL without a password; default sqlite:///<home>/registry.sqlite.",
    )
    registry_password: SecretStr | None = Field(
        default=None,
        title="Registry password",
        description="Password that the registry URL leaves out.",
    )
    store: Path = Field(
        default=Path(),
        title="Artifact store",
        description="Folder of artifacts; default <home>/store.",
    )
    trainer_launch: str = Field(
        default="",
        title="Launch on several machines",
        description="Command that starts what follows it once on every machine of a training run "
        "with several, passes signals on and ends with its exit code, as `srun "
        "--ntasks-per-node=1` does. {nodes} and {processes} are filled in.",
    )
    trainer_endpoint: str = Field(
        default="",
        title="Meeting point of the machines",
        description="host:port, reachable from all of them, on the machine of the first agent.",
    )
    mlflow_tracking_uri: str | None = Field(
        default=None,
        title="MLflow address",
        description="Tracking server, without credentials (MLFLOW_TRACKING_USERNAME/PASSWORD).",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_places(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Make paths absolute and derive the two defaults that hang on ``home``."""
        filled = dict(values)
        home = Path(filled.get("home") or ".arriero").expanduser().absolute()
        filled["home"] = home
        filled["store"] = Path(filled.get("store") or home / "store").expanduser().absolute()
        if filled.get("data") is not None:
            filled["data"] = Path(filled["data"]).expanduser().absolute()
        if not filled.get("registry_url"):
            filled["registry_url"] = f"sqlite:///{home / 'registry.sqlite'}"
        return filled

    @field_validator("registry_url")
    @classmethod
    def _registry_url_is_safe(cls, value: str) -> str:
        try:
            url = make_url(value)
        except ArgumentError as error:
            raise ValueError(
                f"{PREFIX}REGISTRY_URL is not a database URL; write for example "
                "sqlite:////var/arriero/registry.sqlite or postgresql+psycopg://user@host/registry"
            ) from error
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise ValueError(
                f"{PREFIX}REGISTRY_URL names a {url.get_backend_name()} database; the registry "
                "runs on SQLite and PostgreSQL: sqlite:////var/arriero/registry.sqlite or "
                "postgresql+psycopg://user@host/registry"
            )
        if url.password is not None or any(name.lower() in SECRET_OPTIONS for name in url.query):
            raise ValueError(
                f"{PREFIX}REGISTRY_URL holds a password; leave it out of the URL and set "
                f"{PREFIX}REGISTRY_PASSWORD, which is never printed"
            )
        file = url.database if url.get_backend_name() == "sqlite" else None
        if file and not file.startswith((":memory:", "file:")):
            # Absolute, as every path here: services run in another folder.
            path = Path(file).expanduser().absolute()
            return url.set(database=str(path)).render_as_string(hide_password=False)
        return value

    @field_validator("mlflow_tracking_uri")
    @classmethod
    def _tracking_uri_is_safe(cls, value: str | None) -> str | None:
        # A token stands in the place of the user name.
        if value is not None and "@" in urlsplit(value).netloc:
            raise ValueError(
                f"{PREFIX}MLFLOW_TRACKING_URI holds a password or a user; leave it out and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return value

    @property
    def registry_address(self) -> URL:
        """The registry URL with its password, for the engine only; never print it."""
        url = make_url(self.registry_url)
        if self.registry_password is not None:
            url = url.set(password=self.registry_password.get_secret_value())
        return url


def load_settings(*, check: bool = True) -> Settings:
    """Read the environment now.

    With ``check`` the home and the store are made and tried; raises ``ValueError`` naming the
    variable and the folder when one cannot be written, or when the data folder does not exist.
    """
    _warn_of_misspelt_variables()
    settings = Settings()
    if check:
        _require_writable(settings.home, "HOME")
        _require_writable(settings.store, "STORE")
        if settings.data is not None and not settings.data.is_dir():
            raise ValueError(
                f"{PREFIX}DATA names {settings.data}, which is not a folder; "
                "name the folder that holds corpus/, bench/ and instruct/, or unset it"
            )
    return settings


def _require_writable(folder: Path, variable: str) -> None:
    """Raise ``ValueError`` unless a file can be made in ``folder`` (root passes access checks)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-"):
            return
    except OSError as error:
        raise ValueError(
            f"{PREFIX}{variable}: cannot write in {folder} ({error.strerror}); "
            f"free or unlock it, or set {PREFIX}{variable} to another folder"
        ) from error


def _warn_of_misspelt_variables() -> None:
    """Warn of a variable that is ignored and looks like one of ours."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    for variable in sorted(os.environ):
        if variable.startswith("ARRIERO") and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.88)
            if near:
                warnings.warn(f"{variable} is ignored; {near[0]} was meant?", stacklevel=3)

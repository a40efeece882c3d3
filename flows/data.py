"""Which data a flow works on: the folder in its form, ARRIERO_DATA, or the generated sample."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from registry.settings import Settings, load_settings
from tasks.environment import environment_facts

MARKER = "SAMPLE.json"


class DataFolder(BaseModel):
    """A folder with ``corpus/``, ``bench/`` and ``instruct/``.

    sample: made by the project; its results are never printed beside the paper's.
    """

    model_config = ConfigDict(frozen=True)

    root: str
    sample: bool

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.root)


@task(name="data folder", cache_policy=NO_CACHE, persist_result=True)
def find_data(data: str | None) -> DataFolder:
    """Resolve the data folder; makes the sample offline when nothing is named.

    Raises:
        ValueError: the folder named does not exist or holds no ``corpus`` folder.
    """
    settings = load_settings()
    named = Path(data).expanduser() if data else settings.data
    if named is None:
        return DataFolder(root=str(make_sample_once(settings)), sample=True)
    if not (named / "corpus").is_dir():
        raise ValueError(
            f"data folder {named} has no 'corpus' folder. Expected: corpus/<source>/,"
            " bench/<benchmark>/, instruct/<dataset>/ (docs/running.md)"
        )
    return DataFolder(root=str(named.resolve()), sample=(named / MARKER).exists())


def make_sample_once(settings: Settings) -> Path:
    """The sample of this environment, made on first use, published by one rename."""
    from tasks.sample.make import make_sample

    # The sample is made from installed packages: another environment, another sample.
    target = settings.home / "sample" / environment_facts()["lock_hash"][:16]
    if (target / MARKER).exists():
        return target
    staging = target.with_name(f"tmp-{uuid.uuid4().hex}")
    staging.mkdir(parents=True)
    try:
        make_sample(staging)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target

"""Which data a flow works on: the folder in its form, ARRIERO_DATA, or the generated sample."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from registry.artifacts import ArtifactRef
from registry.data_folders import (
    DataFolderUsed,
    evaluation_folder,
    making_folders,
    record_data_folder,
)
from registry.settings import Settings, load_settings
from tasks.environment import environment_facts
from tasks.locks import exclusive
from tasks.runner import RunContext, Workplace, settled

MARKER = "SAMPLE.json"
log = logging.getLogger("arriero")


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


@task(name="data folder", task_run_name="data folder", cache_policy=NO_CACHE, persist_result=True)
def find_data(data: str | None, any_of: tuple[str, ...] = ("corpus",)) -> DataFolder:
    """Resolve the data folder; makes the sample offline when nothing is named.

    Args:
        any_of: folders of which the flow needs one.

    Raises:
        ValueError: the folder named does not exist or holds none of ``any_of``.
    """
    settings = load_settings()
    named = Path(data).expanduser() if data else settings.data
    if named is None:
        return DataFolder(root=str(make_sample_once(settings)), sample=True)
    if not any((named / part).is_dir() for part in any_of):
        raise ValueError(
            f"data folder {named} has no {' or '.join(map(repr, any_of))} folder. Expected:"
            " corpus/<source>/, bench/<benchmark>/, instruct/<dataset>/ (docs/running.md)"
        )
    return DataFolder(root=str(named.resolve()), sample=(named / MARKER).exists())


def folder_for(
    place: Workplace, model: ArtifactRef, named: str | None, *, as_last: bool = False
) -> str | None:
    """The data folder to name to :func:`find_data` for work on a model that exists.

    What the form names; else ARRIERO_DATA; else the folder of the model's last evaluation; else one
    that it was made from. With ``as_last`` the last evaluation's comes before ARRIERO_DATA. None:
    find_data takes ARRIERO_DATA or makes the sample.

    Raises:
        ValueError: no folder is known, or the last one is gone: a model made from real data would
            be evaluated on other data, or on the sample, unasked.
    """
    configured = place.settings.data is not None
    if named or (configured and not as_last):
        return named
    sample = place.store.manifest(model).sample
    last = evaluation_folder(place.registry, model, sample=sample)
    # One that a finetuning read may hold instructions only.
    known = [last] if last else making_folders(place.registry, model, sample=sample)
    for part in ("bench", "corpus"):
        for folder in known:
            if (Path(folder.root) / part).is_dir():
                return folder.root
    gone = f" {known[0].root} has no bench/ or corpus/ (any more)." if known else ""
    if configured:
        log.warning("model %s is evaluated on ARRIERO_DATA.%s", model.digest[:12], gone)
    elif not sample:
        raise ValueError(
            f"model {model.digest[:12]} was made from real data, and no data folder is known to"
            f" evaluate it on.{gone} Name one in the form's field `data`, or set ARRIERO_DATA"
        )
    return None


def take_data(
    place: Workplace,
    run: RunContext,
    data: str | None,
    model: ArtifactRef | None = None,
    *,
    any_of: tuple[str, ...] = ("corpus",),
) -> DataFolder:
    """:func:`find_data`, recorded as the folder that this flow run reads (for ``model``)."""
    found: DataFolder = settled(find_data(data, any_of))
    digest = model.digest if model else None
    folder = DataFolderUsed(root=found.root, sample=found.sample, model=digest)
    record_data_folder(place.registry, run.run_id, folder)
    return found


def make_sample_once(settings: Settings) -> Path:
    """The sample of this environment, by one process at a time; made anew unless it is whole."""
    from tasks.sample.make import make_sample

    # The sample is made from installed packages: another environment, another sample.
    target = settings.home / "sample" / environment_facts()["lock_hash"][:16]
    lock = settings.home / "sample.lock"
    with exclusive(lock, what="making the sample", log=logging.getLogger("arriero")):
        for left in target.parent.glob("tmp-*"):  # of a maker that was killed
            shutil.rmtree(left)
        make_sample(target)  # appears by one rename; nothing to do where it is whole
    return target

"""Which folder a flow reads, what it must hold, and the sample when none is named."""

from __future__ import annotations

import multiprocessing
import time
import uuid
from pathlib import Path
from unittest import mock

import pytest

from flows.data import DataFolder, find_data, folder_for, make_sample_once
from registry import runs
from registry.artifacts import ArtifactRef, Kind, recipe_key
from registry.data_folders import DataFolderUsed, evaluation_folder, record_data_folder
from registry.database import upgrade
from registry.settings import Settings, load_settings
from tasks.runner import Workplace, open_workplace

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.setenv("ARRIERO_HOME", str(tmp_path / "home"))
    for name in ("ARRIERO_REGISTRY_URL", "ARRIERO_DATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    upgrade(load_settings().registry_address)
    return open_workplace()


def put(
    place: Workplace, kind: Kind, text: str, *, sample: bool = False, **inputs: ArtifactRef
) -> ArtifactRef:
    staging = place.store.new_staging()
    (staging / "file.txt").write_text(text)
    digests = {name: ref.digest for name, ref in inputs.items()}
    return place.store.publish(
        staging,
        key=recipe_key(kind.value, 1, {}, {"text": text}, digests),
        kind=kind,
        stage=kind.value,
        stage_version=1,
        parameters={"text": text},
        inputs=inputs,
        sample=sample,
    )


def flow_that_made(
    place: Workplace, flow: str, made: ArtifactRef, *folders: DataFolderUsed
) -> None:
    """A recorded flow run that read the folders, and its one stage."""
    parent = runs.start_run(place.registry, flow=flow)
    for folder in folders:
        record_data_folder(place.registry, parent, folder)
    stage = runs.start_run(place.registry, flow=flow, stage=made.kind.value, parent_id=parent)
    runs.finish_run(place.registry, stage, "completed", artifact_key=made.key)
    runs.finish_run(place.registry, parent, "completed")


def evaluated(place: Workplace, model: ArtifactRef, name: str) -> ArtifactRef:
    result = put(place, Kind.EVALUATION, name, model=model)
    row = {"benchmark": "boolq", "metric": "acc", "value": 0.5, "n": 2}
    with place.registry.session() as session:
        runs.record_evaluations(session, artifact=result, model=model, rows=[row])
    return result


def test_a_model_is_evaluated_on_the_data_of_its_last_evaluation_or_its_making(
    place: Workplace, tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in ("dumps", "new", "gone")}
    for folder in (folders["dumps"], folders["new"]):
        (folder / "bench").mkdir(parents=True)
    raw = put(place, Kind.RAW, "raw")
    model = put(place, Kind.MODEL, "weights", raw=raw)
    with pytest.raises(ValueError, match=r"made from real data, and no data folder is known"):
        folder_for(place, model, None)

    dumps = DataFolderUsed(root=str(folders["dumps"]), sample=False)
    flow_that_made(place, "preparation", raw, dumps)
    assert folder_for(place, model, None) == str(folders["dumps"])

    # The night read one folder for this model and another one for the next.
    night = (
        DataFolderUsed(root=str(folders["new"]), sample=False, model=model.digest),
        DataFolderUsed(root=str(folders["dumps"]), sample=False, model="another"),
    )
    flow_that_made(place, "nightly-evaluation", evaluated(place, model, "one"), *night)
    assert folder_for(place, model, None) == str(folders["new"])
    assert folder_for(place, model, str(folders["dumps"])) == str(folders["dumps"])

    gone = DataFolderUsed(root=str(folders["gone"]), sample=False, model=model.digest)
    flow_that_made(place, "evaluation", evaluated(place, model, "two"), gone)
    # Not the older ones: figures on other data would look as if nothing had happened.
    with pytest.raises(ValueError, match=r"gone has no bench/ or corpus/ \(any more\)\. Name one"):
        folder_for(place, model, None)


def test_a_folder_of_instructions_only_is_none_to_evaluate_on(
    place: Workplace, tmp_path: Path
) -> None:
    for part in ("dumps/corpus", "instructions/instruct"):
        (tmp_path / part).mkdir(parents=True)
    raw = put(place, Kind.RAW, "raw")
    rows = put(place, Kind.INSTRUCTIONS, "rows")
    model = put(place, Kind.MODEL, "weights", raw=raw, instructions=rows)
    for flow, made, name in (("preparation", raw, "dumps"), ("finetuning", rows, "instructions")):
        used = DataFolderUsed(root=str(tmp_path / name), sample=False)
        flow_that_made(place, flow, made, used)
    assert folder_for(place, model, None) == str(tmp_path / "dumps")


def test_the_sample_says_nothing_about_a_real_model(place: Workplace, tmp_path: Path) -> None:
    real = put(place, Kind.MODEL, "real")
    made_up = put(place, Kind.MODEL, "made up", sample=True)
    (tmp_path / "sample" / "bench").mkdir(parents=True)
    for model in (real, made_up):
        used = DataFolderUsed(root=str(tmp_path / "sample"), sample=True, model=model.digest)
        flow_that_made(place, "evaluation", evaluated(place, model, model.key), used)
    assert evaluation_folder(place.registry, real, sample=False) is None
    with pytest.raises(ValueError, match="no data folder is known"):
        folder_for(place, real, None)
    assert folder_for(place, made_up, None) == str(tmp_path / "sample")
    assert folder_for(place, put(place, Kind.MODEL, "new", sample=True), None) is None


def test_the_setting_comes_first_unless_the_last_one_is_asked_for(
    place: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = put(place, Kind.MODEL, "weights")
    (tmp_path / "last" / "bench").mkdir(parents=True)
    last = DataFolderUsed(root=str(tmp_path / "last"), sample=False)
    flow_that_made(place, "evaluation", evaluated(place, model, "one"), last)
    monkeypatch.setenv("ARRIERO_DATA", str(tmp_path))
    place = open_workplace()
    assert folder_for(place, model, None) is None
    assert folder_for(place, model, None, as_last=True) == str(tmp_path / "last")
    (tmp_path / "last" / "bench").rmdir()
    assert folder_for(place, model, None, as_last=True) is None
    assert "is evaluated on ARRIERO_DATA" in caplog.text and str(tmp_path / "last") in caplog.text


@pytest.mark.parametrize("part", ["corpus", "bench", "instruct"])
def test_a_folder_needs_what_its_flow_reads_and_no_more(tmp_path: Path, part: str) -> None:
    (tmp_path / part).mkdir()
    assert find_data.fn(str(tmp_path), (part,)) == DataFolder(root=str(tmp_path), sample=False)
    one, other = {"corpus", "bench", "instruct"} - {part}
    assert find_data.fn(str(tmp_path), (one, part)).root == str(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path} has no '{one}' or '{other}' folder"):
        find_data.fn(str(tmp_path), (one, other))


def make_slowly(out: Path) -> None:
    """What `make_sample` does, with time for a second maker to come in between."""
    if (out / "SAMPLE.json").exists():
        return  # it leaves a whole sample alone
    staging = out.with_name(f"tmp-{uuid.uuid4().hex}")
    staging.mkdir(parents=True)
    time.sleep(1.0)
    (staging / "SAMPLE.json").write_text("{}")
    staging.rename(out)


def _make_once(home: Path) -> None:
    from tasks.sample import make

    with mock.patch.object(make, "make_sample", make_slowly):
        make_sample_once(Settings(home=home))


def test_two_makers_make_one_sample(tmp_path: Path) -> None:
    makers = [SPAWN.Process(target=_make_once, args=(tmp_path,)) for _ in range(2)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    assert [maker.exitcode for maker in makers] == [0, 0]
    (made,) = (tmp_path / "sample").iterdir()
    assert (made / "SAMPLE.json").exists()


def test_what_a_killed_maker_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.sample.make.make_sample", make_slowly)
    for name in ("tmp-0f", "other"):
        (tmp_path / "sample" / name / "corpus").mkdir(parents=True)
    made = make_sample_once(Settings(home=tmp_path))
    left = {path.name for path in (tmp_path / "sample").iterdir()}
    assert left == {"other", made.name}

"""The store: all or nothing, first producer wins, corruption is named and never a hit."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from registry import files as disk
from registry.artifacts import (
    ArtifactMissing,
    ArtifactRef,
    Kind,
    Manifest,
    Store,
    Swept,
    recipe_key,
)
from registry.database import Registry, upgrade
from registry.files import StoreFull, StoreNotWritable
from registry.runs import list_events, start_run
from registry.schema import Artifact, ArtifactInput

SPAWN = multiprocessing.get_context("spawn")


def kinds(registry: Registry) -> list[str]:
    """Kinds of all events, oldest first."""
    return [event.kind for event in list_events(registry)][::-1]


def publish(store: Store, text: str, *, key: str = "ab" * 32, **fields: Any) -> ArtifactRef:
    """Publish one tokens artifact with ``data.txt``."""
    staging = store.new_staging()
    (staging / "data.txt").write_text(text)
    return store.publish(
        staging,
        key=key,
        kind=Kind.TOKENS,
        stage="tokens",
        stage_version=1,
        parameters={},
        inputs={},
        **fields,
    )


def test_recipe_key_is_canonical_and_depends_on_every_part() -> None:
    def key(**change: Any) -> str:
        recipe: dict[str, Any] = {
            "stage": "tokens",
            "version": 1,
            "libraries": {"numpy": "2"},
            "parameters": {"a": 1, "b": [1, 2]},
            "inputs": {"corpus": "d"},
        }
        return recipe_key(**(recipe | change))

    assert key() == key(parameters={"b": [1, 2], "a": 1})
    changed = [
        key(stage="other"),
        key(version=2),
        key(libraries={"numpy": "3"}),
        key(parameters={"a": 1, "b": [2, 1]}),
        key(inputs={"corpus": "e"}),
    ]
    assert len({key(), *changed}) == 6
    text = b'{"inputs":{},"libraries":{},"parameters":{"z":"\xc3\xa9"},"stage":"s","version":1}'
    assert recipe_key("s", 1, {}, {"z": "é"}, {}) == hashlib.sha256(text).hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        key(parameters={"a": float("nan")})


def test_digest_is_of_names_and_content_without_logs(store: Store) -> None:
    def digest(files: dict[str, str]) -> str:
        staging = store.new_staging()
        for name, text in files.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_text(text)
        entries = {name: disk.hash_file(staging / name) for name in disk.list_files(staging)}
        return disk.content_digest(entries)

    base = digest({"a": "1", "b/c": "2"})
    assert digest({"b/c": "2", "a": "1", "logs/host.txt": "here"}) == base
    assert digest({"a": "1", "b/d": "2"}) != base
    assert digest({"a": "1", "b/c": "3"}) != base
    assert digest({"a": "2", "b/c": "1"}) != base
    assert digest({"a": "1", "b/c": "2", "sub/logs/x": ""}) != base


def test_publish_then_lookup(store: Store, registry: Registry) -> None:
    run_id = start_run(registry, flow="pipeline", stage="tokens")
    ref = publish(store, "hello", run_id=run_id, counts={"tokens": 5}, notes=["short"])
    assert ref.uri == f"tokens/ab/{'ab' * 32}"
    assert store.lookup(ref.key) == ref
    assert store.verify(ref) == []
    assert (store.path(ref) / "data.txt").read_text() == "hello"
    manifest = store.manifest(ref)
    assert manifest.counts == {"tokens": 5}
    assert manifest.notes == ["short"]
    assert manifest.files["data.txt"].size == 5
    on_disk = json.loads((store.path(ref) / "manifest.json").read_text())
    with registry.reading() as session:
        row = session.get_one(Artifact, ref.key)
    assert row.manifest == on_disk
    assert (row.run_id, row.size, row.state) == (run_id, 5, "present")
    assert list((store.root / "tmp").iterdir()) == []


def test_unknown_key_is_no_hit(store: Store) -> None:
    assert store.lookup("00" * 32) is None


def test_inputs_are_edges_and_sample_is_inherited(store: Store, registry: Registry) -> None:
    source = publish(store, "raw", key="01" * 32, sample=True)
    real = publish(store, "raw too", key="02" * 32)
    staging = store.new_staging()
    (staging / "x").write_text("x")
    made = store.publish(
        staging,
        key="03" * 32,
        kind=Kind.MODEL,
        stage="export",
        stage_version=1,
        parameters={},
        inputs={"sample": source, "real": real},
    )
    assert store.manifest(made).sample is True
    assert store.manifest(real).sample is False
    with registry.reading() as session:
        edges = {row.name: row.input_key for row in session.query(ArtifactInput)}
    assert edges == {"sample": source.key, "real": real.key}


def test_unknown_run_or_input_publishes_nothing(store: Store, put: Any) -> None:
    with pytest.raises(ValueError, match="no run r9 in the registry"):
        publish(store, "hello", run_id="r9")
    stranger = put(Kind.RAW, "raw").model_copy(update={"key": "0" * 64})
    with pytest.raises(ValueError, match=r"input 'corpus' .* is not in the registry"):
        put(Kind.TOKENS, "tokens", None, {"corpus": stranger})
    assert not (store.root / "tokens").exists()


def test_second_producer_with_the_same_content_changes_nothing(
    store: Store, registry: Registry
) -> None:
    first = publish(store, "same")
    assert publish(store, "same") == first
    assert kinds(registry) == []
    assert list((store.root / "tmp").iterdir()) == []


def test_second_producer_with_other_content_is_an_event(store: Store, registry: Registry) -> None:
    first = publish(store, "first")
    assert publish(store, "second") == first
    assert (store.path(first) / "data.txt").read_text() == "first"
    (event,) = list_events(registry)
    assert event.kind == "digest-mismatch"
    assert event.payload["kept"] == first.digest
    assert event.payload["made"] != first.digest
    assert list((store.root / "tmp").iterdir()) == []


def _publish_at_once(root: str, url: str, text: str, barrier: Any, results: Any) -> None:
    store = Store(Path(root), Registry(url))
    staging = store.new_staging()
    (staging / "data.txt").write_text(text)
    barrier.wait(60)
    ref = store.publish(
        staging,
        key="ab" * 32,
        kind=Kind.TOKENS,
        stage="tokens",
        stage_version=1,
        parameters={},
        inputs={},
    )
    results.put(ref.digest)


def test_two_processes_publish_the_same_key(store: Store, registry: Registry, url: str) -> None:
    barrier, results = SPAWN.Barrier(2), SPAWN.Queue()
    workers = [
        SPAWN.Process(target=_publish_at_once, args=(str(store.root), url, text, barrier, results))
        for text in ("one", "two")
    ]
    for worker in workers:
        worker.start()
    digests = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(digests) == 1
    ref = store.lookup("ab" * 32)
    assert ref is not None
    assert digests == {ref.digest}
    assert store.verify(ref) == []
    assert kinds(registry).count("digest-mismatch") == 1


class DiesAfterRename(Store):
    """Is killed between the rename and the row, as SIGKILL would."""

    def _register(self, manifest: Manifest, event: str | None = None) -> ArtifactRef:
        os._exit(9)


def _publish_and_die(root: str, url: str) -> None:
    publish(DiesAfterRename(Path(root), Registry(url)), "whole")


def killed_publish(store: Store, url: str) -> Path:
    """Leave a directory in place that has no row; its path."""
    worker = SPAWN.Process(target=_publish_and_die, args=(str(store.root), url))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 9
    return store.root / "tokens" / "ab" / ("ab" * 32)


@pytest.mark.parametrize("then", ["lookup", "publish"])
def test_kill_between_rename_and_row_is_adopted(
    store: Store, registry: Registry, url: str, then: str
) -> None:
    folder = killed_publish(store, url)
    assert folder.is_dir()
    ref = store.lookup("ab" * 32) if then == "lookup" else publish(store, "whole")
    assert ref is not None
    assert store.path(ref) == folder
    assert store.verify(ref) == []
    assert kinds(registry) == ["adopted"]
    assert store.lookup(ref.key) == ref
    assert kinds(registry) == ["adopted"]


def test_corrupt_directory_without_a_row_is_not_adopted(
    store: Store, registry: Registry, url: str
) -> None:
    folder = killed_publish(store, url)
    (folder / "data.txt").write_text("wHole")
    assert store.lookup("ab" * 32) is None
    assert not folder.exists()
    (event,) = list_events(registry)
    assert event.kind == "quarantined"
    assert "data.txt: sha256 differs" in event.payload["reason"]
    assert store.verify(publish(store, "whole")) == []


def test_lost_registry_is_rebuilt_from_the_store(
    store: Store, chain: dict[str, ArtifactRef], tmp_path: Path
) -> None:
    upgrade(f"sqlite:///{tmp_path}/new.sqlite")
    again = Store(store.root, Registry(f"sqlite:///{tmp_path}/new.sqlite"))
    assert again.lookup(chain["model"].key) == chain["model"]
    assert again.lookup(chain["raw"].key) == chain["raw"]
    assert kinds(again.registry).count("adopted") == 6


def test_flipped_byte_is_named(store: Store) -> None:
    ref = publish(store, "hello")
    path = store.path(ref) / "data.txt"
    data = bytearray(path.read_bytes())
    data[2] ^= 1
    path.write_bytes(data)
    assert store.verify(ref) == ["data.txt: sha256 differs, the file was changed"]


def test_every_other_damage_is_named(store: Store) -> None:
    ref = publish(store, "hello")
    folder = store.path(ref)
    (folder / "extra").write_text("")
    assert store.verify(ref) == ["extra: not in the manifest"]
    (folder / "extra").unlink()
    manifest = folder / "manifest.json"
    good = manifest.read_text()
    manifest.write_text(good.replace('"reproducibility": "bit"', '"reproducibility": "bot"'))
    assert store.verify(ref) == ["manifest.json: differs from the registry's copy"]
    manifest.write_text(good.replace(ref.digest, "0" * 64))
    assert any("manifest.json" in problem for problem in store.verify(ref))
    manifest.write_text("{")
    assert "is no manifest" in store.verify(ref)[0]
    manifest.write_text(good)
    (folder / "data.txt").unlink()
    assert store.verify(ref) == ["data.txt: No such file or directory"]
    (folder / "data.txt").symlink_to("/etc/hostname")
    assert "no links" in store.verify(ref)[0]
    shutil.rmtree(folder)
    assert "directory is missing" in store.verify(ref)[0]


def test_truncated_file_is_no_hit_and_can_be_made_again(store: Store, registry: Registry) -> None:
    ref = publish(store, "hello")
    (store.path(ref) / "data.txt").write_text("hell")
    assert store.lookup(ref.key) is None
    (event,) = list_events(registry)
    assert event.kind == "quarantined"
    assert event.payload["reason"] == "data.txt: 4 bytes, the manifest says 5"
    assert (store.root / event.payload["moved_to"] / "data.txt").read_text() == "hell"
    assert store.lookup(ref.key) is None
    assert publish(store, "hello") == ref
    assert store.lookup(ref.key) == ref


def test_made_again_with_other_content_is_an_event(store: Store, registry: Registry) -> None:
    ref = publish(store, "hello")
    store.quarantine(ref, "on suspicion")
    again = publish(store, "other")
    assert again.digest != ref.digest
    assert store.lookup(ref.key) == again
    assert kinds(registry) == ["quarantined", "digest-mismatch"]


def test_missing_directory_is_no_hit(store: Store, registry: Registry) -> None:
    ref = publish(store, "hello")
    shutil.move(store.path(ref), store.root / "elsewhere")
    assert store.lookup(ref.key) is None
    assert store.lookup(ref.key) is None
    assert kinds(registry) == ["artifact-missing"]
    with pytest.raises(ArtifactMissing, match=f"tokens artifact {ref.key[:12]} of stage tokens"):
        store.path(ref)
    shutil.move(store.root / "elsewhere", store.root / ref.uri)  # the backup comes back
    assert store.lookup(ref.key) == ref


def test_quarantine_spares_a_directory_that_was_replaced(store: Store) -> None:
    ref = publish(store, "hello")
    assert store.quarantine(ref, "stale report", inode=-1) is None
    assert store.lookup(ref.key) == ref


def test_uri_may_not_leave_the_store(store: Store) -> None:
    ref = publish(store, "hello")
    for uri in ("../outside", "/etc", "tokens/../../x"):
        with pytest.raises(ValueError, match="leaves the store"):
            store.path(ref.model_copy(update={"uri": uri}))


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (errno.ENOSPC, StoreFull, "no space left"),
        (errno.EDQUOT, StoreFull, "no space left"),
        (errno.EROFS, StoreNotWritable, "cannot write"),
        (errno.EACCES, StoreNotWritable, "cannot write"),
    ],
)
@pytest.mark.parametrize("where", ["write_durably", "fsync_folders", "hash_file"])
def test_disk_that_refuses_publishes_nothing(
    store: Store,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    error: type[Exception],
    message: str,
    where: str,
) -> None:
    def refuse(path: Path, *rest: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(disk, where, refuse)
        with pytest.raises(error, match=f"{message}.*nothing was published"):
            publish(store, "hello")
    assert not (store.root / "tokens").exists()
    with registry.reading() as session:
        assert session.query(Artifact).count() == 0
    assert store.lookup("ab" * 32) is None
    assert store.lookup(publish(store, "hello").key) is not None


def test_store_below_a_file_is_not_writable(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreNotWritable, match="set ARRIERO_STORE"):
        Store(tmp_path / "file" / "store", registry).new_staging()


def test_links_and_reserved_names_are_refused(store: Store, tmp_path: Path) -> None:
    for make in (
        lambda folder: (folder / "link").symlink_to(tmp_path),
        lambda folder: (folder / "link").symlink_to("/etc/hostname"),
        lambda folder: os.mkfifo(folder / "pipe"),
    ):
        staging = store.new_staging()
        make(staging)
        with pytest.raises(ValueError, match="regular files only"):
            store.publish(
                staging,
                key="aa" * 32,
                kind=Kind.REPORT,
                stage="s",
                stage_version=1,
                parameters={},
                inputs={},
            )
    staging = store.new_staging()
    (staging / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="the store writes this file"):
        store.publish(
            staging,
            key="aa" * 32,
            kind=Kind.REPORT,
            stage="s",
            stage_version=1,
            parameters={},
            inputs={},
        )


def _stage_and_die(root: str, url: str) -> None:
    staging = Store(Path(root), Registry(url)).new_staging()
    (staging / "part").write_text("half")
    os._exit(9)


def test_sweep_takes_only_old_directories_that_nobody_holds(
    store: Store, registry: Registry, url: str
) -> None:
    held = store.new_staging()
    worker = SPAWN.Process(target=_stage_and_die, args=(str(store.root), url))
    worker.start()
    worker.join(60)
    (left,) = set((store.root / "tmp").glob("tmp-*")) - {held}
    newest = (left / "part").stat().st_mtime
    young = Store(store.root, registry, clock=lambda: newest + 86_000)
    assert young.sweep() == Swept()
    old = Store(store.root, registry, clock=lambda: newest + 86_401)
    assert old.sweep() == Swept(unfinished=(left,))
    assert held.is_dir()
    assert not left.exists()


def test_work_dir_survives(store: Store) -> None:
    folder = store.work_dir("cd" * 32)
    (folder / "state").write_text("3")
    assert (store.work_dir("cd" * 32) / "state").read_text() == "3"

"""Artifacts: immutable directories, found by recipe (key), identified by content (digest).

Layout of the store: ``<kind>/<key[:2]>/<key>/`` per artifact, ``tmp/`` for staging, ``work/<key>``
for the resumable state of a recipe, ``quarantine/`` for corrupt directories. An artifact appears
by one rename, so a reader sees all of it or nothing.
"""

from __future__ import annotations

import errno
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from registry import files as disk
from registry.catalogue import ADOPTED, check_references, mark_missing, register
from registry.database import Registry
from registry.files import MANIFEST, StoreError, storage_errors
from registry.manifest import (
    ArtifactRef,
    Kind,
    Manifest,
    read_manifest,
    recipe_key,
    ref_of,
    verify_folder,
    wrong_sizes,
)
from registry.runs import add_event, record_event
from registry.schema import Artifact, now
from registry.staging import DAY_S, Staging
from registry.work import ABANDONED_S, WorkFolders

__all__ = [
    "ArtifactMissing",
    "ArtifactRef",
    "Kind",
    "Manifest",
    "Store",
    "Swept",
    "recipe_key",
    "ref_of",
]


class ArtifactMissing(StoreError):
    """An artifact that the registry names is not in the store."""


@dataclass(frozen=True)
class Swept:
    """Directories that a sweep removed.

    unfinished: artifacts being built, left by killed runs.
    published: work of recipes whose artifact exists.
    abandoned: work of recipes that nobody finished.
    """

    unfinished: tuple[Path, ...] = ()
    published: tuple[Path, ...] = ()
    abandoned: tuple[Path, ...] = ()


class Store:
    """The artifact store at ``root``, with its rows in ``registry``.

    Raises ``StoreNotWritable`` or ``StoreFull`` when the disk refuses; nothing is then published.
    """

    def __init__(
        self, root: Path, registry: Registry, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.root = root.absolute()
        self.registry = registry
        self._staging = Staging(self.root, clock=clock)
        self._work = WorkFolders(self.root, clock=clock)

    # Reading

    def lookup(self, key: str) -> ArtifactRef | None:
        """The artifact of a recipe, or None when it must be made.

        Never a missing or unreadable one: the manifest and all file sizes are checked. A
        directory that was renamed into place but never registered (killed in between) is verified
        and adopted; a corrupt one is quarantined.
        """
        with self.registry.reading() as session:
            row = session.get(Artifact, key)
        if row is not None and row.state == "present":
            ref = ref_of(row)
            inode = _inode(self.root / ref.uri)
            if inode is None:
                mark_missing(self.registry, ref)
                return None
            problems = self._quick_check(ref)
            if problems:
                self.quarantine(ref, "; ".join(problems), inode=inode)
                return None
            return ref
        for kind in Kind:
            folder = self._folder(kind, key)
            if folder.is_dir():
                return self._adopt(folder, kind, key)
        return None

    def path(self, ref: ArtifactRef) -> Path:
        """Directory of an artifact; ``ArtifactMissing`` when it is not there."""
        parts = PurePosixPath(ref.uri)
        if parts.is_absolute() or ".." in parts.parts:
            raise ValueError(f"artifact uri {ref.uri!r} leaves the store; it must be relative")
        folder = self.root / parts
        if not (folder / MANIFEST).is_file():
            raise ArtifactMissing(
                f"{ref.kind} artifact {ref.key[:12]} of stage {ref.stage} is not at {folder}; "
                "run the pipeline again to make it, or restore the store"
            )
        return folder

    def manifest(self, ref: ArtifactRef) -> Manifest:
        """Manifest of an artifact; ``StoreError`` names the file when it cannot be read."""
        return read_manifest(self.path(ref))

    def verify(self, ref: ArtifactRef) -> list[str]:
        """Problems found by hashing every file again, each with the file's name; [] is good."""
        folder = self.root / ref.uri
        if not folder.is_dir():
            return [f"{folder}: the directory is missing"]
        problems = verify_folder(folder, ref.digest)
        if problems:
            return problems
        with self.registry.reading() as session:
            row = session.get(Artifact, ref.key)
        if row is None:
            return [f"{ref.key}: not in the registry"]
        if row.manifest != read_manifest(folder).model_dump(mode="json"):
            return [f"{MANIFEST}: differs from the registry's copy"]
        return []

    # Writing

    def new_staging(self) -> Path:
        """An empty directory on the store's disk, to be filled and published."""
        return self._staging.new()

    def work_dir(self, key: str) -> Path:
        """Directory for the resumable state of a recipe; survives attempts."""
        return self._work.make(key)

    def remove_work(self, key: str) -> None:
        """Remove the work directory of a recipe whose artifact is published, unless it is marked
        to be kept or a trainer still holds it. The caller holds ``work/<key>.lock``."""
        self._work.remove(key)

    def publish(
        self,
        staging: Path,
        *,
        key: str,
        kind: Kind,
        stage: str,
        stage_version: int,
        parameters: Mapping[str, Any],
        inputs: Mapping[str, ArtifactRef],
        libraries: Mapping[str, str] | None = None,
        counts: Mapping[str, Any] | None = None,
        seeds: Mapping[str, int] | None = None,
        environment: Mapping[str, Any] | None = None,
        reproducibility: str = "bit",
        notes: Iterable[str] = (),
        sample: bool = False,
        run_id: str | None = None,
    ) -> ArtifactRef:
        """Turn ``staging`` into the artifact of ``key``, durably, by one rename.

        The first producer of a key wins: a later one with other content is recorded as the event
        ``digest-mismatch``, its staging is removed and the first one's reference returned.
        ``sample`` is inherited from the inputs.
        """
        if (staging / MANIFEST).exists():
            raise ValueError(f"{staging / MANIFEST}: the store writes this file; rename yours")
        sample = check_references(self.registry, inputs, run_id) or sample
        with storage_errors(self.root):
            entries = {
                name: disk.hash_file(staging / name, durable=True)
                for name in disk.list_files(staging)
            }
            manifest = Manifest(
                key=key,
                digest=disk.content_digest(entries),
                kind=kind,
                stage=stage,
                stage_version=stage_version,
                parameters=dict(parameters),
                inputs={name: ref.digest for name, ref in inputs.items()},
                input_keys={name: ref.key for name, ref in inputs.items()},
                files={name: entry for name, entry in entries.items() if not disk.is_log(name)},
                log_files={name: entry for name, entry in entries.items() if disk.is_log(name)},
                counts=dict(counts or {}),
                seeds=dict(seeds or {}),
                environment=dict(environment or {}),
                libraries=dict(libraries or {}),
                reproducibility=reproducibility,
                notes=list(notes),
                sample=sample,
                created_at=now(),
                run_id=run_id,
            )
            disk.fsync_folders(staging, entries)
            text = manifest.model_dump_json(indent=2) + "\n"
            disk.write_durably(staging / MANIFEST, text.encode("utf-8"))
            winner = self._rename(staging, manifest)
        if winner is None:
            self._staging.release(staging)
            return self._register(manifest)
        if winner.digest != manifest.digest:
            payload = {"key": key, "stage": stage, "kept": winner.digest, "made": manifest.digest}
            record_event(self.registry, "digest-mismatch", payload, run_id=run_id)
        self.discard(staging)
        return winner

    def discard(self, staging: Path) -> None:
        """Remove a staging directory that will not be published."""
        self._staging.discard(staging)

    def quarantine(self, ref: ArtifactRef, reason: str, *, inode: int | None = None) -> Path | None:
        """Move a corrupt directory aside and record why; None when another process did it.

        ``inode`` names the directory that was found corrupt: one that was put in its place since
        then is left alone.
        """
        with self.registry.session() as session:
            row = session.get(Artifact, ref.key, with_for_update=True)
            moved = self._set_aside(self.root / ref.uri, inode)
            if moved is None and inode is not None:
                return None
            if row is not None:
                row.state = "quarantined"
            where = None if moved is None else moved.relative_to(self.root).as_posix()
            payload = {"key": ref.key, "stage": ref.stage, "reason": reason, "moved_to": where}
            add_event(session, "quarantined", payload)
        return moved

    def sweep(self, older_than_s: float = DAY_S, *, abandoned_s: float = ABANDONED_S) -> Swept:
        """Remove what killed runs left and no process holds.

        Staging directories that nobody wrote to for ``older_than_s``, work directories for
        ``abandoned_s`` (recorded as the event ``work-swept``) and those of published recipes.
        """
        published, abandoned = self._work.sweep(self._is_published, abandoned_s)
        for folder in abandoned:
            payload = {"key": folder.name, "older_than_days": abandoned_s / DAY_S}
            record_event(self.registry, "work-swept", payload)
        unfinished = self._staging.sweep(older_than_s)
        return Swept(tuple(unfinished), tuple(published), tuple(abandoned))

    # Inside

    def _is_published(self, key: str) -> bool:
        with self.registry.reading() as session:
            row = session.get(Artifact, key)
        if row is None or row.state != "present":
            return False
        return (self.root / row.uri / MANIFEST).is_file()

    def _folder(self, kind: Kind, key: str) -> Path:
        return self.root / kind.value / key[:2] / key

    def _rename(self, staging: Path, manifest: Manifest) -> ArtifactRef | None:
        """Rename into place; the reference of the artifact that was there first, if one was."""
        final = self._folder(manifest.kind, manifest.key)
        final.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(3):
            try:
                staging.rename(final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                disk.fsync_folder(final.parent)
                return None
            # Somebody was first; a corrupt directory is quarantined by the lookup, then retry.
            winner = self.lookup(manifest.key)
            if winner is not None:
                return winner
        raise StoreError(f"{final} can neither be used nor replaced; move it away and run again")

    def _register(self, manifest: Manifest, event: str | None = None) -> ArtifactRef:
        """Write the row of a directory that is in place."""
        uri = self._folder(manifest.kind, manifest.key).relative_to(self.root)
        return register(self.registry, manifest, uri, event)

    def _adopt(self, folder: Path, kind: Kind, key: str) -> ArtifactRef | None:
        """Register a published directory that has no live row, once it is fully verified."""
        inode = _inode(folder)
        problems = verify_folder(folder, None)
        manifest = None if problems else read_manifest(folder)
        if manifest is not None and (manifest.key, manifest.kind) != (key, kind):
            problems = [f"{MANIFEST}: is of {manifest.kind} {manifest.key}, not of {kind} {key}"]
        if manifest is None or problems:
            moved = self._set_aside(folder, inode)
            if moved is not None:
                payload = {"key": key, "reason": "; ".join(problems), "moved_to": moved.name}
                record_event(self.registry, "quarantined", payload)
            return None
        for name, input_key in manifest.input_keys.items():
            with self.registry.reading() as session:
                known = session.get(Artifact, input_key) is not None
            if not known and self.lookup(input_key) is None:
                payload = {"key": key, "input": name, "input_key": input_key}
                record_event(self.registry, "not-adopted", payload)
                self._set_aside(folder, inode)
                return None
        return self._register(manifest, event=ADOPTED)

    def _quick_check(self, ref: ArtifactRef) -> list[str]:
        """Problems that show without hashing: manifest, digest, file sizes."""
        folder = self.root / ref.uri
        try:
            manifest = read_manifest(folder)
        except StoreError as error:
            return [str(error)]
        if manifest.digest != ref.digest or manifest.key != ref.key:
            return [f"{MANIFEST}: key or digest differs from the registry's"]
        return wrong_sizes(folder, manifest)

    def _set_aside(self, folder: Path, inode: int | None) -> Path | None:
        """Move a directory into ``quarantine``; None when it is gone, or another one by now."""
        if inode is not None and _inode(folder) != inode:
            return None
        with storage_errors(self.root):
            aside = self.root / "quarantine" / f"{folder.name}-{uuid.uuid4().hex[:8]}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.rename(aside)
            except FileNotFoundError:
                return None
            disk.fsync_folder(aside.parent)
            return aside


def _inode(folder: Path) -> int | None:
    """Inode of a directory, None when it is not there."""
    try:
        return folder.stat().st_ino
    except FileNotFoundError:
        return None

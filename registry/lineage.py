"""Where an artifact comes from and what was made of it, down to the fingerprints of raw dumps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from registry.artifacts import ArtifactMissing, Store
from registry.database import Registry
from registry.fingerprints import FINGERPRINTS, RawFile
from registry.manifest import ArtifactRef, Kind, ref_of
from registry.schema import Artifact, ArtifactInput, ModelAlias, ModelVersion
from registry.versions import OF_CONTENT, POINTED_AT

SAMPLE_SUFFIX = "-sample"  # of the names of models made from sample data
LONGEST_VERSION = 9  # digits of a version's number
SHORT = 12  # digits of a digest that are printed
SHORTEST = 6  # digits of a digest that a user must type


class LineageCycle(ValueError):
    """An artifact is its own ancestor: the registry's rows were tampered with."""


class UnknownArtifact(ValueError):
    """A reference names no artifact, or more than one."""


class LineageNode(BaseModel):
    """One artifact in the tree of what it was made from.

    ``name`` is the input's name in the artifact above. A raw artifact lists its first files;
    ``file_count`` and ``file_bytes`` count them all. A node met before has ``repeated`` and no
    inputs of its own here. ``problems`` say what is broken at this node.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    stage: str
    key: str
    digest: str
    state: str
    sample: bool
    run_id: str | None
    created_at: datetime
    size: int
    repeated: bool = False
    file_count: int | None = None
    file_bytes: int | None = None
    files: list[RawFile] = Field(default_factory=list)
    problems: list[str] = Field(default_factory=list)
    inputs: list[LineageNode] = Field(default_factory=list)

    def walk(self) -> Iterator[LineageNode]:
        """This node and all below it, top down."""
        yield self
        for node in self.inputs:
            yield from node.walk()


def ancestors(registry: Registry, key: str) -> list[Artifact]:
    """Every artifact that ``key`` was made from, directly or not; itself left out."""
    edge = select(ArtifactInput.input_key.label("key")).where(ArtifactInput.artifact_key == key)
    tree = edge.cte("ancestors", recursive=True)
    # UNION, not UNION ALL: a node reached twice is followed once, so a cycle ends as well.
    tree = tree.union(
        select(ArtifactInput.input_key).join(tree, ArtifactInput.artifact_key == tree.c.key)
    )
    return _rows(registry, select(Artifact).where(Artifact.key.in_(select(tree.c.key))))


def descendants(registry: Registry, key: str) -> list[Artifact]:
    """Every artifact that was made from ``key``, directly or not; itself left out."""
    edge = select(ArtifactInput.artifact_key.label("key")).where(ArtifactInput.input_key == key)
    tree = edge.cte("descendants", recursive=True)
    tree = tree.union(
        select(ArtifactInput.artifact_key).join(tree, ArtifactInput.input_key == tree.c.key)
    )
    return _rows(registry, select(Artifact).where(Artifact.key.in_(select(tree.c.key))))


def resolve(
    registry: Registry,
    reference: str,
    *,
    kind: Kind | None = None,
    stage: str | None = None,
) -> ArtifactRef:
    """The artifact a user means.

    ``latest``; ``champion`` (of the only promoted name, or of the only one that is no sample);
    ``<name>`` or ``<name>@champion``; ``<name>:<version>``; the start (6 digits or more) of a
    digest or key. Raises ``UnknownArtifact`` when none or several match.
    """
    text = reference.strip()
    with registry.reading() as session:
        rows = _candidates(session, text, kind, stage)
    # The same content under two recipes is one thing to a user; the newest row stands for it.
    by_digest = {row.digest: row for row in sorted(rows, key=lambda row: row.created_at)}
    if len(by_digest) == 1:
        return ref_of(next(iter(by_digest.values())))
    what = " ".join(
        part for part in (kind and kind.value, "artifact", stage and f"of {stage}") if part
    )
    if not by_digest:
        raise UnknownArtifact(
            f"no {what} matches {text!r}; give `latest`, `champion`, <name>:<version> or at least "
            f"{SHORTEST} digits of a digest (`arriero lineage champion` and the dashboard show"
            " them)"
        )
    listed = ", ".join(f"{row.kind} {row.digest[:SHORT]}" for row in by_digest.values())
    raise UnknownArtifact(f"{text!r} matches more than one {what}: {listed}; be more exact")


def lineage_tree(
    registry: Registry, store: Store, reference: ArtifactRef | str, *, max_files: int = 20
) -> LineageNode:
    """The tree from an artifact down to the raw fingerprints.

    ``reference`` is a ref or anything ``resolve`` takes; ``max_files`` raw files are listed per
    dump. Raises ``UnknownArtifact`` or ``LineageCycle``.
    """
    ref = resolve(registry, reference) if isinstance(reference, str) else reference
    with registry.reading() as session:
        row = session.get(Artifact, ref.key)
        if row is None:
            raise UnknownArtifact(f"no artifact {ref.key[:SHORT]} in the registry")
        return _node(session, store, row, "", row.digest, (), set(), max_files)


def lineage_problems(tree: LineageNode) -> list[str]:
    """Why a lineage is incomplete; [] when every path ends at fingerprinted raw files."""
    found: list[str] = []
    for node in tree.walk():
        where = f"{node.kind} {node.stage} {node.digest[:SHORT]}"
        found += [f"{where}: {problem}" for problem in node.problems]
        if not node.inputs and not node.repeated and node.kind is not Kind.RAW:
            found.append(f"{where}: has no inputs, so it cannot be traced to raw files")
    return found


def render(tree: LineageNode) -> str:
    """The tree as lines of text."""
    return "\n".join(_lines(tree, "", ""))


def _lines(node: LineageNode, first: str, rest: str) -> Iterator[str]:
    name = f"{node.name}: " if node.name else ""
    marks = [mark for mark, on in (("sample", node.sample), ("see above", node.repeated)) if on]
    if node.state != "present":
        marks.append(node.state)
    files = "" if node.file_count is None else f" {node.file_count} files, {node.file_bytes} bytes"
    tail = f" ({', '.join(marks)})" if marks else ""
    yield f"{first}{name}{node.kind} {node.digest[:SHORT]} by {node.stage}{files}{tail}"
    below: list[LineageNode | str] = [f"! {problem}" for problem in node.problems]
    below += [f"{file.sha256[:SHORT]} {file.size:>12} {file.path}" for file in node.files]
    if node.file_count is not None and node.file_count > len(node.files):
        below.append(f"... {node.file_count - len(node.files)} more files")
    below += node.inputs
    for number, item in enumerate(below, start=1):
        last = number == len(below)
        branch, stem = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if isinstance(item, str):
            yield f"{rest}{branch}{item}"
        else:
            yield from _lines(item, rest + branch, rest + stem)


def _node(
    session: Session,
    store: Store,
    row: Artifact,
    name: str,
    expected_digest: str,
    path: tuple[str, ...],
    seen: set[str],
    max_files: int,
) -> LineageNode:
    if row.key in path:
        chain = " -> ".join(key[:SHORT] for key in (*path, row.key))
        raise LineageCycle(f"lineage goes in a circle: {chain}; restore the registry from backup")
    problems: list[str] = []
    if row.state != "present":
        problems.append(f"is {row.state} in the store")
    if row.digest != expected_digest:
        problems.append(
            f"content is now {row.digest[:SHORT]}, the artifact above was made from "
            f"{expected_digest[:SHORT]}"
        )
    count = total = None
    files: list[RawFile] = []
    repeated = row.key in seen
    seen.add(row.key)
    inputs: list[LineageNode] = []
    if not repeated:
        if row.kind == Kind.RAW and row.state == "present":
            count, total, files, trouble = _raw_files(store, ref_of(row), max_files)
            problems += trouble
        edges = session.scalars(
            select(ArtifactInput)
            .where(ArtifactInput.artifact_key == row.key)
            .order_by(ArtifactInput.name)
        ).all()
        for edge in edges:
            source = session.get_one(Artifact, edge.input_key)
            inputs.append(
                _node(
                    session,
                    store,
                    source,
                    edge.name,
                    edge.input_digest,
                    (*path, row.key),
                    seen,
                    max_files,
                )
            )
    return LineageNode(
        name=name,
        kind=Kind(row.kind),
        stage=row.stage,
        key=row.key,
        digest=row.digest,
        state=row.state,
        sample=row.sample,
        run_id=row.run_id,
        created_at=row.created_at,
        size=row.size,
        repeated=repeated,
        file_count=count,
        file_bytes=total,
        files=files,
        problems=problems,
        inputs=inputs,
    )


def _raw_files(
    store: Store, ref: ArtifactRef, max_files: int
) -> tuple[int | None, int | None, list[RawFile], list[str]]:
    """(files, bytes, the first files, problems) of a raw artifact's fingerprints."""
    try:
        path = store.path(ref) / FINGERPRINTS
        with path.open(encoding="utf-8") as handle:
            count = total = 0
            first: list[RawFile] = []
            for line in handle:
                file = RawFile.model_validate(json.loads(line))
                count += 1
                total += file.size
                if count <= max_files:
                    first.append(file)
    except ArtifactMissing as error:
        return None, None, [], [str(error)]
    except (OSError, ValueError) as error:
        return None, None, [], [f"{FINGERPRINTS} cannot be read: {error}"]
    if count == 0:
        return 0, 0, [], [f"{FINGERPRINTS} names no file"]
    return count, total, first, []


def _candidates(
    session: Session, text: str, kind: Kind | None, stage: str | None
) -> list[Artifact]:
    query = select(Artifact).where(Artifact.state == "present")
    if kind is not None:
        query = query.where(Artifact.kind == kind.value)
    if stage is not None:
        query = query.where(Artifact.stage == stage)
    if text == "latest":
        newest = query.order_by(Artifact.created_at.desc(), Artifact.key).limit(1)
        return list(session.scalars(newest))
    keys = _named_keys(session, text)
    if keys:
        return list(session.scalars(query.where(Artifact.key.in_(keys))))
    if re.fullmatch(rf"[0-9a-f]{{{SHORTEST},64}}", text):
        start = or_(Artifact.digest.like(text + "%"), Artifact.key.like(text + "%"))
        return list(session.scalars(query.where(start)))
    return []


def _named_keys(session: Session, text: str) -> list[str]:
    """Keys of the artifacts that a name, an alias or a version points at."""
    name, at, alias = text.partition("@")
    base, colon, version = text.rpartition(":")
    registered = select(ModelVersion.artifact_key, ModelVersion.name).join(Artifact, OF_CONTENT)
    if colon and version.isdecimal():
        if len(version) > LONGEST_VERSION:
            return []  # the number may be too large for the database
        numbered = registered.where(ModelVersion.name == base, ModelVersion.version == int(version))
        return list(session.scalars(numbered))
    champion = registered.join(ModelAlias, POINTED_AT)
    wanted = ModelAlias.alias == (alias if at else "champion")
    if text != "champion":
        named = champion.where(wanted, ModelAlias.name == name)
        return [key for key, _ in session.execute(named)]
    found = [(key, owner) for key, owner in session.execute(champion.where(wanted))]
    real = [key for key, owner in found if not owner.endswith(SAMPLE_SUFFIX)]
    return real or [key for key, _ in found]


def _rows(registry: Registry, query: Select[tuple[Artifact]]) -> list[Artifact]:
    with registry.reading() as session:
        return list(session.scalars(query.order_by(Artifact.created_at, Artifact.key)))

"""Records of code as BigQuery's exports give them, and which files are read together."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.corpus.chain import check_chain
from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.guard import Guard
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import bigquery, github, packages
from tasks.corpus.steps import read_shard

CODE = "def area{}(width, height):\n    return width * height\n"


def record(number: int = 0, **more: Any) -> dict[str, Any]:
    made = {"repo_name": "owner/tool", "path": f"src/a{number}.py", "license": "mit"}
    return made | {"content": CODE.format(number), "size": "60", "copies": "2"} | more


def collect(root: Path, *files: str) -> tuple[list[Document], Funnel]:
    funnel = Funnel("github")
    documents = list(github.read(root, files, CorpusParameters(), funnel))
    check_chain(funnel.rows(), {"documents": len(documents)})
    return documents, funnel


def rejected(funnel: Funnel) -> dict[str, int]:
    return {k: v for row in funnel.rows() for k, v in row["rejected"].items()}


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    data = lines(
        record(1),
        record(2, license="gpl-2.0"),
        record(3, license="bsd-3-clause", path="node_modules/x.js"),
        record(4, license=None),
        record(5, license=None, content="# SPDX-License-Identifier: Apache-2.0\n" + CODE.format(5)),
        record(6, content="# SPDX-License-Identifier: GPL-3.0-only\n" + CODE.format(6)),
        record(7, binary=True),
        record(8, content=None),
        record(9, path=None),
        record(10, path="data.csv"),
        record(11, content="x" * 1_000_001),
        [1, 2],
        record(12, license=["MIT", "Apache-2.0"], repo_name=None, sample_repo_name=["o/n"]),
        record(13, license=["MIT", "GPL-2.0"]),
        record(14, license="other"),
        record(15, content=CODE.format(15) + "\ud800"),
    )
    data += b"{nonsense\n"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    documents, funnel = collect(tmp_path, name)
    assert [(d.meta["offset"], d.license) for d in documents] == [
        (1, "MIT"), (5, "Apache-2.0"), (13, "Apache-2.0 AND MIT"), (16, "MIT"),
    ]  # fmt: skip
    assert documents[0].uri == f"{name}#owner/tool/src/a1.py"
    assert documents[0].text == CODE.format(1) and documents[0].language == "python"
    assert documents[0].meta["path"] == "src/a1.py"
    assert documents[2].uri == f"{name}#o/n/src/a12.py"
    assert rejected(funnel) == {
        "licence gpl-2.0": 1, "vendored": 1, "licence unknown": 2, "empty or binary": 1,
        "file's own header: licence GPL-3.0-only": 1, "record without content": 1,
        "record without path": 1, "extension not on the list": 1, "file too large": 1,
        "malformed record": 2, "licence mixed: MIT AND GPL-2.0": 1,
    }  # fmt: skip


def test_a_line_that_is_too_long_costs_that_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigquery, "MAX_RECORD_BYTES", 10_000)
    data = lines(record(1), record(2, content="x" * 50_000), record(3))
    (tmp_path / "a.jsonl").write_bytes(data + b"x" * 70_000)
    documents, funnel = collect(tmp_path, "a.jsonl")
    assert [d.meta["offset"] for d in documents] == [1, 3]
    assert rejected(funnel) == {"line too long": 2}


@pytest.mark.parametrize("kind", ["string", "large_string", "binary", "dictionary"])
def test_parquet(tmp_path: Path, kind: str) -> None:
    rows = [record(number, copies=number) for number in range(150)]
    rows[7]["content"] = None
    table = pa.Table.from_pylist(rows)
    types = {"string": pa.string(), "large_string": pa.large_string(), "binary": pa.binary(),
             "dictionary": pa.dictionary(pa.int32(), pa.string())}  # fmt: skip
    at = table.schema.get_field_index("content")
    table = table.set_column(at, "content", table["content"].cast(types[kind]))
    pq.write_table(table, tmp_path / "a.parquet")
    documents, funnel = collect(tmp_path, "a.parquet")
    assert [d.meta["offset"] for d in documents] == [n for n in range(1, 151) if n != 8]
    assert rejected(funnel) == {"record without content": 1}
    assert documents[0].uri == "a.parquet#owner/tool/src/a0.py"


def test_parquet_texts_that_are_no_utf8_cost_their_row(tmp_path: Path) -> None:
    content = pa.array([CODE.format(1).encode(), b"\xff\xfe\xfd" + b"x" * 60, b"a" * 9 + b"\xff"])
    offsets = content.cast(pa.binary()).buffers()
    text = pa.StringArray.from_buffers(3, offsets[1], offsets[2])
    table = pa.table({"content": text, "path": ["a.py", "b.py", "c.py"], "license": ["mit"] * 3})
    pq.write_table(table, tmp_path / "a.parquet")
    documents, funnel = collect(tmp_path, "a.parquet")
    assert [d.meta["offset"] for d in documents] == [1]
    assert rejected(funnel) in ({"not UTF-16": 1, "not UTF-8": 1},)


def test_damaged_exports_are_named(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([record(number) for number in range(400)])
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.parquet").write_bytes(b"")
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(lines(*map(record, range(900))))[:-300])
    (tmp_path / "d.jsonl.gz").write_bytes(b"no gzip")
    documents, funnel = collect(tmp_path, "a.parquet", "b.parquet", "c.json.gz", "d.jsonl.gz")
    assert {row["path"]: row["reason"] for row in funnel.bad_files} == {
        "a.parquet": "corrupt Parquet", "b.parquet": "empty file",
        "c.json.gz": "truncated gzip", "d.jsonl.gz": "corrupt gzip",
    }  # fmt: skip
    assert documents and {d.meta["file"] for d in documents} == {"c.json.gz"}


def test_projects_archives_records_and_packages_are_units() -> None:
    files = [
        "corpus/github/000.json.gz", "corpus/github/b.tar.gz", "corpus/github/export/1.parquet",
        "corpus/github/export/2.parquet", "corpus/github/loose.py", "corpus/github/tool/LICENSE",
        "corpus/github/tool/package.json", "corpus/github/tool/src/a.py",
        "corpus/github/tool/test/data.jsonl", "corpus/github/z.zip", "pypi:a==1", "pypi:b==2",
    ]  # fmt: skip
    assert github.units(files) == [
        [files[0]], [files[1]], [files[2]], [files[3]], [files[4]], files[5:9], [files[9]],
        [files[10]], [files[11]],
    ]  # fmt: skip


def test_a_package_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(packages.PackageMissing, match="pypi:no-such-package==1 is not installed"):
        collect(tmp_path, "pypi:no-such-package==1")


def test_a_package_of_the_listing_is_read_alone(tmp_path: Path) -> None:
    version = pytest.__version__
    documents, _ = collect(tmp_path, f"pypi:pytest=={version}")
    assert documents and {d.meta["file"] for d in documents} == {f"pypi:pytest=={version}"}
    assert all(d.license == "MIT" for d in documents)
    numbers = [d.meta["offset"] for d in documents]
    assert numbers == sorted(set(numbers))


def test_a_package_that_is_not_as_listed_is_refused(tmp_path: Path) -> None:
    """As on another machine of a fan-out, or after an installation in between."""
    name = f"pypi:pytest=={pytest.__version__}"
    (row,) = packages.fingerprints([name])
    arguments: dict[str, Any] = {
        "source": "github",
        "root": str(tmp_path),
        "files": [name],
        "parameters": CorpusParameters().model_dump(mode="json"),
        "decided": None,
        "surveyed": None,
    }
    listed = {name: str(row["sha256"])}
    said = read_shard(Guard(None, {}), hashes=listed, folder=str(tmp_path / "1"), **arguments)
    assert said["documents"]
    with pytest.raises(packages.PackageDiffers, match=f"{name} has other files"):
        read_shard(
            Guard(None, {}), hashes={name: "0" * 64}, folder=str(tmp_path / "2"), **arguments
        )
    gone = {"pypi:no-such-package==1": "0" * 64}
    with pytest.raises(packages.PackageMissing, match="no-such-package==1 is not installed"):
        read_shard(Guard(None, {}), hashes=gone, folder=str(tmp_path / "3"), **arguments)

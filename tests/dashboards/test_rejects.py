"""Rejected documents on the dashboard: the texts of strangers, escaped."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fastapi.testclient import TestClient

from dashboards.app import create_app
from registry.artifacts import ArtifactRef, Kind, Store, recipe_key
from registry.database import Registry, upgrade
from registry.settings import Settings


def publish(
    store: Store, stage: str, rows: list[dict[str, object]], inputs: dict[str, ArtifactRef]
) -> ArtifactRef:
    staging = store.new_staging()
    (staging / "rejected/c4").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), staging / "rejected/c4/00000.parquet")
    return store.publish(
        staging,
        key=recipe_key(stage, 1, {}, {name: ref.digest for name, ref in inputs.items()}, {}),
        kind=Kind.DOCUMENTS,
        stage=stage,
        stage_version=1,
        parameters={},
        inputs=inputs,
    )


def served(tmp_path: Path) -> tuple[Store, TestClient]:
    settings = Settings(home=tmp_path)
    upgrade(settings.registry_url)
    store = Store(settings.store, Registry(settings.registry_address))
    return store, TestClient(create_app(settings), base_url="http://localhost")


def corpus_with(tmp_path: Path, rows: list[dict[str, object]]) -> tuple[TestClient, str]:
    store, client = served(tmp_path)
    return client, publish(store, "corpus", rows, {}).key


def reject(number: int, reason: str, text: str | None) -> dict[str, object]:
    return {
        "id": f"c4:{number}",
        "filter": "length",
        "reason": reason,
        "file": "corpus/c4/a.jsonl",
        "offset": number,
        "characters": 900,
        "text": text,
    }


def test_samples_are_shown_escaped_and_few(tmp_path: Path, hostile: str) -> None:
    rows = [reject(n, "too short", f"{hostile} {n}" + "x" * 900) for n in range(9)]
    rows += [reject(90, "too long", None), reject(91, "odd", "A text & another")]
    client, key = corpus_with(tmp_path, rows)
    page = client.get(f"/corpus/{key}/rejects")
    assert page.status_code == 200 and hostile not in page.text
    assert page.text.count("too short") == 3 and "too long" not in page.text
    assert "A text &amp; another" in page.text and "corpus/c4/a.jsonl, 91" in page.text
    assert "x" * 700 not in page.text
    assert client.get("/corpus/nothing/rejects").status_code == 404


def test_a_corpus_without_samples_says_so(tmp_path: Path) -> None:
    client, key = corpus_with(
        tmp_path, [reject(1, "odd", "x") | {"text": None}, reject(2, "b", "")]
    )
    assert "Rejected documents" in client.get(f"/corpus/{key}/rejects").text


def test_a_corpus_shows_what_its_sources_rejected(tmp_path: Path) -> None:
    store, client = served(tmp_path)
    read = publish(store, "documents.c4", [reject(1, "too short", "A stub.")], {})
    better = publish(store, "quality.c4", [reject(2, "perplexity", "qwxz")], {"documents": read})
    key = publish(store, "corpus", [reject(3, "odd", None)], {"c4": better}).key
    page = client.get(f"/corpus/{key}/rejects").text
    assert "documents.c4: 1 sample" in page and "A stub." in page
    assert "quality.c4: 1 sample" in page and "qwxz" in page
    assert "corpus: nothing was rejected, or no sample was kept" in page

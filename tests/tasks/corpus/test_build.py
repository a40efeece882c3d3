"""Building documents and corpus: files, deduplication, split, mixture, errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.context import StageContext, recipe_parameters
from tasks.corpus.assemble import build_corpus
from tasks.corpus.build import MissingSourceError, build_source
from tasks.corpus.execute import InlineExecutor
from tasks.corpus.funnel import BadFileError
from tasks.corpus.locate import locate_sources
from tasks.corpus.mixture import SOURCES, TABLE1, epochs, mixture
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.storable import encodable
from tests.tasks.corpus.artifacts import documents_in, rejected_in, split_in


def context(folder: Path) -> StageContext:
    out, work = folder / "out", folder / "work"
    out.mkdir(parents=True)
    work.mkdir()
    return StageContext(out=out, work=work)


def source(folder: Path, name: str, texts: list[str], **options: object) -> Path:
    """Artifact of a source, made by reading its texts as C4 records."""
    data = folder / "data" / "corpus" / "c4"
    data.mkdir(parents=True)
    rows = [{"text": t, "url": f"http://{name}.org/{i}"} for i, t in enumerate(texts)]
    (data / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    place = context(folder / name)
    options = {"allow_missing_sources": True} | options
    build_source(
        "c4",
        folder / "data",
        {"corpus/c4/a.jsonl": 1},
        CorpusParameters(**options),  # type: ignore[arg-type]
        place,
        InlineExecutor(),
    )
    return place.out


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and "logs" not in p.parts
    }


def test_source_artifact(tmp_path: Path) -> None:
    out = source(tmp_path, "c4", ["first text", "second\ntext", "second  text", "third"])
    assert set(files(out)) == {
        "documents/00000.parquet", "rejected/00000.parquet", "funnel.json", "funnel_shards.json",
        "licenses.json", "bad_files.json",
    }  # fmt: skip
    rows = list(documents_in(out))
    assert [row["text"] for row in rows] == ["first text", "second\ntext", "third"]
    assert json.loads(rows[0]["meta"]) == {"file": "corpus/c4/a.jsonl", "offset": 1}
    funnel = json.loads((out / "funnel.json").read_text())
    assert [funnel[0]["filter"], funnel[-1]["filter"]] == ["read", "exact duplicate"]
    assert funnel[-1]["rejected"] == {"same text in this source": 1}
    assert json.loads((out / "licenses.json").read_text()) == {"ODC-BY-1.0": 3}
    again = source(
        tmp_path / "again", "c4", ["first text", "second\ntext", "second  text", "third"]
    )
    assert files(again) == files(out)


def test_caps_take_a_prefix(tmp_path: Path) -> None:
    texts = [f"text number {i}" for i in range(10)]
    some = source(tmp_path / "a", "c4", texts, caps={"c4": {"max_documents": 3}})
    assert [r["text"] for r in documents_in(some)] == texts[:3]
    few = source(tmp_path / "b", "c4", texts, caps={"c4": {"max_bytes": 20}})
    assert [r["text"] for r in documents_in(few)] == texts[:2]


def test_rejected_documents_are_kept_when_wanted(tmp_path: Path) -> None:
    out = source(tmp_path, "c4", ["same", "same", "other"], keep_rejected=True)
    rows = list(rejected_in(out))
    assert [(r["filter"], r["reason"], r["text"]) for r in rows] == [
        ("exact duplicate", "same text in this source", "same")
    ]


def test_empty_source_and_strict_name_the_trouble(tmp_path: Path) -> None:
    data = tmp_path / "data/corpus/c4"
    data.mkdir(parents=True)
    (data / "empty.jsonl").write_bytes(b"")
    names = {"corpus/c4/empty.jsonl": 0}
    here = InlineExecutor()
    with pytest.raises(MissingSourceError, match=r"empty file.*allow_missing_sources"):
        build_source(
            "c4", tmp_path / "data", names, CorpusParameters(), context(tmp_path / "a"), here
        )
    place = context(tmp_path / "b")
    with pytest.raises(BadFileError, match=r"empty\.jsonl: empty file"):
        build_source("c4", tmp_path / "data", names, CorpusParameters(strict=True), place, here)
    assert not list(place.out.rglob("*.parquet")) and not list(tmp_path.rglob(".*.tmp"))


def test_corpus_keeps_the_first_source_and_renormalises(tmp_path: Path) -> None:
    shared = [f"shared text {i}" for i in range(5)]
    web = source(tmp_path / "1", "c4", shared + [f"web text {i}" for i in range(40)])
    books = source(tmp_path / "2", "books", shared + [f"book text {i}" for i in range(20)])
    inputs = {"books": books, "commoncrawl": web}
    parameters = CorpusParameters(allow_missing_sources=True, validation_fraction=0.1, seed=3)
    place = context(tmp_path / "corpus")
    result = build_corpus(inputs, parameters, place, InlineExecutor())

    def texts(split: str, name: str) -> set[str]:
        return {r["text"] for r in split_in(place.out, split, name)}

    assert texts("train", "commoncrawl") | texts("validation", "commoncrawl") >= set(shared)
    assert not (texts("train", "books") | texts("validation", "books")) & set(shared)
    for name in inputs:
        assert texts("validation", name) and not texts("validation", name) & texts("train", name)
    mix = json.loads((place.out / "mixture.json").read_text())
    assert mix["weights"] == pytest.approx({"commoncrawl": 0.67 / 0.715, "books": 0.045 / 0.715})
    assert mix["renormalised"] and mix["missing"] == [
        s for s in SOURCES if s not in ("commoncrawl", "books")
    ]
    assert any("renormalised" in note for note in result.notes)
    rows = json.loads((place.out / "funnel.json").read_text())
    cross = [r for r in rows if r["filter"] == "cross-source duplicate"]
    assert [(r["source"], r["rejected"]) for r in cross] == [
        ("commoncrawl", {}),
        ("books", {"same text in an earlier source": 5}),
    ]
    split = [r["documents_out"] for r in rows if r["filter"] == "validation split"]
    assert split == [len(texts("train", name)) for name in ("commoncrawl", "books")]
    again = context(tmp_path / "again")
    build_corpus(dict(reversed(inputs.items())), parameters, again, InlineExecutor())
    assert files(again.out) == files(place.out)
    with pytest.raises(MissingSourceError, match=r"c4, github.*allow_missing_sources"):
        build_corpus(inputs, CorpusParameters(), context(tmp_path / "strict"))


def test_mixture_is_table_1() -> None:
    assert mixture(SOURCES)["weights"] == pytest.approx(TABLE1)
    assert abs(sum(mixture(["github", "arxiv"])["weights"].values()) - 1) < 1e-12
    assert not mixture(SOURCES)["renormalised"]
    with pytest.raises(ValueError, match="mixture needs sources"):
        mixture([])
    passes = epochs({"c4": 0.5, "books": 0.5}, {"c4": 100, "books": 0}, 1000)
    assert passes["c4"] == {"epochs": 5.0, "table1": 1.06} and passes["books"]["epochs"] is None


def test_locate(tmp_path: Path) -> None:
    for name in ("c4/b.json", "c4/a.json", "c4/SOURCES.md", "c4/.x", "english/t.txt", "README.md"):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (tmp_path / "corpus/books").mkdir()
    (tmp_path / "corpus/c4/out.json").symlink_to("/etc/hostname")
    with pytest.warns(UserWarning) as caught:
        assert locate_sources(tmp_path) == {"c4": ["corpus/c4/a.json", "corpus/c4/b.json"]}
    said = " ".join(str(w.message) for w in caught)
    assert "'english' is none of the sources" in said and "links out" in said
    with pytest.raises(ValueError, match=r"no folder .*corpus"):
        locate_sources(tmp_path / "corpus")


def test_parameters_report_every_problem() -> None:
    with pytest.raises(ValidationError) as error:
        CorpusParameters(caps={"reddit": {}}, languages=("EN",), code_mean_line=2000)  # type: ignore[dict-item]
    for problem in ("reddit", "'EN'", "code_mean_line is greater"):
        assert problem in str(error.value)
    for name, info in CorpusParameters.model_fields.items():
        assert info.title and info.description, name


def test_recipe_of_a_source_leaves_out_what_does_not_change_it() -> None:
    base = CorpusParameters()
    other = CorpusParameters(
        workers=1, validation_fraction=0.2, book_overlap=0.5, caps={"c4": {"max_bytes": 5}}
    )  # type: ignore[dict-item]
    same = recipe_parameters(base.source_rules("wikipedia"))
    assert same == recipe_parameters(other.source_rules("wikipedia"))
    assert "workers" not in same["rules"]
    for name in ("books", "c4"):
        assert base.source_rules(name) != other.source_rules(name)


def test_text_that_utf8_cannot_hold() -> None:
    assert encodable("a\x00b\ud800c\U0001f600") == "ab\ufffdc\U0001f600"

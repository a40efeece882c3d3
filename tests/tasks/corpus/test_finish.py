"""The end of a source's chain: which filters are on, what they count, what the recipe says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.context import StageContext
from tasks.corpus.build import build_source
from tasks.corpus.chain import check_chain
from tasks.corpus.documents import Document
from tasks.corpus.execute import InlineExecutor
from tasks.corpus.finish import Finish
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tests.tasks.corpus.artifacts import documents_in


def build(folder: Path, texts: list[str], parameters: CorpusParameters) -> Path:
    data = folder / "data" / "corpus" / "c4"
    data.mkdir(parents=True)
    rows = [{"text": text, "url": f"http://site.org/{i}"} for i, text in enumerate(texts)]
    (data / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    out, work = folder / "out", folder / "work"
    out.mkdir()
    work.mkdir()
    context = StageContext(out=out, work=work)
    sizes = {"corpus/c4/a.jsonl": 1}
    build_source("c4", folder / "data", sizes, parameters, context, InlineExecutor())
    return out


def test_what_is_on_by_default() -> None:
    parameters = CorpusParameters()
    assert Finish(parameters, "c4").filters == ("unicode repair",)
    assert Finish(parameters, "commoncrawl").filters == ("unicode repair",)
    for source in ("github", "arxiv", "books", "wikipedia", "stackexchange"):
        assert Finish(parameters, source).filters == ()
    both = CorpusParameters(private_data=("email",))
    assert Finish(both, "c4").filters == ("unicode repair", "private data")
    assert Finish(both, "github").filters == ("private data",)


def test_code_and_latex_cannot_be_repaired() -> None:
    for source in ("github", "arxiv"):
        with pytest.raises(ValidationError, match="unicode_repair"):
            CorpusParameters.model_validate({"unicode_repair": [source]})


def test_only_what_is_on_is_of_the_recipe() -> None:
    plain = CorpusParameters().source_rules("books").rules
    assert "unicode_repair" not in plain and "private_data" not in plain
    assert CorpusParameters().source_rules("c4").rules["unicode_repair"] is True
    web_only = CorpusParameters(unicode_repair=("commoncrawl",))
    assert web_only.source_rules("books").rules == plain
    assert "unicode_repair" not in web_only.source_rules("c4").rules
    scrubbed = CorpusParameters(private_data=("key", "email", "key"))
    assert scrubbed.source_rules("books").rules["private_data"] == ["email", "key"]


def test_each_filter_counts_documents_and_kinds() -> None:
    parameters = CorpusParameters(private_data=("email", "ip"))
    funnel = Funnel("c4")
    finish = Finish(parameters, "c4")
    texts = ["cafÃ© me@site.org", "plain", "x@site.org y@site.org 93.184.216.34"]
    documents = [Document(str(i), text, "c4", "") for i, text in enumerate(texts)]
    for document in documents:
        funnel.keep("read", document.text)
        finish.apply(document, funnel)
    assert [document.text for document in documents] == [
        "café <email>",
        "plain",
        "<email> <email> <ip>",
    ]
    rows = funnel.rows()
    assert [row["filter"] for row in rows] == ["read", "unicode repair", "private data"]
    assert [row.get("changed") for row in rows] == [
        None,
        {"documents": 1, "lines": 1},
        {"documents": 2, "email": 3, "ip": 1},
    ]
    check_chain(rows, {"documents": 3, "characters": sum(len(d.text) for d in documents)})
    again = Funnel.from_rows("c4", rows)
    again.merge(Funnel.from_rows("c4", rows))
    assert Funnel.from_rows("c4", rows).rows() == rows
    assert again.rows()[2]["changed"] == {"documents": 4, "email": 6, "ip": 2}


def test_texts_that_become_the_same_are_one_document(tmp_path: Path) -> None:
    out = build(
        tmp_path,
        ["Un cafÃ© noir.", "Un café noir.", "Plain."],
        CorpusParameters(allow_missing_sources=True),
    )
    assert [row["text"] for row in documents_in(out)] == ["Un café noir.", "Plain."]
    rows = json.loads((out / "funnel.json").read_text())
    assert [row["filter"] for row in rows][-2:] == ["unicode repair", "exact duplicate"]
    assert rows[-2]["changed"] == {"documents": 1, "lines": 1}
    assert rows[-1]["rejected"] == {"same text in this source": 1}
    check_chain(rows, {"documents": 2})


def test_filters_that_are_off_leave_no_trace(tmp_path: Path) -> None:
    parameters = CorpusParameters(allow_missing_sources=True, unicode_repair=())
    out = build(tmp_path, ["cafÃ© me@site.org"], parameters)
    assert [row["text"] for row in documents_in(out)] == ["cafÃ© me@site.org"]
    rows = json.loads((out / "funnel.json").read_text())
    assert "unicode repair" not in [row["filter"] for row in rows]
    assert all("changed" not in row for row in rows)

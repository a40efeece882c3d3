"""One record made to break a reader is cleaned or counted; the run goes on."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import c4, stackexchange

PROSE = "The mule driver led the llamas over the pass before the evening came. " * 5


def test_a_lone_surrogate_in_c4_is_cleaned(tmp_path: Path) -> None:
    rows = [{"text": PROSE + "\ud800", "url": "https://example.org/\ud800"}, {"text": PROSE}]
    (tmp_path / "a.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents = list(c4.read(tmp_path, ["a.json"], CorpusParameters(), Funnel("c4")))
    assert len(documents) == 2
    for document in documents:
        (document.text + document.uri).encode()


def test_two_lines_of_one_address_have_ids_of_their_own(tmp_path: Path) -> None:
    row = json.dumps({"text": PROSE, "url": "https://example.org/"}) + "\n"
    (tmp_path / "a.json").write_text(row * 2)
    documents = list(c4.read(tmp_path, ["a.json"], CorpusParameters(), Funnel("c4")))
    assert len({document.id for document in documents}) == 2


def test_an_id_beyond_64_bits_is_counted_and_the_site_is_read(tmp_path: Path) -> None:
    site = tmp_path / "corpus/stackexchange/llamas.example.org"
    site.mkdir(parents=True)
    huge = "9" * 20
    (site / "Posts.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?><posts>'
        f'<row Id="{huge}" PostTypeId="1" Score="1" Title="Huge" Body="no" />'
        f'<row Id="1" PostTypeId="1" Score="1" Title="Loads" Body="{PROSE}" />'
        f'<row Id="2" PostTypeId="2" ParentId="1" Score="3" Body="{PROSE}" /></posts>'
    )
    funnel = Funnel("stackexchange")
    name = "corpus/stackexchange/llamas.example.org/Posts.xml"
    documents = list(stackexchange.read(tmp_path, [name], CorpusParameters(), funnel))
    assert len(documents) == 1
    assert "malformed row" in str(funnel.entries)

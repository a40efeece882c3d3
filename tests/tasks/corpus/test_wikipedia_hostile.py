"""Dumps with bytes changed, real articles cut and mixed: never an error, each loss counted.

What damage may cost at most is in `test_wikipedia_damage`.
"""

from __future__ import annotations

import bz2
import gzip
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import wikipedia
from tasks.corpus.sources.wikitext import plain_text
from tasks.corpus.sources.wikitext_references import cited_urls

MARKS = re.compile(r"[\x00-\x08\x0b-\x1f]")
PAGE = (
    "<page><title>Rhine &amp; Aare</title><ns>0</ns><id>7</id><revision><timestamp>2022</timestamp>"
    "<text>The '''river''' rises in the [[hills]].&lt;ref&gt;http://a.org&lt;/ref&gt; "
    + "It flows {{cvt|5|km}} to the sea. " * 9
    + "</text></revision></page>"
)
DUMP = f'<mediawiki xml:lang="en"><siteinfo/>{PAGE * 5}</mediawiki>'.encode()
PACK = {"enwiki.xml": bytes, "enwiki.xml.gz": gzip.compress, "enwiki.xml.bz2": bz2.compress}
PIECES = st.sampled_from(
    [b"<", b">", b"&", b"&#0;", b"&x;", b"<![CDATA[", b"]]>", b"<page>", b"</page>", b"\x00",
     b"\xff\xfe", b"<!DOCTYPE a [<!ENTITY x 'y'>]>", b"<!--", b"<text>", b"</mediawiki>", b"BZh9"]
)  # fmt: skip


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(PACK)),
    before=st.booleans(),
    at=st.floats(0, 1),
    lost=st.integers(0, 400),
    piece=PIECES | st.binary(max_size=8),
)
def test_changed_dumps_are_read_or_counted(
    tmp_path: Path, name: str, before: bool, at: float, lost: int, piece: bytes
) -> None:
    """A change before packing is one of the XML, one after it of the archive."""
    data = DUMP if before else PACK[name](DUMP)
    cut = int(at * len(data))
    changed = data[:cut] + piece + data[cut + lost :]
    (tmp_path / name).write_bytes(PACK[name](changed) if before else changed)
    funnel = Funnel("wikipedia")
    documents = list(wikipedia.read(tmp_path, [name], CorpusParameters(), funnel))
    assert len(documents) <= 6
    for document in documents:
        assert not MARKS.search(document.text) and document.meta["file"] == name
    first = funnel.rows()[0]
    lost_records = sum(first["rejected"].values())
    assert first["documents_in"] == first["documents_out"] + lost_records
    if name == "enwiki.xml" or before:  # the pages of which no byte was touched
        begin = DUMP.index(b"<page>")
        size = len(PAGE.encode())
        whole = [
            number
            for number in range(5)
            if cut > begin + (number + 1) * size or cut + lost < begin + number * size
        ]
        assert len(documents) >= len(whole), "damage cost a page that it did not touch"


@pytest.fixture(scope="module")
def wikitexts(arriero_data: Path) -> list[str]:
    root = arriero_data / "corpus" / "wikipedia"
    languages = CorpusParameters().languages
    return [
        page.wikitext
        for path in sorted(root.rglob("*.bz2"))
        for page in wikipedia.read_pages(path, path.name, languages, Funnel("wikipedia"))
    ]


@pytest.mark.data
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pieces=st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 300_000), st.integers(1, 3000)),
        min_size=1,
        max_size=6,
    ),
    joint=st.sampled_from(["", "{{", "}}", "[[", "]]", "\n{|\n", "\n|}\n", "<ref>", "<!--", "''"]),
)
def test_real_articles_cut_and_mixed(
    wikitexts: list[str], pieces: list[tuple[int, int, int]], joint: str
) -> None:
    parts = []
    for number, start, size in pieces:
        source = wikitexts[number % len(wikitexts)]
        begin = start % len(source) if source else 0
        parts.append(source[begin : begin + size])
    text = joint.join(parts)
    clean = plain_text(text)
    assert not MARKS.search(clean) and len(clean) <= len(text) + 100
    assert all(url.startswith("http") for url in cited_urls(text))

"""Damage of a dump costs the pages it touches, and no other; each loss is counted where it is."""

from __future__ import annotations

import bz2
import resource
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.corpus.funnel import BadFileError, Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import wikipedia
from tasks.corpus.sources.wikipedia_archives import unpacked
from tasks.corpus.sources.wikipedia_dump import RawPage, pages_of, parse_page
from tasks.corpus.sources.wikipedia_frames import Damage, Frame, PageFramer

P = "The old mill stands where the brook leaves the valley, and it has ground corn since 1712. "
HEAD = b"<mediawiki xml:lang='en'><siteinfo><dbname>enwiki</dbname></siteinfo>\n"
TAIL = b"</mediawiki>\n"
NAME = "enwiki-a.xml"


def page(number: int, text: bytes = b"") -> bytes:
    return (
        b"<page><title>T%d</title><ns>0</ns><id>%d</id><revision><id>%d</id><text>%b</text>"
        b"</revision></page>\n"
        % (number, number, number, text or (P * 2).encode() + b"%d" % number)
    )


def pages(begin: int, end: int) -> bytes:
    return b"".join(map(page, range(begin, end)))


def collect(root: Path, data: bytes, name: str = NAME) -> tuple[list[int], Funnel]:
    """Places of the articles read, and what was counted."""
    (root / name).write_bytes(data)
    funnel = Funnel("wikipedia")
    documents = list(wikipedia.read(root, [name], CorpusParameters(), funnel))
    for document in documents:
        assert document.id.startswith("wikipedia:en:") and document.meta["file"] == name
    return [document.meta["offset"] for document in documents], funnel


def lost(funnel: Funnel) -> list[tuple[str, int]]:
    """Reason and place of each page lost."""
    return [(row.reason, row.offset) for row in funnel.take_rejected() if row.filter == "read"]


LEVELS = b"".join(
    b'<!ENTITY l%d "%b">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10)
)  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (page(50, b"a\0b" + P.encode()), "malformed XML"),
        (page(50, b"a&#0;b" + P.encode()), "malformed XML"),
        (page(50, b"m\xffill" + P.encode()), "malformed XML"),
        (page(50, b"\xef\xbf\xbf" + P.encode()), "malformed XML"),
        (page(50, b"a < b" + P.encode()), "malformed XML"),
        (page(50, b"<![CDATA[" + P.encode()), "malformed XML"),
        (page(50, b"<!--" + P.encode()), "malformed XML"),
        (page(50, b"</mediawiki>" + P.encode()), "malformed XML"),
        (page(50, b"<a>" * 300), "malformed XML"),
        (page(50, b"<a/>" * 200_000), "malformed XML"),
        (page(50, b"&l9; &nbsp;" + P.encode()), "XML entity"),
        (page(50).replace(b"<page>", b"<page x='&l9;'>"), "XML entity"),
        (page(50).replace(b"</page>", b"</pa\0ge>"), "malformed XML"),
        (page(50).replace(b"<page>", b"<pa\0ge>"), "malformed XML"),
        (page(50).replace(b"<page>", b"").replace(b"</page>", b""), "malformed XML"),
        (page(50)[:90], "malformed XML"),
        (page(50)[90:], "malformed XML"),
        (page(50, P.encode() * 120_000), "page too large"),
        (page(50, P.encode() * 120_000)[:-9], "page too large"),
    ],
)
def test_damage_in_a_page_costs_that_page(tmp_path: Path, bad: bytes, reason: str) -> None:
    head = b'<!DOCTYPE m [<!ENTITY l0 "lol">' + LEVELS + b"]>" + HEAD
    started = time.monotonic()
    found, funnel = collect(tmp_path, head + pages(0, 50) + bad + pages(51, 120) + TAIL)
    assert found == [*range(50), *range(51, 120)]
    assert lost(funnel) == [(reason, 50)] and not funnel.bad_files
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("place", [0, 5, 9])
def test_large_page_costs_that_page_wherever_it_is(tmp_path: Path, place: int) -> None:
    large = page(place, P.encode() * (120_000 if place else 1_100_000))  # 100 MB as the first
    data = HEAD + pages(0, place) + large + pages(place + 1, 10) + TAIL
    del large
    found, funnel = collect(tmp_path, data)
    assert found == [n for n in range(10) if n != place]
    assert lost(funnel) == [("page too large", place)] and not funnel.bad_files


def test_memory_does_not_grow_with_a_page(tmp_path: Path) -> None:
    body = bz2.compress(HEAD + b"<page>" + b"x" * 400_000_000 + b"</page>" + page(1) + TAIL)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, funnel = collect(tmp_path, body, "enwiki.xml.bz2")
    assert found == [1] and lost(funnel) == [("page too large", 0)]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 150, f"{grown:.0f} MiB more memory than before"


def test_history_of_any_size_is_its_last_revision(tmp_path: Path) -> None:
    revision = b"<revision><text>" + P.encode() * 10_000 + b"</text></revision>"
    whole = b"<page><title>A</title><ns>0</ns>" + revision * 30 + page(0)[41:]
    assert len(whole) > 25_000_000
    found, funnel = collect(tmp_path, HEAD + whole + page(1) + TAIL)
    assert found == [0, 1] and not lost(funnel)
    entry = funnel.entries["read"]
    assert entry.characters_in < 1000, "an earlier revision was read"
    large = whole.replace(revision, revision[:-18] * 1 + P.encode() * 110_000 + revision[-18:], 1)
    found, funnel = collect(tmp_path, HEAD + large + page(1) + TAIL)
    assert found == [1] and lost(funnel) == [("page too large", 0)]


def test_damage_between_pages_costs_none(tmp_path: Path) -> None:
    middle = b"<x>\0</y>"
    found, funnel = collect(tmp_path, HEAD + pages(0, 5) + middle + pages(5, 9) + TAIL)
    assert found == [*range(9)] and not lost(funnel)
    assert [row["reason"] for row in funnel.bad_files] == ["malformed XML"]


@pytest.mark.parametrize(
    "head",
    [b"<mediawiki xml:lang='en'>", b"<mediawiki><siteinfo/>", b"<mediawiki><siteinfo>\0</siteinfo>",
     b"<mediawiki x='\xff'><siteinfo><a></siteinfo>", b"<media\0wiki>", b"", b"<mediawiki>" * 3]
)  # fmt: skip
def test_damage_in_the_header_costs_no_page(tmp_path: Path, head: bytes) -> None:
    assert collect(tmp_path, head + pages(0, 9) + TAIL)[0] == [*range(9)]


def test_missing_end_is_counted_with_the_page_it_costs(tmp_path: Path) -> None:
    whole = HEAD + pages(0, 9)
    for data, found in ((whole, 9), (whole[:-30], 8), (whole + b"<page>" + b"x" * 11_000_000, 9)):
        assert collect(tmp_path, data)[0] == [*range(found)]
    _, funnel = collect(tmp_path, whole[:-30])
    assert funnel.bad_files == [{"path": NAME, "reason": "truncated XML", "offset": 8}]
    assert funnel.entries["read"].rejected == {"truncated XML": 1}


def test_two_pages_whose_edge_is_gone_are_no_page(tmp_path: Path) -> None:
    data = HEAD + pages(0, 9).replace(b"</page>\n<page><title>T4", b"<title>T4") + TAIL
    found, funnel = collect(tmp_path, data)
    assert found == [0, 1, 2, 4, 5, 6, 7] and lost(funnel) == [("malformed XML", 3)]


def test_second_dump_in_the_file_has_its_own_header(tmp_path: Path) -> None:
    second = HEAD.replace(b"enwiki", b"dewiki") + page(2) + TAIL
    (tmp_path / "all.xml").write_bytes(HEAD + page(1) + TAIL + second)
    funnel = Funnel("wikipedia")
    documents = list(wikipedia.read(tmp_path, ["all.xml"], CorpusParameters(), funnel))
    assert [document.id for document in documents] == ["wikipedia:en:1", "wikipedia:de:2"]
    assert not funnel.bad_files


@pytest.mark.parametrize(
    "unit", [b"<page>", b"</page>", b"<page ", b"<page/>", b"<!--", b"<title>", b"<siteinfo>",
             b"<page><revision>", b"<![CDATA[", b"<mediawiki>", b"</page", b"<", b"</siteinfo>"]
)  # fmt: skip
def test_marks_in_their_thousands_take_linear_time(tmp_path: Path, unit: bytes) -> None:
    for before in (HEAD, HEAD + b"<page>"):
        started = time.process_time()
        collect(tmp_path, before + unit * (600_000 // len(unit)) + b"\n" + page(0) + TAIL)
        assert time.process_time() - started < 8


def test_pages_are_the_same_however_the_bytes_come() -> None:
    data = HEAD + page(0) + b"<x>" + page(1)[7:] + page(2)[:80] + b"<page x='1' />" + page(3) + TAIL

    def framed(size: int) -> list[object]:
        framer = PageFramer()
        found: list[object] = []
        for at in range(0, len(data), size):
            found += framer.feed(data[at : at + size])
        return found + list(framer.finish())

    whole = framed(len(data))
    assert [type(item) for item in whole if not isinstance(item, Frame)].count(Damage) == 2
    assert all(framed(size) == whole for size in range(1, 60))


def multistream(size: int = 100, count: int = 10) -> list[bytes]:
    """The streams of a dump: header, pages, end."""
    bodies = [pages(at, at + size) for at in range(0, size * count, size)]
    return [bz2.compress(body) for body in (HEAD, *bodies, TAIL)]


def test_stream_that_is_damaged_costs_its_pages(tmp_path: Path) -> None:
    streams = multistream()
    whole = b"".join(streams)
    at = sum(map(len, streams[:3])) + 200
    data = whole[:at] + b"\xff" * 50 + whole[at + 50 :]
    (tmp_path / NAME).write_bytes(b"")
    found, funnel = collect(tmp_path, data, "enwiki-multistream.xml.bz2")
    assert len(found) == 900 and found == [*range(900)]  # nobody knows how many are missing
    assert [(row["reason"], row["offset"]) for row in funnel.bad_files] == [
        ("corrupt archive", 199)
    ]
    (note,) = funnel.notes
    assert f"{len(streams[3]):,} bytes" in note and "enwiki-multistream.xml.bz2" in note
    assert funnel.entries["read"].rejected == {"corrupt archive": 1}


def test_several_damaged_streams_are_one_bad_file(tmp_path: Path) -> None:
    streams = multistream()
    for number in (0, 2, 5, 9):  # the header's too
        half = len(streams[number]) // 2
        streams[number] = streams[number][:half] + b"\0" * 9 + streams[number][half + 9 :]
    streams[7] = b"XYZ" + streams[7][3:]
    found, funnel = collect(tmp_path, b"".join(streams), "enwiki.xml.bz2")
    assert len(found) == 600 and len(funnel.bad_files) == 1
    with pytest.raises(BadFileError, match="corrupt archive"):
        strict = Funnel("wikipedia", strict=True)
        list(wikipedia.read(tmp_path, ["enwiki.xml.bz2"], CorpusParameters(), strict))


def test_single_stream_loses_what_is_behind_the_damage(tmp_path: Path) -> None:
    noise = [(f"{n * 7919 % 10_007 + 10_000} " * 40).encode() for n in range(6000)]
    body = HEAD + b"".join(page(n, text) for n, text in enumerate(noise)) + TAIL
    packed = bz2.compress(body, 1)  # blocks of 100 kB
    middle = len(packed) // 2
    damaged = packed[:middle] + b"\xff" * 99 + packed[middle + 99 :]
    for data, reason in ((damaged, "corrupt archive"), (packed[:middle], "truncated archive")):
        found, funnel = collect(tmp_path, data, "enwiki.xml.bz2")
        assert found == [*range(len(found))] and 2000 < len(found) < 3600
        assert [row["reason"] for row in funnel.bad_files] == [reason]
        assert lost(funnel) == [("truncated XML", len(found))] and len(funnel.notes) == 1


def test_nothing_is_given_of_a_block_whose_sum_is_wrong(tmp_path: Path) -> None:
    packed = bytearray(bz2.compress(HEAD + pages(0, 3000) + TAIL))
    packed[12] ^= 1  # the first block's sum
    (tmp_path / "enwiki.xml.bz2").write_bytes(packed)
    (item,) = unpacked(tmp_path / "enwiki.xml.bz2", "enwiki.xml.bz2")
    assert not isinstance(item, bytes) and item.lost == len(packed)


def test_streams_made_to_fail_are_given_up(tmp_path: Path) -> None:
    started = time.process_time()
    data = bz2.compress(HEAD + page(0)) + b"BZh91AY&SY" * 300_000
    found, funnel = collect(tmp_path, data, "enwiki.xml.bz2")
    assert found == [0] and len(funnel.bad_files) == 1
    found, _ = collect(tmp_path, bz2.compress(HEAD + page(0)) + bytes(512), "enwiki.xml.bz2")
    assert found == [0], "what hangs on the last stream was taken for one"
    assert time.process_time() - started < 20


PIECES = st.sampled_from(
    [b"<", b">", b"&", b"&#0;", b"&x;", b"<![CDATA[", b"]]>", b"<page>", b"</page>", b"\0", b"",
     b"\xff", b"<!DOCTYPE a [<!ENTITY x 'y'>]>", b"<!--", b"<text>", b"</mediawiki>", b"<revision>",
     b"</revision>", b"<title>", b"\xef\xbb\xbf", b"BZh91AY&SY", b"<page", b"</page", b"<siteinfo>"]
) | st.binary(max_size=8)  # fmt: skip
Seed = tuple[bytes, list[tuple[int, int]], list[tuple[str, str]]]


def articles(path: Path) -> list[tuple[str, str]]:
    raw = [item for item in pages_of(path, path.name) if isinstance(item, RawPage)]
    found = []
    for item in raw:
        try:
            whole = parse_page(item)
        except ValueError:
            continue
        found.append((whole.title, whole.wikitext))
    return found


@pytest.fixture(scope="module")
def seeds(arriero_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Seed]:
    """Real dumps: bytes, where each page is in them, and its title and text."""
    root = arriero_data / "corpus" / "wikipedia"
    found = []
    for path in sorted(root.rglob("*.bz2")):
        data = bz2.decompress(path.read_bytes())
        if not data.startswith(b"<mediawiki") or len(data) > 1_000_000:
            continue
        edges = []
        at = data.find(b"<page>")
        while at >= 0:
            end = data.index(b"</page>", at) + len(b"</page>")
            edges.append((at, end))
            at = data.find(b"<page>", end)
        texts = articles(path)
        assert len(texts) == len(edges)
        if len(edges) > 2:
            found.append((data, edges, texts))
    assert len(found) >= 3
    return found


def expected_of(found: Iterable[tuple[str, str]], whole: list[tuple[str, str]]) -> bool:
    """Whether all of ``whole`` are in ``found``, in order."""
    rest = iter(found)
    return all(item in rest for item in whole)


@pytest.mark.data
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    number=st.integers(0, 99),
    at=st.floats(0, 1),
    edge=st.none() | st.tuples(st.integers(0, 99), st.booleans(), st.integers(-30, 30)),
    gone=st.integers(0, 60) | st.integers(0, 40_000),
    piece=PIECES,
)
def test_damage_costs_at_most_the_pages_it_touches(
    seeds: list[Seed],
    tmp_path: Path,
    number: int,
    at: float,
    edge: tuple[int, bool, int] | None,
    gone: int,
    piece: bytes,
) -> None:
    data, edges, texts = seeds[number % len(seeds)]
    cut = int(at * len(data))
    if edge is not None:  # near where a page begins or ends
        cut = max(0, edges[edge[0] % len(edges)][edge[1]] + edge[2])
    (tmp_path / "enwiki.xml").write_bytes(data[:cut] + piece + data[cut + gone :])
    whole = [
        text
        for (begin, end), text in zip(edges, texts, strict=True)
        if cut > end or cut + gone < begin
    ]
    assert len(whole) < len(texts) or gone < 2 or cut < edges[0][0] or cut >= edges[-1][1]
    assert expected_of(articles(tmp_path / "enwiki.xml"), whole)


@pytest.mark.data
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    number=st.integers(0, 99),
    at=st.floats(0, 1),
    gone=st.integers(0, 400),
    piece=st.binary(max_size=400) | st.just(b"BZh91AY&SY"),
)
def test_damage_of_a_stream_costs_at_most_its_pages(
    seeds: list[Seed], tmp_path: Path, number: int, at: float, gone: int, piece: bytes
) -> None:
    """And what is given is as it was: a block's sum is checked before."""
    data, edges, texts = seeds[number % len(seeds)]
    starts = [0, *(begin for begin, _ in edges), edges[-1][1]]
    bodies = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    streams = [bz2.compress(body) for body in bodies]
    packed = b"".join(streams)
    cut = int(at * len(packed))
    path = tmp_path / "enwiki.xml.bz2"
    path.write_bytes(packed[:cut] + piece + packed[cut + gone :])
    whole, place = [], len(streams[0])
    for stream, text in zip(streams[1:], texts, strict=False):
        if cut > place + len(stream) or cut + gone < place:
            whole.append(text)
        place += len(stream)
    found = articles(path)
    assert expected_of(found, whole) and expected_of(texts, found)


@pytest.mark.parametrize(
    "mark",
    [
        b"\0",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\xff\xfe\0\0",
        b"\0\0\xfe\xff",
        b"<\0",
        b"\0<",
        b"\xef\xbb",
    ],
)
def test_a_mark_of_another_encoding_before_a_dump_costs_no_page(
    tmp_path: Path, mark: bytes
) -> None:
    places, funnel = collect(tmp_path, mark + HEAD + pages(0, 5) + TAIL)
    assert places == [0, 1, 2, 3, 4] and lost(funnel) == []

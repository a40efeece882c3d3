"""Damage in a crawl file costs the record it is in, and no other."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.sources.warc import (
    ARC,
    MAX_RECORD_BYTES,
    WARC,
    Format,
    Lost,
    Record,
    records,
)
from tests.tasks.corpus.crawl import arc, http, members, page, record, sentence

# Noise that does not pack, so that a cut or a flip in a file hits the record it should.
NOISE = [hashlib.shake_256(bytes([number])).hexdigest(1000) for number in range(6)]
PAGES = [page(number, f"<html>{noise}</html>") for number, noise in enumerate(NOISE)]
PACKED = [gzip.compress(one, mtime=0) for one in PAGES]
Found = list[Record | Lost]


def read(folder: Path, data: bytes, form: Format = WARC) -> Found:
    path = folder / "file"
    path.write_bytes(data)
    return list(records(path, form, lambda headers: True))


def numbers(found: Found) -> list[int]:
    """The pages that were read whole, by the end of their address."""
    held = [item for item in found if isinstance(item, Record)]
    for item in held:
        assert item.content is not None and len(item.content) == item.length
    return [int(item.headers["warc-target-uri"].rpartition("/")[2]) for item in held]


def lost(found: Found) -> list[tuple[int, str]]:
    return [(item.offset, item.reason) for item in found if isinstance(item, Lost)]


@pytest.mark.parametrize(
    "data",
    [
        b"".join(PAGES),
        b"".join(PACKED),
        gzip.compress(b"".join(PAGES)),
        b"".join(PACKED) + bytes(3000),
        # Blocks that are no records, as parallel compressors write them.
        b"".join(
            gzip.compress(b"".join(PAGES)[at : at + 1700])
            for at in range(0, len(b"".join(PAGES)), 1700)
        ),
    ],
    ids=["plain", "members", "one member", "padded", "blocks"],
)
def test_whole_files(tmp_path: Path, data: bytes) -> None:
    found = read(tmp_path, data)
    assert numbers(found) == [0, 1, 2, 3, 4, 5] and not lost(found)
    offsets = [item.offset for item in found]
    assert offsets == sorted(set(offsets))


def test_offsets_find_the_record_again(tmp_path: Path) -> None:
    for item in read(tmp_path, b"".join(PAGES)):
        assert (tmp_path / "file").read_bytes()[item.offset :].startswith(PAGES[0][:30])
    for number, item in enumerate(read(tmp_path, b"".join(PACKED))):
        data = (tmp_path / "file").read_bytes()[item.offset :]
        assert data.startswith(PACKED[number])
    assert [item.offset for item in read(tmp_path, gzip.compress(b"".join(PAGES)))] == [*range(6)]


def flipped(data: bytes, at: int, count: int = 8) -> bytes:
    return data[:at] + bytes(byte ^ 0x55 for byte in data[at : at + count]) + data[at + count :]


@pytest.mark.parametrize(
    "broken",
    [flipped(PACKED[2], 150), flipped(PACKED[2], 0), flipped(PACKED[2], len(PACKED[2]) - 7, 2),
     PACKED[2][:200], b"no gzip at all " * 9],
    ids=["data", "header", "checksum", "cut", "other bytes"],
)  # fmt: skip
def test_corrupt_member_costs_itself(tmp_path: Path, broken: bytes) -> None:
    found = read(tmp_path, b"".join([*PACKED[:2], broken, *PACKED[3:]]))
    assert numbers(found) == [0, 1, 3, 4, 5]
    place = len(PACKED[0]) + len(PACKED[1])
    assert (place, "corrupt gzip") in lost(found)
    assert {offset for offset, _ in lost(found)} == {place}


@pytest.mark.parametrize("form", [WARC, ARC])
def test_member_that_begins_as_nothing_does_costs_itself(tmp_path: Path, form: Format) -> None:
    """Found by fuzzing: the record before an ARC's was taken for one of a wrong length."""
    pages = PAGES if form is WARC else [
        arc(f"http://e.org/{number}", http(noise.encode())) for number, noise in enumerate(NOISE)
    ]  # fmt: skip
    packed = [gzip.compress(one, mtime=0) for one in pages]
    packed[2] = gzip.compress(b"\0" + pages[2][1:], mtime=0)
    found = read(tmp_path, b"".join(packed), form)
    assert numbers(found) == [0, 1, 3, 4, 5]
    assert lost(found) == [(len(packed[0]) + len(packed[1]), form.reason)]


def test_truncated_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    found = read(tmp_path, b"".join(PACKED)[:-60])
    place = sum(map(len, PACKED[:5]))
    assert numbers(found) == [0, 1, 2, 3, 4]
    assert lost(found) == [(place, "truncated record"), (place, "truncated gzip")]
    whole = gzip.compress(b"".join(PAGES))
    found = read(tmp_path, whole[: len(whole) * 2 // 3])
    assert numbers(found)[:3] == [0, 1, 2] and lost(found)[-1] == (0, "truncated gzip")


def test_corrupt_middle_of_one_long_member_keeps_what_came_before(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(PAGES))
    found = read(tmp_path, flipped(whole, len(whole) - 400))
    assert numbers(found)[:4] == [0, 1, 2, 3] and (0, "corrupt gzip") in lost(found)


@pytest.mark.parametrize("length", [9000, 30, 0, -5, "", "9" * 30, 999_999_999, "12a", "１２"])
@pytest.mark.parametrize("packed", [False, True])
def test_wrong_content_length_costs_one_record(
    tmp_path: Path, length: object, packed: bool
) -> None:
    lying = record("http://e.org/2", http(NOISE[2].encode()), length=length)
    all_of_them = [*PAGES[:2], lying, *PAGES[3:]]
    found = read(tmp_path, members(*all_of_them) if packed else b"".join(all_of_them))
    assert numbers(found) == [0, 1, 3, 4, 5]
    assert [reason for _, reason in lost(found)] == ["malformed WARC"]


def test_noise_between_records_is_one_loss(tmp_path: Path) -> None:
    found = read(tmp_path, b"".join([*PAGES[:2], b"<p>no record</p>\r\n" * 2000, *PAGES[2:]]))
    assert numbers(found) == [0, 1, 2, 3, 4, 5]
    assert lost(found) == [(len(PAGES[0]) + len(PAGES[1]), "malformed WARC")]


def test_cut_plain_file(tmp_path: Path) -> None:
    found = read(tmp_path, b"".join(PAGES)[:-300])
    assert numbers(found) == [0, 1, 2, 3, 4]
    assert lost(found) == [(sum(map(len, PAGES[:5])), "truncated record")]
    found = read(tmp_path, b"".join(PAGES[:5]) + PAGES[5][:40])
    assert numbers(found) == [0, 1, 2, 3, 4] and len(lost(found)) == 1


def test_page_that_quotes_a_record_is_one_page(tmp_path: Path) -> None:
    inner = b"\r\n\r\n".join(PAGES[1:3])
    found = read(tmp_path, b"".join([PAGES[0], record("http://e.org/7", http(inner)), PAGES[3]]))
    assert numbers(found) == [0, 7, 3] and not lost(found)


def test_too_large_a_record_is_passed_in_bounded_memory(tmp_path: Path) -> None:
    zeros = bytes(1 << 20)
    path = tmp_path / "big.warc.gz"
    with gzip.open(path, "wb", compresslevel=1) as handle:
        handle.write(PAGES[0])
        handle.write(record("http://e.org/1", b"", length=200 << 20)[:-4])
        for _ in range(200):
            handle.write(zeros)
        handle.write(b"\r\n\r\n" + PAGES[2])
    tracemalloc.start()
    found = list(records(path, WARC, lambda headers: True))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [item.content is None for item in found if isinstance(item, Record)] == [
        False, True, False,
    ]  # fmt: skip
    assert not lost(found) and peak < 2 * MAX_RECORD_BYTES


def test_file_saved_with_line_feeds_alone(tmp_path: Path) -> None:
    texts = ["First line.\r\nSecond line.", "Über die Brücke\r\nund zurück."]
    data = b"".join(
        record(f"http://e.org/{number}", text.encode(), kind="conversion")
        for number, text in enumerate(texts)
    )
    found = read(tmp_path, data.replace(b"\r\n", b"\n"))
    contents = [(item.content or b"").strip() for item in found if isinstance(item, Record)]
    assert contents == [text.replace("\r\n", "\n").encode() for text in texts]


def test_arc_records_and_damage(tmp_path: Path) -> None:
    start = b"filedesc://a.arc 0.0.0.0 20080430204825 text/plain 77\n1 1 Archive\n"
    start += b"URL IP-address Archive-date Content-type Archive-length\n".ljust(65) + b"\n"
    ones = [arc(f"http://e.org/{n}", http(sentence(n).encode())) for n in range(5)]
    found = read(tmp_path, b"".join([start, *ones]), ARC)
    assert not lost(found) and len(found) == 6
    packed = [gzip.compress(one) for one in [start, *ones]]
    packed[2] = flipped(packed[2], 60)
    found = read(tmp_path, b"".join(packed), ARC)
    assert len([item for item in found if isinstance(item, Record)]) == 5
    assert (len(packed[0]) + len(packed[1]), "corrupt gzip") in lost(found)
    broken = ones[2].replace(b" text/html ", b" text/html 9")
    found = read(tmp_path, b"".join([start, *ones[:2], broken, *ones[3:]]), ARC)
    assert [reason for _, reason in lost(found)] == ["malformed ARC"]
    assert len([item for item in found if isinstance(item, Record)]) == 5


@st.composite
def damage(draw: st.DrawFn, data: bytes) -> bytes:
    """``data`` after a few changes at random."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        kind = draw(st.sampled_from(["set", "cut", "put", "copy"]))
        if kind == "set" and changed:
            changed[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del changed[at : at + draw(st.sampled_from([1, 40, 400]))]
        elif kind == "put":
            changed[at:at] = draw(st.binary(min_size=1, max_size=40))
        else:
            start = draw(st.integers(0, len(changed)))
            changed[at:at] = changed[start : start + draw(st.sampled_from([3, 200]))]
    return bytes(changed)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(0, 5))
def test_damage_inside_one_member_loses_no_other(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, victim: int
) -> None:
    parts = list(PACKED)
    parts[victim] = data.draw(damage(parts[victim]))
    found = read(tmp_path_factory.mktemp("fuzz"), b"".join(parts))
    left = [number for number in numbers_or_none(found) if number != victim]
    assert [number for number in left if number is not None] == [
        number for number in range(6) if number != victim
    ]
    assert len({item.offset for item in found if isinstance(item, Record)}) == len(
        [item for item in found if isinstance(item, Record)]
    )


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(0, 5))
def test_damage_inside_one_record_of_a_plain_file_loses_at_most_its_neighbours(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, victim: int
) -> None:
    parts = list(PAGES)
    parts[victim] = data.draw(damage(parts[victim]))
    found = numbers_or_none(read(tmp_path_factory.mktemp("fuzz"), b"".join(parts)))
    assert set(range(6)) - set(found) <= {victim - 1, victim, victim + 1}


def numbers_or_none(found: Found) -> list[int | None]:
    """The pages that were read, by the end of their address; None where damage is in that."""
    ends = [
        item.headers.get("warc-target-uri", "").rpartition("/")[2]
        for item in found
        if isinstance(item, Record)
    ]
    return [int(end) if end in {*"012345"} else None for end in ends]

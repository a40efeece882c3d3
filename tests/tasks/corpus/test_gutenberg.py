"""Project Gutenberg's frame: markers old and new, quoted markers, and what it says of rights."""

from __future__ import annotations

import time

import pytest

from tasks.corpus.sources.gutenberg import unframed

START = "*** START OF THE PROJECT GUTENBERG EBOOK A VOYAGE ***"
END = "*** END OF THE PROJECT GUTENBERG EBOOK A VOYAGE ***"
HEADER = "The Project Gutenberg eBook of A Voyage\n\nTitle: A Voyage\nAuthor: Some One\n\n"
LICENSE = (
    "Updated editions will replace the previous one.\n\nSTART: FULL LICENSE\n\n"
    "THE FULL PROJECT GUTENBERG LICENSE\n" + "You may copy it, give it away or re-use it.\n" * 400
)
BOOK = "The captain walked along the quiet shore and told of ships.\n\n" * 2000


def framed(text: str, license_text: str = LICENSE, header: str = HEADER) -> str:
    return f"{header}{START}\n\n{text}\n\n{END}\n\n{license_text}"


def test_new_and_old_frames_are_removed() -> None:
    new = (
        "The Project Gutenberg EBook of X\n\nTitle: A Voyage\nAuthor: Some One\n\n"
        "*** START OF THIS PROJECT GUTENBERG EBOOK\nA VOYAGE ***\n\nProduced by Somebody\n\n"
        "Call me Ishmael.\n\nEnd of Project Gutenberg's A Voyage\n\n"
        "*** END OF THIS PROJECT GUTENBERG EBOOK A VOYAGE ***\nlicence text"
    )
    book = unframed(new)
    assert book.text == "Call me Ishmael."
    assert book.header == {"Title": "A Voyage", "Author": "Some One"}
    old = (
        "Etext of X\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n"
        "Call me Ishmael.\nEnd of Project Gutenberg Etext of X\n"
    )
    assert unframed(old).text == "Call me Ishmael."
    plain = unframed("  Plain text.\n")
    assert (plain.text, plain.header, plain.copyrighted) == ("Plain text.", {}, False)


@pytest.mark.parametrize(
    "quoted",
    [
        END,
        "*** END OF THE PROJECT GUTENBERG EBOOK A VOYAGE, VOLUME I ***",
        "End of Project Gutenberg's A Voyage, Volume I",
        "End of the Project Gutenberg story, as the captain told it.",
        f"{START}\n\nhe quoted.",
    ],
)
def test_markers_inside_a_book_do_not_cut_it(quoted: str) -> None:
    text = f"{BOOK}{quoted}\n\n{BOOK}The end."
    assert unframed(framed(text)).text == text.strip()
    # Where the frame's end is missing (a file cut short) the book's own words do not replace it.
    assert unframed(f"{HEADER}{START}\n\n{text}").text == text.strip()
    # Nor is a text without any frame cut, wherever it speaks of the project.
    assert unframed(text).text == text.strip()
    assert unframed(f"{BOOK}{text}").text == (BOOK + text).strip()


def test_the_end_said_twice_goes_whole() -> None:
    for twice in ("End of the Project Gutenberg EBook of A Voyage, by\nSome One\n", ""):
        assert unframed(framed(f"{BOOK}\n{twice}")).text == BOOK.strip()
        # A quoted marker close to the end is the book's, when more than lines lies between.
        near = f"{BOOK}{END}\n\n" + "He read the marker aloud. " * 40
        assert unframed(framed(f"{near}\n\n{twice}")).text == near.strip()


def test_a_start_marker_behind_half_a_book_is_no_header() -> None:
    text = f"{BOOK}{START}\n\n{BOOK}The end."
    assert unframed(text).text == text


@pytest.mark.parametrize(
    ("header", "license_text"),
    [
        ("This is a COPYRIGHTED Project Gutenberg eBook, details below\n" + HEADER, LICENSE),
        ("** This is a COPYRIGHTED Project Gutenberg Etext,\nDetails Below **\n" + HEADER, ""),
        (HEADER + "Rights: Copyrighted. Read the notice inside this book.\n", LICENSE),
        (HEADER + "Copyright Status: Copyrighted\n", LICENSE),
        (HEADER, LICENSE + "This particular work is one of the few copyrighted\nindividual works."),
    ],
)
def test_copyrighted_by_the_frame(header: str, license_text: str) -> None:
    assert unframed(framed(BOOK, license_text, header)).copyrighted


def test_copyrighted_by_the_small_print() -> None:
    old = "Etext of X\n*END*THE SMALL PRINT! FOR COPYRIGHT PROTECTED ETEXTS*Ver.04.29.93*END*\n"
    assert unframed(old + BOOK).copyrighted


def test_what_does_not_make_a_book_copyrighted() -> None:
    header = HEADER + "Rights: Public domain in the USA.\nNot copyrighted in the United States.\n"
    license_text = LICENSE + "unless a copyright notice is included. Copyrighted works differ."
    assert not unframed(framed(BOOK, license_text, header)).copyrighted
    # The book itself may speak of it.
    text = f"{BOOK}This is a COPYRIGHTED Project Gutenberg eBook, said he.\n\n{BOOK}"
    assert not unframed(framed(text)).copyrighted
    assert not unframed(text).copyrighted


@pytest.mark.parametrize(
    "text",
    [
        f"{END}\n" * 40_000,
        f"{START[:-3]}\n" * 40_000,
        "*END" + " *" * 1_000_000,
        "this is a " * 200_000,
        "this" + " " * 2_000_000 + "\n",
        "Title:" + "\n" * 2_000_000,
    ],
)
def test_hostile_frames_take_linear_time(text: str) -> None:
    began = time.process_time()
    unframed(text)
    unframed(f"{START}\n{text}")
    assert time.process_time() - began < 5

"""Headers that no marker ends: the early nineties', and those of Australia and Canada."""

from __future__ import annotations

import time

import pytest

from tasks.corpus.sources.gutenberg import unframed
from tests.tasks.corpus.test_gutenberg import BOOK, END, HEADER, LICENSE, START, framed

TEXT = BOOK.strip()
AUSTRALIA = """Project Gutenberg Australia

Title:      A Voyage
Author:     Some One (1850-1930)
* A Project Gutenberg of Australia eBook *
eBook No.:  0100999.txt
Edition:    1
Language:   English
Character set encoding:     Latin-1(ISO-8859-1)--8 bit
Date first posted:          November 2001

This eBook was produced by: A Volunteer

Project Gutenberg of Australia eBooks are created from printed editions that are
free there; no one paper edition is followed.

Copyright laws are changing everywhere. Look up those of your country first.

This eBook is made available at no cost and with few limits; they are told at
http://gutenberg.net.au/licence.html

To contact Project Gutenberg of Australia go to http://gutenberg.net.au


-----------------------------------------------------------------

A Project Gutenberg of Australia eBook

Title:      A Voyage
Author:     Some One

"""
CANADA = """* A Project Gutenberg Canada Ebook *

This ebook is made available at no cost and with a few limits, which only hold
where (1) it is changed, or (2) it is sold.

This work is in the Canadian public domain, but may be held elsewhere. WHO LIVES
WHERE IT IS DOES NOT COPY THIS FILE.

Title: A Voyage
Author: One, Some (1850-1930)
Date of first publication: 1901
Date first posted: 7 June 2010
Project Gutenberg Canada ebook #999

This ebook was produced by: A Volunteer


"""
FADED_PAGE = """* A Distributed Proofreaders Canada eBook *

This ebook is made available at no cost and with a few limits. Who changes or sells
it asks a https://www.fadedpage.com administrator first.

This work is in the Canadian public domain, but may be held elsewhere.

_Title:_ A Voyage

_Date of first publication:_ 1901

_Author:_ Some One (1850-1930)

_Date first posted:_ Feb. 3, 2014

Faded Page eBook #20140299

This eBook was produced by: A Volunteer & the online Distributed Proofreaders Canada team

"""
FRENCH = """* Livre électronique de Project Gutenberg Canada *

Le présent livre électronique est rendu accessible gratuitement, sous peu de conditions.

Cette oeuvre appartient au domaine public canadien, mais peut-être pas au vôtre.

Titre: A Voyage
Auteur: Quelqu'un
Date de la première publication: 1901
Livre électronique de Project Gutenberg Canada no 999

Ce livre électronique a été créé par: Une Volontaire

"""
NINETIES = """**The Project Gutenberg Etext of A Voyage, by Some One**
***This Edition Is Being Officially Released On March 8, 1993***

Please take a look at the important information in this header.
We ask for more of the kind.

**Welcome To The World of Free Plain Vanilla Electronic Texts**

*These Etexts Prepared By Volunteers*

Information on contacting Project Gutenberg is below.

A Voyage
by Some One

March, 1993  [Etext #99]

*****The Project Gutenberg Etext of A Voyage*****
*****This file should be named voyag10.txt or voyag10.zip*****

Corrected EDITIONS of our etexts get a new NUMBER.

"""


@pytest.mark.parametrize(
    ("head", "tail", "country"),
    [
        (AUSTRALIA, "\n\nThis site is full of FREE ebooks - Project Gutenberg Australia\n", "AU"),
        (AUSTRALIA, "\n\nEnd of this Project Gutenberg of Australia eBook\nA Voyage\n", "AU"),
        (AUSTRALIA.replace("of Australia", "Australia"), "", "AU"),
        (CANADA, "\n\n[End of A Voyage, by Some One]\n", "CA"),
        (CANADA.replace("Title: ", "Title: _").replace("A Voyage\n", "A Voyage_\n"), "", "CA"),
        (FADED_PAGE, "\n\n[The end of _A Voyage_ by Some One]\n", "CA"),
        (FRENCH, "\n\n[Fin de _A Voyage_, par Quelqu'un]\n", "CA"),
    ],
)
def test_frames_of_australia_and_canada(head: str, tail: str, country: str) -> None:
    book = unframed(f"{head}{TEXT}{tail}")
    assert book.text == TEXT and book.country == country
    assert book.header["Title"] == "A Voyage" and book.header["Author"]
    assert not book.copyrighted


def test_the_title_page_of_a_sisters_book_is_its_text() -> None:
    text = f"A VOYAGE\n\nBY\n\nSOME ONE\n\n* * *\n\n{TEXT}"
    for head in (AUSTRALIA, CANADA, FADED_PAGE, FRENCH):
        assert unframed(head + text).text == text


def test_what_only_talks_of_the_sisters_stays() -> None:
    named = "* A Project Gutenberg Canada Ebook *"
    for text in (
        f"{named}\n\n{TEXT}",  # no terms: a mark alone
        f"{TEXT}\n\n{CANADA}{TEXT}",
        f"He wrote to Project Gutenberg of Australia.\n\n{TEXT}\n\n[End of A Voyage, by X]",
        f"{TEXT}\n\n[The end of the voyage]",
    ):
        book = unframed(text)
        assert book.text == text and book.country == "" and book.header == {}
    inner = f"{TEXT}\n\n{named}\n\n[End of the letter]\n\n{TEXT}"
    assert unframed(CANADA + inner).text == inner


def test_a_book_that_begins_with_short_paragraphs_keeps_them() -> None:
    for text in (
        f"CHAPTER I\n\nShort.\n\n*** his etext, he said, was long.\n\n{TEXT}",
        f"Dates: we met in May.\n\nEdition: what do you mean?\n\nAuthor: Nothing.\n\n{TEXT}",
    ):
        for head in (CANADA, AUSTRALIA, FADED_PAGE, NINETIES):
            assert unframed(head + text).text == text


@pytest.mark.parametrize("tail", ["", "\n\nEnd of The Project Gutenberg Etext of A Voyage\n"])
def test_headers_of_the_nineties_without_small_print(tail: str) -> None:
    book = unframed(f"{NINETIES}{TEXT}{tail}")
    assert book.text == TEXT and book.country == "US"
    assert book.header == {"Title": "A Voyage, by Some One"}
    page = f"A VOYAGE\n\nby Some One\n\n* * *\n\n{TEXT}"
    assert unframed(f"{NINETIES}{page}{tail}").text == page


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("**START OF THE PROJECT GUTENBERG EBOOK A**", "**END OF THE PROJECT GUTENBERG EBOOK A**"),
        ("****START OF THE PROJECT GUTENBERG ETEXT A****", "****END OF THE PROJECT GUTENBERG"),
        ("START OF THE PROJECT GUTENBERG EBOOK A", "END OF THE PROJECT GUTENBERG EBOOK A"),
        (
            "**START**THE SMALL PRINT**FOR PUBLIC DOMAIN ETEXTS**START**\nYou may.\n"
            "**END**THE SMALL PRINT**FOR PUBLIC DOMAIN ETEXTS**Ver.04.29.93**END**",
            "End of Project Gutenberg's",
        ),
        (
            "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nYou may.\n"
            "  *END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
            "End of Project Gutenberg's",
        ),
        (START, "Slut på Project Gutenbergs"),
        (START, "Loppu Project Gutenbergin"),
        (START, "Fi del Projecte Gutenberg"),
        (START, "Koniec e-booka Project Gutenberg"),
        (START, "Konec e-knihy Projekt Gutenberg"),
        (START, "Vége a Project Gutenberg e-könyvnek"),
        (START, "Sfârșitul cărții electronice Project Gutenberg"),
        (START, "Конец электронной книги Проекта Гутенберг"),
        (START, "Кінець книги «Проєкту Гутенберг»"),
        (START, "Fin de l'Etext du Projet\nGutenberg"),
    ],
)
def test_markers_with_other_stars_and_in_other_languages(start: str, end: str) -> None:
    text = f"{HEADER}{start}\n\n{BOOK}\n\n{end} A Voyage\n\n{LICENSE}"
    book = unframed(text)
    assert book.text == TEXT and book.header["Title"] == "A Voyage"


def test_bare_and_starred_markers_in_a_book_do_not_cut_it() -> None:
    bare = "START OF THE PROJECT GUTENBERG EBOOK A"
    for quoted in (
        bare,
        f"END OF THE PROJECT {bare[21:]}",
        "**END OF THE PROJECT GUTENBERG TALE**",
    ):
        text = f"{BOOK}{quoted}\n\n{TEXT}"
        assert unframed(text).text == text
        assert unframed(framed(text)).text == text
    # A bare start counts only together with a bare end.
    short = f"He read:\n\n{bare}\n\n{TEXT}"
    assert unframed(short).text == short
    assert unframed(f"{BOOK}{END}\n\n{TEXT}").text == f"{BOOK}{END}\n\n{TEXT}"


@pytest.mark.parametrize(
    "text",
    [
        "* A Project Gutenberg Canada Ebook *\n\n" * 50_000,
        "The Project Gutenberg Etext of\n\n" + "*****\n\n" * 200_000,
        "The Project Gutenberg Etext of\n\n" + "\n \n" * 600_000 + "x",
        "START OF THE PROJECT GUTENBERG EBOOK\n" * 40_000,
        "Title: x\n\n" * 200_000,
        "* A " * 500_000,
        "**END" + " *" * 500_000,
        "[End of " * 200_000,
        "Конец про" * 200_000,
    ],
)
def test_hostile_headers_take_linear_time(text: str) -> None:
    began = time.process_time()
    for whole in (text, CANADA + text, NINETIES + text):
        unframed(whole)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "opening",
    ["PREFACE\n\nThis book is made up of lectures which I gave at the college.",
     "PREFACE\n\nTo contact with nature the poet owes all that he has.",
     "NOTE\n\nDate and place are wanting: the harbour, I think, and the spring.",
     "CHAPTER I\n\nDates of the voyage: we left in spring and came in autumn.",
     "PREFACE\n\nThis work was created in a long winter."],
)  # fmt: skip
def test_a_book_that_begins_as_a_header_might_stays_whole(opening: str) -> None:
    assert unframed(f"{CANADA}\n\n\n{opening}\n\n{TEXT}").text == f"{opening}\n\n{TEXT}"

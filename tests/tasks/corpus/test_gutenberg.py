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


SMALL = "THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS"


@pytest.mark.parametrize(
    ("marker", "end"),
    [
        ("***START OF THE PROJECT GUTENBERG EBOOK A***", "***END OF THE PROJECT GUTENBERG"),
        ("*** START OF THIS PROJECT GUTENBERG EBOOK, A ***", "*** END OF THIS PROJECT GUTENBERG"),
        (f"*END*{SMALL}*Ver.04.29.93*END*", "End of The Project Gutenberg Etext"),
        (f"*END {SMALL}*Ver.02/11/02*END*", "End of Project Gutenberg's"),
        (f"***END***{SMALL}***", "End of this Project Gutenberg Etext"),
        ("*** BEGINN DES PROJEKT GUTENBERG EBOOKS ***", "Ende dieses Projekt Gutenberg Etextes"),
        ("*** DÉBUT DU PROJET GUTENBERG ***", "Fin de l'Etext du Projet Gutenberg"),
        ("*** COMIENZO DEL PROYECTO GUTENBERG ***", "Fin del eBook del Proyecto Gutenberg"),
        ("*** INÍCIO DO PROJETO GUTENBERG ***", "Fim do livro do Projecto Gutenberg"),
        ("*** INIZIO DEL PROGETTO GUTENBERG ***", "Fine dell'ebook del Progetto Gutenberg"),
        ("*** START OF THE PROJECT GUTENBERG EBOOK A ***", "Einde van dit Project Gutenberg eBoek"),
    ],
)
def test_frames_of_every_age_and_language(marker: str, end: str) -> None:
    text = f"{HEADER}{marker}\n\n{BOOK}\n\n{end} A Voyage\n\n{LICENSE}"
    book = unframed(text)
    assert book.text == BOOK.strip() and book.header["Title"] == "A Voyage"


def test_end_in_another_language_needs_a_licence_behind_it() -> None:
    text = f"{BOOK}Fin de la lettre sur le Projet Gutenberg, dit-il.\n\n{BOOK}"
    assert unframed(framed(text)).text == text.strip()
    assert unframed(text).text == text.strip()


def test_small_print_behind_the_book() -> None:
    """A short etext of the nineties: the header is a title, the licence stands at the end."""
    short = "The captain walked along the shore.\n\n" * 100
    text = (
        "The Project Gutenberg Etext of A Voyage, by Some One\n\n"
        'The "legal small print" of Project Gutenberg is at the end of this file.\n\n'
        f"{short}\n\nEnd of The Project Gutenberg Etext of A Voyage\n\n"
        f"***START**{SMALL}**START***\n{'Project Gutenberg' * 9}\n*END*{SMALL}*Ver.04.29.93*END*\n"
    )
    book = unframed(text)
    assert book.text == short.strip() and book.header == {"Title": "A Voyage, by Some One"}


@pytest.mark.parametrize(
    "notes",
    [
        "Produced by Some One and the Online Team",
        "E-text prepared by Some One\n\nHTML version by Another",
        "This etext was prepared by Some One\n\nSpecial thanks to Another for proofreading.",
        "The Project Gutenberg Etext of A Voyage\nby Some One\n(#6 in our series)\n\n***",
        "[Transcriber's Note: Italics are marked.\n\nSpelling was kept.]",
        "Transcriber’s notes:\n\nThe cover was made by the transcriber.\n\nSpelling was kept.\n\n",
        "+-----------------------+\n| Transcriber's Note: x |\n+-----------------------+",
        "cover\n\nProduit par Quelqu'un\n\nNous remercions la bibliothèque.",
        "Ce livre électronique a été préparé par Quelqu'un",
        "Producido por Alguien\n\n[Nota del transcriptor: sin cambios]",
        "Produzido por Alguém\n\nEste texto do Projecto Gutenberg é livre.",
        "Dieses Buch wurde uns vom 'Gutenberg Projekt-DE' zur Verfügung gestellt.",
        "Anmerkungen zur Transkription\n\nDie Schreibweise blieb.\n\n",
    ],
)
def test_notes_at_the_start_of_a_framed_book_go(notes: str) -> None:
    book = f"A VOYAGE\n\n\n{BOOK}".strip()
    assert unframed(framed(f"{notes}\n\n{book}")).text == book
    # In a text without a frame they may be the book's own words.
    if "Gutenberg" not in notes:
        assert unframed(f"{notes}\n\n{book}").text == f"{notes}\n\n{book}".strip()


@pytest.mark.parametrize(
    "notes",
    [
        "\n\n+----------+\n|Transcriber's note:   |\n|Spelling kept.   |\n+----------+",
        "\n\n  *  *  *\n\nTypographical errors corrected by the transcriber:\n\na => b\n\nc => d",
        "\n\n[Transcriber's Note: Spelling was kept.]",
        "Produced by Some One\n\nThis Project Gutenberg book was proofread twice.",
    ],
)
def test_notes_at_the_end_of_a_framed_book_go(notes: str) -> None:
    assert unframed(framed(f"{BOOK}{notes}")).text == BOOK.strip()


def test_notes_in_the_midst_of_a_book_stay() -> None:
    text = (
        f"A VOYAGE\n\nProduced by the captain's own hand.\n\n{BOOK}\n\n\n"
        f"Transcriber's note: so the captain called it.\n\n{BOOK}"
    ).strip()
    assert unframed(framed(text)).text == text
    prologue = f"A preface, produced by nobody.\n\n{BOOK}".strip()
    assert unframed(framed(prologue)).text == prologue


def test_texts_of_projekt_gutenberg_de_lose_the_paragraphs_that_name_it() -> None:
    text = (
        "Projekt Gutenberg-DE\n\nDieses Buch steht bei projekt-gutenberg.org.\n\n"
        f"Die Reise\n\n{BOOK}\n\nDieser Text stammt aus dem Projekt Gutenberg-DE."
    )
    book = unframed(text)
    assert book.text == f"Die Reise\n\n{BOOK}".strip() and book.header == {}
    inside = f"Die Reise\n\n{BOOK}Er las im Projekt Gutenberg-DE.\n\n{BOOK}".strip()
    assert unframed(inside).text == inside


@pytest.mark.parametrize(
    "text",
    [
        "[Transcriber's note: " + "a\n\n" * 400_000,
        "***\n\n" * 300_000,
        "Produced by x\n\n" * 100_000,
        "Ende des " * 300_000,
        "Fin de ce\n" * 200_000,
        "\n \n" * 600_000 + "x",
        "+" + "-" * 2_000_000,
        "*** BEGINN " * 200_000,
    ],
)
def test_hostile_notes_take_linear_time(text: str) -> None:
    began = time.process_time()
    for whole in (
        text,
        f"{START}\n\n{text}",
        f"{START}\n\nx\n\n{text}\n\n{END}\n",
        f"Gutenberg Projekt-DE\n\n{text}",
    ):
        unframed(whole)
    assert time.process_time() - began < 5

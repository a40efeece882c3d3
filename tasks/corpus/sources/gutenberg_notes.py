"""What Project Gutenberg's volunteers wrote just inside its frame: credits, thanks, notes.

Only paragraphs at the very start and the very end of a book go, and only ones that say by their
first words what they are or that name the project: a title page ends the search.
"""

from __future__ import annotations

import re
from itertools import pairwise

# The project's name in the languages of its etexts.
PROJECT = r"Pro(?:je[ck]t(?:s|et|in|e|o)?|jet|yecto|jec?to|getto|iectul(?:ui)?)"
# Projekt Gutenberg-DE, a daughter with texts and sentences of its own.
GERMAN = re.compile(
    r"Projekt Gutenberg-DE|Gutenberg[ -]Projekt-DE|gutenberg\.spiegel\.de|gutenberg2000\.de"
    r"|projekt-gutenberg\.org",
    re.IGNORECASE,
)
_NAMED = re.compile(rf"\b{PROJECT}[ -]Gutenberg|\bGutenberg[ -]Proje[ck]t", re.IGNORECASE)
_CREDITS = re.compile(
    r"[\[(_*]{0,3}(?:Produced by|E-?text (?:prepared|produced|scanned|created|transcribed) by"
    r"|This (?:e-?text|e-?book|file|electronic book|text) (?:was|has been)|Transcribed (?:from|by)"
    r"|Scanned (?:and|by)|Digiti[sz]ed (?:and|by)|Prepared by|Proofread(?:ing)? by|Credits?:"
    r"|HTML version|Special thanks (?:to|are due)|We thank|Nous remercions|Note from the original"
    r"|Produit par|Ce (?:livre|texte) électronique a été|Producido por|Este texto electrónico"
    r"|Produzido por|Prodotto da|Questo (?:e-?text|e-?book) è stato|Erstellt (?:von|durch)"
    r"|Produziert von|Diese(?:r|s) (?:E-?text|E-?book|Text) (?:wurde|stammt)|Geproduceerd door"
    r"|Dit e-?boek)\b",
    re.IGNORECASE,
)
_NOTE = re.compile(
    r"[\s\[({+|_*=~-]{0,100}(?:Original )?(?:Transcriber|Transcription|Preparer|E-?text Editor)"
    r"['’]?s?['’]?[ \t]+(?:End)?notes?\b"
    r"|[\s\[({+|_*=~-]{0,100}(?:Notes? (?:du|de la|de los|del|do|da) transcript\w+"
    r"|Nota (?:del|do|de la|da) transcript\w+|Anmerkungen? (?:zur|der) Transkription)",
    re.IGNORECASE,
)
_LATE_NOTE = re.compile(
    r"^[ \t\[({+|_*=~-]{0,100}(?:Transcriber['’]?s?['’]? (?:end)?notes?"
    r"|Typographical errors corrected|Anmerkungen? (?:zur|der) Transkription"
    r"|Nota (?:del|do) transcript|Notes? du transcript)",
    re.IGNORECASE | re.MULTILINE,
)
# Rules, and the word that stands for the picture of a cover.
NOTHING = re.compile(r"(?:[*=_~+-][ \t]*){3,200}|(?:\[Illustration:? ?)?cover\]?", re.IGNORECASE)
GAP = re.compile(r"\n[ \t]*\n\s*")
_WIDE_GAP = re.compile(r"\n[ \t]*\n[ \t]*\n\s*")
# Paragraphs looked at on either side, and the longest that is taken for a note, in characters.
_PARAGRAPHS = 12
_LONGEST = 1_500
_LONGEST_NOTE = 5_000
# How much of a book's end may be a list of the transcriber's corrections.
_TAIL = 12_000


def without_notes(text: str, *, framed: bool) -> str:
    """A stripped text without notes at its start and end.

    framed: it stood in Project Gutenberg's frame; otherwise only paragraphs that name Projekt
    Gutenberg-DE go.
    """
    start = _leading(text, framed)
    text = text[start:]
    if framed:
        text = text[: _late_note(text)].rstrip()
    return text[: _trailing(text, framed)].rstrip()


def _leading(text: str, framed: bool) -> int:
    """Where the book begins behind its notes."""
    at = 0
    for _ in range(_PARAGRAPHS):
        gap = GAP.search(text, at)
        if gap is None:
            break
        paragraph = text[at : min(gap.start(), at + _LONGEST + 1)]
        note = _NOTE.match(paragraph) if framed else None
        if note is not None:
            at = _note_end(text, at, gap, paragraph[note.end() :])
        elif _is_frame(paragraph, framed):
            at = gap.end()
        else:
            break
    return at


def _note_end(text: str, at: int, gap: re.Match[str], rest: str) -> int:
    """Behind a transcriber's note at ``at``: its bracket, or its first paragraph.

    rest: of that paragraph, behind the word "note". Where there is none, it is a heading: then the
    note goes on to the next wide gap.
    """
    limit = at + _LONGEST_NOTE
    if text.startswith("[", at):
        close = text.find("]", at, limit)
        if close >= 0:
            behind = close + 1
            while behind < len(text) and text[behind].isspace():
                behind += 1
            return behind
    heading = not any(character.isalnum() for character in rest)
    wide = _WIDE_GAP.search(text, gap.end(), limit) if heading else None
    return wide.end() if wide is not None else gap.end()


def _trailing(text: str, framed: bool) -> int:
    """Where the book ends before paragraphs of the frame."""
    base = max(0, len(text) - _TAIL)
    gaps = list(GAP.finditer(text, base))[-_PARAGRAPHS:]
    bounds = [gap.end() for gap in gaps] + [len(text)]
    end = len(text)
    for gap, (start, stop) in reversed(list(zip(gaps, pairwise(bounds), strict=True))):
        if not _is_frame(text[start:stop].strip()[: _LONGEST + 1], framed):
            break
        end = gap.start()
    return end


def _late_note(text: str) -> int:
    """Where a transcriber's note at the end begins: in the last fifth, behind a wide gap."""
    base = max(len(text) - _TAIL, len(text) * 4 // 5)
    for note in _LATE_NOTE.finditer(text, base):
        before = text[max(0, note.start() - 200) : note.start()]
        box = before.rstrip(" \t\n+-=|*_")
        lines = before[len(box) :].count("\n")
        if lines >= 3:
            return note.start() - (len(before) - len(box))
    return len(text)


def _is_frame(paragraph: str, framed: bool) -> bool:
    """Whether a paragraph at the edge of a book is of the frame."""
    if not framed:
        return len(paragraph) <= _LONGEST and GERMAN.search(paragraph) is not None
    if NOTHING.fullmatch(paragraph.strip()):
        return True
    return len(paragraph) <= _LONGEST and (
        _CREDITS.match(paragraph) is not None or _NAMED.search(paragraph) is not None
    )

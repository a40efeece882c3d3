"""Which licence a text is: MIT, BSD or Apache, any other that it names, and riders added to them.

A permissive text does not make a project permissive: a condition may be added to it ("Commons
Clause", no commercial use), and another licence may follow it in the same file. Everything
recognised is named, so that the conjunction of the names decides.
"""

from __future__ import annotations

import re

# By its full name; the short one counts where it is said to be a licence or has a version.
_GNU = re.compile(
    r"gnu (?:(affero|lesser|library) )?(?:general )?public licen[cs]e"
    r"|(?:licen[cs]e[ds]?|under|terms of)\b[^.]{0,40}?\b(a|l)?gpl(?:v?\d|\b)"
    r"|\b(a|l)?gpl(?:[- ]?(?:v|version )?\d| licen[cs]e)|\bgnu (a|l)?gpl\b"
)
_GNU_NAMES = {"affero": "AGPL", "lesser": "LGPL", "library": "LGPL", "a": "AGPL", "l": "LGPL"}
# A choice offered in prose, and its permissive sides.
_DUAL = re.compile(r"\bdual\b[^.]{0,80}")
_SIDES = (("MIT", re.compile(r"\bmit\b")), ("BSD", re.compile(r"\bbsd\b")),
          ("Apache", re.compile(r"\bapache\b")))  # fmt: skip
# Where a text says with which licences its software can be combined, as those of MPL and LLVM do.
COMPATIBLE = (
    r"\bcompatible with (?:\S+ ){0,4}?(?:gnu )?[al]?gpl\S*|\b[al]?gpl\S{0,9}[- ](?:in)?compatib\w+"
)
_COMBINED = re.compile(
    r"secondary licen[cs]es?\W+means either the gnu [^.]{0,60}2\.0[^.]{0,80}2\.1[^.]{0,80}3\.0"
    r"|with software that is licensed under the gplv2|conflicts with the conditions of the gplv2"
    rf"|{COMPATIBLE}"
)
_OTHERS = (
    ("MPL", re.compile(r"mozilla public licen[cs]e|\bmpl[-/ ]?v?\d\.\d")),
    ("EPL", re.compile(r"eclipse public licen[cs]e")),
    ("CDDL", re.compile(r"common development and distribution licen[cs]e")),
    ("EUPL", re.compile(r"european union public licen[cs]e")),
    ("SSPL", re.compile(r"server side public licen[cs]e")),
    ("BUSL", re.compile(r"business source licen[cs]e")),
    ("Elastic", re.compile(r"elastic licen[cs]e")),
    ("OFL", re.compile(r"sil open font licen[cs]e")),
    ("CC0", re.compile(r"creative commons (?:cc)?(?:zero|0)|creativecommons\.org/publicdomain"
                       r"|\bcc0\b")),
    ("CC", re.compile(r"creative commons attribution|creativecommons\.org/licenses"
                      r"|licen[cs]ed under (?:the )?(?:creative commons|cc[- ]by)")),
    ("Public-Domain", re.compile(
        r"\b(?:placed|released|dedicated|put|donated|given) (?:\S+ ){0,3}?(?:in|into|to)"
        r" the public domain(?<!software released into the public domain)"
        r"|\b(?:file|code|software|program|module|work|script) is (?:in |in the )?public domain")),
    ("Unlicense", re.compile(r"free and unencumbered software released into the public domain")),
    ("PSF", re.compile(r"licensed under (?:the )?(?:python software foundation|psf)"
                       r"|python software foundation licen[cs]e"
                       r"|this license agreement is between the")),
    ("Zlib", re.compile(r"altered source versions must be plainly marked")),
    ("BSL", re.compile(r"boost software licen[cs]e")),
    ("ISC", re.compile(r"permission to use, copy, modify,? (?:and/or|and) distribute this software"
                       r" for any purpose with or without fee")),
    ("HPND", re.compile(r"permission to use, copy, modify,? and distribute this software and its"
                        r" (?:associated )?documentation for any purpose")),
    ("Artistic", re.compile(r"artistic licen[cs]e")),
)  # fmt: skip
# Conditions that take freedom away from a permissive text. None of them matches the texts of MIT,
# BSD and Apache, whose own words come close: "without any additional terms", "may not be used to
# endorse", "the name shall not be used in advertising".
_RIDERS = (
    ("Commons-Clause", re.compile(r"commons clause")),
    ("noncommercial", re.compile(
        r"(?<!commercial and )(?<!commercial or )(?<!commercial and/or )(?<!commercial as well as )"
        r"\bnon-? ?commercial"
        r"|\bnot\b[^.]{0,60}\bcommercial (?:use|purpose|exploit|gain)"
        r"|\bno commercial (?:use|purpose|exploit|gain)"
        r"|commercial (?:use|usage|purposes?)[^.]{0,60}"
        r"\b(?:not (?:permitted|allowed)|prohibited|forbidden|requires?|only with)"
        r"|\b(?:for|to) (?:your |the )?(?:personal|private|internal|academic|educational|research"
        r"|evaluation|teaching)[^.]{0,40} (?:use|purposes?) only"
        r"|\bonly for [^.]{0,40}(?:personal|academic|educational|research|evaluation|teaching)")),
    ("field-of-use", re.compile(
        r"used for good, not evil|hippocratic|ethical (?:source|use)|human rights|anti-?996"
        r"|996\.icu|\bweapons?\b|\bmilitary\b|surveillance|acceptable use policy"
        r"|use-based restriction|responsible ai licen[cs]e|nuclear facilit|labou?r laws?"
        r"|\b(?:software|program|work|code|library|model) (?:may|shall|must|can)"
        r" (?:not|only) be (?:used|sold|distributed|modified)(?! (?:to|in) (?:promot|endors|adver))"
        r"|\byou (?:may|shall|must|can) ?not use (?:this|the) (?:software|program|work|code|library"
        r"|model)"
        r"|monthly active users|hosted or managed service")),
    ("patents", re.compile(
        r"additional grant of patent|no express or implied licen[cs]es? to any party.s patent"
        r"|except for failure to satisfy the conditions of this license\)? patent")),
    ("additional-terms", re.compile(
        r"(?<!without any )(?<!propagate )\badditional (?:licen[cs]e )?(?:terms|conditions"
        r"|restrictions|limitations|requirements)\b"
        r"|following (?:\w+ )?restrictions|modified version of the (?:apache|mit|bsd)"
        r"|(?:apache|mit|bsd)[^.]{0,40} with (?:the )?(?:\w+ ){0,2}"
        r"(?:conditions|restrictions|modifications)")),
    ("proprietary", re.compile(
        r"strictly prohibited|proprietary and confidential|confidential and proprietary"
        r"|contains? (?:\w+ )?trade secrets?|unpublished (?:work|copyright|rights)")),
)  # fmt: skip
RESTRICTED = "LicenseRef-restricted-"
RIDERS = tuple(name for name, _ in _RIDERS)
# What is named here besides the permissive licences.
NAMES = ("GPL", *sorted(set(_GNU_NAMES.values())), *(name for name, _ in _OTHERS))
# Where a text goes on with the licences of other software that comes with a built package.
_BUNDLED = re.compile(
    r"\b(?:this|the)(?:\s+\w+){0,3}?\s+(?:distributions?|wheels?|packages?|binary|binaries)\b[^.:]{0,80}"
    r"\b(?:bundles?|includes?|contains?)\s+(?:the\s+following|several|third[- ]party|other)\b",
    re.IGNORECASE,
)


def own_part(text: str) -> str:
    """A licence text without what it appends about bundled software.

    Those parts are compiled libraries, or sources that say their licence themselves. Only what
    follows a licence that is known is taken off: a list may be all that a text is.
    """
    bundled = _BUNDLED.search(text)
    if bundled is not None and _permissive(_flat(text[: bundled.start()])):
        return text[: bundled.start()]
    return text


def license_of_text(text: str) -> str:
    """Licences that a text holds or names, joined with AND; "" when it is none that is known.

    The permissive ones come first, then others. Only a text without others is searched for riders,
    named ``LicenseRef-restricted-...``: another licence has conditions of its own. A text that
    offers a choice is not told from one that asks for both; both names are given.
    """
    return license_of_notice(text, text, text)


def license_of_notice(notice: str, around: str, conditions: str) -> str:
    """As :func:`license_of_text`, of a notice that stands in a longer text.

    Only the notice itself gives a permissive licence. Any other counts wherever it is named in
    ``around``, the notice and what stands about it; riders count in ``conditions``.
    """
    whole = _flat(around)
    found = others(whole)
    names = _permissive(_flat(notice)) + (_sides(whole) if found else [])
    return " AND ".join(dict.fromkeys(names + (found or riders(_flat(conditions)))))


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).lower()


def _permissive(flat: str) -> list[str]:
    found = []
    if "permission is hereby granted, free of charge" in flat and re.search("sublicen[cs]e", flat):
        found.append("MIT")
    if "redistribution and use in source and binary forms" in flat:
        third = "neither the name" in flat or "may not be used to endorse" in flat
        found.append("BSD-3-Clause" if third else "BSD-2-Clause")
    apache = "apache license" in flat or "terms and conditions for use, reproduction" in flat
    if apache and ("version 2.0" in flat or "licenses/license-2.0" in flat):
        found.append("Apache-2.0")
    return found


def _sides(flat: str) -> list[str]:
    """Permissive licences that are one side of a choice with another licence."""
    offers = _DUAL.findall(flat)
    return [name for name, side in _SIDES if any(map(side.search, offers))]


def others(flat: str) -> list[str]:
    """Licences other than MIT, BSD and Apache named in lower-case text on one line."""
    found = [name for name, pattern in _OTHERS if pattern.search(flat)]
    gnu = _GNU.search(_COMBINED.sub(" ", flat))
    if gnu is not None:
        # The first names the text: the GPL and the LGPL speak of their sisters further down.
        found.insert(0, _GNU_NAMES.get(next(filter(None, gnu.groups()), ""), "GPL"))
    return found


def riders(flat: str) -> list[str]:
    """Added conditions in lower-case text on one line, as licence names that permit nothing."""
    return [f"{RESTRICTED}{name}" for name, pattern in _RIDERS if pattern.search(flat)]

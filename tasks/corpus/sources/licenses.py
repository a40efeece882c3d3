"""Which licence a project is under, by SPDX expression and package metadata, and if it may stay."""

from __future__ import annotations

import re
from email.message import Message
from typing import Any

from tasks.corpus.sources.license_names import recognised
from tasks.corpus.sources.license_texts import RESTRICTED, license_of_text, own_part, riders

# Families the paper keeps: SPDX's identifiers for them, which it compares without regard to case,
# and two names for texts whose version is not known.
_PERMITTED = {
    name.lower(): name
    for name in ("MIT", "MIT-0", "0BSD", "BSD", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause")
    + ("BSD-4-Clause", "Apache", "Apache-1.0", "Apache-1.1", "Apache-2.0")
}
# What records and files write for two of them; SPDX's own "X11" is a licence with one clause more.
_ALIASES = (
    (re.compile(r"\bMIT/X11\b(?![-+./])|(?<![\w./+-])Expat\b(?![-+./])", re.I), "MIT"),
    (
        re.compile(
            r"(?<![\w./+-])Apache(?:[ -](?:software )?licen[cs]e)?,?[ -](?:v\.? ?|version )?"
            r"2(?:\.0)?(?![\w./+-])",
            re.I,
        ),
        "Apache-2.0",
    ),
)
_TOKEN = re.compile(r"\(|\)|[^\s()]+")
# SPDX's exceptions are named so; anything else after WITH ("Commons-Clause") may forbid something.
_EXCEPTION = re.compile(r"-exception(-[\d.]+)?$", re.I)
_MAX_TOKENS = 200
_SYNTAX = frozenset(("(", ")", "AND", "OR", "WITH"))
# Free text that setuptools' "License" field is filled with.
_FREE_TEXT = (
    (re.compile(r"^(the )?(mit(/x11)?|expat)([ -]style)?( licen[cs]e)?( \(mit\))?$", re.I), "MIT"),
    (
        re.compile(
            r"^(the )?apache[ -]?(software )?(licen[cs]e)?,?[ -]?(v|version)? ?(2(\.0)?)?"
            r"( licen[cs]e)?$",
            re.I,
        ),
        "Apache-2.0",
    ),
    (
        re.compile(r"^(the )?(new |modified |simplified )?bsd([ -]style)?( licen[cs]e)?$", re.I),
        "BSD",
    ),
    (
        re.compile(
            r"^bsd[ -]\(?3[ -]clause\)?( \W?(new|modified|revised)\W?( or \W?revised\W?)?)?"
            r"( licen[cs]e)?$|^3[ -]clause bsd( licen[cs]e)?$",
            re.I,
        ),
        "BSD-3-Clause",
    ),
    (
        re.compile(
            r"^bsd[ -]2[ -]clause( \W?(simplified|freebsd)\W?)?( licen[cs]e)?$"
            r"|^2[ -]clause bsd( licen[cs]e)?$",
            re.I,
        ),
        "BSD-2-Clause",
    ),
)
_CLASSIFIERS = {
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "BSD License": "BSD",
    "Apache Software License": "Apache-2.0",
}


def permitted(expression: str) -> bool:
    """Whether an SPDX expression allows use under MIT, BSD or Apache alone.

    ``A OR B`` needs one of them, ``A AND B`` both; an exception (``WITH``) adds permissions and is
    passed over. Anything that does not parse, or is empty, is not permitted.
    """
    return bool(_parsed(expression))


def chosen(expression: str) -> str:
    """The permitted licences a work under ``expression`` is used by; "" when it does not permit.

    Of ``A OR B`` it is the first that is permitted, of ``A AND B`` both; an exception is not made
    use of. Each is named once, as SPDX spells it, and in order, so that equal terms are equal text.
    """
    return " AND ".join(sorted(_parsed(expression) or ()))


def refusal(expression: str) -> str:
    """Why a project or file whose licence is not :func:`permitted` stays out, for the funnel.

    Reasons are few, whatever an expression says: of its licences the first that is permitted and
    the first that is not are named, and only by names that are known.
    """
    if not expression:
        return "licence unknown"
    names, after = [], ""
    for token in _TOKEN.findall(expression):
        if after != "WITH" and token.upper() not in _SYNTAX:
            names.append(token)
        after = token.upper()
    good = [_PERMITTED[name.lower()] for name in names if name.lower() in _PERMITTED][:1]
    others = [recognised(name) for name in names if name.lower() not in _PERMITTED]
    known = next(filter(None, others), "")
    conditions = [name for name in others if name.startswith(RESTRICTED)]
    conditions += riders(expression.replace("-", " ").lower())
    if conditions:
        return f"licence restricted: {' AND '.join([*good, conditions[0]])}"
    if RESTRICTED.lower() in expression.lower():
        return "licence restricted"
    if good:
        return f"licence mixed: {good[0]} AND {known or 'terms not recognised'}"
    if not known:
        return "licence not recognised"
    return f"licence {known} and more" if len(set(others)) > 1 else f"licence {known}"


def _parsed(expression: str) -> frozenset[str] | None:
    """Permitted licences that satisfy an SPDX expression; empty if none do, None if it is none."""
    for alias, name in _ALIASES:
        expression = alias.sub(name, expression)
    tokens = _TOKEN.findall(expression)
    # The parser descends once per parenthesis.
    if len(tokens) > _MAX_TOKENS:
        return None
    position = 0

    def alternatives() -> frozenset[str]:
        nonlocal position
        value = terms()
        while position < len(tokens) and tokens[position].upper() == "OR":
            position += 1
            other = terms()
            value = value or other
        return value

    def terms() -> frozenset[str]:
        nonlocal position
        value = factor()
        while position < len(tokens) and tokens[position].upper() == "AND":
            position += 1
            other = factor()
            value = value | other if value and other else frozenset()
        return value

    def factor() -> frozenset[str]:
        nonlocal position
        if position >= len(tokens):
            raise ValueError("expression ends early")
        token = tokens[position]
        position += 1
        if token == "(":
            value = alternatives()
            if position >= len(tokens) or tokens[position] != ")":
                raise ValueError("missing )")
            position += 1
            return value
        name = _PERMITTED.get(token.lower())
        if position + 1 < len(tokens) and tokens[position].upper() == "WITH":
            if not _EXCEPTION.search(tokens[position + 1]):
                name = None
            position += 2
        return frozenset((name,)) if name else frozenset()

    try:
        value = alternatives()
    except ValueError:
        return None
    return value if position == len(tokens) else None


def license_of_metadata(metadata: Message | Any) -> str:
    """Licence of a distribution as an SPDX expression or name; "" when it is not known.

    Order: ``License-Expression``, then ``License`` when it is a name or a known text, then the
    classifiers; several classifiers must all hold, so they are joined with AND. A classifier does
    not overrule what ``License`` says in words: "MIT AND GPL" stays so under "MIT License".
    """
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression).strip()
    free = str(metadata.get("License") or "").strip()
    if free == "UNKNOWN":  # how old tools write an empty field
        free = ""
    named = known_name(free)
    if named:
        return named
    classifiers = [
        str(value).split("::")[-1].strip()
        for value in metadata.get_all("Classifier") or ()
        if str(value).startswith("License ::") and "::" in str(value)
    ]
    names = [name for name in classifiers if name not in ("OSI Approved", "DFSG approved")]
    if names:
        spdx = {_CLASSIFIERS.get(name) or re.sub(r"[\s()]+", "-", name) for name in names}
        return " AND ".join(sorted(spdx))
    # One line that is neither a permitted name nor a text: report it as it stands.
    return re.sub(r"\s+", "-", free) if free and "\n" not in free and len(free) < 60 else ""


def known_name(text: str) -> str:
    """Licence that the words of a metadata field name, or that their text is; "" if unknown."""
    if "\n" in text or len(text) > 200:
        return license_of_text(own_part(text))
    for pattern, name in _FREE_TEXT:
        if pattern.match(text):
            return name
    # A name, or names joined in the manner of SPDX, whether permitted or not.
    if _parsed(text) is not None:
        return text
    return license_of_text(f"License: {text}")

"""Which licence a project is under, by SPDX expression and package metadata, and if it may stay."""

from __future__ import annotations

import re
from email.message import Message
from typing import Any

from tasks.corpus.sources.license_texts import RESTRICTED, license_of_text, riders

# Families the paper keeps, by the SPDX identifiers that belong to them.
_PERMITTED = re.compile(r"^(MIT(-0)?|BSD|BSD-[1-4]-Clause|0BSD|Apache|Apache-[12]\.\d)$", re.I)
_TOKEN = re.compile(r"\(|\)|[^\s()]+")
# SPDX's exceptions are named so; anything else after WITH ("Commons-Clause") may forbid something.
_EXCEPTION = re.compile(r"-exception(-[\d.]+)?$", re.I)
_MAX_TOKENS = 200
# Free text that setuptools' "License" field is filled with.
_FREE_TEXT = (
    (re.compile(r"^(the )?mit( licen[cs]e)?( \(mit\))?$", re.I), "MIT"),
    (
        re.compile(
            r"^(the )?apache[ -]?(software )?(licen[cs]e)?,?[ -]?(v|version)? ?(2(\.0)?)?"
            r"( licen[cs]e)?$",
            re.I,
        ),
        "Apache-2.0",
    ),
    (re.compile(r"^(the )?(new |modified |simplified )?bsd( licen[cs]e)?$", re.I), "BSD"),
    (
        re.compile(
            r"^bsd[ -]3[ -]clause( \W?(new|modified|revised)\W?( or \W?revised\W?)?)?"
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
    return _parsed(expression) or False


def refusal(expression: str) -> str:
    """Why a project or file whose licence is not :func:`permitted` stays out, for the funnel."""
    if not expression:
        return "licence unknown"
    name = expression if len(expression) <= 120 else f"{expression[:117]}..."
    if RESTRICTED.lower() in expression.lower() or riders(expression.replace("-", " ").lower()):
        return f"licence restricted: {name}"
    if any(_PERMITTED.match(token) for token in _TOKEN.findall(expression)):
        return f"licence mixed: {name}"
    return f"licence {name}"


def _parsed(expression: str) -> bool | None:
    """Whether an SPDX expression is permitted; None when it is none."""
    tokens = _TOKEN.findall(expression)
    # The parser descends once per parenthesis.
    if len(tokens) > _MAX_TOKENS:
        return None
    position = 0

    def alternatives() -> bool:
        nonlocal position
        value = terms()
        while position < len(tokens) and tokens[position].upper() == "OR":
            position += 1
            value = terms() or value
        return value

    def terms() -> bool:
        nonlocal position
        value = factor()
        while position < len(tokens) and tokens[position].upper() == "AND":
            position += 1
            value = factor() and value
        return value

    def factor() -> bool:
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
        value = bool(_PERMITTED.match(token))
        if position + 1 < len(tokens) and tokens[position].upper() == "WITH":
            value = value and bool(_EXCEPTION.search(tokens[position + 1]))
            position += 2
        return value

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
    named = _named(free)
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


def _named(text: str) -> str:
    if "\n" in text or len(text) > 200:
        return license_of_text(text)
    for pattern, name in _FREE_TEXT:
        if pattern.match(text):
            return name
    # A name, or names joined in the manner of SPDX, whether permitted or not.
    if _parsed(text) is not None:
        return text
    return license_of_text(f"License: {text}")

"""Which licence a project is under: from package metadata or the text of its licence file."""

from __future__ import annotations

import re
from email.message import Message
from typing import Any

# Families the paper keeps, by the SPDX identifiers that belong to them.
_PERMITTED = re.compile(r"^(MIT(-0)?|BSD|BSD-[1-4]-Clause|0BSD|Apache|Apache-[12]\.\d)$", re.I)
_TOKEN = re.compile(r"\(|\)|[^\s()]+")
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
    (re.compile(r"^bsd[ -]3[ -]clause( .*)?$|^3[ -]clause bsd( licen[cs]e)?$", re.I),
     "BSD-3-Clause"),
    (re.compile(r"^bsd[ -]2[ -]clause( .*)?$|^2[ -]clause bsd( licen[cs]e)?$", re.I),
     "BSD-2-Clause"),
)  # fmt: skip
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
    tokens = _TOKEN.findall(expression)
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
        if position + 1 < len(tokens) and tokens[position].upper() == "WITH":
            position += 2
        return bool(_PERMITTED.match(token))

    try:
        value = alternatives()
    except ValueError:
        return False
    return value and position == len(tokens)


def license_of_metadata(metadata: Message | Any) -> str:
    """Licence of a distribution as an SPDX expression or name; "" when it is not known.

    Order: ``License-Expression``, then ``License`` when it is a name or a known text, then the
    classifiers; several classifiers must all hold, so they are joined with AND.
    """
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression).strip()
    free = str(metadata.get("License") or "").strip()
    named = _named(free)
    if named:
        return named
    if re.fullmatch(r"[A-Za-z][\w.+-]+", free):
        # Another licence by its name; a classifier that says otherwise does not overrule it.
        return free
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
    return text if permitted(text) else ""


def license_of_text(text: str) -> str:
    """Licence whose text this is: MIT, BSD, Apache or GPL family; "" when it is none of them.

    A text that holds more than one (a dual or a bundled licence) gives their conjunction.
    """
    flat = re.sub(r"\s+", " ", text).lower()
    found = []
    if "permission is hereby granted, free of charge" in flat and "sublicense" in flat:
        found.append("MIT")
    if "redistribution and use in source and binary forms" in flat:
        third = "neither the name" in flat or "may not be used to endorse" in flat
        found.append("BSD-3-Clause" if third else "BSD-2-Clause")
    if "apache license" in flat and ("version 2.0" in flat or "licenses/license-2.0" in flat):
        found.append("Apache-2.0")
    for phrase, name in (
        ("gnu affero general public license", "AGPL"),
        ("gnu lesser general public license", "LGPL"),
        ("gnu general public license", "GPL"),
        ("mozilla public license", "MPL"),
    ):
        if phrase in flat[:3000]:
            found.append(name)
            break
    return " AND ".join(found)

"""Licences of a project's folders, manifests, and texts that hold other software's licences."""

from __future__ import annotations

import json
import time
from email.message import Message

import pytest

from tasks.corpus.sources.license_names import recognised
from tasks.corpus.sources.license_texts import license_of_text, own_part
from tasks.corpus.sources.licenses import license_of_metadata, permitted, refusal
from tasks.corpus.sources.project_licenses import (
    ProjectLicenses,
    declared_by_manifest,
    states_licence,
)

MIT = "Permission is hereby granted, free of charge, to any person ... sublicense, and/or sell"
BSD = "Redistribution and use in source and binary forms ... Neither the name of the author"
GPL = "GNU GENERAL PUBLIC LICENSE Version 3, 29 June 2007"


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("LICENSE", True), ("p/LICENCE.txt", True), ("COPYING.LESSER", True), ("MIT-LICENSE", True),
        ("LICENSE_DOP", True), ("licenses.md", True), ("a/b/c/LICENSE-MIT", True),
        ("UNLICENSE", True), ("package.json", True), ("p/Cargo.toml", True),
        ("p/q/package.json", False), ("license.py", False), ("licenses/reader.c", False),
        ("licensed", False), ("mylicense", False), ("LICENSE.js", False),
    ],
)  # fmt: skip
def test_which_files_state_a_licence(name: str, states: bool) -> None:
    assert states_licence(name) is states


@pytest.mark.parametrize(
    ("files", "inner", "license_name"),
    [
        ({"LICENSE": MIT}, "src/a.py", "MIT"),
        ({"p/LICENSE": MIT}, "p/src/a.py", "MIT"),
        ({"p/LICENSE": MIT}, "q/a.py", ""),
        ({"p/docs/LICENSE": MIT}, "p/src/a.py", ""),
        # A folder's own licence narrows the project's, and cannot widen it.
        ({"LICENSE": MIT, "lib/COPYING": GPL}, "lib/x/a.py", "MIT AND GPL"),
        ({"LICENSE": MIT, "lib/COPYING": GPL}, "src/a.py", "MIT"),
        ({"LICENSE": GPL, "lib/LICENSE": MIT}, "lib/a.py", "GPL AND MIT"),
        ({"LICENSE": MIT, "lib/LICENSE": BSD}, "lib/a.py", "MIT AND BSD-3-Clause"),
        ({"lib/LICENSE": BSD}, "lib/a.py", "BSD-3-Clause"),
        ({"LICENSE": "All rights reserved."}, "a.py", ""),
        # What a manifest declares.
        ({"package.json": json.dumps({"license": "MIT"})}, "a.js", "MIT"),
        ({"package.json": json.dumps({"license": "MIT"}), "LICENSE": GPL}, "a.js", "MIT AND GPL"),
        ({"package.json": json.dumps({"license": "MIT OR GPL-2.0"}), "LICENSE-MIT": MIT,
          "LICENSE-GPL": GPL}, "a.js", "MIT OR GPL-2.0"),
        ({"Cargo.toml": '[package]\nlicense = "MIT/Apache-2.0"', "LICENSE-MIT": MIT}, "a.rs",
         "MIT OR Apache-2.0"),
        ({"package.json": json.dumps({"license": "MIT OR ISC"}),
          "LICENSE": MIT + " for non-commercial purposes only"}, "a.js",
         "(MIT OR ISC) AND LicenseRef-restricted-noncommercial"),
        ({"package.json": json.dumps({"license": "UNLICENSED"})}, "a.js",
         "LicenseRef-restricted-proprietary"),
        ({"package.json": "{broken"}, "a.js", ""),
    ],
)  # fmt: skip
def test_licences_by_folder(files: dict[str, str], inner: str, license_name: str) -> None:
    licenses = ProjectLicenses()
    for name, text in files.items():
        assert states_licence(name)
        licenses.add(name, text.encode())
    assert licenses.of(inner) == license_name
    assert permitted(license_name) is (
        bool(license_name) and "GPL" not in license_name.replace("OR GPL", "")
        and "restricted" not in license_name
    )  # fmt: skip


@pytest.mark.parametrize(
    ("base", "text", "name"),
    [
        ("package.json", '{"license": {"type": "BSD-3-Clause"}}', "BSD-3-Clause"),
        ("package.json", '{"license": "SEE LICENSE IN LICENSE.txt"}', ""),
        ("package.json", "[]", ""), ("package.json", '{"license": 7}', ""),
        ("package.json", "[" * 100_000, ""),
        ("composer.json", '{"license": ["MIT", "GPL-2.0"]}', "MIT OR GPL-2.0"),
        ("cargo.toml", '[package]\nname = "a"\nlicense = "MIT OR Apache-2.0"', "MIT OR Apache-2.0"),
        ("cargo.toml", "[package", ""),
        ("pyproject.toml", '[project]\nlicense = "Apache-2.0"', "Apache-2.0"),
        ("pyproject.toml", '[project]\nlicense = {text = "BSD 3-Clause License"}', "BSD-3-Clause"),
        ("pyproject.toml", '[project]\nlicense = {file = "LICENSE"}', ""),
        ("pyproject.toml", '[project]\nlicense = "My own words"', "My-own-words"),
    ],
)  # fmt: skip
def test_manifests(base: str, text: str, name: str) -> None:
    assert declared_by_manifest(base, text) == name


@pytest.mark.parametrize(
    "sentence",
    [
        "This binary distribution of Tool can also bundle the following software",
        "This binary distribution of Tool also bundles the following software:",
        "The Tool source distribution bundles several libraries that are",
        "This package includes third-party software:",
    ],
)
def test_the_licences_of_bundled_software_are_not_the_project_s(sentence: str) -> None:
    text = f"Copyright X.\n{BSD}\n\n----\n\n{sentence}\n\nName: lib\nLicense: GPL-3.0\n{GPL}"
    expected = "BSD-3-Clause"
    message = Message()
    message.add_header("License", text.replace("\n", "\n "))
    message.add_header("Classifier", "License :: OSI Approved :: BSD License")
    if " bundle the" in sentence or "bundles" in sentence or "includes" in sentence:
        assert license_of_text(own_part(text)) == expected
        assert license_of_metadata(message) == expected
    # A text that is nothing but such a list says nothing permissive of the project.
    assert own_part(f"{sentence}\n{GPL}") == f"{sentence}\n{GPL}"


def test_a_condition_before_the_bundled_software_stays() -> None:
    text = f"{BSD}\nNot for commercial use.\nThis package bundles the following software: x"
    assert not permitted(license_of_text(own_part(text)))


@pytest.mark.parametrize("piece", ["this distribution ", "the package ", "the ", "placed a ",
                                   "this distribution bundles "])  # fmt: skip
def test_hostile_bundles_take_linear_time(piece: str) -> None:
    began = time.process_time()
    own_part(piece * (400_000 // len(piece)))
    license_of_text(piece * (400_000 // len(piece)))
    assert time.process_time() - began < 5


def test_a_path_of_many_folders_takes_linear_time() -> None:
    licenses = ProjectLicenses()
    licenses.add("LICENSE", MIT.encode())
    began = time.process_time()
    for number in range(200):
        assert licenses.of(f"{'d/' * 2000}{number}/a.py") == "MIT"
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "licence unknown"),
        ("GPL-3.0-only", "licence GPL-3.0-only"),
        ("gpl-2.0", "licence gpl-2.0"),  # as GitHub's records write it
        ("gPl-2.0", "licence GPL-2.0"),
        ("LGPL-2.1+", "licence LGPL-2.1+"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "licence GPL-2.0-only"),
        ("Mozilla-Public-License-2.0-MPL-2.0-", "licence MPL-2.0"),
        ("GNU-General-Public-License-v3-or-later-GPLv3+-", "licence GPL-3.0-or-later"),
        ("LGPL AND GPL", "licence LGPL and more"),
        ("Call-me-at-555 OR ISC", "licence ISC and more"),
        ("Call-me-at-555", "licence not recognised"),
        ("<script>alert(1)</script>", "licence not recognised"),
        ("MIT AND MIT-CMU", "licence mixed: MIT AND MIT-CMU"),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", "licence mixed: Apache-2.0 AND MPL-2.0"),
        ("mit AND secret-terms-7", "licence mixed: MIT AND terms not recognised"),
        ("MIT AND (", "licence mixed: MIT AND terms not recognised"),
        ("MIT WITH Some-Terms", "licence mixed: MIT AND terms not recognised"),
        ("(((", "licence not recognised"),
        ("LicenseRef-restricted-patents", "licence restricted: LicenseRef-restricted-patents"),
        ("LicenseRef-restricted-mine", "licence restricted"),
        ("MIT WITH Commons-Clause",
         "licence restricted: MIT AND LicenseRef-restricted-Commons-Clause"),
        ("Free-for-non-commercial-use-by-A.-Person",
         "licence restricted: LicenseRef-restricted-noncommercial"),
        ("x" * 1_000_000, "licence not recognised"),
    ],
)  # fmt: skip
def test_reasons_name_only_licences_that_are_known(expression: str, reason: str) -> None:
    assert refusal(expression) == reason


def test_reasons_are_few_whatever_expressions_say() -> None:
    numbered = [f"A-{n} AND GPL-{n} AND MIT OR (Zlib AND B-{n})" for n in range(500)]
    numbered += [f"Licence-of-person-{n}" for n in range(500)]
    numbered += [f"LicenseRef-restricted-{n} AND ISC" for n in range(500)]
    assert len(set(map(refusal, numbered))) < 10


@pytest.mark.parametrize("name", ["Apache-2.0", "MIT-0", "CNRI-Python", "Public-Domain", "CC0"])
def test_names_that_are_known(name: str) -> None:
    assert recognised(name) == name
    assert recognised(name.lower()) == name.lower()
    assert recognised(f"{name}-of-mine") == ""

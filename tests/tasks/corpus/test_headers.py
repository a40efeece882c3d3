"""Licence headers of source files: what is taken away, in each language, and what is not."""

from __future__ import annotations

import time

import pytest

from tasks.corpus.sources import comments, github
from tasks.corpus.sources.headers import without_license_header
from tasks.corpus.sources.license_texts import license_of_text

APACHE = (
    'Licensed under the Apache License, Version 2.0 (the "License");\n'
    "you may not use this file except in compliance with the License.\n"
    "\n"
    "    http://www.apache.org/licenses/LICENSE-2.0"
)


def clean(source: str, extension: str) -> str:
    return without_license_header(source, extension)[0]


def test_every_language_has_a_comment_syntax_or_none() -> None:
    assert set(github.LANGUAGES) == comments.SYNTAX.keys() | comments.WITHOUT
    assert not comments.SYNTAX.keys() & comments.WITHOUT


@pytest.mark.parametrize(
    ("extension", "source", "expected"),
    [
        ("c", "/* Copyright X */\n#include <a.h>\nint x;", "#include <a.h>\nint x;"),
        ("h", "#pragma once\n// Licensed under MIT\n// more\n\nint x;", "#pragma once\nint x;"),
        ("h", "#ifndef A\n#define A\n/*\n * Copyright 2020 X\n */\nint x;",
         "#ifndef A\n#define A\nint x;"),
        ("sh", "#!/bin/sh\n# Copyright 2020 X\n\necho hello", "#!/bin/sh\necho hello"),
        ("py", "# -*- coding: utf-8 -*-\n# Copyright 2020 X\nx = 1",
         "# -*- coding: utf-8 -*-\nx = 1"),
        ("py", "# Copyright 2020 X\n# coding: latin-1\nx = 1", "# coding: latin-1\nx = 1"),
        ("pyx", "# cython: language_level=3\n# Copyright 2020 X\nx = 1",
         "# cython: language_level=3\nx = 1"),
        ("go", "// Copyright 2020 The Authors\n\n//go:build linux\n\npackage x",
         "//go:build linux\n\npackage x"),
        ("sql", "-- All rights reserved\nselect 1", "select 1"),
        ("lua", "-- Copyright 2020 X\nlocal x = 1", "local x = 1"),
        ("lua", "--[[ Copyright 2020 X\n\n  All rights reserved ]]\nlocal x = 1", "local x = 1"),
        ("lua", "--[==[\nCopyright 2020 X\n]]\n]==]\nlocal x = 1", "local x = 1"),
        ("hs", "{-# LANGUAGE GADTs #-}\n{- Copyright 2020 X -}\nmain = x",
         "{-# LANGUAGE GADTs #-}\nmain = x"),
        ("ml", "(* Copyright 2020 X *)\nlet x = 1", "let x = 1"),
        ("erl", "%% Copyright 2020 X\n-module(x).", "-module(x)."),
        ("php", "<?php\n/**\n * Copyright 2020 X\n */\n$x = 1;", "<?php\n$x = 1;"),
        ("vb", "' Copyright 2020 X\nDim x", "Dim x"),
        ("html", "<!DOCTYPE html>\n<!-- Copyright 2020\n X -->\n<p>", "<!DOCTYPE html>\n<p>"),
        ("css", '@charset "utf-8";\n/*! Copyright 2020 X */\na {}', '@charset "utf-8";\na {}'),
        ("rb", "# frozen_string_literal: true\n\n# Copyright 2020 X\n\nx = 1",
         "# frozen_string_literal: true\n\nx = 1"),
        ("f90", "! Copyright 2020 X\n!$omp parallel\nx = 1", "!$omp parallel\nx = 1"),
    ],
)  # fmt: skip
def test_headers_go(extension: str, source: str, expected: str) -> None:
    assert clean(source, extension) == expected


@pytest.mark.parametrize(
    ("extension", "source"),
    [
        ("c", "#include <a.h>\n#include <copyright.h> // Copyright 2020\nint x;"),
        ("c", "--x; /* Copyright 2020 X */"),
        ("c", "/* Copyright 2020 X */ int x;"),
        ("c", "/* Copyright 2020 X, never closed\nint x;"),
        ("c", "int x;\n/* Copyright 2020 X */\nint y;"),
        ("css", "#copyright-2020 {\n  color: red;\n}\n#license { x: y }"),
        ("css", "--license: 'Copyright 2020 X';"),
        ("css", "// Copyright 2020 X {}\na {}"),
        ("scss", "#copyright { x: y }"),
        ("js", "#license = 'Copyright 2020 X';"),
        ("js", "--copyright; // Copyright 2020 X"),
        ("js", ";(function () { return 'Copyright 2020 X' })()"),
        ("lua", "#license // Copyright 2020"),
        ("lua", "---@class Copyright 2020\nlocal x = 1"),
        ("md", "# Copyright 2020 X\n\nAll rights reserved.\n"),
        ("md", "-- Copyright 2020 X\n\n| License | Copyright 2020 |\n|---|---|\n"),
        ("md", "<!-- Copyright 2020 X -->\ntext"),
        ("rst", ".. Copyright 2020 X\n\n# License\n"),
        ("json", "# Copyright 2020 X"),
        ("sql", "# Copyright 2020 X\nselect 1"),
        ("sql", "/*!40101 SET X='Copyright 2020 X' */\nselect 1"),
        ("tex", "# Copyright 2020 X"),
        ("hs", "--> Copyright 2020 X\nmain = x"),
        ("py", "% Copyright 2020 X"),
        ("py", "# explains the module\nx = 1"),
        ("py", "# reads the licence files, and tells the copyright of each\nx = 1"),
        ("py", "# checks for a copyright header\n# license plates are read too\nx = 1"),
        ("py", "x = 1\n# Copyright 2020 X\n"),
        ("py", '"""Copyright 2020 X."""\nx = 1'),
        ("html", "<!--[if IE]> Copyright 2020 X <![endif]-->\n<p>"),
        ("pas", "{$COPYRIGHT '(c) 2020 X'}\nx := 1;"),
    ],
)  # fmt: skip
def test_all_else_stays(extension: str, source: str) -> None:
    assert clean(source, extension) == source


def test_only_the_notices_of_a_comment_go() -> None:
    notice = "\n".join(f"# {line}".rstrip() for line in APACHE.split("\n"))
    documented = f"# Copyright 2020 X\n#\n{notice}\n#\n# Widens the road.\n#\n# Twice.\n\nx = 1"
    assert clean(documented, "py") == "# Widens the road.\n#\n# Twice.\n\nx = 1"
    above = f"# Widens the road.\n#\n{notice}\n\nx = 1"
    assert clean(above, "py") == "# Widens the road.\n\nx = 1"
    two = f"# Widens the road.\n\n{notice}\n\n# Then counts.\nx = 1"
    assert clean(two, "py") == "# Widens the road.\n\n# Then counts.\nx = 1"
    block = "/* Copyright 2020 X\n *\n * Widens the road.\n *\n * License: MIT */\nint x;"
    assert clean(block, "c") == "/*\n * Widens the road.\n *\n*/\nint x;"
    doc = "/**\n * Widens the road.\n *\n * @license MIT, Copyright 2020 X\n */\nint x;"
    assert clean(doc, "c") == "/**\n * Widens the road.\n *\n */\nint x;"


@pytest.mark.parametrize(
    ("extension", "source", "license_name"),
    [
        ("py", "# Copyright 2020 X\n# SPDX-License-Identifier: BSD-3-Clause\nx", "BSD-3-Clause"),
        ("c", "/* SPDX-License-Identifier: GPL-2.0 */\nx;", "GPL-2.0"),
        ("html", "<!-- SPDX-License-Identifier: MIT OR GPL-2.0 -->\n", "MIT OR GPL-2.0"),
        ("js", "// SPDX-License-Identifier: MIT\n\n/* SPDX-License-Identifier: ISC */\nx",
         "(MIT) AND (ISC)"),
        ("c", "/* Copyright X.\n * Subject to the terms of the Mozilla\n * Public License. */\n",
         "MPL"),
        ("c", "// Copyright X.\n// " + APACHE.replace("\n", "\n// ") + "\nx;", "Apache-2.0"),
        ("py", "# License: GPLv3\nx = 1", "GPL"),
        ("py", "# Copyright 2020 X\nx = 1", ""),
        ("css", "#license { color: GPL }", ""),
    ],
)  # fmt: skip
def test_what_headers_declare(extension: str, source: str, license_name: str) -> None:
    assert without_license_header(source, extension)[1] == license_name


@pytest.mark.parametrize(
    "source",
    [
        "# " + "distributed under " * 20_000,
        "# " + "copyright " * 40_000,
        "# copyright" + " " * 400_000 + ";",
        "# (c)" + " " * 400_000 + ";",
        "#\n" * 100_000,
        "#" + " " * 400_000,
        "#" + "-*-" * 100_000,
        "# see " + "a " * 150_000,
        "# under " + "a" * 400_000,
        "/*" * 150_000,
        "# Copyright 2020 X\n\n" * 20_000,
        '"""' + "\n'''" * 80_000,
        "__license__" * 30_000,
    ],
)
def test_hostile_headers_take_linear_time(source: str) -> None:
    began = time.process_time()
    for extension in ("py", "c", "lua"):
        without_license_header(source, extension)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "phrase",
    [
        "secondary license means either the gnu 2.0 2.1 ", "not commercial ", "licensed under the ",
        "for personal ", "with the the ", "additional ", "software may not be ", "commercial use ",
        "apache ", "a" * 1000, " ", "gnu ", "redistribution and use ",
    ],
)  # fmt: skip
def test_hostile_licence_texts_take_linear_time(phrase: str) -> None:
    began = time.process_time()
    license_of_text(phrase * (500_000 // len(phrase)))
    assert time.process_time() - began < 5

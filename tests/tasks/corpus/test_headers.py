"""Licence headers of source files: what is taken away, in each language, and what is not."""

from __future__ import annotations

import time

import pytest

from tasks.corpus.sources import comments
from tasks.corpus.sources.code_languages import LANGUAGES
from tasks.corpus.sources.headers import without_license_header
from tasks.corpus.sources.license_texts import license_of_text
from tasks.corpus.sources.licenses import permitted, refusal

APACHE = (
    'Licensed under the Apache License, Version 2.0 (the "License");\n'
    "you may not use this file except in compliance with the License.\n"
    "\n"
    "    http://www.apache.org/licenses/LICENSE-2.0"
)


def clean(source: str, extension: str) -> str:
    return without_license_header(source, extension)[0]


def test_every_language_has_a_comment_syntax_or_none() -> None:
    assert set(LANGUAGES) == comments.SYNTAX.keys() | comments.WITHOUT
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


# Defects of the public replica's cleaner: it takes every leading line that begins like a comment
# of any language, or looks at the first C comment only.
@pytest.mark.parametrize(
    ("extension", "source", "expected"),
    [
        ("py", "#!/usr/bin/env python\n\n# Adds two numbers.\nx = 1", None),
        ("sh", "#!/bin/sh\n# Starts the server.\nset -e", None),
        ("c", "#include <a.h>\n#define A 1\n#if A\nint x;\n#endif", None),
        ("cpp", "#pragma once\n\n// Adds two numbers.\nint add(int, int);", None),
        ("sql", "-- Adds two numbers.\nselect 1 + 1", None),
        ("lua", "\n\n-- Adds two numbers.\nreturn 1", None),
        ("js", "'use strict';\n// Adds two numbers.\nlet x;", None),
        ("go", "// Package add adds.\npackage add", None),
        ("rs", "//! Adds two numbers.\nfn add() {}", None),
        ("py", '"""Adds two numbers.\n\nThe first one, and the second one."""\nx = 1', None),
        ("c", "/* Adds two numbers. */\n\n/* Copyright 2020 X */\nint x;",
         "/* Adds two numbers. */\n\nint x;"),
        ("js", "'use strict';\n/* Copyright 2020 X */\nlet x;", "'use strict';\nlet x;"),
        ("js", "#!/usr/bin/env node\n// Copyright 2020 X\nlet x;",
         "#!/usr/bin/env node\nlet x;"),
        ("c", "// Copyright 2020 X\n#if A\n#pragma pack(1)\nint x;",
         "#if A\n#pragma pack(1)\nint x;"),
        ("py", "# Copyright 2020 X\n\n\"\"\"Adds.\"\"\"\nx = 1", "\"\"\"Adds.\"\"\"\nx = 1"),
        ("dockerfile", "# syntax=docker/dockerfile:1\n# Copyright 2020 X\nFROM a",
         "# syntax=docker/dockerfile:1\nFROM a"),
        ("makefile", "# Copyright 2020 X\nall:\n\techo", "all:\n\techo"),
        ("bat", "@echo off\nREM Copyright 2020 X\necho a", "@echo off\necho a"),
        ("less", "// Copyright 2020 X\n@a: 1;", "@a: 1;"),
        ("mli", "(* Copyright 2020 X *)\nval x : int", "val x : int"),
        ("proto", "// Copyright 2020 X\nsyntax = 'proto3';", "syntax = 'proto3';"),
    ],
)  # fmt: skip
def test_code_and_what_explains_it_stay(extension: str, source: str, expected: str | None) -> None:
    assert clean(source, extension) == (source if expected is None else expected)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("CC0 1.0 Universal", "CC0"), ("SPDX: CC0-1.0", "CC0"), ("GPL-3.0-or-later", "GPL"),
        ("LGPLv2.1+", "LGPL"), ("GNU GPLv3", "GPL"), ("MPL-2.0", "MPL"),
        ("Licensed under CC BY-SA 4.0.", "CC"),
        ("This file is placed in the public domain.", "Public-Domain"),
        ("The author has dedicated this work to the public domain.", "Public-Domain"),
    ],
)  # fmt: skip
def test_a_foreign_licence_in_a_comment_of_its_own(words: str, name: str) -> None:
    for source in (
        f"/* Copyright 2020 X */\n\n/* {words} */\nint x;",
        f"/* {words} */\n/* Copyright 2020 X */\nint x;",
        f"// Copyright 2020 X\n\n// {words}\nint x;",
        f"// {words}\nint x;",
    ):
        body, declared = without_license_header(source, "c")
        assert declared == name and body == "int x;"
        assert not permitted(declared)


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
        ("js", "/**\n * Copyright 2010 Foo\n *\n * @license GPL-3.0-or-later\n */\nx;", "GPL"),
        ("js", "// Copyright 2010 Foo\n// @license GPL-3.0-or-later\nx;", "GPL"),
        ("lua", "-- Copyright 2010 Foo\n--- @license GPL-3.0-or-later\nlocal x", "GPL"),
        ("php", "/*\n * Copyright (C) 2010 Foo\n *\n * GNU General Public License, version 2 or"
         " later.\n */\n", "GPL"),
    ],
)  # fmt: skip
def test_what_headers_declare(extension: str, source: str, license_name: str) -> None:
    assert without_license_header(source, extension)[1] == license_name


@pytest.mark.parametrize(
    "words",
    [
        "Parser for surveillance camera streams.",
        "Converts between UTC and military time zones.",
        "Checks additional conditions before the job starts.",
        "Layout engine with the following restrictions: no floats.",
        "Tests for the non-commercial flag.",
        "Metrics that the trainer computes only for evaluation.",
        "Metrics that the trainer computes\n# only for evaluation.",
        "Solver of problems that are optimised\n# subject to additional limitations.",
    ],
)
def test_what_a_file_is_about_adds_no_condition(words: str) -> None:
    own = f"# Copyright 2019 Foo Inc.\n#\n# {words}\nx = 1"
    assert without_license_header(own, "py") == (f"# {words}\nx = 1", "")
    same = f"# Copyright 2019 Foo Inc. All rights reserved.\n# {words}\nx = 1"
    assert without_license_header(same, "py")[1] == ""
    notice = "\n".join(f"# {line}".rstrip() for line in APACHE.split("\n"))
    assert without_license_header(f"# {words}\n#\n{notice}\nx = 1", "py")[1] == "Apache-2.0"
    module = f'"""{words}\n\nThis module is {APACHE[0].lower()}{APACHE[1:]}\n"""\nx = 1'
    assert without_license_header(module, "py")[1] == "Apache-2.0"


def test_what_a_file_is_about_counts_where_it_names_another_licence() -> None:
    # Nothing tells it from a licence's name in a paragraph of its own: refused, to be safe.
    reader = "# Copyright 2019 Foo Inc.\n#\n# Reads files of the GNU General Public License.\nx"
    assert without_license_header(reader, "py")[1] == "GPL"
    apart = "# Reads files of the GNU General Public License.\n\n# Copyright 2019 Foo Inc.\nx"
    assert without_license_header(apart, "py")[1] == ""
    permissive = "# Copyright 2019 Foo Inc.\n#\n# Tells the Apache License Version 2.0 apart.\nx"
    assert without_license_header(permissive, "py")[1] == ""


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("This code may be used for non-commercial purposes only.", "noncommercial"),
        ("Not for commercial use.", "noncommercial"),
        ("For research use only.", "noncommercial"),
        ("This code is only for academic research.", "noncommercial"),
        ("Use of it is restricted to non-commercial ends.", "noncommercial"),
        ("Free for non-commercial projects.", "noncommercial"),
        ("You may not use this software for the military.", "field-of-use"),
        ("The licence does not extend to weapons.", "field-of-use"),
        ("It shall be used for Good, not Evil.", "field-of-use"),
        ("Permission is given under the following restrictions: keep the logo.",
         "additional-terms"),
        ("Proprietary and confidential.", "proprietary"),
        ("Copying this file is strictly prohibited.", "proprietary"),
        ("Non-commercial.", "noncommercial"),
        ("Strictly for non-commercial and academic use", "noncommercial"),
        ("Free of charge for noncommercial projects.", "noncommercial"),
        ("Only for teaching.", "noncommercial"),
        ("Users must not be in the military.", "field-of-use"),
        ("No military use.", "field-of-use"),
        ("Subject to additional terms in TERMS.txt.", "additional-terms"),
        ("It is subject to additional terms.", "additional-terms"),
        ("Additional restrictions apply.", "additional-terms"),
        ("With the Commons Clause.", "Commons-Clause"),
    ],
)  # fmt: skip
def test_what_a_header_allows_and_forbids_is_a_condition(words: str, name: str) -> None:
    for source in (
        f"// Copyright 2020 X\n//\n// {words}\nx;",
        f"// Copyright 2020 X\n// {words}\nx;",
    ):
        assert without_license_header(source, "c")[1] == f"LicenseRef-restricted-{name}"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("Released under the GPL v2 or later.", "GPL"),
        ("Distributed under the terms of the GNU LGPL.", "LGPL"),
        ("GNU General Public License v3.0+", "GPL"),
        ("GNU Lesser General Public License, version 2.1", "LGPL"),
        ("Mozilla Public License 2.0", "MPL"),
        ("Boost Software License - Version 1.0", "BSL"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("This Source Code Form is subject to the terms of the Mozilla Public\n// License, v. 2.0.",
         "MPL"),
        ("Licensed under Creative Commons Attribution 4.0", "CC"),
        ("Creative Commons Attribution-ShareAlike 4.0 International", "CC"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0"),
        ("MPL-2.0", "MPL"),
        ("Common Development and Distribution License (CDDL)", "CDDL"),
        ("European Union Public Licence v1.2", "EUPL"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("Permission is granted to anyone, subject to the following restrictions:\n//\n"
         "// 2. Altered source versions must be plainly marked as such.", "Zlib"),
        ("@license GPL-3.0-or-later", "GPL"),
        ("@license GNU General Public License v3", "GPL"),
        ("GNU General Public License, version 2 or later.", "GPL"),
        ("License GPL-3.0-or-later", "GPL"),
        ("License - GPLv3", "GPL"),
        ("Licence GPL v2", "GPL"),
        ("GPL-2.0-or-later", "GPL"),
        ("GNU GPL", "GPL"),
        ("LGPL v2.1+", "LGPL"),
        ("Under GNU General Public License v3.", "GPL"),
        ("This code is under the GPL v3.", "GPL"),
        ("Dual licensed GPL v2", "GPL"),
        ("Dual-licensed: MIT or GPL (at your option)", "MIT AND GPL"),
        ("Dual MIT and GPL licenses:\n//  http://www.gnu.org/...", "MIT AND GPL"),
        ("Dual licensed under the LGPL or the Apache License 2.0", "Apache AND LGPL"),
        ("GNU Lesser General Public License (LGPL) version 2.1", "LGPL"),
        ("GNU Affero General Public License v3 or later (AGPLv3+)", "AGPL"),
        ("https://www.mozilla.org/MPL/2.0/ Mozilla Public License", "MPL"),
        ("https://www.mozilla.org/MPL/2.0/", "MPL"),
    ],
)  # fmt: skip
def test_a_licence_named_in_a_paragraph_of_its_own(words: str, name: str) -> None:
    code = f"// Copyright 2020 X\n//\n// {words}\nx;"
    assert without_license_header(code, "c")[1] == name
    block = words.replace("\n//", "\n *")
    code = f"/**\n * Copyright (C) 2010 Foo\n *\n * {block}\n */\nx;"
    assert without_license_header(code, "c")[1] == name
    lines = words.replace("\n//", "\n")
    module = f'"""This module is distributed under its licence.\n\n{lines}\n"""\nx = 1'
    assert without_license_header(module, "py")[1] == name


@pytest.mark.parametrize("side", ["MIT", "BSD", "Apache"])
def test_a_choice_in_prose_is_refused_as_mixed(side: str) -> None:
    source = f"// Copyright 2020 X\n//\n// Dual-licensed: {side} or GPL (at your option)\nx;"
    declared = without_license_header(source, "c")[1]
    assert not permitted(declared)
    assert refusal(declared) == f"licence mixed: {side} AND GPL"


def test_a_notice_that_is_justified_with_spaces() -> None:
    source = (
        "# Copyright (C) 2002 X\n#\n# Permission  is  hereby granted,  free  of charge,  to  any\n"
        "# person to  use, copy,  sublicense and  sell  it.\nx = 1"
    )
    assert without_license_header(source, "py") == ("x = 1", "MIT")


def test_a_licence_declared_many_times_is_one() -> None:
    line = "# SPDX-License-Identifier: MIT\n"
    for source in (line * 2, line * 100, (line + "\n") * 100):
        assert without_license_header(source + "x = 1", "py") == ("x = 1", "MIT")
    both = (line + line.replace("MIT", "Apache-2.0")) * 100
    assert without_license_header(both, "py")[1] == "(MIT) AND (Apache-2.0)"


@pytest.mark.parametrize(
    "source",
    [
        "# " + "distributed under " * 20_000,
        "# copyright 2020 " + "may not " * 50_000,
        "# copyright 2020 " + "this code " * 40_000,
        "# copyright 2020 " + "used redistributed " * 20_000,
        "# Copyright 2020 X\n" + "#\n# may not be used\n" * 20_000,
        "# subject to the " + "a " * 150_000,
        "# gnu " + "a " * 150_000,
        "# Copyright 2020 X\n# " + "dual " * 50_000 + "gpl 2",
        "# Copyright 2020 X\n# non-commercial" + " " * 400_000 + ";a",
        "# Copyright 2020 X\n# non-commercial" + " use only" * 40_000 + " a",
        "# Copyright 2020 X\n# " + "for only " * 40_000,
        "# Copyright 2020 X\n" + "# non-commercial\n" * 20_000,
        "# Copyright 2020 X\n# " + "no use no " * 40_000,
        "# Copyright 2020 X\n# " + "gnu gpl version " * 20_000,
        "# gnu general public license " + "." * 300_000,
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

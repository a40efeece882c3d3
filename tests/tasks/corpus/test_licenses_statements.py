"""What source files say of their own licence, wherever near their top, and what they do not say."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tasks.corpus.chain import check_chain
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import github
from tasks.corpus.sources.headers import without_license_header
from tasks.corpus.sources.license_statements import NOT_RECOGNISED, named
from tasks.corpus.sources.licenses import chosen, permitted, refusal

MIT = "Permission is hereby granted, free of charge, to any person ... sublicense, and/or sell"
PY = "\nimport os\n\ndef grind(corn, rate=2.0):\n    return corn * rate + len(os.sep)\n"
JAVA = "\nclass Mill { int grind(int corn) { return 2 * corn; } }\n"
GNU = "redistribute it and/or modify it under the terms of the GNU General Public License"
PROPRIETARY = "restricted: LicenseRef-restricted-proprietary"
# Files of a project under MIT that are not, with the reason; many a project holds some.
FOREIGN = {
    "docstring.py": ('"""Mills.\n\nCopyright 2019 A. Miller. Licensed under the GPL.\n"""' + PY,
                     "GPL"),
    "author.py": ("# Author: A. Miller <a@mill.org>\n# License: GPL v3" + PY, "GPL"),
    "authors.py": ("# Authors: A. Miller <a@mill.org>\n#          B. Baker\n# License: GPLv3+" + PY,
                   "GPL"),
    "Package.java": (
        "package mill;\n/*\n * Copyright 2019 A. Miller\n * This program is free software; you can"
        f" {GNU}\n * version 2.\n */" + JAVA, "GPL",
    ),
    "strict.js": ("'use strict';\n// Copyright 2019 A. Miller. Licensed under the GNU GPL v3.\n"
                  "function grind(corn) { return 2 * corn; }\n", "GPL"),
    "imports.py": ("import sys\n# Copyright 2019 A. Miller\n# GNU General Public License v3" + PY,
                   "GPL"),
    "include.c": ("#include <stdio.h>\n/* Copyright 2019 A. Miller. GPL. */\n"
                  "int grind(int corn) { return 2 * corn; }\n", "GPL"),
    "fields.py": ('"""Mills.\n\n:copyright: (c) 2019 by A. Miller.\n:license: GPLv3, see COPYING.'
                  '\n"""' + PY, "GPL"),
    "dunder.py": ('"""Mills.\n\nLicense: AGPL-3.0\n"""\n__license__ = "AGPL-3.0"' + PY, "AGPL"),
    "shebang.py": (f"#!/usr/bin/env python\n'''\nThis program is free software: you can {GNU}\n'''"
                   + PY, "GPL"),
    "doc.rs": ("//! Mills.\n//!\n//! Copyright 2019 A. Miller, GPL-2.0-or-later\n"
               "fn grind(corn: i32) -> i32 { corn * 2 }\n", "GPL"),
    "module.lua": ("local M = {}\n-- Copyright 2019 A. Miller, licensed under GPLv2\n"
                   "function M.grind(corn) return corn * 2 end\nreturn M\n", "GPL"),
    "set.sh": ("#!/bin/sh\nset -e\n# Copyright 2019 A. Miller. This is free software under the GNU"
               " GPL, version 2.\necho grind the corn of four villages\n", "GPL"),
    "commons.py": ("# Copyright 2019 A. Miller. CC BY-NC-SA 4.0" + PY, "CC"),
    "owned.py": ("# This file is proprietary and must not be copied." + PY, PROPRIETARY),
    "terms.py": ("# Copyright 2019 Mill Corp. All rights reserved. Use is subject to license terms."
                 + PY, "not recognised"),
    "part.py": ('"""Copyright (C) 2019 A. Miller\n\nThis file is part of Mill, which is GPL'
                ' licensed.\n"""' + PY, "GPL"),
    "secret.py": ("# Copyright 2019 Mill. All rights reserved.\n# Mill Corp. Confidential." + PY,
                  PROPRIETARY),
    "copying.py": ("# Unauthorized copying of this file, via any medium, is forbidden." + PY,
                   PROPRIETARY),
    "share.py": ("# Do not distribute." + PY, PROPRIETARY),
    "named.py": ("# Licensed under the Water Mill Public License." + PY, "not recognised"),
    "field.py": ("# Author: A. Miller\n# License: Water Mill" + PY, "not recognised"),
    "unclosed.c": ("int a;\n/* Copyright 2019 A. Miller, under the GNU GPL */ int b;\n", "GPL"),
    "from.py": ("import os\n# From https://mill.org/\n# Licensed under the GNU GPL" + PY, "GPL"),
    "said.py": ("# This script is GPLv2." + PY, "GPL"),
    "affero.py": ("# (C) 2019 A. Miller, GNU Affero" + PY, "AGPL"),
    "wtfpl.py": ("import os\n# Copyright 2019 A. Miller\n# WTFPL" + PY, "WTFPL"),
    "later.py": ("import os\n\n# SPDX-License-Identifier: GPL-3.0-only" + PY, "GPL-3.0-only"),
    "both.py": ("import os\n# License: MIT and GPL-2.0" + PY, "mixed: MIT AND GPL"),
}  # fmt: skip


def test_files_under_other_terms_in_a_permitted_project(tmp_path: Path) -> None:
    folder = tmp_path / "github/mill"
    folder.mkdir(parents=True)
    (folder / "LICENSE").write_text(MIT)
    for name, (text, _) in FOREIGN.items():
        (folder / name).write_text(text)
    (folder / "own.py").write_text(PY)
    funnel = Funnel("github")
    files = sorted(path.relative_to(tmp_path).as_posix() for path in folder.iterdir())
    documents = list(github.read(tmp_path, files, CorpusParameters(), funnel))
    check_chain(funnel.rows(), {"documents": len(documents)})
    assert [document.meta["path"] for document in documents] == ["own.py"]
    assert sum(funnel.entries["license"].rejected.values()) == len(FOREIGN)


@pytest.mark.parametrize("name", FOREIGN)
def test_what_they_state(name: str) -> None:
    text, reason = FOREIGN[name]
    declared = without_license_header(text, name.rpartition(".")[2])[1]
    assert not permitted(declared) and refusal(declared) == f"licence {reason}"


@pytest.mark.parametrize(
    ("extension", "source"),
    [
        ("py", f"# Our mill goes with libraries that are compatible with the GPL.{PY}"),
        ("py", f"# Copyright 2019 A. Miller. Licensed under MIT, a GPL-compatible licence.{PY}"),
        ("py", f'"""Parses GPL headers, and tells the GNU GPL from the LGPL."""{PY}'),
        ("py", f"import os\n# parses GPL headers of each file{PY}"),
        ("py", f'"""Checks.\n\nArgs:\n    license: name of the licence, as "GPL-3.0".\n"""{PY}'),
        ("py", f'"""Checks.\n\n:param license: GPL or MIT\n"""{PY}'),
        ("py", f'TEXT = """\n# Copyright 2019 A. Miller\n# License: GPL v3\n"""{PY}'),
        ("py", f"TEXT = '# License: GPL'{PY}"),
        ("py", f'"""Wheels.\n\nThe Linux kernel is distributed under the GPL.\n"""{PY}'),
        ("py", f"# Copyright (c) Mill, Inc. All rights reserved.{PY}"),
        ("py", f"# Copyright 2019 The Millers. All rights reserved.\n# Use of this source code is"
               f" governed by a BSD-style\n# license that can be found in the LICENSE file.{PY}"),
        ("py", f"# Copyright 2019 A. Miller\n# Licensed under the terms in the LICENSE file.{PY}"),
        ("py", f"# Licensed to PSF under a Contributor Agreement.{PY}"),
        ("py", f"# Distributed under the same license as the mill.{PY}"),
        ("py", f"# Reads the proprietary format of old mills; this file may not be there.{PY}"),
        ("py", f"# Handles confidential fields of a form.{PY}"),
        ("py", f'"""Terms of the series.\n\nFor internal use only.\n"""{PY}'),
        ("rs", "// Licensed under the Apache License, Version 2.0 or the MIT license, at your\n"
               "// option. This file may not be copied, modified, or distributed except according"
               "\n// to those terms.\nfn a() {}\n"),
        ("c", "// clang-format off\n\n/* Copyright (c) 2019 A. Miller. MIT License. */\nint a;\n"),
        ("js", "/**\n * @license\n * Copyright 2019 A. Miller\n * Licensed under the Apache"
               " License, Version 2.0\n */\nlet a;\n"),
        ("py", f"# 1. Redistributions of source code must retain the above copyright notice.\n\n"
               f"# 2. Redistributions in binary form must reproduce the above copyright.{PY}"),
        ("py", f'"""Scans.\n\nThis module contains rules which find confidential data.\n"""{PY}'),
        ("py", f"# This method must not be shared. This file may not be used on old mills.{PY}"),
        ("py", f"# license = load()\n# rights = 'x'{PY}"),
        ("js", "/*! jQuery v3.1 | (c) jQuery Foundation | jquery.org/license */\nlet a;\n"),
        ("py", f"# License: see LICENSE.txt{PY}"),
        ("py", f"# License: {{license}}{PY}"),
    ],
)  # fmt: skip
def test_what_says_nothing_against_a_file(extension: str, source: str) -> None:
    declared = without_license_header(source, extension)[1]
    assert declared == "" or permitted(declared)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("# License: MIT or GPL-2.0", "MIT"), ("import os\n# License: GPL-2.0 OR MIT", "MIT"),
        ('"""Mills.\n\n:license: MIT or GPL\n:copyright: 2019 A. Miller\n"""', "MIT"),
        ('__license__ = "MIT or GPL"', "MIT"),
        ("# Author: A. Miller\n# License: BSD 3 clause", "BSD-3-Clause"),
        ('"""Mills.\n\n:license: BSD, see LICENSE for details.\n"""', "BSD"),
        ('__license__ = "Apache 2.0"', "Apache-2.0"),
    ],
)  # fmt: skip
def test_permitted_licences_that_a_file_names(source: str, name: str) -> None:
    assert chosen(without_license_header(source + PY, "py")[1]) == name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("MIT/X11", "MIT"), ("Expat", "MIT"), ("BSD (3-clause)", "BSD-3-Clause"),
        ("Simplified BSD", "BSD"), ("ASL 2.0", "Apache-2.0"), ("MIT, see LICENSE", "MIT"),
        ("MIT (see the file COPYING)", "MIT"), ("https://opensource.org/licenses/MIT", "MIT"),
        ("GNU GPL, see http://www.gnu.org", "GPL"), ("MIT and GPL", "MIT AND GPL"),
        ("CC BY-NC 4.0", "CC"), ("see LICENSE", ""), ("LICENSE.txt", ""), ("", ""),
        ("{name}", ""), ("${license}", ""), ("Water Mill 1.0", NOT_RECOGNISED),
    ],
)  # fmt: skip
def test_values_of_fields(value: str, name: str) -> None:
    assert named(value) == name


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("MIT/X11", "MIT"), ("Expat", "MIT"), ("Apache 2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"), ("MIT AND Apache 2.0", "Apache-2.0 AND MIT"),
        ("mit/x11 OR GPL-2.0", "MIT"), ("X11", ""), ("Apache-2.0-modified", ""), ("Expat-mine", ""),
        ("MIT/X11/GPL", ""), ("MIT/X11 AND GPL-2.0", ""), ("Apache 2.0.1", ""),
    ],
)  # fmt: skip
def test_other_spellings_of_permitted_licences(expression: str, name: str) -> None:
    assert permitted(expression) is bool(name)
    assert chosen(expression) == name


@pytest.mark.parametrize(
    ("extension", "source", "expected"),
    [
        ("py", "# Author: A. Miller <a@mill.org>\n# License: BSD 3 clause\n\nx = 1", "x = 1"),
        ("py", "# Authors: A. Miller <a@mill.org>\n#          B. Baker\n# License: MIT\nx = 1",
         "x = 1"),
        ("py", "# Author: A. Miller\n# Grinds corn.\n# License: MIT\nx = 1", None),
        ("py", "# Author: A. Miller\nx = 1", None),
        ("java", "package mill.wheel;\n\n/*\n * Copyright 2019 A. Miller\n */\nclass A {}",
         "package mill.wheel;\n\nclass A {}"),
        ("java", "package mill;\n/** Grinds corn. */\nclass A {}", None),
        ("js", "/*! mill v3.1 | (c) Mill Foundation and other contributors | mill.org/license */\n"
               "let a;", "let a;"),
        ("js", "/*! (c) A. Miller, MIT license */\nlet a;", "let a;"),
        ("c", "// (C) Take the third way, if the corn is wet\nint a;", None),
    ],
)  # fmt: skip
def test_more_headers_go(extension: str, source: str, expected: str | None) -> None:
    body = without_license_header(source, extension)[0]
    assert body == (source if expected is None else expected)


@pytest.mark.parametrize(
    "piece",
    [
        "compatible with ", "not ", "gpl ", "is gpl ", "licensed under ", "this file is ", "see ",
        "this code may not be ", "proprietary ", "license: ", "license:\n# ", "copyright (c) 2019 ",
        "\n#", "\n\n# (c) 2019 a ", "unauthorized ", "is is under ", "same license as ", ". ", "| ",
        "do not distribute ", "cc by ", "(c) A ", '"""', "'''\n", "author\n#", "\n# License: a",
        "dual code ", "a" * 999, " ",
    ],
)  # fmt: skip
def test_hostile_statements_take_linear_time(piece: str) -> None:
    began = time.process_time()
    for start in ("# Copyright 2019 X ", '"""Copyright 2019 X ', "x\n# "):
        without_license_header(start + piece * (300_000 // len(piece)), "py")
    assert time.process_time() - began < 5

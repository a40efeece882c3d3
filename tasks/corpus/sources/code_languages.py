"""Extensions of source files, and the language each is recorded as."""

from __future__ import annotations

import posixpath

LANGUAGES = {
    "asm": "assembly", "bash": "shell", "bat": "batch", "c": "c", "cc": "c++", "cjs": "javascript",
    "clj": "clojure", "cljs": "clojure", "cmake": "cmake", "cmd": "batch", "cpp": "c++",
    "cs": "c#", "css": "css", "cu": "cuda", "cuh": "cuda", "cxx": "c++", "d": "d", "dart": "dart",
    "dockerfile": "dockerfile", "el": "lisp", "erl": "erlang", "ex": "elixir", "exs": "elixir",
    "f03": "fortran", "f90": "fortran", "f95": "fortran", "fs": "f#", "go": "go",
    "gradle": "groovy", "groovy": "groovy", "h": "c", "hh": "c++", "hpp": "c++", "hrl": "erlang",
    "hs": "haskell", "html": "html", "hxx": "c++", "java": "java", "jl": "julia",
    "js": "javascript", "jsx": "javascript", "kt": "kotlin", "kts": "kotlin", "less": "css",
    "lisp": "lisp", "lua": "lua", "m": "objective-c", "makefile": "make", "markdown": "markdown",
    "md": "markdown", "mjs": "javascript", "mk": "make", "ml": "ocaml", "mli": "ocaml",
    "mm": "objective-c", "pas": "pascal", "php": "php", "pl": "perl", "pm": "perl",
    "proto": "protobuf", "ps1": "powershell", "psm1": "powershell", "py": "python",
    "pyi": "python", "pyx": "cython", "r": "r", "rb": "ruby", "rs": "rust",
    "rst": "restructuredtext", "sass": "css", "scala": "scala", "scm": "scheme", "scss": "css",
    "sh": "shell", "sql": "sql", "sv": "verilog", "svelte": "svelte", "swift": "swift",
    "tcl": "tcl", "tex": "tex", "ts": "typescript", "tsx": "typescript", "v": "verilog",
    "vb": "visual basic", "vhd": "vhdl", "vhdl": "vhdl", "vue": "vue", "xsl": "xslt",
    "zig": "zig", "zsh": "shell",
}  # fmt: skip
# Whole names that stand for a language.
_NAMES = {
    "makefile": "makefile", "gnumakefile": "makefile", "dockerfile": "dockerfile",
    "cmakelists.txt": "cmake", "rakefile": "rb", "gemfile": "rb",
}  # fmt: skip


def extension_of(name: str) -> str:
    """Extension of a file in lower case; of a file known by its whole name, what stands for it."""
    base = posixpath.basename(name).lower()
    return _NAMES.get(base) or (base.rpartition(".")[2] if "." in base else "")

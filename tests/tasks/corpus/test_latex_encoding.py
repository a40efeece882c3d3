"""Encodings of LaTeX files: none is dropped that can be read, none is guessed that is declared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.sources.latex_encoding import (
    NotTextError,
    codec_of,
    declared,
    decode,
    is_wrong_guess,
)

CYRILLIC = "Пусть функция непрерывна на отрезке. "


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("ascii", "ascii"), ("café „x“ €", "utf-8"), ("café", "utf-8-sig"), ("café", "utf-16"),
        ("café", "utf-32"), ("plain", "utf-16-le"), ("plain", "utf-16-be"), ("café", "latin-1"),
        ("‘x’ – café", "cp1252"),
    ],
)  # fmt: skip
def test_what_needs_no_declaration(text: str, codec: str) -> None:
    source = f"\\documentclass{{article}}\n{text}\n" * 3
    assert decode(source.encode(codec))[0] == source


@pytest.mark.parametrize(
    ("declaration", "codec", "text"),
    [
        (r"\usepackage[latin1]{inputenc}", "latin-1", "é"),
        (r"\usepackage[ansinew]{inputenc}", "cp1252", "’é"),
        (r"\usepackage[latin1]{inputenc}", "cp1252", "“é”"),  # in Windows' superset
        (r"\usepackage[latin2]{inputenc}", "iso8859_2", "Łódź"),
        (r"\usepackage[latin9]{inputenc}", "iso8859_15", "œ €"),
        (r"\usepackage[cp1250]{inputenc}", "cp1250", "Łódź"),
        (r"\usepackage[cp1251]{inputenc}", "cp1251", CYRILLIC),
        (r"\usepackage[koi8-r]{inputenc}", "koi8_r", CYRILLIC),
        (r"\usepackage[cp866]{inputenc}", "cp866", CYRILLIC),
        (r"\usepackage[applemac]{inputenc}", "mac_roman", "é"),
        (r"\usepackage[T1,latin2]{inputenc}", "iso8859_2", "ł"),
        (r"\inputencoding{cp1257}", "cp1257", "ž"),
        ("% -*- coding: iso-8859-15 -*-", "iso8859_15", "€"),
        ("% !TeX encoding = koi8-r", "koi8_r", CYRILLIC),
        (r"\begin{CJK*}{GBK}{song}", "gbk", "设函数连续"),
        (r"\begin{CJK}{Bg5}{}", "big5", "設函數連續"),
        (r"\begin{CJK}{SJIS}{}", "shift_jis", "関数が連続"),
        (r"\usepackage[T2A]{fontenc}", "cp1251", CYRILLIC),  # undeclared: small letters tell
        (r"\usepackage[english,russian]{babel}", "koi8_r", CYRILLIC),
    ],
)
def test_declared_encodings(declaration: str, codec: str, text: str) -> None:
    source = f"{declaration}\n{text}".encode(codec)
    decoded, _ = decode(source, declared([b"", source]))
    assert decoded == f"{declaration}\n{text}"


def test_utf8_wins_over_a_wrong_declaration() -> None:
    source = "\\usepackage[latin1]{inputenc} café – €".encode()
    assert decode(source, "latin1") == (source.decode(), "utf-8")


def test_a_stray_byte_in_utf8_costs_that_character_only() -> None:
    assert decode(
        "Gödel, Poincaré, Erdős ".encode() + b"caf\xe9 \x93x\x94 " + "ő ő ő".encode()
    ) == (
        "Gödel, Poincaré, Erdős café “x” ő ő ő",
        "utf-8",
    )


def test_line_ends() -> None:
    assert decode(b"a\r\nb\rc\n")[0] == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("data", "encoding", "reason"),
    [
        (b"a\x00b" * 300, "", "NUL bytes"),
        (b"\\section{a}" * 500 + b"\x00", "", "NUL bytes"),
        (b"caf\xe9", "klingon", "unknown encoding"),
    ],
)
def test_what_is_no_text_says_why(data: bytes, encoding: str, reason: str) -> None:
    with pytest.raises(NotTextError, match=reason):
        decode(data, encoding)


@pytest.mark.parametrize(
    ("text", "codec", "is_wrong"),
    [
        (CYRILLIC, "koi8_r", True), (CYRILLIC, "cp1251", True), (CYRILLIC, "cp866", True),
        (CYRILLIC, "mac_cyrillic", True), ("设函数连续在区间上", "gbk", True),
        ("關於函數的連續性", "big5", True), ("함수가 연속이라고 하자", "cp949", True),
        ("Η συνάρτηση είναι συνεχής", "iso8859_7", True),
        ("La théorie générale des créées, où l’été « naît » à Besançon…", "cp1252", False),
        ("Für größere Übersicht über Häufungen, Äöü", "cp1252", False),
        ("Łódź, żółć, Gdańsk", "iso8859_2", False),
        ("——————————— · · ·" * 9, "cp1252", False), ("20±1 °C, ½ and ¾", "cp1252", False),
        ("plain", "ascii", False), ("Иван", "koi8_r", False),
    ],
)  # fmt: skip
def test_a_wrong_guess_shows_by_runs_of_letters(text: str, codec: str, is_wrong: bool) -> None:
    source = f"\\section{{One}} {text} and words of English.".encode(codec)
    assert is_wrong_guess(decode(source)[0]) == is_wrong


def test_an_unknown_encoding_of_ascii_does_not_matter() -> None:
    assert decode(b"cafe", "klingon") == ("cafe", "utf-8")
    assert codec_of("klingon") is None and codec_of("LATIN1") == "cp1252"


@given(st.binary(max_size=300), st.sampled_from(["", "latin1", "utf8", "koi8-r", "GBK", "cp1250"]))
def test_any_bytes_give_text_without_lone_surrogates_or_a_reason(data: bytes, name: str) -> None:
    try:
        text, _ = decode(data, name)
    except NotTextError:
        assert b"\x00" in data
        return
    assert "\r" not in text and "\x00" not in text
    text.encode()


@pytest.mark.parametrize(
    ("comment", "name"),
    [("% Random coding: achievability proof\n\\usepackage[latin1]{inputenc}", "latin1"),
     ("% -*- coding: utf-8-unix -*-\n\\usepackage[latin1]{inputenc}", "utf-8"),
     ("% !TEX encoding = IsoLatin", "IsoLatin"), ("% -*- coding: iso-latin-1 -*-", "iso-latin-1"),
     ("%%% coding: latin-1", "latin-1"), ("% Network coding = a survey", "")],
)  # fmt: skip
def test_comments_about_another_coding_declare_nothing(comment: str, name: str) -> None:
    assert declared([comment.encode()]) == name

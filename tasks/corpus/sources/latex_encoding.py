r"""Bytes of a LaTeX file as text: what it declares, what it is, and what it most probably is.

A byte order mark decides; then valid UTF-8; then what the paper declares (``inputenc``,
``\inputencoding``, a CJK environment, an editor's line); then, for papers in Cyrillic, the code
page that gives most small letters; then Windows-1252, the superset of Latin-1 that files called
Latin-1 are in. That last is a guess, which :func:`is_wrong_guess` judges by the text it gave.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

DEFAULT = "cp1252"
# What a paper is said to declare that only says that it is in Cyrillic.
CYRILLIC = "a Cyrillic code page"
# Bytes of a file that are looked at for what it declares: preambles are long, papers longer.
HEAD = 100_000

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Names of the packages inputenc, inputenx, selinput and CJK. Latin-1 is read as its superset.
_NAMES = {
    "ascii": DEFAULT, "latin1": DEFAULT, "ansinew": DEFAULT, "cp1252": DEFAULT,
    "iso-8859-1": DEFAULT, "isolatin": DEFAULT, "iso-latin-1": DEFAULT, "latin-1": DEFAULT,
    "isolatin2": "iso8859_2", "iso-latin-2": "iso8859_2", "latin-2": "iso8859_2",
    "isolatin9": "iso8859_15", "iso-latin-9": "iso8859_15", "macosroman": "mac_roman",
    "latin2": "iso8859_2", "latin3": "iso8859_3", "latin4": "iso8859_4", "latin5": "iso8859_9",
    "latin9": "iso8859_15", "latin10": "iso8859_16", "iso-8859-15": "iso8859_15",
    "iso88595": "iso8859_5", "iso88596": "iso8859_6", "iso88597": "iso8859_7",
    "iso88598": "iso8859_8", "iso-8859-7": "iso8859_7", "iso-8859-5": "iso8859_5",
    "cp437": "cp437", "cp437de": "cp437", "cp850": "cp850", "cp852": "cp852", "cp855": "cp855",
    "cp858": "cp858", "cp862": "cp862", "cp865": "cp865", "cp866": "cp866",
    "cp1250": "cp1250", "cp1251": "cp1251", "cp1253": "cp1253", "cp1254": "cp1254",
    "cp1255": "cp1255", "cp1256": "cp1256", "cp1257": "cp1257",
    "applemac": "mac_roman", "macce": "mac_latin2", "maccyr": "mac_cyrillic",
    "koi8-r": "koi8_r", "koi8-u": "koi8_u", "koi8-ru": "koi8_u",
    "utf8": "utf-8", "utf8x": "utf-8", "utf-8": "utf-8",
    "GB": "gb18030", "GBK": "gb18030", "gbk": "gb18030", "Bg5": "big5", "Bg5+": "big5hkscs",
    "JIS": "euc_jp", "SJIS": "shift_jis", "KS": "cp949", "UTF8": "utf-8",
    "euc-jp": "euc_jp", "sjis": "shift_jis", "shift_jis": "shift_jis", "euc-kr": "cp949",
    "gb2312": "gb18030", "big5": "big5",
}  # fmt: skip
# Bytes 0x81, 0x8d, 0x8f, 0x90, 0x9d have no character in Windows-1252: as in Latin-1.
_WINDOWS_1252 = "".join(bytes([code]).decode(DEFAULT, "ignore") or chr(code) for code in range(256))
_DECLARED = re.compile(
    rb"\\usepackage\s*+\[([^\]\n]{1,60})\]\s*+\{inputen[cx]\}"
    rb"|\\inputencoding\s*+\{([^{}\n]{1,30})\}"
    rb"|\\begin\s*+\{CJK\*?\}\s*+(?:\[[^\]\n]{0,30}\]\s*+)?\{([A-Za-z0-9+]{1,10})\}"
    rb"|^%[^\n]{0,80}?(?:en)?coding\s*[:=]\s*([A-Za-z0-9_-]{3,20})",
    re.MULTILINE,
)
_EDITOR = re.compile(r"-(?:unix|dos|mac)\Z")
_CYRILLIC = re.compile(
    rb"\\usepackage\s*+\[[^\]\n]{0,100}(?:russian|ukrainian|bulgarian|T2A)[^\]\n]{0,100}\]"
    rb"\s*+\{(?:babel|fontenc)\}"
)
_CODE_PAGES = ("cp1251", "koi8_r", "cp866")
_SMALL = re.compile("[а-я]")
_STRAY = re.compile("[\udc80-\udcff]")
_WIDE = re.compile("[^\x00-\x7f\udc80-\udcff]")


# Of letters that are not ASCII Western languages rarely write three in a row, other scripts do.
_RUN = re.compile("[^\x00-\x7f]{3,}")
_OTHER = re.compile("[^\x00-\x7f]")
MIN_RUNS = 10
MIN_DISTINCT = 5


class NotTextError(ValueError):
    """A file cannot be read as text; the message says why.

    ``NUL bytes`` that no encoding explains; ``unknown encoding``: it is not UTF-8 and declares what
    this module has no codec for.
    """


def declared(files: Iterable[bytes]) -> str:
    """What a paper's files declare, in LaTeX's words; the first that does, "" when none does.

    :data:`CYRILLIC` when none does and one is set in a language or font of that script.
    """
    otherwise = ""
    for data in files:
        head = data[:HEAD]
        if (b"{babel}" in head or b"{fontenc}" in head) and _CYRILLIC.search(head):
            otherwise = CYRILLIC
        if b"inputen" not in head and b"CJK" not in head and b"coding" not in head:
            continue
        for match in _DECLARED.finditer(head):
            name = next(group for group in match.groups() if group is not None).decode("latin-1")
            if match[4] is not None:  # a comment, which may be about another coding
                name = _EDITOR.sub("", name)
                if codec_of(name) is None:
                    continue
            # The last of several options is in force where the document begins.
            return name.split(",")[-1].strip()
    return otherwise


def codec_of(encoding: str) -> str | None:
    """The codec for what a paper declares, None when there is none."""
    return _NAMES.get(encoding) or _NAMES.get(encoding.lower())


def is_wrong_guess(text: str) -> bool:
    """Whether a text read as Windows-1252 by guess is one of another script.

    More than half of its characters beyond ASCII stand in runs of three or more, at least 10 of
    them and 5 that differ.
    """
    if text.isascii():
        return False
    runs = "".join(_RUN.findall(text))
    if len(runs) < MIN_RUNS or len(set(runs)) < MIN_DISTINCT:
        return False
    return 2 * len(runs) > len(_OTHER.findall(text))


def decode(data: bytes, encoding: str = "") -> tuple[str, str]:
    """Text with line ends as ``\\n``, and the name of the codec that gave it.

    encoding: what the paper declares (:func:`declared`).

    Raises:
        NotTextError: the file cannot be read as text.
    """
    text, codec = _decode(data, encoding)
    if "\x00" in text:
        raise NotTextError("NUL bytes")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, codec


def _decode(data: bytes, encoding: str) -> tuple[str, str]:
    for mark, codec in _MARKS:
        if data.startswith(mark):
            body = data[len(mark) :] if codec == "utf-8" else data
            if codec == "utf-8" and not _is_utf8(body):
                return _by_guess(body, encoding)
            return body.decode(codec, "replace"), codec
    if b"\x00" in data[:1000] and (wide := _wide(data)):
        return data.decode(wide, "replace"), wide
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return _by_guess(data, encoding)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _wide(data: bytes) -> str:
    """UTF-16 without a mark: every other byte of what is mostly ASCII is NUL."""
    head = data[:1000]
    if len(head) < 20:
        return ""
    for first, codec in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = head[first::2]
        if half.count(0) > 0.9 * len(half) and head[1 - first :: 2].count(0) == 0:
            return codec
    return ""


def _by_guess(data: bytes, encoding: str) -> tuple[str, str]:
    """Text of a file that is no valid UTF-8."""
    # A few bytes of another encoding in a file of UTF-8: each of them as Windows-1252.
    escaped = data.decode("utf-8", "surrogateescape")
    if len(_WIDE.findall(escaped)) > len(_STRAY.findall(escaped)):
        return _STRAY.sub(lambda m: _WINDOWS_1252[ord(m.group()) - 0xDC00], escaped), "utf-8"
    codec = codec_of(encoding)
    is_cyrillic = encoding == CYRILLIC
    if encoding and codec is None and not is_cyrillic:
        raise NotTextError("unknown encoding")
    if is_cyrillic or (codec is None and _CYRILLIC.search(data, 0, HEAD)):
        codec = max(_CODE_PAGES, key=lambda c: len(_SMALL.findall(data.decode(c, "replace"))))
    if codec not in (None, "utf-8", DEFAULT):
        assert codec is not None
        return data.decode(codec, "replace"), codec
    return data.decode("latin-1").translate(_WINDOWS), DEFAULT


_WINDOWS = {code: _WINDOWS_1252[code] for code in range(0x80, 0xA0)}

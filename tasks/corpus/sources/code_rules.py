"""What a file of source code must be to become a document, each rule counted by itself.

The order is that of the funnel: read, license, path, lines, alphanumeric, tokens, header.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources.characters import count
from tasks.corpus.sources.code_languages import LANGUAGES, extension_of
from tasks.corpus.sources.headers import without_license_header
from tasks.corpus.sources.licenses import chosen, permitted, refusal
from tasks.corpus.sources.vendored import not_written_here

FILTERS = ("license", "path", "lines", "alphanumeric", "tokens", "header")
MAX_FILE_BYTES = 1_000_000
_ARCHIVES = frozenset(
    ("7z", "br", "bz2", "gz", "jar", "lz4", "nupkg", "rar", "tar", "tgz", "txz", "war", "whl", "xz")
    + ("zip", "zst")
)


@dataclass(frozen=True)
class CodeFile:
    """A file of a project.

    file, offset: where it is (see the source's module). uri: its address. inner: its path inside
    the project. license: the project's, "" when unknown. twice: another file has the same address.
    """

    file: str
    offset: int
    uri: str
    inner: str
    license: str
    twice: bool = False


def is_wanted(inner: str, parameters: CorpusParameters) -> bool:
    """Whether a file's extension is on the list."""
    return extension_of(inner) in parameters.code_extensions


def unwanted(inner: str) -> str:
    """Why a file that is not wanted stays out."""
    nested = inner.rpartition(".")[2].lower() in _ARCHIVES
    return "archive inside a project" if nested else "extension not on the list"


def decoded(data: bytes) -> tuple[str, str]:
    """Text of a file with plain line ends, and "" or why it is none."""
    if len(data) > MAX_FILE_BYTES:
        return "", "file too large"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding, name = "utf-16", "not UTF-16"
    else:
        encoding, name = "utf-8-sig", "not UTF-8"
        if b"\x00" in data:
            return "", "empty or binary"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return "", name
    text = text.lstrip("\ufeff")  # a file put together of others may begin with several
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip() or "\x00" in text:
        return "", "empty or binary"
    return text, ""


def documents_of(
    file: CodeFile, data: bytes, parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    """The document of one file, or nothing with the reason counted."""
    uri, inner = file.uri, file.inner
    if not is_wanted(inner, parameters):
        funnel.reject("read", unwanted(inner), "", uri)
        return
    text, reason = decoded(data)
    if reason:
        funnel.reject("read", reason, "", uri)
        return
    funnel.keep("read", text)
    extension = extension_of(inner)
    body, declared = without_license_header(text, extension)
    # A file may come from elsewhere: what its own header says goes before the project's licence,
    # but for a project's that permits nothing.
    if file.license and not permitted(file.license):
        funnel.reject("license", refusal(file.license), text, uri)
        return
    if declared and not permitted(declared):
        funnel.reject("license", f"file's own header: {refusal(declared)}", text, uri)
        return
    if not file.license and not declared:
        funnel.reject("license", refusal(""), text, uri)
        return
    funnel.keep("license", text)
    rejected = _failed(inner, text, body, extension, parameters)
    for name in FILTERS[1:]:
        if rejected is not None and rejected[0] == name:
            funnel.reject(name, rejected[1], text, uri)
            return
        funnel.keep(name, text, body if name == FILTERS[-1] else text)
    identity = f"{uri}#{file.offset}" if file.twice else uri
    yield Document(
        id=f"github:{hashlib.sha256(identity.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}",
        text=body,
        source="github",
        uri=uri,
        language=LANGUAGES.get(extension, extension),
        language_score=1.0,
        license=chosen(declared or file.license),
        meta={"path": inner, "file": file.file, "offset": file.offset},
    )


def _failed(
    inner: str, text: str, body: str, extension: str, parameters: CorpusParameters
) -> tuple[str, str] | None:
    """The first filter behind the licence that a file fails, and the reason."""
    foreign = not_written_here(inner, text, extension)
    if foreign is not None:
        return "path", foreign
    lines = text.split("\n")
    if max(map(len, lines)) > parameters.code_max_line:
        return "lines", "line too long"
    if len(text) / len(lines) > parameters.code_mean_line:
        return "lines", "mean line too long"
    counts = count(text)
    if counts.alphanumeric < parameters.code_alphanumeric * len(text):
        return "alphanumeric", "too few letters and digits"
    if counts.letters < parameters.code_letters_per_token * counts.tokens:
        return "tokens", "too few letters per token"
    if not body.strip():
        return "header", "nothing but a header"
    return None

"""Common Crawl sample: a WARC of a small crawl and a WET file of other pages.

The WARC holds request and response records, and beside the HTML pages what every crawl holds: a
missing page, an image, robots.txt and a page in another language.
"""

from __future__ import annotations

import base64
import io
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from tasks.sample.archives import SourceReport, moment, write_bytes
from tasks.sample.environment import Environment
from tasks.sample.html_pages import WebPage, pages
from tasks.sample.prose import prose

PACKAGES = [
    ("prefect", "prefect"),
    ("mlflow", "mlflow"),
    ("pydantic", "pydantic"),
    ("torch", "torch"),
]
README_SHARE = 0.6  # of the characters; the rest are reference pages
WET_EVERY = 6  # every sixth page goes to the WET file instead
REFERENCE_PAGE = 2_500  # characters
SPANISH = """<!DOCTYPE html>
<html lang="es"><head><meta charset="utf-8"><title>La biblioteca del barrio</title></head><body>
<p>La biblioteca del barrio abre todos los días de la semana, también los domingos por la mañana.
Los vecinos pueden llevarse hasta ocho libros durante tres semanas y renovar el préstamo por
teléfono. En la sala grande hay mesas para estudiar y un rincón con cuentos para los niños.</p>
<p>Cada jueves por la tarde un grupo de lectores comenta una novela, y quien quiera puede
participar sin inscribirse. En verano la biblioteca presta también juegos y mapas para
excursiones por la sierra.</p></body></html>
"""


GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


def make_commoncrawl(folder: Path, environment: Environment, *, characters: int) -> SourceReport:
    """Write one ``.warc.gz`` and one ``.warc.wet.gz`` with about `characters` of text in all."""
    crawl, extracted = _Crawl(environment.seed), _Crawl(environment.seed + 1)
    documents = written = 0
    for uri, page in _all_pages(environment, characters):
        if documents % WET_EVERY == WET_EVERY - 1:
            extracted.conversion(uri, page.text)
        else:
            crawl.response(uri, page.markup.encode("utf-8"))
        documents += 1
        written += len(page.text)
    crawl.response("https://biblioteca.example.org/", SPANISH.encode("utf-8"))
    crawl.response("https://www.example.org/gone", b"<html><p>Not found</p></html>", status="404")
    crawl.response("https://www.example.org/dot.gif", GIF, content_type="image/gif")
    crawl.response(
        "https://www.example.org/robots.txt",
        b"User-agent: *\nAllow: /\n",
        content_type="text/plain",
    )
    name = "CC-MAIN-20220701000000-20220701030000-00000"
    write_bytes(folder / f"{name}.warc.gz", crawl.payload())
    write_bytes(folder / f"{name}.warc.wet.gz", extracted.payload())
    return SourceReport(documents, written)


def _all_pages(environment: Environment, characters: int) -> Iterator[tuple[str, WebPage]]:
    written = 0
    for description in environment.descriptions():
        if written >= characters * README_SHARE:
            break
        site = f"{description.package}.example.org"
        found = pages(site, f"{description.package}: {description.summary}", description.text)
        for number, page in enumerate(found):
            written += len(page.text)
            yield f"https://{site}/{number or ''}", page
    for uri, page in _reference_pages(environment):
        if written >= characters:
            return
        written += len(page.text)
        yield uri, page


def _reference_pages(environment: Environment) -> Iterator[tuple[str, WebPage]]:
    """Pages of neighbouring docstrings, a few to the page."""
    seen: set[str] = set()
    source: list[str] = []
    for docstring in environment.docstrings(PACKAGES, minimum=300):
        fresh = [text for text in prose(docstring.text) if text not in seen and _is_sentence(text)]
        seen.update(fresh)
        if fresh:
            words = docstring.path.rsplit(".", 1)[-1].replace("_", " ").strip()
            source.extend([f"# The {words}", *fresh])
        if sum(map(len, source)) < REFERENCE_PAGE:
            continue
        site = f"reference.{docstring.package}.example.org"
        path = re.sub(r"\W+", "-", docstring.path)
        for page in pages(site, f"Reference: {docstring.module}", "\n\n".join(source)):
            yield f"https://{site}/{path}", page
        source = []


def _is_sentence(text: str) -> bool:
    """Prose of a web page: long enough, few identifiers (they make the language uncertain)."""
    words = text.split()
    identifiers = sum("_" in word or "." in word[:-1] or ":" in word[:-1] for word in words)
    return len(words) >= 10 and identifiers <= len(words) / 10 and text[-1] in ".!?"


class _Crawl:
    """Writer of one WARC file whose record ids and dates are a function of the position."""

    def __init__(self, seed: int) -> None:
        from warcio.warcwriter import WARCWriter

        self.seed = seed
        self.number = 0
        self.buffer = io.BytesIO()
        self.writer = WARCWriter(self.buffer, gzip=True)
        fields = "software: arriero sample\r\nformat: WARC File Format 1.0\r\n"
        self._write("arriero-sample.warc", "warcinfo", fields.encode(), "application/warc-fields")

    def _headers(self) -> dict[str, str]:
        self.number += 1
        identifier = uuid.uuid5(uuid.NAMESPACE_URL, f"arriero-sample/{self.seed}/{self.number}")
        return {
            "WARC-Record-ID": f"<urn:uuid:{identifier}>",
            "WARC-Date": moment(self.number, minutes=1).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _write(self, uri: str, kind: str, payload: bytes, content_type: str) -> None:
        self.writer.write_record(
            self.writer.create_warc_record(
                uri,
                kind,
                payload=io.BytesIO(payload),
                length=len(payload),
                warc_content_type=content_type,
                warc_headers_dict=self._headers(),
            )
        )

    def response(
        self, uri: str, body: bytes, *, status: str = "200", content_type: str = "text/html"
    ) -> None:
        from warcio.statusandheaders import StatusAndHeaders

        host = uri.split("/")[2]
        request = StatusAndHeaders(f"GET /{uri.split('/', 3)[3]} HTTP/1.1", [("Host", host)])
        reason = "OK" if status == "200" else "Not Found"
        fields = [("Content-Type", f"{content_type}; charset=utf-8"), ("Server", "sample")]
        answer = StatusAndHeaders(f"{status} {reason}", fields, protocol="HTTP/1.1")
        for kind, headers, payload in (("request", request, b""), ("response", answer, body)):
            self.writer.write_record(
                self.writer.create_warc_record(
                    uri,
                    kind,
                    payload=io.BytesIO(payload),
                    length=len(payload),
                    http_headers=headers,
                    warc_headers_dict=self._headers(),
                )
            )

    def conversion(self, uri: str, text: str) -> None:
        self._write(uri, "conversion", text.encode("utf-8"), "text/plain")

    def payload(self) -> bytes:
        return self.buffer.getvalue()

"""Our Wikipedia and CommonCrawl readers against plain loops over the libraries people use.

Run: ``python -m benchmarks.corpus`` (needs ARRIERO_DATA). Peers: mwxml with mwparserfromhell's
``strip_code``; warcio with resiliparse. The outputs differ by design, and the table says in what:
our readers also filter, count every rejection and clean the text; the loops do none of that.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import data_folder, interleave, show, versions

WIKIPEDIA = ("bgwiki-latest", "minidumps/enwiki", "minidumps/dewiki", "minidumps/frwiki")
WARC = ("dolma-sample-0000.warc.gz", "dolma-sample-0001.warc.gz", "whirlwind.warc.gz",
        "aut-example.warc.gz")  # fmt: skip
LIBRARIES = ("lxml", "mwparserfromhell", "mwxml", "FastWARC", "warcio", "Resiliparse")
Counts = tuple[int, int]  # documents, characters of their text


def reader(source: str, root: Path, files: list[str], workers: int) -> Callable[[], Counts]:
    """Our reader of a source, with the default filters."""
    from importlib import import_module

    from tasks.corpus.documents import Funnel
    from tasks.corpus.parameters import CorpusParameters

    module = import_module(f"tasks.corpus.sources.{source}")
    parameters = CorpusParameters(workers=workers)

    def run() -> Counts:
        documents = characters = 0
        for document in module.read(root, files, parameters, Funnel(source)):
            documents += 1
            characters += len(document.text)
        return documents, characters

    return run


def mwxml_loop(paths: list[Path]) -> Callable[[], Counts]:
    """Articles of namespace 0 that are no redirects, by strip_code."""
    import mwparserfromhell
    import mwxml

    def run() -> Counts:
        documents = characters = 0
        for path in paths:
            with bz2.open(path, "rb") as handle:  # binary: one of the dumps is in UTF-16
                for page in mwxml.Dump.from_file(handle):
                    if page.namespace != 0 or page.redirect:
                        continue
                    for revision in page:
                        text = mwparserfromhell.parse(revision.text or "").strip_code()
                        documents += 1
                        characters += len(text)
        return documents, characters

    return run


def warcio_loop(paths: list[Path]) -> Callable[[], Counts]:
    """HTML responses with status 200, main content by resiliparse."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding
    from warcio.archiveiterator import ArchiveIterator

    def run() -> Counts:
        documents = characters = 0
        for path in paths:
            with path.open("rb") as stream:
                for record in ArchiveIterator(stream):
                    if record.rec_type != "response" or record.http_headers is None:
                        continue
                    kind = record.http_headers.get_header("Content-Type") or ""
                    if record.http_headers.get_statuscode() != "200" or "html" not in kind:
                        continue
                    body = record.content_stream().read()
                    html = bytes_to_str(body, detect_encoding(body) or "utf-8")
                    text = extract_plain_text(html, main_content=True, preserve_formatting=True)
                    if text.strip():
                        documents += 1
                        characters += len(text)
        return documents, characters

    return run


def unpacked_bytes(path: Path) -> int:
    opener = bz2.open if path.suffix == ".bz2" else gzip.open
    with opener(path, "rb") as handle:
        return sum(len(chunk) for chunk in iter(lambda: handle.read(1 << 20), b""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="default: ARRIERO_DATA")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="our workers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-seconds", type=float, default=60.0)
    options = parser.parse_args()
    root = data_folder(options.data)
    kinds = {
        "wikipedia": (WIKIPEDIA, "mwxml + strip_code", mwxml_loop),
        "commoncrawl": (WARC, "warcio + resiliparse", warcio_loop),
    }
    rows: list[list[str]] = []
    load: list[float] = []
    notes: list[str] = []
    for source, (wanted, peer, loop) in kinds.items():
        base = root / "corpus" / source
        paths = sorted(
            path
            for path in base.rglob("*")
            if path.is_file() and path.relative_to(base).as_posix().startswith(wanted)
        )
        files = [path.relative_to(root).as_posix() for path in paths]
        size = sum(map(unpacked_bytes, paths))
        packed = sum(path.stat().st_size for path in paths)
        variants = {"arriero, 1 worker": reader(source, root, files, 1)}
        if options.threads > 1:
            name = f"arriero, {options.threads} workers"
            variants[name] = reader(source, root, files, options.threads)
        variants[peer] = loop(paths)
        timed = interleave(
            variants, options.rounds, budget_seconds=options.budget_seconds / len(kinds)
        )
        for name, rounds in timed.items():
            load += rounds.load
            documents, characters = rounds.output
            wall, processor_time = rounds.against(timed[peer])
            rows.append(
                [
                    f"{source}: {name}",
                    f"{size / 1e6 / rounds.median:.2f}",
                    f"{documents / rounds.median:.0f}",
                    wall,
                    processor_time if "workers" not in name else "-",  # done in child processes
                    f"{documents:,}",
                    f"{characters / 1e6:.2f}",
                    rounds.spread,
                    str(len(rounds.seconds)),
                ]
            )
        notes.append(
            f"{source}: {len(files)} files, {size / 1e6:.1f} MB unpacked, {packed / 1e6:.1f} MB"
            " packed; MB/s are unpacked."
        )
    notes += [
        "OUTPUTS DIFFER by design. wikipedia: strip_code keeps the text of tables, references and"
        " categories; ours drops them, short pages and disambiguation, and puts the title first.",
        "commoncrawl: ours also checks the archive's end, drops repeated lines, short pages and"
        " other languages than English; documents are those that stay.",
    ]
    show(
        "Corpus readers on real dumps",
        ["reader", "MB/s", "documents/s", "x peer", "x peer, CPU time", "documents", "M characters",
         "spread", "rounds"],
        rows,
        threads=options.threads,
        libraries=versions(*LIBRARIES),
        load=load,
        notes=notes,
    )  # fmt: skip


if __name__ == "__main__":
    main()

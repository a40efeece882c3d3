"""pylatexenc on papers of a JSON file (a list of strings): to text, or parsed alone.

Runs in the peers' environment; see :class:`benchmarks.parts.PeerProcess`. A request is
``{"do": "text" | "parse" | "outputs", "only": [indices]}``; the answer to the last has ``file``, a
JSON list with the text of each paper, null where pylatexenc raised.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexWalker


def to_text(source: str) -> str:
    """What a user of pylatexenc does for a paper's text."""
    text: str = LatexNodes2Text().latex_to_text(source)
    return text


def parse(source: str) -> int:
    """The syntax tree alone; how many nodes it has at its top."""
    return len(LatexWalker(source).get_latex_nodes()[0])


def timed(work: Callable[[str], Any], sources: Sequence[str]) -> dict[str, Any]:
    """Seconds for all of ``sources``, one after the other."""
    begun, begun_processor = time.perf_counter(), time.process_time()
    for source in sources:
        work(source)
    return {
        "seconds": time.perf_counter() - begun,
        "processor": time.process_time() - begun_processor,
    }


def outputs(sources: Sequence[str], path: Path) -> dict[str, Any]:
    """Each paper's text written to ``path``; with the names of the errors by index."""
    texts: list[str | None] = []
    errors: dict[str, str] = {}
    begun = time.perf_counter()
    for number, source in enumerate(sources):
        try:
            texts.append(to_text(source))
        except Exception as error:  # whatever it raises on a paper is a paper it cannot read
            errors[str(number)] = type(error).__name__
            texts.append(None)
    path.write_text(json.dumps(texts), "utf-8")
    spent = time.perf_counter() - begun
    return {"seconds": spent, "processor": spent, "file": str(path), "errors": errors}


def main() -> None:
    """Answer requests until standard input ends."""
    given = Path(sys.argv[1])
    sources: list[str] = json.loads(given.read_text("utf-8"))
    for line in sys.stdin:
        request = json.loads(line)
        chosen = [sources[number] for number in request.get("only", range(len(sources)))]
        if request["do"] == "outputs":
            answer = outputs(chosen, given.with_name("outputs.json"))
        else:
            answer = timed(to_text if request["do"] == "text" else parse, chosen)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

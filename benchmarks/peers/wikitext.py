"""mwparserfromhell's `strip_code` on a list of wikitexts: one process, one thread.

Argument: JSON file with the list of texts. Each line of standard input is a round, a JSON object;
``outputs``, where given, names a file that the round's texts are written to, outside the time.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import mwparserfromhell


def main() -> None:
    texts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for line in sys.stdin:
        request = json.loads(line)
        wall, busy = time.perf_counter(), time.process_time()
        outputs = [mwparserfromhell.parse(text).strip_code() for text in texts]
        answer = {
            "seconds": time.perf_counter() - wall,
            "processor": time.process_time() - busy,
            "version": mwparserfromhell.__version__,
            "characters": sum(map(len, outputs)),
        }
        if request.get("outputs"):
            Path(request["outputs"]).write_text(json.dumps(outputs), encoding="utf-8")
        print(json.dumps(answer), flush=True)


main()

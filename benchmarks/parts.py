"""What the parts of the corpus benchmark share: their result, and peers in a venv of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from benchmarks.measure import ROOT, Rounds, show

PEERS = ROOT / ".peers" / "bin" / "python"


@dataclass(frozen=True)
class PartResult:
    """One part: ratio of its name in the JSON, and the table that shows it.

    ratio: Arriero's rate over the peer's, by the measure named in ``notes``. facts: JSON values
    beside it (recall, differences of the outputs, peak memory).
    """

    name: str
    title: str
    ratio: float
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    libraries: str
    load: Sequence[float]
    notes: Sequence[str]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def show(self, threads: int) -> None:
        """Print the part's table."""
        show(
            self.title,
            self.columns,
            self.rows,
            threads=threads,
            libraries=self.libraries,
            load=self.load,
            notes=self.notes,
        )


class PeerProcess:
    """A peer's script, running in the peers' environment; one JSON line in, one out.

    The script (``benchmarks/peers/<name>.py``) reads a line of JSON from standard input for every
    round and answers with one line of JSON that holds at least ``seconds`` and ``processor``
    (wall and processor seconds of the work alone, imports and loading left out). Whatever a
    library prints must go to standard error.
    """

    def __init__(self, script: str, *arguments: str) -> None:
        if not PEERS.is_file():
            raise SystemExit("the peers are not installed: run `make peers` first")
        path = ROOT / "benchmarks" / "peers" / f"{script}.py"
        self._process = subprocess.Popen(
            [str(PEERS), str(path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One round; raises when the script ends instead of answering."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def seconds_of(output: Any) -> tuple[float, float]:
    """Wall and processor seconds in a peer's answer, for :func:`benchmarks.measure.interleave`."""
    return float(output["seconds"]), float(output["processor"])


def ratio(ours: Rounds, peer: Rounds) -> float:
    """How many times as fast as the peer, by processor time: the steadier of the two measures."""
    return peer.processor_median / ours.processor_median

"""Write ``digests.json`` anew: ``python -m tests.golden.regenerate`` (or ``make golden``)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.golden.chain import machine, run_chain
from tests.golden.comparison import DIGESTS, problem, read_digests, write_digests


def main() -> None:
    """Run the chain, say what changed, write the file."""
    with tempfile.TemporaryDirectory() as folder:
        found = run_chain(Path(folder))
    committed, before = read_digests() if DIGESTS.is_file() else ({}, {})
    for name, golden in sorted(found.items()):
        print(
            problem(name, committed.get(name), golden, before == machine()) or f"{name}: as before"
        )
    for name in sorted(set(committed) - set(found)):
        print(f"{name}: no longer a stage")
    write_digests(found, machine())
    print(f"wrote {DIGESTS.name}; commit it with the change that it belongs to")


if __name__ == "__main__":
    main()

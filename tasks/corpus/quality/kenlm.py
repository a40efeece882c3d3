"""KenLM as it is installed here: the Python module that scores, the programs that train."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

FOLDER = "ARRIERO_KENLM_BIN"
MODULE = (
    "the Python module kenlm is not installed: pip install 'arriero[quality]' (it needs a C++"
    " compiler)"
)
PROGRAMS = (
    "lmplz and build_binary are not on PATH: build them with deploy/build_lmplz.sh and name their"
    f" folder in {FOLDER}"
)


class KenlmFailed(RuntimeError):
    """A program of KenLM ended with an error; the message holds its last lines."""


@dataclass(frozen=True)
class Kenlm:
    """The programs that train."""

    lmplz: Path
    build_binary: Path

    def train(
        self, pieces: Path, order: int, memory: str, scratch: Path, out: Path, log: Path
    ) -> None:
        """Write the binary model of ``pieces`` (a text of pieces and spaces) to ``out``.

        Modified Kneser-Ney, no pruning; the same text gives the same bytes.

        Args:
            memory: what lmplz may take before it sorts on disk. scratch: folder for that and for
                the ARPA file, several times the size of ``pieces``. log: what the programs say.

        Raises:
            KenlmFailed: one of the programs failed.
        """
        arpa = scratch / f"{out.name}.arpa"
        temporary = scratch / f"{out.name}.tmp"
        with log.open("ab") as said:
            # Small texts have too few n-grams of some counts; the text may spell <s> or </s>.
            options = ["-o", str(order), "-S", memory, "--discount_fallback", "--skip_symbols"]
            files = ["-T", f"{scratch}/lmplz-", "--text", str(pieces), "--arpa", str(arpa)]
            _run([str(self.lmplz), *options, *files], said.fileno(), log)
            files = ["-T", f"{scratch}/binary-", "probing", str(arpa), str(temporary)]
            _run([str(self.build_binary), *files], said.fileno(), log)
        arpa.unlink()
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        shutil.move(temporary, out)


def find_programs() -> Kenlm | None:
    """The programs in the folder that ARRIERO_KENLM_BIN names, else on PATH; None without them.

    Raises:
        ValueError: ARRIERO_KENLM_BIN names a folder that lacks one of them.
    """
    folder = os.environ.get(FOLDER) or None
    found = [shutil.which(name, path=folder) for name in ("lmplz", "build_binary")]
    lmplz, build_binary = found
    if lmplz is None or build_binary is None:
        if folder:
            raise ValueError(
                f"{FOLDER} names {folder}, which lacks lmplz or build_binary: build both with"
                f" deploy/build_lmplz.sh, or unset {FOLDER}"
            )
        return None
    return Kenlm(Path(lmplz), Path(build_binary))


def missing(programs: Kenlm | None) -> str:
    """What perplexity needs and is not installed, with what to do; "" when all of it is."""
    problems = [] if find_spec("kenlm") else [MODULE]
    if programs is None:
        problems.append(PROGRAMS)
    return "; ".join(problems)


def installed_module() -> str | None:
    """Version of the Python module kenlm; None without it."""
    try:
        return version("kenlm")
    except PackageNotFoundError:
        return None


def _run(command: Sequence[str], log: int, log_path: Path) -> None:
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False
    )
    if ended.returncode != 0:
        said = log_path.read_text("utf-8", "replace")[-1500:]
        raise KenlmFailed(f"{command[0]} ended with {ended.returncode}:\n{said}")

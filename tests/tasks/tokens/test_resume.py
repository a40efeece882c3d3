"""Token shards under kills, damage and eight times the text: the same bytes, the same memory."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.tokens import parts as parts_module
from tasks.tokens.parameters import TokenizerParameters, TokensParameters
from tasks.tokens.shards import build_tokens
from tasks.tokens.tokenizer import build_tokenizer
from tests.conftest import ROOT
from tests.tasks.tokens.corpora import read_rows, stage, tree_hash, write_mixture, write_rows


class Killed(Exception):
    """Stands for the end of the process."""


def test_whenever_it_ends_only_what_is_missing_is_encoded(
    built: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    """Ends after every number of parts, also between a part's files and the rename."""
    whole = stage(tmp_path / "whole")
    build_tokens(TokensParameters(workers=1), built["corpus"], built["tokenizer"], whole)
    parts = json.loads((whole.out / "logs" / "tokens.json").read_text())["parts"]
    write, rename = parts_module._write_part, Path.rename
    written = 0

    def ending_after(limit: int, in_rename: bool) -> None:
        def counted(*arguments: Any) -> Any:
            nonlocal written
            if written == limit and not in_rename:
                (arguments[1] / "tokens.bin").write_bytes(b"cut sh")
                raise Killed
            written += 1
            return write(*arguments)

        def renamed(path: Path, target: Path) -> Path:
            if in_rename and written == limit + 1 and path.name.startswith(".000"):
                raise Killed
            return rename(path, target)

        monkeypatch.setattr(parts_module, "_write_part", counted)
        monkeypatch.setattr(Path, "rename", renamed)

    for limit in (0, parts // 2, parts - 1):
        for in_rename in (False, True):
            context = stage(tmp_path / f"{limit}-{in_rename}")
            written = 0
            ending_after(limit, in_rename)
            arguments = (TokensParameters(workers=1), built["corpus"], built["tokenizer"], context)
            with pytest.raises(Killed):
                build_tokens(*arguments)
            shutil.rmtree(context.out)
            context.out.mkdir()
            written = 0
            ending_after(parts + 1, False)
            build_tokens(*arguments)
            said = json.loads((context.out / "logs" / "tokens.json").read_text())
            assert said["parts_from_earlier_attempts"] == limit and written == parts - limit
            assert tree_hash(context.out) == tree_hash(whole.out)
            assert not list(context.work.rglob(".0*"))


def test_a_damaged_part_and_one_of_another_tokenizer_are_encoded_again(
    built: dict[str, Path], tmp_path: Path
) -> None:
    context = stage(tmp_path / "a")
    parameters = TokensParameters(workers=1)
    other = stage(tmp_path / "other")
    settings = TokenizerParameters(vocab_size=380, sample_bytes=60_000)
    build_tokenizer(settings, built["corpus"], other)
    build_tokens(parameters, built["corpus"], other.out, context)
    build_tokens(parameters, built["corpus"], built["tokenizer"], context)
    assert tree_hash(context.out) == tree_hash(built["tokens"])
    data = next(path for path in sorted(context.work.rglob("tokens.bin")))
    data.write_bytes(data.read_bytes()[:-1] + b"\xff")
    build_tokens(parameters, built["corpus"], built["tokenizer"], context)
    assert tree_hash(context.out) == tree_hash(built["tokens"])
    said = json.loads((context.out / "logs" / "tokens.json").read_text())
    assert said["parts_from_earlier_attempts"] == said["parts"] - 1


@pytest.mark.slow
def test_killed_with_its_workers_it_goes_on(built: dict[str, Path], tmp_path: Path) -> None:
    """SIGKILL to a run with two workers, at several moments."""
    rows = [
        {
            "id": f"books:{n}",
            "text": f"{n} "
            + " ".join(row["text"] for row in read_rows(built["corpus"] / "train" / "books")),
            "language": "en",
        }
        for n in range(300)
    ]
    write_rows(tmp_path / "corpus" / "train" / "books", rows, files=3, row_group=20)
    write_mixture(tmp_path / "corpus", {"books": 1.0})
    code = (
        "import sys; from pathlib import Path\n"
        "from tasks.context import StageContext\n"
        "from tasks.tokens import execution, parts, shards\n"
        "from tasks.tokens.parameters import TokensParameters\n"
        "if __name__ == '__main__':\n"
        "    parts.SMALLEST_PART, execution.POOL_BYTES = 100_000, 0\n"
        "    corpus, tokenizer, out, work = map(Path, sys.argv[1:])\n"
        "    out.mkdir(parents=True); work.mkdir(parents=True, exist_ok=True)\n"
        "    context = StageContext(out=out, work=work)\n"
        "    shards.build_tokens(TokensParameters(workers=2), corpus, tokenizer, context)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)

    def start(name: str, work: str) -> subprocess.Popen[bytes]:
        folders = [tmp_path / "corpus", built["tokenizer"], tmp_path / name, tmp_path / work]
        return subprocess.Popen(
            [sys.executable, str(script), *map(str, folders)],
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    assert start("whole", "undisturbed").wait() == 0
    resumed = []
    for number in range(1, 4):
        work = tmp_path / f"work{number}"
        process = start(f"killed{number}", work.name)
        wanted = 3 * number
        while process.poll() is None and len(list(work.rglob("done.json"))) < wanted:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert start(f"again{number}", work.name).wait() == 0
        assert tree_hash(tmp_path / f"again{number}") == tree_hash(tmp_path / "whole")
        said = json.loads((tmp_path / f"again{number}" / "logs" / "tokens.json").read_text())
        resumed.append(said["parts_from_earlier_attempts"])
    assert all(n >= 3 * k for k, n in enumerate(resumed, start=1))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(built: dict[str, Path], tmp_path: Path) -> None:
    """Eight times the text, no two words alike: the highest use of memory within a tenth."""
    code = (
        "import re, sys; from pathlib import Path\n"
        "from tasks.context import StageContext\n"
        "from tasks.tokens import parts, shards\n"
        "from tasks.tokens.parameters import TokensParameters\n"
        "corpus, tokenizer, out, work = map(Path, sys.argv[1:])\n"
        "out.mkdir(parents=True); work.mkdir(parents=True)\n"
        "context = StageContext(out=out, work=work)\n"
        "shards.build_tokens(TokensParameters(workers=1), corpus, tokenizer, context)\n"
        # Not ru_maxrss: that begins with what the process that started this one had.
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    draw = random.Random(5)
    letters = str.maketrans("0123456789", "ghijklmnop")  # digits are words of their own

    def word() -> str:
        return f"{draw.getrandbits(60):x}".translate(letters)

    highest = []
    for size in (1, 8):
        corpus = tmp_path / f"corpus{size}"
        rows = (
            {"id": f"books:{n}", "text": " ".join(word() for _ in range(600))}
            for n in range(1_000 * size)
        )
        write_rows(corpus / "train" / "books", list(rows), files=size, row_group=200)
        write_mixture(corpus, {"books": 1.0})
        folders = [corpus, built["tokenizer"], tmp_path / f"out{size}", tmp_path / f"work{size}"]
        said = subprocess.run(
            [sys.executable, "-c", code, *map(str, folders)],
            check=True, capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        highest.append(int(said.stdout))
    assert highest[1] < 1.1 * highest[0]

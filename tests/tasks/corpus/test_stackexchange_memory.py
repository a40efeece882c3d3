"""Memory of the Stack Exchange reader does not grow with a site."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from html import escape
from pathlib import Path

import py7zr
import pytest

READ = """
import resource, sys
from pathlib import Path
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import stackexchange
stackexchange.identify = lambda text: ("en", 1.0)
funnel = Funnel("stackexchange")
documents = 0
for _ in stackexchange.read(Path(sys.argv[1]), [sys.argv[2]], CorpusParameters(), funnel):
    documents += 1
    funnel.take_rejected()
print(documents, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def write_site(path: Path, posts: int) -> None:
    path.parent.mkdir()
    with path.open("w") as handle:
        handle.write("<posts>\n")
        for number in range(1, posts + 1):
            noise = hashlib.sha512(str(number).encode()).hexdigest()  # it packs as text does
            body = escape(f"<p>{noise * 2} {'The mule driver led the llamas. ' * 12}</p>")
            kind = f'PostTypeId="2" ParentId="{number // 2}"' if number % 3 else 'PostTypeId="1"'
            handle.write(f'  <row Id="{number}" {kind} Score="{number % 7}" Body="{body}" />\n')
        handle.write("</posts>\n")


def read_site(root: Path, name: str) -> tuple[int, int]:
    """Documents, and the peak of memory in MiB, of a process that reads one site."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(root), name], capture_output=True, text=True, check=True
    )
    documents, peak = done.stdout.split()
    return int(documents), int(peak)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_eight_times_the_posts_take_no_more_memory(tmp_path: Path, packed: bool) -> None:
    found = []
    for name, posts in (("small.org", 12_000), ("large.org", 96_000)):
        write_site(tmp_path / name / "Posts.xml", posts)
        if packed:
            filters = [{"id": py7zr.FILTER_LZMA2, "preset": 1}]
            with py7zr.SevenZipFile(tmp_path / f"{name}.7z", "w", filters=filters) as archive:
                archive.write(tmp_path / name / "Posts.xml", "Posts.xml")
        found.append(read_site(tmp_path, f"{name}.7z" if packed else f"{name}/Posts.xml"))
    (few, small), (many, large) = found
    assert (few, many) == (4_000, 32_000)
    assert large < 1.1 * small, f"{small} MiB, then {large} MiB"

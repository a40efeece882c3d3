"""What ``arriero run`` and ``arriero up`` look at before they start anything.

A wrong version or a full disk would otherwise show minutes later, in a service's log, as an error
of something else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.installation import Check, check_pins, check_python, check_requirements

if TYPE_CHECKING:
    from registry.settings import Settings
    from tasks.corpus.parameters import CorpusParameters


class NotReady(ValueError):
    """This machine or environment cannot run the flows; the message says what to do."""


def require_installation() -> None:
    """Raise ``NotReady`` naming every package outside its range; imports none of them."""
    failed = [
        check
        for check in (check_python(), *check_pins(), *check_requirements())
        if check.status == "fail"
    ]
    if failed:
        lines = [f"{c.name} {c.found}, needed {c.expected}: {c.remedy}" for c in failed]
        raise NotReady(
            "the installed packages are not those that Arriero works with:\n- "
            + "\n- ".join(lines)
            + "\nRun `make setup`, which installs requirements.lock; nothing was started."
        )


def require_checkout() -> None:
    """Raise ``NotReady`` where the services' own files are not: in an installed package."""
    from flows.doctor import check_checkout

    check = check_checkout()
    if check.status == "fail":
        raise NotReady(f"{check.found}: {check.remedy}. Nothing was started.")


def require_room(settings: Settings) -> None:
    """Raise ``NotReady`` when the disk of the home or the store is as good as full."""
    from flows.doctor import NO_DISK_GB, check_places

    checks: list[Check] = [check for check in check_places(settings) if check.status == "fail"]
    if checks:
        lines = [f"{check.name} {check.found}: {check.remedy}" for check in checks]
        raise NotReady(
            f"no disk space ({NO_DISK_GB:g} GB free are needed):\n- "
            + "\n- ".join(lines)
            + "\nNothing was started."
        )


def require_sources(data: Path, parameters: CorpusParameters) -> None:
    """Raise ``NotReady`` naming every source without files, unless that is allowed.

    ``data`` is the folder that holds ``corpus/``. Whether the files can be read shows later.
    """
    from tasks.corpus.locate import locate_sources
    from tasks.corpus.mixture import SOURCES

    if parameters.allow_missing_sources or parameters.raw_url:  # a URL is listed by the flow
        return
    found = set(locate_sources(data))
    if parameters.github_packages:
        found.add("github")
    missing = [name for name in SOURCES if name not in found]
    data = data.resolve()
    if missing:
        folders = ", ".join(str(data / "corpus" / name) for name in missing)
        raise NotReady(
            f"no files for {', '.join(missing)}: the mixture of Table 1 needs all seven sources."
            f" Put their dumps into {folders}, or pass --allow-missing-sources to renormalise the"
            " mixture over the others."
        )

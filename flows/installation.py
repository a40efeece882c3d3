"""What is installed: interpreter, versions that work together, names, telemetry."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from pydantic import BaseModel, ConfigDict

DISTRIBUTION = "arriero"
PACKAGES = ("flows", "tasks", "model", "registry", "dashboards")
PYTHON = ">=3.11"
# DESIGN section 11; the reason is what happens outside of the range.
PINS = {
    "prefect": (">=3.8.8,<3.9", "the flows are tested with this server"),
    "fastapi": (">=0.139,<0.151", "newer ones keep the Prefect server from starting"),
    "sqlalchemy": (">=2.0.40,<2.1", "2.1 stops Prefect's schedules without an error"),
    "mlflow": (">=3.17,<3.18", "links and tables of its pages are of this version"),
    "torch": (">=2.13,<2.14", "numerics and checkpoint format are of this version"),
    "accelerate": (">=1.15,<1.16", "launch and wrapping are tested with this version"),
    "codecarbon": (">=3.3,<3.4", "others fail silently in other ways; this one is guarded"),
}
# Value that keeps each product quiet. MLflow knows DO_NOT_TRACK only as the word "true".
TELEMETRY = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}

Status = Literal["ok", "warn", "fail"]


class Check(BaseModel):
    """One thing looked at. ``remedy`` is empty when all is well."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: Status
    found: str
    expected: str
    remedy: str = ""


def check_python() -> Check:
    """The interpreter's version."""
    found = platform.python_version()
    good = Version(found) in SpecifierSet(PYTHON)
    remedy = "" if good else f"make the environment again with Python {PYTHON}: `make setup`"
    return pass_or_fail("python", good, found, PYTHON, remedy)


def check_pins() -> list[Check]:
    """Versions that are known to work together, one check per package."""
    checks = []
    for name, (pin, reason) in PINS.items():
        remedy = f"pip install '{name}{pin}' ({reason})"
        try:
            found = version(name)
        except PackageNotFoundError:
            checks.append(pass_or_fail(name, False, "not installed", pin, remedy))
            continue
        good = SpecifierSet(pin).contains(Version(found), prereleases=True)
        checks.append(pass_or_fail(name, good, found, pin, "" if good else remedy))
    return checks


def check_requirements() -> list[Check]:
    """The other dependencies that our metadata declares: one failure each, nothing when sound."""
    try:
        declared = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []  # running from the sources; check_packages says so
    failed = []
    for requirement in map(Requirement, declared):
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not wanted or requirement.name in PINS:
            continue
        remedy = f"pip install '{requirement}'"
        expected = str(requirement.specifier) or "any version"
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            failed.append(pass_or_fail(requirement.name, False, "not installed", expected, remedy))
            continue
        if not requirement.specifier.contains(Version(found), prereleases=True):
            failed.append(pass_or_fail(requirement.name, False, found, expected, remedy))
    return failed


def check_packages(
    owners: Callable[[], Mapping[str, list[str]]] = packages_distributions,
) -> Check:
    """Our top-level names are common words: nobody else may have installed one."""
    expected = f"{', '.join(PACKAGES)} belong to {DISTRIBUTION} alone"
    installed = owners()
    found = {name: sorted(set(installed.get(name, []))) for name in PACKAGES}
    foreign = {n: [d for d in ds if d != DISTRIBUTION] for n, ds in found.items()}
    clashes = [f"{n} is also of {', '.join(ds)}" for n, ds in foreign.items() if ds]
    if clashes:
        others = " ".join(sorted({d for ds in foreign.values() for d in ds}))
        remedy = f"pip uninstall {others}, or use an environment of its own: `make setup`"
        return pass_or_fail("package names", False, "; ".join(clashes), expected, remedy)
    missing = [name for name, ds in found.items() if not ds]
    if missing:
        return Check(
            name="package names",
            status="warn",
            found=f"not installed: {', '.join(missing)} (running from the sources)",
            expected=expected,
            remedy="pip install -e . in the checkout",
        )
    return pass_or_fail("package names", True, "ours alone", expected)


def check_telemetry(environment: Mapping[str, str]) -> Check:
    """Nobody is told what runs here. Unset is fine: the services are started with these values."""
    expected = ", ".join(f"{name}={value}" for name, value in TELEMETRY.items())
    wrong = [
        f"{name}={environment[name]}"
        for name, value in TELEMETRY.items()
        if environment.get(name, value).lower() != value
    ]
    if wrong:
        return Check(
            name="telemetry",
            status="warn",
            found=", ".join(wrong),
            expected=expected,
            remedy=f"export {expected.replace(', ', ' ')}, or unset them",
        )
    return pass_or_fail("telemetry", True, "off", expected)


def pass_or_fail(name: str, good: bool, found: str, expected: str, remedy: str = "") -> Check:
    """A check that is ok or a failure with its remedy."""
    return Check(
        name=name,
        status="ok" if good else "fail",
        found=found,
        expected=expected,
        remedy="" if good else remedy,
    )

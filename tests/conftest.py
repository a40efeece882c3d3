"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def arriero_data() -> Path:
    """Folder of the real dumps: ``ARRIERO_DATA``, else ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("ARRIERO_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real dumps not found at {folder}: set ARRIERO_DATA")
    return folder

"""What several test folders share; its place puts this folder on the path, for the worlds next to it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a start and its reference in the tiny world (tests/tiny.py)."""
    import tiny

    folder = tmp_path_factory.mktemp("shelf")
    tiny.fill(folder)
    return folder

"""What several test folders share; its place puts this folder on the path, for the worlds next to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# tiny tensors gain nothing from threads, and the threads of several test processes wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a start and its reference in the tiny world (tests/tiny.py)."""
    import tiny

    folder = tmp_path_factory.mktemp("shelf")
    tiny.fill(folder)
    return folder

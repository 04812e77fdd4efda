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


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the fake is told what to do; submissions are repeated at once."""
    home = tmp_path / "slurm"
    home.mkdir()
    monkeypatch.setenv("FAKE_SLURM", str(home))
    import fake_slurm
    from bricks import PLUGINS

    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)
    fake_slurm.install(home)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("harness.executors._slurm_script.AGAIN_SECONDS", 0.1)
    monkeypatch.setattr("harness.executors._slurm_handle.SETTLE_SECONDS", 2.0)
    return home

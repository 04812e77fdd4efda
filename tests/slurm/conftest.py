"""A real Slurm for this folder's tests; they skip where there is none, but not where one is required."""

from __future__ import annotations

import os
from collections.abc import Iterator

import cluster
import pytest
from bricks import PLUGINS

SETTLE_SECONDS = 4.0
"""Files of jobs are not late on a disk of this machine; longer than the states of jobs may be old."""


@pytest.fixture(scope="session")
def started() -> Iterator[cluster.Cluster]:
    lacking = cluster.missing()
    if lacking and os.environ.get("HARNESS_REQUIRE_SLURM"):
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)
    with cluster.running() as found:
        yield found


@pytest.fixture
def slurm(started: cluster.Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[cluster.Cluster]:
    """The cluster, with nothing in its queue, in the environment of this process."""
    for name, value in {**started.environment, "HARNESS_PLUGINS": PLUGINS}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("harness.executors._slurm_handle.SETTLE_SECONDS", SETTLE_SECONDS)
    yield started
    started.run("scancel", "--user=root")
    started.wait_ready()

"""What stages cost, against what Slurm's own accounting says of their jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import accounts
import cluster
import pytest
from bricks import PLUGINS, brick, record, until

from harness.dispatch import run
from harness.executors.slurm import Slurm
from harness.store import Store

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def accounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.Cluster]:
    lacking = cluster.missing() or accounts.missing()
    if lacking:
        pytest.skip(lacking)
    with cluster.running(accounts.start) as found:
        yield found


def attempts(slurm: cluster.Cluster, name: str) -> list[tuple[str, int]]:
    """State and elapsed seconds of each start of the jobs of a stage, in their order."""
    shown = "--format=JobName%80,State,ElapsedRaw"
    said = slurm.run("sacct", "--allocations", "--duplicates", "--noheader", "--parsable2", shown)
    rows = [line.split("|") for line in said.splitlines()]
    return [(state, int(seconds)) for job, state, seconds in rows if job.startswith(name)]


def test_cost_is_that_of_sacct(accounted: cluster.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**accounted.environment, "HARNESS_PLUGINS": PLUGINS}.items():
        monkeypatch.setenv(name, value)
    well, dead = brick("well", seconds=20.0), brick("dead", trouble="kill", once=True, seconds=6.0)
    wishes = {"gpus": 1, "setup": (f"[ -e {tmp_path}/met-dead ] || sleep 4",)}
    for stage in (dead, well):  # each in a job of its own
        assert run([stage], Store(tmp_path), Slurm(timeout_min=5, resources=wishes)).ran == [stage.name]
        until(lambda name=stage.name: attempts(accounted, name)[-1][0] == "COMPLETED")
    for stage, expected in ((well, ["COMPLETED"]), (dead, ["FAILED", "COMPLETED"])):
        found, said = record(tmp_path, stage), attempts(accounted, stage.name)
        assert [state for state, _ in said] == expected
        unmeasured = said[-1][1] - found["cost"]["device_seconds"]
        assert -1 < unmeasured <= 3, "whole seconds, and what a job takes to start Python without torch"
        assert found["failed_device_seconds"] == sum(seconds for _, seconds in said[:-1])
    assert record(tmp_path, dead)["failed_device_seconds"] >= 4, "from the job's start, which no lease tells"

"""What stages cost, against what Slurm's own accounting says of their jobs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import accounts
import cluster
import pytest
from bricks import PLUGINS, brick, record, runs, until
from test_cli import TINY

from harness.dispatch import run
from harness.executors import _slurm_notes as notes
from harness.executors.slurm import Slurm
from harness.plan import make_plan
from harness.recipe import read_recipe
from harness.stages import walk
from harness.store import Store

DRIVE = Path(__file__).parent / "drive.py"
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


def agrees(elapsed: int, measured: float) -> bool:
    """Within two seconds; of jobs of more than a hundred, within two per cent. sacct knows whole seconds."""
    return abs(elapsed - measured) <= max(2.0, 0.02 * elapsed)


def over(slurm: cluster.Cluster, name: str) -> list[tuple[str, int]]:
    """The same once the last of them has ended well."""
    until(lambda: (said := attempts(slurm, name)) and said[-1][0] == "COMPLETED")
    return attempts(slurm, name)


@pytest.fixture
def there(accounted: cluster.Cluster, monkeypatch: pytest.MonkeyPatch) -> cluster.Cluster:
    for name, value in {**accounted.environment, "HARNESS_PLUGINS": PLUGINS}.items():
        monkeypatch.setenv(name, value)
    return accounted


def test_cost_is_that_of_sacct(there: cluster.Cluster, tmp_path: Path) -> None:
    well, dead = brick("well", seconds=20.0), brick("dead", trouble="kill", once=True, seconds=6.0)
    wishes = {"gpus": 1, "setup": (f"[ -e {tmp_path}/met-dead ] || sleep 4",)}
    for stage in (dead, well):  # each in a job of its own
        assert run([stage], Store(tmp_path), Slurm(timeout_min=5, resources=wishes)).ran == [stage.name]
    for stage, expected in ((well, ["COMPLETED"]), (dead, ["FAILED", "COMPLETED"])):
        said, found = over(there, stage.name), record(tmp_path, stage)
        assert [state for state, _ in said] == expected
        assert agrees(said[-1][1], found["cost"]["device_seconds"])
        assert found["failed_device_seconds"] == sum(seconds for _, seconds in said[:-1])
    assert record(tmp_path, dead)["failed_device_seconds"] >= 4, "from the job's start, which no lease tells"


def test_a_requeued_attempt_costs_what_sacct_says(there: cluster.Cluster, tmp_path: Path) -> None:
    stage = brick("again", seconds=18.0)
    Store(tmp_path).prepare(stage)
    driver = subprocess.Popen([sys.executable, str(DRIVE), str(tmp_path), "low"])
    until(lambda: runs(tmp_path))
    time.sleep(8)  # between two signs of life
    (job,) = {note.job for note in notes.every(tmp_path).values()}
    there.run("scontrol", "requeue", job)
    assert driver.wait(timeout=120) == 0
    (first, before), (last, elapsed) = over(there, stage.name)
    assert (first, last) == ("REQUEUED", "COMPLETED")
    found = record(tmp_path, stage)
    assert (found["failed_device_seconds"], runs(tmp_path)[stage.name]) == (before, 2)
    assert agrees(elapsed, found["cost"]["device_seconds"])


def test_stages_that_share_a_job_share_its_cost(there: cluster.Cluster, tmp_path: Path) -> None:
    first = brick("first", seconds=3.0)
    second = brick("second", first, seconds=3.0)
    executor = Slurm(timeout_min=5, resources={"setup": ("sleep 3",)})
    executor.bundle = 100
    run([second], Store(tmp_path), executor)
    ((_, elapsed),) = over(there, first.name)
    costs = [record(tmp_path, stage)["cost"] for stage in (first, second)]
    assert agrees(elapsed, sum(cost["device_seconds"] for cost in costs))
    assert costs[0]["idle_seconds"] > 3 > 1 > costs[1]["idle_seconds"], "the first brings Python up"


def test_a_training_costs_what_sacct_says(there: cluster.Cluster, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY.replace("\nsteps = 2\n", "\nsteps = 300\n"))
    stages = make_plan(read_recipe(recipe)).stages()
    sft = next(stage for stage in stages if stage.spec.get("algorithm", {}).get("name") == "sft")
    run(list(walk([sft])), Store(tmp_path), Slurm(timeout_min=5, resources={"memory_gb": 1.9}))
    for stage in walk([sft]):
        ((_, elapsed),) = over(there, stage.name)
        assert agrees(elapsed, record(tmp_path, stage)["cost"]["device_seconds"]), stage.name


def test_beyond_the_users_limit_on_jobs_stages_wait_their_turn(there: cluster.Cluster, tmp_path: Path) -> None:
    row = [brick(f"limited {i}") for i in range(5)]
    accounts.limit(there, 2)
    try:
        summary = run(row, Store(tmp_path), Slurm(timeout_min=5))
    finally:
        accounts.limit(there, -1)
    assert (len(summary.ran), summary.failed) == (5, {})
    assert set(runs(tmp_path).values()) == {1}
    scripts = len(list((tmp_path / ".slurm" / "submitted").glob("[0-9]*.sh")))
    assert scripts > 1, "it was not one array"

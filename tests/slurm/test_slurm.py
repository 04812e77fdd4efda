"""Stages as jobs of a real Slurm of two nodes (cluster.py): nothing is lost, and nothing runs twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from bricks import brick, outputs, runs, until, wall
from cluster import Cluster
from test_cli import TINY, inside

from harness.dispatch import Summary, run
from harness.errors import HarnessError
from harness.executors.inline import Inline
from harness.executors.slurm import Slurm
from harness.stages import Stage
from harness.store import Store

pytestmark = pytest.mark.timeout(240)


def go(results: Path, *targets: Stage, retries: int = 1, **options: object) -> Summary:
    executor = Slurm(timeout_min=5, **options)  # type: ignore[arg-type]
    return run(list(targets), Store(results), executor, retries=retries)


def jobs(slurm: Cluster, *columns: str, states: str = "pending,running") -> list[str]:
    shown = slurm.run("squeue", "--noheader", "--array", f"--states={states}", f"--format={' '.join(columns) or '%i'}")
    return shown.splitlines()


def driver(results: Path, partition: str = "low") -> subprocess.Popen[bytes]:
    """A run of a wall in a process of its own."""
    words = [sys.executable, str(Path(__file__).with_name("drive.py")), str(results), partition]
    return subprocess.Popen(words, start_new_session=True)


def test_a_wall_is_that_of_another_executor_in_a_folder_with_a_hostile_name(slurm: Cluster, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / 'it\'s "odd" $(touch owned) `touch owned` é'
    there.mkdir()
    run(wall(3, 2, 0.0), Store(here), Inline())
    summary = go(there, *wall(3, 2, 0.0))
    assert (len(summary.ran), summary.failed, summary.blocked) == (7, {}, {})
    assert outputs(there) == outputs(here)
    assert set(runs(there).values()) == {1}
    assert not list(tmp_path.rglob("owned"))
    assert not list(Path.cwd().glob("owned"))


def test_what_is_ready_together_is_one_array_with_the_wishes_of_the_recipe(slurm: Cluster, tmp_path: Path) -> None:
    wishes = {"partition": "high", "gpus": 2, "memory_gb": 0.5}
    row = [brick(f"{i}", seconds=0.0) for i in range(3)]
    assert not go(tmp_path, *row, resources=wishes, workers=7).failed
    (script,) = (tmp_path / ".slurm" / "submitted").glob("[0-9]*.sh")
    asked = {line for line in script.read_text().splitlines() if line.startswith("#SBATCH")}
    assert {
        "#SBATCH --array=0-2%3",
        "#SBATCH --partition=high",
        "#SBATCH --gpus-per-node=2",
        "#SBATCH --mem=512M",
    } <= asked
    assert {"#SBATCH --time=5", "#SBATCH --requeue", "#SBATCH --cpus-per-task=1"} <= asked


def test_no_more_jobs_than_workers(slurm: Cluster, tmp_path: Path) -> None:
    row = [brick(f"{i}", seconds=0.0) for i in range(4)]
    assert not go(tmp_path, *row, workers=2).failed
    widths = [
        script.read_text().count("--array=0-1%2") for script in (tmp_path / ".slurm" / "submitted").glob("[0-9]*.sh")
    ]
    assert sum(widths) >= 1
    assert set(runs(tmp_path).values()) == {1}


def test_a_failed_stage_blocks_what_rests_on_it_alone(slurm: Cluster, tmp_path: Path) -> None:
    bad, good = brick("bad", trouble="divergence"), brick("good")
    summary = go(tmp_path, brick("on bad", bad), brick("on good", good))
    assert summary.failed == {bad.name: "divergence"}
    assert list(summary.blocked.values()) == [bad.name]
    assert len(summary.ran) == 2


def test_a_job_that_was_killed_is_tried_again_so_often(slurm: Cluster, tmp_path: Path) -> None:
    once, always = brick("once", trouble="kill", once=True), brick("always", trouble="kill")
    summary = go(tmp_path, once, always)
    assert (summary.ran, summary.failed) == ([once.name], {always.name: "killed"})
    assert runs(tmp_path) == {once.name: 2, always.name: 2}


def test_a_refusal_of_sbatch_is_one_clear_message(slurm: Cluster, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"(?i)Slurm took no job: .*invalid partition.*look at \[launch\]"):
        go(tmp_path, brick("a"), resources={"partition": "nowhere"})
    assert not runs(tmp_path)


def test_the_signal_before_the_time_limit_requeues_the_job(slurm: Cluster, tmp_path: Path) -> None:
    stage = brick("a", seconds=8.0)
    Store(tmp_path).prepare(stage)
    running = driver(tmp_path)
    until(lambda: runs(tmp_path))
    (job,) = jobs(slurm)
    slurm.run("scancel", "--signal=USR2", job)
    assert running.wait(timeout=100) == 0
    assert runs(tmp_path) == {stage.name: 2}
    assert len(list((tmp_path / ".slurm" / "submitted").glob("[0-9]*.sh"))) == 1, "the same job, not another"


def test_where_preemption_cancels_the_driver_submits_again(slurm: Cluster, tmp_path: Path) -> None:
    row = [brick(f"{i}", trouble="deaf", once=True) for i in range(2)]  # one that hears may be requeued by itself first
    for stage in row:
        Store(tmp_path).prepare(stage)
    running = driver(tmp_path, "cancelled")
    until(lambda: all((tmp_path / f"met-{i}").exists() for i in range(2)))
    slurm.run("sbatch", "--partition=high", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 2")
    assert running.wait(timeout=120) == 0
    assert max(runs(tmp_path).values()) == 2
    assert len(list((tmp_path / ".slurm" / "submitted").glob("[0-9]*.sh"))) > 1


@pytest.mark.long
@pytest.mark.timeout(1900)
def test_a_comparison_of_four_algorithms_is_that_of_the_local_executor(slurm: Cluster, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY + "".join(f'\n[[algorithm]]\nname = "{name}"\n' for name in ("cut", "ppo")))
    for executor in ("local", "slurm"):
        words = [f"launch.executor={executor}", "launch.timeout_min=10", "launch.workers=2", "launch.memory_gb=1.9"]
        command = [sys.executable, "-m", "harness.cli", "run", str(recipe), "--results", str(tmp_path / executor)]
        command += ["--reports", str(tmp_path / f"{executor}-reports"), *(f"--set={word}" for word in words)]
        subprocess.run(command, check=True, cwd=tmp_path, timeout=900, env={**os.environ, "OMP_NUM_THREADS": "1"})
    local, slurmed = outputs(tmp_path / "local"), outputs(tmp_path / "slurm")
    assert json.dumps(local, sort_keys=True) == json.dumps(slurmed, sort_keys=True)
    told = inside("status", str(recipe), "--json", "--results", str(tmp_path / "slurm"), cwd=tmp_path)
    status = json.loads(told.stdout)
    assert (status["done"], status["total"], status["failures"]) == (len(local), len(local), [])
    one, other = (tmp_path / f"{executor}-reports" / "tiny" / "tables" for executor in ("local", "slurm"))
    timed = ["device_seconds", "own_device_seconds", "cpu_seconds", "seconds"]
    for name in ("main", "pairs", "runs", "gaps", "metrics", "costs"):
        here, there = (
            pd.read_csv(tables / f"{name}.csv").filter(regex=f"^(?!.*({'|'.join(timed)}|memory))")
            for tables in (one, other)
        )
        pd.testing.assert_frame_equal(here, there)
    assert set(pd.read_csv(other / "costs.csv")["status"]) == {"done"}, "each stage once, and none failed"

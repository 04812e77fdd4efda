"""A training that is interrupted on a real Slurm ends with the weights of one that was not, to the last bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bricks import record, until
from cluster import Cluster
from test_cli import TINY

from harness.dispatch import run
from harness.executors.inline import Inline
from harness.plan import make_plan
from harness.recipe import read_recipe
from harness.stages import Stage, walk
from harness.store import Store

pytestmark = pytest.mark.timeout(240)
STEPS = 800
SELDOM, OFTEN = 10_000, 40
"""Steps between checkpoints: none by itself, or many."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Stage]:
    """A results folder with an SFT of many steps, and that stage."""
    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = folder / "tiny.toml"
    recipe.write_text(TINY.replace("\nsteps = 2\n", f"\nsteps = {STEPS}\n"))
    stages = make_plan(read_recipe(recipe)).stages()
    sft = next(stage for stage in stages if stage.spec.get("algorithm", {}).get("name") == "sft")
    run(list(walk([sft])), Store(folder / "results"), Inline())
    return folder / "results", sft


class Training:
    """The same training as a job that can be preempted, with its driver."""

    def __init__(
        self, slurm: Cluster, undisturbed: tuple[Path, Stage], results: Path, every: int, partition: str = "low"
    ) -> None:
        self.slurm, (self.before, self.stage), self.results = slurm, undisturbed, results
        self.partition = partition
        shutil.copytree(self.before, results, ignore=shutil.ignore_patterns(self.stage.name))
        Store(results).prepare(self.stage)
        words = [sys.executable, str(Path(__file__).with_name("drive.py")), str(results), partition, f"every={every}"]
        self.driver = subprocess.Popen(words, start_new_session=True)
        until(self.checkpoints.is_dir)

    @property
    def checkpoints(self) -> Path:
        return self.results / self.stage.name / "checkpoints"

    def whole(self) -> list[Path]:
        return list(self.checkpoints.glob("checkpoint-*/complete.json"))

    def job(self) -> str:
        (found,) = self.slurm.run("squeue", "--noheader", f"--partition={self.partition}", "--format=%i").split()
        return found

    def ends_as_if_nothing_had_been(self) -> None:
        assert self.driver.wait(timeout=150) == 0
        assert record(self.results, self.stage)["status"] == "done"
        log = (self.results / self.stage.name / "log.txt").read_text()
        assert "goes on from checkpoint-" in log, "it does not begin anew"
        one, other = (folder / self.stage.name / "policy" for folder in (self.before, self.results))
        assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
        assert (one.parent / "curves.parquet").read_bytes() == (other.parent / "curves.parquet").read_bytes()


def test_the_signal_before_the_time_limit_has_a_checkpoint_written(
    slurm: Cluster, undisturbed: tuple[Path, Stage], tmp_path: Path
) -> None:
    training = Training(slurm, undisturbed, tmp_path / "results", SELDOM)
    time.sleep(1)
    assert not training.whole()
    job = training.job()
    slurm.run("scancel", "--signal=USR2", job)
    until(lambda: bool(training.whole()))
    until(lambda: "Restarts=1" in slurm.run("scontrol", "show", "job", job))
    training.ends_as_if_nothing_had_been()


def test_a_training_is_preempted(slurm: Cluster, undisturbed: tuple[Path, Stage], tmp_path: Path) -> None:
    training = Training(slurm, undisturbed, tmp_path / "results", OFTEN)
    until(lambda: bool(training.whole()))
    job = training.job()
    slurm.run("sbatch", "--partition=high", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 1")
    until(lambda: "Restarts=1" in slurm.run("scontrol", "show", "job", job))
    training.ends_as_if_nothing_had_been()


@pytest.mark.long
def test_a_training_that_is_warned_before_preemption_writes_a_checkpoint_first(
    slurm: Cluster, undisturbed: tuple[Path, Stage], tmp_path: Path
) -> None:
    training = Training(slurm, undisturbed, tmp_path / "results", SELDOM, "warned")
    time.sleep(1)
    assert not training.whole()
    job = training.job()
    slurm.run("sbatch", "--partition=high", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 1")
    until(lambda: bool(training.whole()))
    until(lambda: "Restarts=1" in slurm.run("scontrol", "show", "job", job))
    training.ends_as_if_nothing_had_been()


@pytest.mark.long
def test_a_training_is_killed_without_a_signal(slurm: Cluster, undisturbed: tuple[Path, Stage], tmp_path: Path) -> None:
    training = Training(slurm, undisturbed, tmp_path / "results", OFTEN)
    until(lambda: bool(training.whole()))
    (lease,) = (training.results / training.stage.name).glob("lease-*.json")
    os.kill(json.loads(lease.read_text())["pid"], signal.SIGKILL)
    training.ends_as_if_nothing_had_been()
    assert len(list((tmp_path / "results" / ".slurm" / "submitted").glob("[0-9]*.sh"))) == 2

"""What may happen to the jobs of a comparison: nothing is lost, nothing runs twice, and what is said of it is true."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from bricks import runs, until
from cluster import Cluster
from scene import Scene

from harness.dispatch import run
from harness.executors.slurm import Slurm

pytestmark = pytest.mark.timeout(240)
FOUR = [f"a r{seed}" for seed in range(4)]


def jobs(slurm: Cluster, form: str = "%i") -> list[str]:
    return slurm.run("squeue", "--noheader", "--array", "--states=pending,running", f"--format={form}").splitlines()


def scripts(scene: Scene) -> int:
    return len(list((scene.results / ".slurm" / "submitted").glob("[0-9]*.sh")))


def begun(scene: Scene) -> dict[str, int]:
    """How often the stage of each contestant was begun."""
    return {who: runs(scene.results)[stage.name] for who, stage in scene.stages.items()}


def going(scene: Scene) -> dict[str, str]:
    """The jobs of contestants that run or wait, after checking that status counts them so and knows of no failure."""
    status = scene.status()
    found = {who: status["jobs"][stage.name] for who, stage in scene.stages.items() if stage.name in status["jobs"]}
    assert status.get("running", 0) + status.get("queued", 0) == len(found)
    assert not status["failures"]
    return found


@pytest.mark.parametrize("partition", ["low", "cancelled"])
def test_jobs_are_preempted_and_requeued_or_cancelled_by_the_cluster(
    slurm: Cluster, tmp_path: Path, partition: str
) -> None:
    scene = Scene(tmp_path, {"seconds": 6.0}, replicates=4)
    driver = scene.driver(partition)
    until(lambda: len(runs(scene.results)) == 4)
    first = going(scene)
    slurm.run("sbatch", "--partition=high", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 2")
    assert driver.wait(timeout=120) == 0
    found = begun(scene)
    assert set(found.values()) <= {1, 2}
    assert 2 in found.values(), "at least one was interrupted"
    assert list(first) == FOUR
    assert scripts(scene) == 1 or partition == "cancelled", "a job that hears the signal may be requeued before that"
    scene.is_told(done=found, failed={})


def test_a_task_of_an_array_is_found_by_its_own_number_and_told_to_be_requeued(slurm: Cluster, tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"seconds": 60.0}, replicates=2)
    driver = scene.driver()
    until(lambda: len(runs(scene.results)) == 2)
    label, job = next((who, job) for who, job in going(scene).items() if job.endswith("_0"))
    (own,) = slurm.run("squeue", "--noheader", f"--jobs={job}", "--format=%A").split()
    assert own not in job
    assert scene.asked("logs", own).startswith(f"train {label}: running, Slurm job {job} ")
    slurm.run("scontrol", "requeue", job)
    until(lambda: scene.status()["requeued"] == {scene.stages[label].name: 1})
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()


def test_a_job_is_cancelled_by_its_owner(slurm: Cluster, tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"trouble": "hang", "once": True}, {})
    driver = scene.driver()
    until(lambda: (scene.results / "met-").exists() and scene.store.done(scene.stages["b r0"].name))
    until(lambda: len(jobs(slurm)) == 1)
    assert list(going(scene)) == ["a r0"]
    slurm.run("scancel", *jobs(slurm))
    until(lambda: scene.status()["failures"])
    scene.asked("report")  # it writes down what has ended without a word, and so does the driver
    assert driver.wait(timeout=60) == 1
    scene.is_told(done={"b r0": 1}, failed={"a r0": ("cancelled", "it was cancelled")})
    assert scene.driver().wait(timeout=60) == 0, "the next run does it"
    scene.is_told(done={"a r0": 2, "b r0": 1}, failed={})


def test_the_driver_is_killed_right_after_submission(slurm: Cluster, tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"seconds": 4.0}, replicates=4)
    driver = scene.driver()
    until(lambda: len(list((scene.results / ".slurm" / "jobs").glob("*.json"))) == 4)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    before = set(jobs(slurm))
    assert set(going(scene).values()) == before, "the jobs go on"
    assert scene.driver().wait(timeout=90) == 0
    assert scripts(scene) == 1
    scene.is_told(done=dict.fromkeys(FOUR, 1), failed={})


def test_the_controller_is_stopped_and_started(slurm: Cluster, tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"seconds": 4.0})
    (stage,) = scene.stages.values()
    driver = scene.driver()
    until(lambda: runs(scene.results))
    slurm.stop("slurmctld")
    until(lambda: scene.store.done(stage.name))
    assert scene.status()["done"] == 2, "the disk says so"
    slurm.controller()
    assert driver.wait(timeout=90) == 0
    scene.is_told(done={"a r0": 1}, failed={})


def test_a_job_goes_over_its_memory(slurm: Cluster, tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"trouble": "hoard"}, {})
    summary = run([*scene.stages.values()], scene.store, Slurm(timeout_min=5, resources={"memory_gb": 0.7}))
    assert summary.failed == {scene.stages["a r0"].name: "out of memory"}
    assert begun(scene) == {"a r0": 1, "b r0": 1}, "it is not tried again"
    words = "it was killed for going over its memory limit"
    scene.is_told(done={"b r0": 1}, failed={"a r0": ("out of memory", words)})


def test_a_node_goes_down(slurm: Cluster, tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"seconds": 8.0})
    driver = scene.driver()
    until(lambda: runs(scene.results))
    (node,) = jobs(slurm, "%N")
    slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        assert driver.wait(timeout=100) == 0
    finally:
        if "down" in slurm.run("sinfo", "--noheader", "--Node", f"--nodes={node}", "--format=%T"):
            slurm.run("scontrol", "update", f"nodename={node}", "state=resume")
    assert scripts(scene) == 1, "Slurm has requeued it"
    scene.is_told(done={"a r0": 2}, failed={})


@pytest.mark.long
def test_the_daemon_of_a_node_is_killed(slurm: Cluster, tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"seconds": 40.0})
    driver = scene.driver()
    until(lambda: runs(scene.results))
    (node,) = jobs(slurm, "%N")
    daemon = slurm.daemons.pop(node)
    daemon.kill()
    daemon.wait()
    try:
        assert driver.wait(timeout=180) == 0
    finally:
        slurm.node(node)
    found = begun(scene)
    assert found["a r0"] <= 2, "the process on the node may have gone on, or not"
    scene.is_told(done=found, failed={})


@pytest.mark.long
def test_a_job_that_was_requeued_often_enough_reaches_its_time_limit(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.executors._slurm_script.REQUEUES", 1)
    scene = Scene(tmp_path, {"seconds": 300.0}, {})
    summary = run([*scene.stages.values()], scene.store, Slurm(timeout_min=1))
    assert summary.failed == {scene.stages["a r0"].name: "timeout"}
    assert (begun(scene), scripts(scene)) == ({"a r0": 2, "b r0": 1}, 1)
    scene.is_told(done={"b r0": 1}, failed={"a r0": ("timeout", "it reached its time limit")})


@pytest.mark.long
def test_a_job_that_hears_no_signal_reaches_its_time_limit(slurm: Cluster, tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"trouble": "deaf", "once": True}, {})
    summary = run([*scene.stages.values()], scene.store, Slurm(timeout_min=1))
    assert summary.failed == {scene.stages["a r0"].name: "timeout"}
    scene.is_told(done={"b r0": 1}, failed={"a r0": ("timeout", "it reached its time limit")})
    assert scene.driver().wait(timeout=60) == 0, "the next run does it"
    scene.is_told(done={"a r0": 2, "b r0": 1}, failed={})

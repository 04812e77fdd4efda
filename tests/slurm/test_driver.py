"""A search that is left to a real Slurm: its driver is a small job, is seen, ended, requeued, and never there twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from bricks import outputs, until
from cluster import Cluster
from test_cli import TINY, inside
from test_commands import HELD, asked, dry, pretended, queue, recipe, submitted, told

from harness.lease import newest
from harness.stages import walk
from harness.store import Store

pytestmark = pytest.mark.timeout(240)
SEARCH = TINY.replace("replicates = 2", "replicates = 1").split('\n[[algorithm]]\nname = "kto"')[0]
SEARCH += "\n[tune]\ntrials = 2\nrandom = 1\nprompts = 4\nsamples = 1\n"
DRIVER = "\n[launch.driver]\nmemory_gb = 1\nsbatch = []\n"


def trials(results: Path) -> list[dict[str, Any]]:
    studies = json.loads((results / "tuning" / "tiny" / "trials.json").read_text())["studies"]
    return [trial for study in studies for trial in study["trials"]]


def test_the_driver_is_one_job_that_is_seen_and_ended_and_what_it_left_is_taken_up(
    slurm: Cluster, tmp_path: Path
) -> None:
    place = recipe(tmp_path, SEARCH + HELD + DRIVER)
    written = dry(place, "--detach")
    left = told(place, "run", "--detach")["submitted"]
    (name,) = left
    assert name.startswith("driver-tiny-")
    assert pretended(submitted(place)) == written
    assert {"#SBATCH --cpus-per-task=1", "#SBATCH --mem=1024M"} <= set(written[0].splitlines())
    again = told(place, "run", "--detach")
    assert (again["submitted"], again["held"]) == ({}, left)
    until(lambda: told(place, "status").get("queued"))
    status = told(place, "status")
    assert status["driver"] == {"word": "running", "job": left[name], "error": "", "sure": True}
    assert status["tuning"] == [{"contestant": "dpo", "ended": 0, "planned": 2}]
    assert set(status["jobs"].values()) == set(queue(slurm)) - {left[name]}
    refused = asked(place, "run")
    assert f"the driver of tiny is Slurm job {left[name]}" in str(refused.exception)
    for which in ("driver", left[name]):
        assert "driver: harness run" in asked(place, "logs", which).stdout

    slurm.run("scancel", "--signal=USR2", left[name])  # as before its time limit
    until(lambda: asked(place, "logs", "driver").stdout.count("tuning: 2 trials") == 2)
    assert told(place, "run", "--detach")["held"] == left, "it is the same job that goes on"
    os.kill(newest(place / "re sults" / "tuning" / "tiny")[1]["pid"], signal.SIGKILL)
    until(lambda: told(place, "status")["driver"]["word"] == "failed")
    second = told(place, "run", "--detach")["submitted"]
    until(lambda: "tuning: 2 trials" in asked(place, "logs", "driver").stdout)
    assert told(place, "status")["jobs"] == status["jobs"], "they have gone on, and are not submitted again"
    assert len(submitted(place)) == 2 + len(set(status["jobs"].values()))

    ended = told(place, "cancel")["cancelled"]
    assert ended == {**second, **status["jobs"]}
    assert not queue(slurm)
    after = told(place, "status")
    assert (after["driver"], after.get("queued"), after.get("failed")) == (None, None, None)
    assert {trial["status"] for trial in trials(place / "re sults")} == {"open"}, "a cancelled trial has not failed"


@pytest.mark.long
@pytest.mark.parametrize("how", ["preempted", "node down"])
def test_a_driver_that_slurm_takes_off_its_node_goes_on_as_the_same_job(
    slurm: Cluster, tmp_path: Path, how: str
) -> None:
    place = recipe(tmp_path, SEARCH + HELD + DRIVER)
    left = told(place, "run", "--detach")["submitted"]
    (job,) = left.values()
    until(lambda: told(place, "status").get("queued"))
    jobs = told(place, "status")["jobs"]
    node = slurm.run("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    if how == "preempted":
        slurm.run("sbatch", "--partition=high", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 1")
    else:
        slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        until(lambda: asked(place, "logs", "driver").stdout.count("tuning: 2 trials") == 2, 200.0)
    finally:
        if how == "node down":
            slurm.run("scontrol", "update", f"nodename={node}", "state=resume")
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", job)
    assert told(place, "run", "--detach")["held"] == left
    assert told(place, "status")["jobs"] == jobs, "its jobs are not submitted again"
    assert len(submitted(place)) == 1 + len(set(jobs.values()))


def test_a_driver_that_cannot_go_on_says_why(slurm: Cluster, tmp_path: Path) -> None:
    place = recipe(tmp_path, SEARCH + HELD + DRIVER + '[launch.train]\npartition = "nowhere"\n')
    (job,) = told(place, "run", "--detach")["submitted"].values()
    until(lambda: told(place, "status")["driver"]["word"] == "failed")
    until(lambda: "Invalid partition" in told(place, "status")["driver"]["error"])
    assert f"driver: failed (Slurm job {job}): Slurm took no job: " in asked(place, "status").stdout
    assert not queue(slurm)


@pytest.mark.long
@pytest.mark.parametrize("end", [["scancel", "--signal=USR2"], ["scontrol", "requeue"]])  # time limit, or preemption
def test_a_driver_that_is_requeued_ends_the_search_as_it_ends_here_and_runs_nothing_twice(
    slurm: Cluster, tmp_path: Path, end: list[str]
) -> None:
    launch = HELD.replace('["--hold"]', "[]").replace("0.5", "1.9") + "bundle = true\n" + DRIVER
    place = recipe(tmp_path, SEARCH + launch)
    here, there = place / "here", place / "re sults"
    words = ("--reports", str(place / "reports"))
    done = inside("run", str(place / "o'dd $(touch owned).toml"), "--results", str(here), *words,
                  "--set", "launch.executor=inline", cwd=place)  # fmt: skip
    assert done.exit_code == 0, done.output
    own = forget_trials(here, there)

    (job,) = told(place, "run", "--detach", *words)["submitted"].values()
    until(lambda: set(told(place, "status")["jobs"]) == own)
    slurm.run(*end, job)
    until(lambda: "Restarts=1" in slurm.run("scontrol", "show", "job", job))
    assert asked(place, "watch", "--every-seconds", "1").exit_code == 0
    assert outputs(there) == outputs(here)
    untimed = [[{**trial, "device_seconds": 0} for trial in trials(folder)] for folder in (here, there)]
    assert untimed[0] == untimed[1]
    assert len(submitted(place)) == 2, "the driver, and the trials as one array"
    for name in own:
        assert (there / name / "log.txt").read_text().count(f"--- {name}") == 1
    assert told(place, "status")["driver"] is None
    assert (place / "reports" / "tiny" / "report.html").exists(), "the driver has built the report"
    assert "Report:" in (there / ".slurm" / "submitted" / f"{job}_0_log.out").read_text()


def forget_trials(here: Path, there: Path) -> set[str]:
    """A copy of results in which no trial has run; the names of the stages that are missing there."""
    store = Store(here)
    shared = {stage.name for stage in walk([store.load(one.parent.name) for one in here.glob("train-*/spec.json")])}
    own: set[str] = set()
    for trial in trials(here):
        grade = store.load(trial["stages"]["grade"])
        own |= {grade.name, grade.inputs["policy"].name, grade.inputs["sample"].name}
    assert own & shared
    shutil.copytree(here, there, ignore=shutil.ignore_patterns("tuning", *own), dirs_exist_ok=True)
    return own

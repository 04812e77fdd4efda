"""A graph left to a real Slurm: nobody stays, failures block what rests on them, the next run does what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bricks import brick, outputs, record, runs, until, wall
from cluster import Cluster

from harness.commands.cancel import end_all
from harness.commands.detach import submit_all
from harness.commands.status import state_of
from harness.dispatch import run
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_leave import Left
from harness.executors._slurm_queue import Queue
from harness.executors.inline import Inline
from harness.executors.slurm import Slurm
from harness.stages import Stage, walk
from harness.store import Store

pytestmark = pytest.mark.timeout(240)


def leave(results: Path, *targets: Stage, bundle: int = 1, **options: object) -> Left:
    executor, left = Slurm(timeout_min=5, **options), Left()  # type: ignore[arg-type]
    executor.bundle = bundle
    submit_all(list(targets), Store(results), executor, left)
    return left


def idle(slurm: Cluster) -> bool:
    return not slurm.run("squeue", "--noheader")


def scripts(results: Path) -> list[str]:
    return [file.read_text() for file in sorted((results / ".slurm" / "submitted").glob("[0-9]*.sh"))]


def failure(results: Path, stage: Stage) -> dict[str, object]:
    return Store(results).failure(stage.name) or {}


def test_a_wall_that_is_left_to_slurm_is_that_of_another_executor(slurm: Cluster, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / 'it\'s "odd" $(touch owned) é'
    there.mkdir()
    run(wall(3, 2, 0.0), Store(here), Inline())
    left = leave(there, *wall(3, 2, 0.0))
    again = leave(there, *wall(3, 2, 0.0))
    assert (len(left.submitted), again.submitted, again.held) == (7, {}, left.submitted)
    until(lambda: idle(slurm))
    assert outputs(there) == outputs(here)
    assert set(runs(there).values()) == {1}
    assert leave(there, *wall(3, 2, 0.0)) == Left()
    assert not list(tmp_path.rglob("owned"))


def test_a_failure_blocks_what_rests_on_it_alone_and_the_next_run_does_what_is_left(
    slurm: Cluster, tmp_path: Path
) -> None:
    ground = brick("ground")
    row = [brick(f"{i}", ground, trouble="divergence" if i == 1 else "", once=True) for i in range(3)]
    top = [brick(f"on {i}", one, ground) for i, one in enumerate(row)]
    both = brick("on both", top[0], top[2])
    last = brick("on all", both, top[1])
    left = leave(tmp_path, last)
    assert left.arrays == 5, "ground, row, top, both, last"
    until(lambda: idle(slurm))
    assert failure(tmp_path, row[1])["cause"] == "divergence"
    states = slurm.run("squeue", "--noheader", "--array", "--states=all", "--format=%i %T")
    ended = dict(line.split() for line in states.splitlines())
    assert [ended[left.submitted[one.name]] for one in (row[1], top[1], last)] == ["FAILED", "CANCELLED", "CANCELLED"]
    done = {stage.name for stage in walk([last]) if Store(tmp_path).done(stage.name)}
    assert done == {stage.name for stage in (ground, row[0], row[2], top[0], top[2], both)}
    array = next(text for text in scripts(tmp_path) if "aftercorr" in text)
    assert "#SBATCH --kill-on-invalid-dep=yes" in array
    summary = run([last], Store(tmp_path), Slurm(timeout_min=5))
    assert (sorted(summary.ran), summary.failed) == (sorted(one.name for one in (row[1], top[1], last)), {})
    assert runs(tmp_path) == {stage.name: 2 if stage == row[1] else 1 for stage in walk([last])}


def test_a_run_waits_for_what_was_left_to_slurm_submits_nothing_and_ends_nothing_when_stopped(
    slurm: Cluster, tmp_path: Path
) -> None:
    chain = brick("a", brick("b", brick("c", seconds=2.0)))
    left = leave(tmp_path, chain)
    stopped = Slurm(timeout_min=5)
    stopped.submit(tmp_path / next(iter(left.submitted)))
    stopped.close()
    summary = run([chain], Store(tmp_path), Slurm(timeout_min=5))
    assert (len(summary.ran), summary.failed, len(scripts(tmp_path))) == (3, {}, left.arrays)
    assert set(runs(tmp_path).values()) == {1}


def test_bundles_are_left_to_slurm(slurm: Cluster, tmp_path: Path) -> None:
    ground = brick("ground")
    bad, good = brick("bad", ground, trouble="divergence"), brick("good", ground)
    targets = [brick("on bad", bad), brick("on good", good), brick("on both", bad, good)]
    left = leave(tmp_path, *targets, bundle=100)
    assert len(set(left.submitted.values())) < len(left.submitted)
    until(lambda: idle(slurm))
    done = {stage.name for stage in walk(targets) if Store(tmp_path).done(stage.name)}
    assert done == {stage.name for stage in (ground, good, targets[1])}
    assert runs(tmp_path) == {stage.name: 1 for stage in (ground, bad, good, targets[1])}


def test_who_was_killed_between_sbatch_and_its_answer_has_lost_nothing(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver is killed at its second call of sbatch, which has the jobs in the queue by then."""
    bin_, calls = tmp_path / "bin", tmp_path / "calls"
    bin_.mkdir()
    real = slurm.run("which", "sbatch").strip()
    (bin_ / "sbatch").write_text(
        f'#!/bin/bash\n{real} "$@"\necho >> "{calls}"\n[ $(wc -l < "{calls}") = 2 ] && kill -9 $PPID\nexit 0\n'
    )
    (bin_ / "sbatch").chmod(0o755)
    chain = brick("a", brick("b", brick("c", seconds=1.0)))
    results = tmp_path / "results"
    Store(results).prepare(chain)
    words = [sys.executable, str(Path(__file__).with_name("drive.py")), str(results), "low", "detach"]
    own = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}"}
    assert subprocess.run(words, env=own, check=False, timeout=60).returncode == -signal.SIGKILL
    left = leave(results, chain)
    assert (len(left.held), len(left.submitted)) == (1, 2), "the second lacked its pickle, and was cancelled"
    until(lambda: idle(slurm))
    assert runs(results) == {stage.name: 1 for stage in walk([chain])}
    assert record(results, chain)["status"] == "done"
    assert not list((results / ".slurm" / "submitting").iterdir())


def test_what_scancel_ended_is_known_from_the_disk_and_costs_all_its_devices(slurm: Cluster, tmp_path: Path) -> None:
    hang = brick("hang", trouble="hang", once=True)
    top = brick("top", hang)
    leave(tmp_path, top, resources={"gpus": 2})
    until((tmp_path / "met-hang").exists)
    until(lambda: json.loads(next((tmp_path / hang.name).glob("lease-*.json")).read_text()).get("beat", 0) > 0)
    slurm.run("scancel", left_job(slurm, "R"))
    until(lambda: idle(slurm))
    again = leave(tmp_path, top, resources={"gpus": 1})
    assert len(again.submitted) == 2
    found = failure(tmp_path, hang)
    assert (found["cause"], "was cancelled" in str(found["error"])) == ("cancelled", True)
    assert found["cost"]["devices"] == 2
    assert 2 * 5 < found["cost"]["device_seconds"] < 2 * 10, "one sign of life, and what Python took before it"
    until(lambda: idle(slurm))
    assert Store(tmp_path).done(top.name)


def test_cancel_ends_the_jobs_of_a_driver_that_lives_and_a_death_counts_once(slurm: Cluster, tmp_path: Path) -> None:
    row = [brick(f"{i}", trouble="hang", once=True) for i in range(2)]
    top = brick("top", *row)
    store = Store(tmp_path)
    store.prepare(top)
    words = [sys.executable, str(Path(__file__).with_name("drive.py")), str(tmp_path), "low"]
    driver = subprocess.Popen(words)
    until(lambda: len(runs(tmp_path)) == 2)
    foreign = slurm.run("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true").strip()
    assert [state_of(store, stage.name, Queue()).word for stage in (*row, top)] == ["running", "running", "waiting"]
    assert set(end_all(tmp_path, recipe="")[0]) == {stage.name for stage in row}
    assert slurm.run("squeue", "--noheader", "--format=%i").split() == [foreign]
    assert driver.wait(timeout=30) == 1
    Slurm().begin(store, [stage.name for stage in row])
    assert [failure(tmp_path, stage)["attempt"] for stage in row] == [1, 1]
    notes.lift_mark(tmp_path, "", "")
    assert run([top], store, Slurm(timeout_min=5)).failed == {}


def test_cancel_leaves_alone_what_jobs_of_another_recipe_wait_for(slurm: Cluster, tmp_path: Path) -> None:
    ground = brick("ground")
    shared, own = brick("shared", ground), brick("own", ground)
    left: dict[str, Left] = {}
    for recipe, top in (("one", brick("top", shared, own)), ("other", brick("on shared", shared))):
        executor, left[recipe] = Slurm(timeout_min=5, resources={"sbatch": ("--hold",)}), Left()
        executor.recipe = recipe
        submit_all([top], Store(tmp_path), executor, left[recipe])
    cancelled, kept = end_all(tmp_path, "one")
    assert (set(kept), own.name in cancelled) == ({ground.name, shared.name}, True)
    assert {**cancelled, **kept} == left["one"].submitted
    queued = set(slurm.run("squeue", "--noheader", "--array", "--format=%i").split())
    assert queued == {*kept.values(), *left["other"].submitted.values()}
    assert end_all(tmp_path, "other") == (left["other"].submitted, {})
    assert end_all(tmp_path, "one") == (kept, {}), "nobody waits for them any more"


def left_job(slurm: Cluster, state: str) -> str:
    (job,) = slurm.run("squeue", "--noheader", "--array", f"--states={state}", "--format=%i").split()
    return job

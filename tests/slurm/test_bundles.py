"""Stages that share a job of a real Slurm: nothing is lost or runs twice, and a failure blocks what rests on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from bricks import brick, outputs, runs, until
from cluster import Cluster

from harness.dispatch import Event, run
from harness.executors.inline import Inline
from harness.executors.slurm import Slurm
from harness.stages import Stage
from harness.store import Store

pytestmark = pytest.mark.timeout(240)


def scripts(results: Path) -> int:
    return len(list((results / ".slurm" / "submitted").glob("[0-9]*.sh")))


def bundled() -> Slurm:
    executor = Slurm(timeout_min=5)
    executor.bundle = 100
    return executor


def chain(length: int) -> Stage:
    stage = brick("0")
    for number in range(1, length):
        stage = brick(str(number), stage)
    return stage


def test_a_chain_is_one_job_with_the_results_of_many(slurm: Cluster, tmp_path: Path) -> None:
    run([chain(4)], Store(tmp_path / "here"), Inline())
    summary = run([chain(4)], Store(tmp_path / "there"), bundled())
    assert (len(summary.ran), summary.failed, summary.blocked, scripts(tmp_path / "there")) == (4, {}, {}, 1)
    assert outputs(tmp_path / "there") == outputs(tmp_path / "here")
    assert set(runs(tmp_path / "there").values()) == {1}


def test_a_failure_in_a_job_blocks_what_rests_on_it_alone(slurm: Cluster, tmp_path: Path) -> None:
    ground = brick("ground")
    bad, good = brick("bad", ground, trouble="divergence"), brick("good", ground)
    row = [ground, bad, brick("on bad", bad), good, brick("on good", good)]
    store, executor = Store(tmp_path), bundled()
    store.prepare_all(row)
    handles = executor.submit_bundle([tmp_path / stage.name for stage in row])
    until(lambda: all(handle.done() for handle in handles))
    assert [handle.outcome().status for handle in handles] == ["done", "failed", "unbegun", "done", "done"]
    assert handles[1].outcome().cause == "divergence"
    assert sorted(runs(tmp_path).values()) == [1, 1, 1, 1]
    assert scripts(tmp_path) == 1


def test_where_a_job_dies_only_the_stage_that_it_was_at_counts_as_killed(slurm: Cluster, tmp_path: Path) -> None:
    first = brick("first")
    killed = brick("killed", first, trouble="kill", once=True)
    last = brick("last", killed)
    told: list[Event] = []
    summary = run([last], Store(tmp_path), bundled(), on_event=told.append)
    assert (sorted(summary.ran), summary.failed) == (sorted(stage.name for stage in (first, killed, last)), {})
    assert runs(tmp_path) == {first.name: 1, killed.name: 2, last.name: 1}
    assert [event.stage.name for event in told if event.what == "again"] == [killed.name]
    assert scripts(tmp_path) == 2

"""What a real Slurm cannot be made to do: to answer late, not at all, or nonsense (fake_slurm.py)."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bricks import PLUGINS, brick, record, runs, wall

from harness.dispatch import Event, run
from harness.errors import HarnessError
from harness.executors._slurm_ends import write_deaths
from harness.executors._slurm_queue import Queue
from harness.executors.slurm import Slurm
from harness.store import Store

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the fake is told what to do; submissions are repeated at once."""
    home = tmp_path / "slurm"
    home.mkdir()
    monkeypatch.setenv("FAKE_SLURM", str(home))
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)
    import fake_slurm

    fake_slurm.install(home)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("harness.executors._slurm_script.AGAIN_SECONDS", 0.1)
    monkeypatch.setattr("harness.executors._slurm_handle.SETTLE_SECONDS", 2.0)
    return home


def go(results: Path, *targets: object) -> object:
    return run(list(targets), Store(results), Slurm(timeout_min=5))  # type: ignore[arg-type]


def calls(fake: Path) -> list[str]:
    return (fake / "calls").read_text().split()


def test_a_wall_is_made_without_a_slurm(fake: Path, tmp_path: Path) -> None:
    summary = run(wall(2, 1, 0.0), Store(tmp_path / "r"), Slurm(timeout_min=5))
    assert (len(summary.ran), summary.failed) == (3, {})
    assert set(runs(tmp_path / "r").values()) == {1}


@pytest.mark.parametrize("order", ["busy", "lost"])
def test_a_controller_that_is_busy_is_asked_again_and_nothing_runs_twice(
    fake: Path, tmp_path: Path, order: str
) -> None:
    (fake / "orders").write_text(f"{order}\n{order}\n")
    row = [brick(f"{i}", seconds=1.0) for i in range(2)]
    summary = run(row, Store(tmp_path / "r"), Slurm(timeout_min=5))
    assert (len(summary.ran), summary.failed) == (2, {})
    assert calls(fake) == [order, order, "obey"]
    assert all(record(tmp_path / "r", stage)["attempt"] == 1 for stage in row)
    assert not list((tmp_path / "r" / ".slurm" / "submitting").glob("*")), "nothing is left half-way"


def test_a_controller_that_stays_busy_is_given_up(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.executors._slurm_script.SUBMIT_SECONDS", 0.5)
    (fake / "orders").write_text("busy\n" * 100)
    with pytest.raises(HarnessError, match=r"Slurm took no job: .*Socket timed out"):
        go(tmp_path / "r", brick("a"))
    assert not runs(tmp_path / "r")


def test_a_limit_of_the_account_is_told_at_once(fake: Path, tmp_path: Path) -> None:
    (fake / "orders").write_text("limit\n")
    with pytest.raises(HarnessError, match=r"Slurm took no job: .*job submit limit.*look at \[launch\]"):
        go(tmp_path / "r", brick("a"))
    assert calls(fake) == ["limit"]


@pytest.mark.parametrize("bundle", [1, 2])
def test_beyond_a_limit_on_jobs_stages_wait_until_others_have_ended(fake: Path, tmp_path: Path, bundle: int) -> None:
    (fake / "most").write_text("3")
    executor = Slurm(timeout_min=5)
    executor.bundle = bundle
    summary = run(wall(9, 1, 0.2), Store(tmp_path / "r"), executor)
    assert (len(summary.ran), summary.failed, summary.blocked) == (10, {}, {})
    assert set(runs(tmp_path / "r").values()) == {1}
    refused = calls(fake).count("limit")
    assert 0 < refused < 12, "an array is halved, and then one goes in for each that has ended"
    assert all(record(tmp_path / "r", stage)["attempt"] == 1 for stage in wall(9, 1, 0.2))


def test_once_others_have_left_the_queue_more_go_in_again(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.executors.slurm.FULL_SECONDS", 0.5)
    (fake / "most").write_text("1")

    def look(event: Event) -> None:
        if event.what == "finished":
            (fake / "most").write_text("9")

    summary = run([brick(f"{i}", seconds=2.0) for i in range(6)], Store(tmp_path / "r"), Slurm(), on_event=look)
    assert len(summary.ran) == 6
    assert calls(fake)[:4] == ["limit", "limit", "limit", "obey"], "6, 3, 2 and 1"
    arrays = ["--array" in (fake / f"job-{1 + job}.sh").read_text() for job in range(calls(fake).count("obey"))]
    assert (arrays[0], any(arrays)) == (False, True)


def test_an_answer_that_is_no_answer_is_told_and_leaves_no_job(fake: Path, tmp_path: Path) -> None:
    (fake / "orders").write_text("garbage\n")
    with pytest.raises(HarnessError, match=r"Slurm took no job: .*nobody knows what"):
        go(tmp_path / "r", brick("a", seconds=60.0))
    assert "RUNNING" not in os.popen("squeue").read()


def test_while_squeue_fails_nothing_is_given_up(fake: Path, tmp_path: Path) -> None:
    (fake / "away").touch()
    stage = brick("a", seconds=4.0)
    assert run([stage], Store(tmp_path / "r"), Slurm(timeout_min=5)).ran == [stage.name]
    assert runs(tmp_path / "r") == {stage.name: 1}


def sacct(fake: Path) -> None:
    """Of each job that it is asked about, an earlier start of 1,000 seconds and the last, of 77."""
    (fake / "sacct").write_text("""#!/bin/sh
for word; do case $word in --jobs=*) echo "${word#--jobs=}|1000"; echo "${word#--jobs=}|77" ;; esac; done
""")
    (fake / "sacct").chmod(0o755)


def test_what_an_attempt_cost_that_died_is_what_sacct_says(fake: Path, tmp_path: Path) -> None:
    sacct(fake)
    stage = brick("a", trouble="kill", once=True)
    go(tmp_path / "r", stage)
    assert record(tmp_path / "r", stage)["failed_device_seconds"] == 77


def test_a_death_that_a_report_sees_too_is_written_down_once(fake: Path, tmp_path: Path) -> None:
    sacct(fake)
    stage, store = brick("a", trouble="kill", once=True), Store(tmp_path / "r")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(go, store.root, stage)
        while not (running.done() or store.failure(stage.name)):  # as `harness report` does, before the driver is sure
            write_deaths(store, [stage.name], Queue())
        running.result()
    assert (record(store.root, stage)["failed_device_seconds"], record(store.root, stage)["attempt"]) == (77, 2)


def test_without_accounting_it_is_known_to_a_beat(fake: Path, tmp_path: Path) -> None:
    (fake / "sacct").write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    (fake / "sacct").chmod(0o755)
    stage = brick("a", trouble="kill", once=True)
    go(tmp_path / "r", stage)
    assert record(tmp_path / "r", stage)["failed_device_seconds"] <= 5


def test_of_a_bundle_sacct_does_not_tell_what_one_stage_cost(fake: Path, tmp_path: Path) -> None:
    sacct(fake)
    below = brick("below")
    stage, executor = brick("a", below, trouble="kill", once=True), Slurm(timeout_min=5)
    executor.bundle = 2
    assert set(run([stage], Store(tmp_path / "r"), executor, retries=1).ran) == {below.name, stage.name}
    assert record(tmp_path / "r", stage)["failed_device_seconds"] <= 5

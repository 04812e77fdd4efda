"""What a real Slurm cannot be made to do: to answer late, not at all, or nonsense (fake_slurm.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bricks import brick, record, runs, until, wall
from test_cli import TINY, inside

from harness.dispatch import Event, Summary, run
from harness.errors import HarnessError
from harness.executors._slurm_ends import write_deaths
from harness.executors._slurm_job import Job
from harness.executors._slurm_queue import Queue
from harness.executors.slurm import Slurm
from harness.lease import Lease, identity, newest
from harness.stages import Stage
from harness.store import Store

pytestmark = pytest.mark.timeout(120)


def go(results: Path, *targets: Stage) -> Summary:
    return run(list(targets), Store(results), Slurm(timeout_min=5))


def calls(fake: Path) -> list[str]:
    return (fake / "calls").read_text().split()


def test_a_wall_is_made_without_a_slurm(fake: Path, tmp_path: Path) -> None:
    summary = run(wall(2, 1, 0.0), Store(tmp_path / "r"), Slurm(timeout_min=5))
    assert (len(summary.ran), summary.failed) == (3, {})
    assert set(runs(tmp_path / "r").values()) == {1}


@pytest.mark.parametrize("name", ["a\ntouch owned; #b", "it %j", "back\\slash"])
def test_a_results_folder_that_slurm_would_misread_is_refused_and_nothing_runs(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match=r"the results folder is .*Slurm cannot write into a path with"):
        go(tmp_path / name, brick("a"))
    assert not (fake / "calls").exists()
    assert not list(tmp_path.rglob("owned"))


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


def test_whatever_words_a_controller_has_for_being_away_it_is_asked_again(fake: Path, tmp_path: Path) -> None:
    words = ["Zero Bytes were transmitted or received", "Connection refused", "Connection timed out"]
    (fake / "orders").write_text("".join(f"{one}\n" for one in words))
    go(tmp_path / "r", brick("a"))
    assert (fake / "calls").read_text().splitlines() == [*words, "obey"]


def test_a_submitter_that_another_host_took_for_dead_goes_on(fake: Path, tmp_path: Path) -> None:
    (fake / "orders").write_text("busy\nbusy\n")
    (fake / "scancel").write_text(f"#!/bin/sh\ncd '{tmp_path}/r/.slurm/submitting' && ls >> '{fake}/seen' && rm *\n")
    assert go(tmp_path / "r", brick("a")).ran
    first, second = (fake / "seen").read_text().split()
    assert first == second, "what is about to be submitted is written down for each attempt"


def test_a_scancel_that_hangs_ends_no_driver(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.executors._slurm_queue.PATIENCE_SECONDS", 0.1)
    (fake / "orders").write_text("busy\n")
    (fake / "scancel").write_text("#!/bin/sh\nexec sleep 5\n")
    assert go(tmp_path / "r", brick("a")).ran


def test_jobs_that_could_not_be_cancelled_are_found_by_the_next_run(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.executors._slurm_queue.PATIENCE_SECONDS", 0.1)
    stage, executor, scancel = brick("a", seconds=3.0), Slurm(timeout_min=5), fake / "scancel"
    Store(tmp_path / "r").prepare(stage)
    executor.submit(tmp_path / "r" / stage.name)
    executor.flush()
    scancel.write_text("#!/bin/sh\nexec sleep 5\n")
    executor.close()
    monkeypatch.setattr("harness.executors._slurm_queue.PATIENCE_SECONDS", 60.0)
    assert go(tmp_path / "r", stage).ran
    assert (calls(fake), runs(tmp_path / "r")) == (["obey"], {stage.name: 1})


def test_a_driver_that_cannot_be_requeued_goes_on(tmp_path: Path) -> None:
    recipe, answer = tmp_path / "r.toml", tmp_path / "answer"
    os.mkfifo(recipe)
    words = ", ".join(map(repr, (str(recipe), [], str(tmp_path / "r"), str(tmp_path / "reports"), str(answer))))
    code = f"from harness.commands.driver import Driver; Driver({words.replace(repr([]), '[]')})()"
    job = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PATH": "", "SLURM_JOB_ID": "1"})
    with recipe.open("w") as file:  # it reads by now
        job.send_signal(signal.SIGUSR2)
        file.write("name = 3")
    assert job.wait(timeout=60) == 2
    assert "r.toml:1: name is 3" in json.loads(answer.read_text())["error"]


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


def test_a_job_that_is_about_to_end_counts_against_a_limit_and_is_outlasted(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.executors.slurm.AGAIN_SECONDS", 0.3)
    (fake / "most").write_text("2")
    executor = Slurm(timeout_min=5, resources={"setup": ("trap 'sleep 2' EXIT",)})
    summary = run([brick(f"{i}") for i in range(4)], Store(tmp_path / "r"), executor)
    assert (len(summary.ran), set(runs(tmp_path / "r").values())) == (4, {1})
    assert "limit" in calls(fake)
    left = {file.name for file in (tmp_path / "r" / ".slurm" / "submitted").iterdir() if not file.is_symlink()}
    assert not {name for name in left if name.startswith(".")}, "of a refused attempt nothing stays"
    assert len({name for name in left if name.endswith("_submitted.pkl")}) == 4


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


def test_who_leaves_jobs_that_slurm_refuses_is_not_told_to_watch_them(fake: Path, tmp_path: Path) -> None:
    (fake / "orders").write_text("limit\n" * 9)
    (tmp_path / "r.toml").write_text(f'{TINY}\n[launch]\nexecutor = "slurm"\ntimeout_min = 5\n')
    refused = inside("run", "r.toml", "--detach", cwd=tmp_path)
    assert "Slurm took no job" in str(refused.exception)
    assert refused.stdout == "", "nothing is in the queue, and something is left to submit"


def test_an_answer_that_is_no_answer_is_told_and_leaves_no_job(fake: Path, tmp_path: Path) -> None:
    (fake / "orders").write_text("garbage\n")
    with pytest.raises(HarnessError, match=r"Slurm took no job: .*nobody knows what"):
        go(tmp_path / "r", brick("a", seconds=60.0))
    assert "RUNNING" not in os.popen("squeue").read()


def test_what_sbatch_refuses_later_has_failed_and_what_runs_is_waited_for(fake: Path, tmp_path: Path) -> None:
    (fake / "orders").write_text("\nInvalid partition name specified\n")
    below, slow = brick("below"), brick("slow", seconds=5.0)
    refused, after = brick("refused", below), brick("after", slow)
    above, store = brick("above", refused), Store(tmp_path / "r")
    summary = run([above, after], store, Slurm(timeout_min=5))
    assert set(summary.ran) == {below.name, slow.name, after.name}
    assert (summary.failed, summary.blocked) == ({refused.name: "refused"}, {above.name: refused.name})
    failure = store.failure(refused.name)
    assert failure
    assert (failure["cause"], failure["cost"]["device_seconds"]) == ("refused", 0)
    assert "Slurm took no job" in failure["error"]
    assert "Invalid partition" in failure["error"]
    assert "[launch]" in failure["hint"]
    assert set(go(store.root, above).ran) == {refused.name, above.name}, "the next run submits it"
    assert set(runs(store.root).values()) == {1}


def signalled(store: Store, stage: Stage, start: int) -> None:
    """Tell a job that its time limit is near, once it has begun so often."""
    until(lambda: runs(store.root)[stage.name] == start)
    os.kill(newest(store.root / stage.name)[1]["pid"], signal.SIGUSR2)


def test_a_job_that_was_requeued_often_enough_goes_on_to_its_limit(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.executors._slurm_script.REQUEUES", 1)
    stage, store = brick("a", seconds=3.0), Store(tmp_path / "r")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(go, store.root, stage)
        signalled(store, stage, 1)
        signalled(store, stage, 2)
        assert running.result().ran == [stage.name]
    assert (runs(store.root), calls(fake)) == ({stage.name: 2}, ["obey"])
    assert (fake / "requeued").read_text().split() == ["1"]


def test_a_job_whose_time_to_leave_ends_while_it_leaves_is_requeued_once(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.executors._slurm_script.SIGNAL_SECONDS", 0.4)
    stage, store = brick("a", trouble="save", once=True), Store(tmp_path / "r")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(go, store.root, stage)
        until((store.root / "met-a").exists)
        signalled(store, stage, 1)
        assert running.result().ran == [stage.name]
    assert (runs(store.root), calls(fake)) == ({stage.name: 2}, ["obey"])
    assert (fake / "requeued").read_text().split() == ["1"]


def test_while_squeue_fails_nothing_is_given_up(fake: Path, tmp_path: Path) -> None:
    (fake / "away").touch()
    stage = brick("a", seconds=4.0)
    assert run([stage], Store(tmp_path / "r"), Slurm(timeout_min=5)).ran == [stage.name]
    assert runs(tmp_path / "r") == {stage.name: 1}


def sacct(fake: Path) -> None:
    """Of each job that it is asked about, an earlier start of 1,000 seconds and the last, of 77."""
    (fake / "sacct").write_text("""#!/bin/sh
for word; do case $word in --jobs=*)
  echo "${word#--jobs=}|1000|2026-11-29T10:00:00"; echo "${word#--jobs=}|77|2026-11-29T12:00:00" ;; esac; done
""")
    (fake / "sacct").chmod(0o755)


def test_what_an_attempt_cost_that_died_is_what_sacct_says(fake: Path, tmp_path: Path) -> None:
    sacct(fake)
    stage = brick("a", trouble="kill", once=True)
    go(tmp_path / "r", stage)
    assert record(tmp_path / "r", stage)["failed_device_seconds"] == 77


@pytest.mark.parametrize(("stages", "owed"), [(1, 77.0), (2, 15.0)])
def test_of_an_earlier_start_a_job_of_one_stage_owes_what_sacct_says(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: int, owed: float
) -> None:
    sacct(fake)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    own = [tmp_path / f"stage-{place}" for place in range(stages)]
    for folder in own:
        folder.mkdir()
        before = {**identity(), "started": "1", "idle": 5.0, "beat": 2}  # it is gone, two signs of life after its begin
        (folder / "lease-000001.json").write_text(json.dumps(before))
    Job([(str(folder), str(folder / "answer")) for folder in own], 50, 30.0).settle_accounts()
    with Lease(own[0]) as lease:
        assert lease.owed() == owed


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

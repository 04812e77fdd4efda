"""Several who work on one results folder with Slurm: drivers, `status`, `cancel`, jobs that die without a word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bricks import brick, runs, until

from harness.commands.cancel import end_all
from harness.commands.detach import submit_all
from harness.commands.status import State, states
from harness.dispatch import run
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_ends import job_log
from harness.executors._slurm_leave import Left
from harness.executors._slurm_queue import Queue
from harness.executors.slurm import Slurm
from harness.stages import Stage, walk
from harness.store import Store

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("fake")]

BUG = """
import os, sys
from harness.commands import driver
def bug(*_): raise RuntimeError("refused: " + os.environ["HF_TOKEN"])
driver.run_recipe = bug
driver.Driver("r.toml", [], ".", ".", sys.argv[1])()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "results").mkdir()
    return Store(tmp_path / "results")


def found(store: Store, *targets: Stage) -> dict[str, State]:
    return states(list(walk(list(targets))), store, Queue())


def squeue(job: str) -> str:
    return Queue().state(job)


def submitted(store: Store, stage: Stage) -> tuple[Slurm, object]:
    """An executor that has given a stage to a job, or has found its job in the queue."""
    executor = Slurm(timeout_min=5)
    store.prepare(stage)
    handle = executor.submit(store.root / stage.name)
    executor.flush()
    return executor, handle


def test_no_array_is_larger_than_the_cluster_takes(store: Store, fake: Path) -> None:
    (fake / "config").write_text("MaxArraySize            = 3\nMaxJobCount             = 10000\n")
    row, left = [brick(f"of seven {i}") for i in range(7)], Left()
    submit_all(row, store, Slurm(timeout_min=5), left)
    until(lambda: all(store.done(stage.name) for stage in row))
    arrays = [re.findall(r"--array=(\S+)%", file.read_text()) for file in sorted(fake.glob("job-*.sh"))]
    assert (left.arrays, arrays) == (3, [["0-2"], ["0-2"], []])


@pytest.mark.parametrize("bundle", [1, 2])
def test_a_job_that_dies_before_its_stage_begins_is_a_failure_that_is_told_and_counts_once(
    store: Store, bundle: int
) -> None:
    below = brick("below")
    stages = [below, brick("top", below)][:bundle]
    executor = Slurm(timeout_min=5, resources={"setup": ("echo a bad module; exit 3",)})
    executor.bundle = bundle
    submit_all(stages[-1:], store, executor, Left())
    until(lambda: found(store, *stages)[below.name].word == "failed")
    state = found(store, *stages)[below.name]
    told = "Slurm job 1: it ended as COMPLETED; its stage had not begun"
    assert (state.job, (state.failure or {})["error"]) == ("1", told)
    assert "a bad module" in job_log(store.root, state.job).read_text()
    assert [one.word for one in found(store, *stages).values()] == ["failed", "blocked"][:bundle]
    for _ in range(2):
        Slurm().begin(store, [stage.name for stage in stages])
    failure = store.failure(below.name) or {}
    assert (failure["attempt"], failure["error"]) == (1, told)
    assert found(store, *stages)[below.name] == State("failed", "1", failure=failure)
    assert run(stages[-1:], store, Slurm(timeout_min=5)).failed == {}
    assert runs(store.root) == {stage.name: 1 for stage in stages}


def test_of_a_bundle_that_dies_half_way_what_it_had_not_come_to_has_not_failed(store: Store) -> None:
    below = brick("below")
    bundle = [below, brick("middle", below, trouble="kill"), brick("top", below)]
    store.prepare_all(bundle)
    executor = Slurm(timeout_min=5)
    executor.submit_bundle([store.root / stage.name for stage in bundle])
    executor.flush()
    until(lambda: squeue("1") == "COMPLETED")
    Slurm().begin(store, [stage.name for stage in bundle])  # which puts away what is known of the first
    words = {name: state.word for name, state in found(store, *bundle).items()}
    assert list(words.values()) == ["done", "failed", "waiting"]


def test_a_job_that_was_cancelled_before_it_started_has_not_failed(store: Store) -> None:
    stage = brick("a", seconds=60.0)
    submitted(store, stage)
    job_log(store.root, "1").unlink()  # which Slurm makes when a job starts
    os.system("scancel 1")
    assert found(store, stage) == {stage.name: State("waiting")}


def test_a_failure_that_another_driver_has_read_is_not_taken_for_a_death(store: Store) -> None:
    stage = brick("a", trouble="divergence")
    (_, first), (_, second) = submitted(store, stage), submitted(store, stage)
    until(first.done)  # type: ignore[attr-defined]
    until(second.done)  # type: ignore[attr-defined]
    ends = [handle.outcome() for handle in (first, second)]  # type: ignore[attr-defined]
    assert [(end.status, end.cause) for end in ends] == [("failed", "divergence")] * 2
    assert ((store.failure(stage.name) or {})["attempt"], runs(store.root)) == (1, {stage.name: 1})


def test_who_looks_late_leaves_the_job_alone_that_another_has_submitted_since(store: Store) -> None:
    stage = brick("a", trouble="divergence", once=True, seconds=60.0)
    _, late = submitted(store, stage)
    until(lambda: squeue("1") == "COMPLETED")
    _, second = submitted(store, stage)
    assert (second.job, late.done(), late.outcome().cause) == ("2", True, "divergence")  # type: ignore[attr-defined]
    note = notes.read(store.root / stage.name)
    assert note is not None
    assert note.job == "2"


def test_who_is_stopped_ends_the_jobs_alone_that_it_has_submitted(store: Store) -> None:
    stage = brick("a", seconds=60.0)
    (first, _), (second, _) = submitted(store, stage), submitted(store, stage)
    second.close()
    assert squeue("1") == "RUNNING"
    first.close()
    assert squeue("1") == "CANCELLED"


def driver(stages: list[Stage], store: Store) -> tuple[threading.Thread, list[notes.Cancelled]]:
    """A run with one job at a time, beside this one; and what it has raised."""
    raised: list[notes.Cancelled] = []

    def go() -> None:
        try:
            executor = Slurm(timeout_min=5, workers=1)
            executor.recipe = "tiny"
            run(stages, store, executor)
        except notes.Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    return thread, raised


@pytest.mark.parametrize("orders", ["", "busy\n" * 1000])
def test_cancel_stops_a_driver_that_would_submit_what_is_next(store: Store, orders: str) -> None:
    row: list[Stage] = [brick(f"{i}", seconds=60.0) for i in range(9)]
    home = Path(os.environ["FAKE_SLURM"])
    (home / "orders").write_text(orders)
    thread, raised = driver(row, store)
    until((home / "calls").exists if orders else lambda: runs(store.root))
    cancelled, _ = end_all(store.root.resolve(), "tiny")
    thread.join(20)
    assert (len(cancelled), sum(runs(store.root).values())) == ((0, 0) if orders else (1, 1))
    told = "tiny was cancelled by `harness cancel`, so this run submits nothing more"
    assert [(str(error), error.exit_code) for error in raised] == [(told, 1)]
    assert "RUNNING" not in os.popen("squeue").read()
    assert not notes.intended(store.root, "tiny", "")


def test_no_file_holds_a_token_and_all_are_as_open_as_the_umask_says(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, before = "not-known-by-its-form", os.umask(0o027)
    monkeypatch.setenv("HF_TOKEN", token)
    try:
        row = [brick("well"), brick("blab", trouble="blab"), brick("die", trouble="blab and die")]
        summary = run(list(row), store, Slurm(timeout_min=5), retries=0)
    finally:
        os.umask(before)
    assert summary.failed == {row[1].name: "plug-in", row[2].name: "killed"}
    files = list(store.root.rglob("*"))
    assert {oct(file.stat().st_mode & 0o777) for file in files if file.is_file()} <= {"0o640", "0o750"}
    assert {oct(file.stat().st_mode & 0o777) for file in files if file.is_dir()} == {"0o750"}
    assert [file for file in files if file.is_file() and token.encode() in file.read_bytes()] == []
    assert "***" in (store.root / row[2].name / "log.txt").read_text()


def test_a_driver_that_meets_a_bug_tells_no_token(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "not-known-by-its-form")
    told = subprocess.run([sys.executable, "-c", BUG, str(store.root / "answer")], capture_output=True, check=False)
    said = (told.stdout + told.stderr).decode() + (store.root / "answer").read_text()
    assert (told.returncode, said.count("refused: ***"), "not-known" in said) == (2, 2, False)

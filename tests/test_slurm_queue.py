"""What is made of squeue's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.executors._slurm_ends import how_it_ended
from harness.executors._slurm_queue import NEVER, UNKNOWN, Queue, cancel

SAID = """7|PENDING|None|train-a.1
8_2|PENDING|DependencyNeverSatisfied|grade-b+3.2
9|RUNNING|None|with|a|bar
10|COMPLETED|None|train-c.3
"""


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A squeue that says what the file next to it holds; without the file it fails."""
    (tmp_path / "squeue").write_text(f"#!/bin/sh\nexec /bin/cat '{tmp_path}/said'\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "said"


def test_a_job_is_known_by_number_and_name(squeue: Path) -> None:
    squeue.write_text(SAID)
    queue = Queue()
    assert [queue.holds(job, "train-a.1") for job in ("7", "9", "11", "")] == [True, False, False, False]
    assert queue.holds("9", "with|a|bar")
    assert queue.named("train-a.1") == ["7"]
    assert (queue.named("train-c.3"), queue.named("unheard of")) == ([], [])


def test_a_job_that_waits_in_vain_is_over(squeue: Path) -> None:
    squeue.write_text(SAID)
    assert (Queue().state("8_2"), Queue.over(NEVER), Queue().holds("8_2", "grade-b+3.2")) == (NEVER, True, False)


def test_nothing_is_known_where_squeue_fails_or_is_not_there(squeue: Path) -> None:
    assert (Queue().state("7"), Queue.over(UNKNOWN), Queue().named("train-a.1")) == (UNKNOWN, False, None)
    (squeue.parent / "squeue").unlink()
    assert Queue().state("7") == UNKNOWN


def test_a_scancel_that_is_not_there_or_hangs_has_told_nobody(squeue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scancel = squeue.with_name("scancel")
    assert not cancel(["7"])
    scancel.write_text("#!/bin/sh\nexit 1\n")
    scancel.chmod(0o755)
    assert cancel(["7"]), "it has ended already"
    monkeypatch.setattr("harness.executors._slurm_queue.PATIENCE_SECONDS", 0.1)
    scancel.write_text("#!/bin/sh\nexec /bin/sleep 5\n")
    assert not cancel(["7"])


def test_whether_this_user_has_other_jobs(squeue: Path) -> None:
    squeue.write_text(SAID)
    assert Queue().has_others("9")
    squeue.write_text("9|RUNNING|None|driver\n8_2|PENDING|DependencyNeverSatisfied|grade\n10|COMPLETED|None|train\n")
    assert (Queue().has_others("9"), Queue().has_others("")) == (False, True)
    squeue.unlink()
    assert not Queue().has_others("")


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("", "node"),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO NODE FAILURE ***", "node"),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***", "timeout"),
        ("srun: error: n1: task 0: Killed", "killed"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0", "out of memory"),
    ],
)
def test_of_a_job_that_slurm_has_forgotten_its_log_tells_the_cause(said: str, cause: str, tmp_path: Path) -> None:
    log = tmp_path / ".slurm" / "submitted" / "7_0_log.out"
    log.parent.mkdir(parents=True)
    log.write_text(f"stage: train-a\n{said}\n")
    assert how_it_ended(tmp_path, "7", "")[1] == cause

"""What is made of squeue's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.executors._slurm_queue import NEVER, UNKNOWN, Queue

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

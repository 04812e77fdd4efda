"""What the end of a job means for the stage that it was at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.execute import note_death
from harness.executors import Ended
from harness.executors._slurm_queue import Queue
from harness.executors._slurm_script import FOLDER
from harness.lease import BEAT_SECONDS, newest, release
from harness.store import Store

_ENDS = {
    "TIMEOUT": ("lost", "timeout", "it reached its time limit"),
    "DEADLINE": ("lost", "timeout", "it reached its deadline"),
    "OUT_OF_MEMORY": ("failed", "out of memory", "it was killed for going over its memory limit"),
    "CANCELLED": ("failed", "killed", "it was cancelled"),
    "PREEMPTED": ("lost", "killed", "it was preempted, and not requeued"),
    "NODE_FAIL": ("lost", "killed", "its node failed"),
}
"""What a job's last state means for its stage: a lost one may be tried again."""
FINAL = {"TIMEOUT", "OUT_OF_MEMORY", "CANCELLED"}
"""States that Slurm does not requeue from, as it may do from the others a moment later."""
_NO_MEMORY = ("exceeded memory limit", "oom_kill event", "oom-kill event")
"""What Slurm writes into a job's log where the state says only that it failed."""
_LAST_WORDS = {
    "DUE TO TIME LIMIT": "TIMEOUT",
    "DUE TO PREEMPTION": "PREEMPTED",
    "DUE TO NODE FAILURE": "NODE_FAIL",
    "CANCELLED AT": "CANCELLED",
}
"""The same, where Slurm has forgotten the job's state."""


def job_log(root: Path, job: str) -> Path:
    """What a job has printed beside its stages' own logs, and what Slurm has to say about its end."""
    return root / FOLDER / "submitted" / f"{job}_0_log.out"


def how_it_ended(root: Path, job: str, state: str) -> tuple[str, str, str]:
    """What a job's last state means for a stage that it was at: status, cause, and words for a person.

    Args:
        root: the results folder.
        job: its number.
        state: in Slurm's words; empty where it has forgotten the job.
    """
    try:
        said = job_log(root, job).read_text(errors="replace")
    except OSError:
        said = ""
    if any(words in said for words in _NO_MEMORY):
        state = "OUT_OF_MEMORY"
    state = state or next((name for words, name in _LAST_WORDS.items() if words in said), "")
    gone = ("lost", "killed", f"it ended as {state}" if state else "Slurm does not know it any more")
    return _ENDS.get(state, gone)


def death(folder: Path, queue: Queue) -> Ended | None:
    """How a stage ended whose job is over and could not say so itself: nothing is written.

    Args:
        folder: of the stage.
        queue: knows whether the job that took the stage's lease is over.
    """
    _, lease = newest(folder)
    job = lease.get("job", "")
    if not job or lease.get("released") or not queue.over(state := queue.state(job)):
        return None
    if Store(folder.parent).done(folder.name):  # by the time that the queue said so
        return None
    _, cause, words = how_it_ended(folder.parent, job, state)
    seconds = float(lease.get("beat", 0)) * BEAT_SECONDS
    return Ended("failed", cause, f"Slurm job {job}: {words}", seconds, int(lease.get("devices", 1)))


def write_deaths(store: Store, names: Sequence[str], queue: Queue) -> None:
    """Write down how stages ended whose jobs could not, since nobody was there to see it."""
    for folder in (store.root / name for name in names):
        ended = death(folder, queue)
        if ended and release(folder):
            note_death(store, folder.name, ended.cause, ended.error, ended.seconds, ended.devices)

"""What the end of a job means for the stage that it was at."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.execute import note_death
from harness.executors import Ended
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_job import inputs_of
from harness.executors._slurm_queue import NEVER, PATIENCE_SECONDS, Queue
from harness.executors._slurm_script import FOLDER
from harness.lease import free, newest, release, signs_of_life
from harness.store import Store

_ENDS = {
    "TIMEOUT": ("lost", "timeout", "it reached its time limit"),
    "DEADLINE": ("lost", "timeout", "it reached its deadline"),
    "OUT_OF_MEMORY": ("failed", "out of memory", "it was killed for going over its memory limit"),
    "CANCELLED": ("failed", "cancelled", "it was cancelled"),
    "PREEMPTED": ("lost", "node", "it was preempted, and not requeued"),
    "BOOT_FAIL": ("lost", "node", "its node did not start"),
    "NODE_FAIL": ("lost", "node", "its node failed"),
}
"""What a job's last state means for its stage: a lost one may be tried again."""
FINAL = {"TIMEOUT", "OUT_OF_MEMORY", "CANCELLED"}
"""States that Slurm does not requeue from, as it may do from the others a moment later."""
_NO_MEMORY = ("exceeded memory limit", "oom_kill event", "oom-kill event")
"""What Slurm writes into a job's log where the state says only that it failed."""
_STAGE = re.compile(r"^stage: (.+)$", re.MULTILINE)
"""What a job says in its log when it comes to a stage."""
_LAST_WORDS = {
    "DUE TO TIME LIMIT": "TIMEOUT",
    "DUE TO PREEMPTION": "PREEMPTED",
    "DUE TO NODE FAILURE": "NODE_FAIL",
    "CANCELLED AT": "CANCELLED",
}
"""The same, where Slurm has forgotten the job's state."""
_SPOKE = "srun: error:"
"""So begins what srun writes into the log of a job whose process was killed; a node that vanishes writes nothing."""


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
    if not state and _SPOKE not in said:
        return "lost", "node", "Slurm does not know it any more, and its node has said nothing of its end"
    gone = ("lost", "killed", f"it ended as {state}" if state else "Slurm does not know it any more")
    return _ENDS.get(state, gone)


def how_a_stage_ended(folder: Path, job: str, state: str) -> tuple[str, str, str]:
    """The same with words for that stage: whether the job had come to it at all.

    Args:
        folder: of the stage.
        job: its number.
        state: in Slurm's words; empty where it has forgotten the job.
    """
    status, cause, words = how_it_ended(folder.parent, job, state)
    begun = newest(folder)[1].get("job") == job
    return status, cause, f"Slurm job {job}: {words}" + ("" if begun else "; its stage had not begun")


def accounted(job: str, before: bool = False) -> float | None:
    """Seconds that a job has had its devices, by sacct; None where there is no accounting.

    Args:
        job: its number, as squeue shows it.
        before: of the last of its starts that is over, else of the last.
    """
    columns = "--format=JobID,ElapsedRaw,End"
    command = ["sacct", "--allocations", "--duplicates", "--noheader", "--parsable2", columns, f"--jobs={job}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        rows = [line.split("|") for line in done.stdout.splitlines()]
        starts = [
            float(seconds) for number, seconds, end in rows if number == job and not (before and end == "Unknown")
        ]
        return starts[-1] if starts else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def seconds_spent(folder: Path, job: str, *, alone: bool) -> float:
    """Seconds that a job that is over had its devices for a stage of which it could not tell.

    Args:
        folder: of the stage.
        job: its number.
        alone: whether the job had no other stage; of several sacct knows the sum alone, and the lease each, to a beat.
    """
    seconds = accounted(job) if alone else None
    return _signs_of_life(folder, job) if seconds is None else seconds


def _signs_of_life(folder: Path, job: str) -> float:
    _, lease = newest(folder)
    return signs_of_life(lease) if lease.get("job") == job else 0.0


def death(folder: Path, queue: Queue) -> tuple[str, Ended] | None:
    """How a stage ended whose job is over and could not say so itself: nothing is written.

    Args:
        folder: of the stage.
        queue: knows whether the job that took the stage's lease, or was to take it, is over.

    Returns:
        The job, and how; None where the stage has not ended so.
    """
    lease, job = newest(folder)[1], _died_in(folder, queue)
    if not job or Store(folder.parent).done(folder.name):  # by the time that the queue said so
        return None
    _, cause, error = how_a_stage_ended(folder, job, queue.state(job))
    return job, Ended("failed", cause, error, _signs_of_life(folder, job), int(lease.get("devices", 1)))


def _died_in(folder: Path, queue: Queue) -> str:
    """The job that is over and has left a stage without a word: it held the stage, or died before it began."""
    _, lease = newest(folder)
    if lease.get("job") and not lease.get("released"):
        return str(lease["job"]) if queue.over(queue.state(lease["job"])) else ""
    note = notes.read(folder)
    if note is None or note.job == lease.get("job") or note.held(queue) or not free(lease):
        return ""
    return note.job if _died_before(folder, note, queue.state(note.job)) else ""


def _died_before(folder: Path, note: notes.Note, state: str) -> bool:
    """Whether a job that is over had started, and ended at a stage, or before its first one, that had not begun."""
    log = job_log(folder.parent, note.job)
    if state in ("", NEVER, "CANCELLED") and not log.exists():
        return False  # it never started
    if Path(note.result).exists() or notes.failed_since(folder, note):
        return False
    came_to = _STAGE.findall(log.read_text(errors="replace")) if log.exists() else []
    if came_to:
        return Path(came_to[-1]).name == folder.name
    needed = (notes.read(folder.parent / name) for name in inputs_of(folder))
    return all(one is None or one.job != note.job for one in needed)


def write_deaths(store: Store, names: Sequence[str], queue: Queue) -> None:
    """Write down how stages ended whose jobs could not, since nobody was there to see it."""
    stages_of = Counter(note.job for note in notes.every(store.root).values())
    for folder in (store.root / name for name in names):
        found = death(folder, queue)
        if found is None:
            continue
        job, ended = found
        seconds = seconds_spent(folder, job, alone=stages_of[job] == 1)  # before the lease says somebody else
        if release(folder, job):
            note_death(store, folder.name, ended.cause, ended.error, seconds, ended.devices)

"""Which job has which stage, on disk under `<results>/.slurm/`, so that it is known after whoever submitted it died."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.executors._slurm_queue import Queue, cancel
from harness.executors._slurm_script import FOLDER
from harness.lease import free, identity
from harness.store import write_whole

YOUNG_SECONDS = 60.0
"""Who submits jobs from another host is given so long before it counts as dead."""


@dataclass(frozen=True)
class Note:
    """The job that a stage was last given to.

    Attributes:
        job: its number, as squeue shows it.
        result: where it says how the stage ended.
        name: of the job; another job of that number has another.
        recipe: whose stage it is.
        stays: it was submitted to be left alone, and outlives a driver that is stopped.
    """

    job: str
    result: str
    name: str = ""
    recipe: str = ""
    stays: bool = False

    def held(self, queue: Queue) -> bool:
        """Whether the job is in the queue or runs."""
        return queue.holds(self.job, self.name) if self.name else not queue.over(queue.state(self.job))


def path(folder: Path) -> Path:
    """Where the note of a stage is, given its folder."""
    notes = folder.parent / FOLDER / "jobs"
    notes.mkdir(parents=True, exist_ok=True)
    return notes / f"{folder.name}.json"


def read(folder: Path) -> Note | None:
    """A stage's note, given its folder."""
    try:
        return Note(**json.loads((folder.parent / FOLDER / "jobs" / f"{folder.name}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write(folder: Path, note: Note) -> None:
    """Note which job has a stage, given its folder."""
    write_whole(path(folder), json.dumps(asdict(note)))


def every(root: Path) -> dict[str, Note]:
    """All notes of a results folder, by stage."""
    found = {file.stem: read(root / file.stem) for file in sorted((root / FOLDER / "jobs").glob("*.json"))}
    return {name: note for name, note in found.items() if note is not None}


def erase(folder: Path) -> None:
    """Remove a stage's note and its job's answer, given its folder."""
    note = read(folder)
    if note is not None:
        Path(note.result).unlink(missing_ok=True)
        path(folder).unlink(missing_ok=True)


def intend(root: Path, tasks: Mapping[int, Mapping[str, str]], note: Note) -> None:
    """Write down what is about to be submitted, so that nothing is lost between sbatch and its answer.

    Args:
        root: the results folder.
        tasks: by index, each stage's name and where its job is to answer.
        note: of any of them, without job and result.
    """
    file = _intent(root, note.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps({"who": identity(), "tasks": tasks, "note": asdict(note)}))


def settled(root: Path, name: str) -> None:
    """Jobs of a name are in the queue and noted, or never will be; somebody may have thought so before."""
    _intent(root, name).unlink(missing_ok=True)


def _intent(root: Path, name: str) -> Path:
    return root / FOLDER / "submitting" / f"{name}.json"


def recover(root: Path, queue: Queue) -> None:
    """Take over jobs of somebody who died between sbatch and its answer; those that lack their pickle are cancelled."""
    for file in sorted((root / FOLDER / "submitting").glob("*.json")):
        try:
            said: dict[str, Any] = json.loads(file.read_text())
            age = time.time() - file.stat().st_mtime
        except (OSError, ValueError):  # submitted by now
            continue
        if not free(said["who"]) and (age < YOUNG_SECONDS or said["who"]["machine"] == identity()["machine"]):
            continue
        jobs = queue.named(file.stem)
        if jobs is None:
            continue
        for job in jobs:
            tasks = said["tasks"].get(job.partition("_")[2] or next(iter(said["tasks"])), {})
            if not (root / FOLDER / "submitted" / f"{job}_submitted.pkl").exists():
                cancel([job])
                continue
            for stage, answer in tasks.items():
                write(root / stage, Note(**{**said["note"], "job": job, "result": answer}))
        file.unlink(missing_ok=True)

"""Which job has which stage, on disk under `<results>/.slurm/`, so that it is known after whoever submitted it died."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import keys
from harness.errors import HarnessError
from harness.executors._slurm_queue import Queue, cancel
from harness.executors._slurm_script import FOLDER
from harness.lease import free, identity
from harness.store import Store, write_whole

YOUNG_SECONDS = 60.0
"""Who submits jobs from another host is given so long before it counts as dead."""


class Cancelled(HarnessError):
    """Somebody has cancelled the recipe while it was run."""

    exit_code = 1


@dataclass(frozen=True)
class Note:
    """The job that a stage was last given to.

    Attributes:
        job: its number, as squeue shows it.
        result: where it says how the stage ended.
        name: of the job; another job of that number has another.
        recipe: whose stage it is.
        recipe_path: its file, by which recipes of one name are told apart.
        attempt: how often the stage had failed before.
    """

    job: str
    result: str
    name: str = ""
    recipe: str = ""
    recipe_path: str = ""
    attempt: int = 0

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


def erase(folder: Path, result: Path) -> None:
    """Remove a job's answer and, unless the stage has another job by now, its note.

    Args:
        folder: of the stage.
        result: the answer, which no other job has.
    """
    note = read(folder)
    if note is not None and Path(note.result) == result:
        path(folder).unlink(missing_ok=True)
    result.unlink(missing_ok=True)


def failed_since(folder: Path, note: Note) -> dict[str, Any] | None:
    """Why a stage has failed since its job was submitted, as in `failed.json`; None where it has not."""
    failure = Store(folder.parent).failure(folder.name)
    return failure if failure and int(failure["attempt"]) > note.attempt else None


def intend(root: Path, tasks: Mapping[int, Mapping[str, Note]]) -> None:
    """Write down what is about to be submitted, so that nothing is lost between sbatch and its answer.

    Args:
        root: the results folder.
        tasks: by index, each stage's name and its note, which has no job yet.
    """
    name = next(note.name for notes in tasks.values() for note in notes.values())
    said = {place: {stage: asdict(note) for stage, note in notes.items()} for place, notes in tasks.items()}
    file = _intent(root, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps({"who": identity(), "tasks": said}))


def settled(root: Path, name: str) -> None:
    """Jobs of a name are in the queue and noted, or never will be; somebody may have thought so before."""
    _intent(root, name).unlink(missing_ok=True)


def _intent(root: Path, name: str) -> Path:
    return root / FOLDER / "submitting" / f"{name}.json"


def intended(root: Path, recipe: str, recipe_path: str) -> list[str]:
    """The names of jobs that somebody is about to submit for a recipe."""
    found = []
    for file in (root / FOLDER / "submitting").glob("*.json"):
        try:
            tasks = json.loads(file.read_text())["tasks"]
            notes = [Note(**note) for stages in tasks.values() for note in stages.values()]
        except (OSError, ValueError, TypeError):  # submitted by now, or of another version
            continue
        found += [file.stem] if notes and (notes[0].recipe, notes[0].recipe_path) == (recipe, recipe_path) else []
    return found


def signature(recipe: str, recipe_path: str) -> str:
    """What files call a recipe: two of one name differ in their paths."""
    return f"{recipe}-{keys.key(recipe_path)[:8]}"


def mark_cancelled(root: Path, recipe: str, recipe_path: str) -> None:
    """Leave word that whoever submits jobs for a recipe is to stop."""
    mark = _mark(root, recipe, recipe_path)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def is_cancelled(root: Path, recipe: str, recipe_path: str) -> bool:
    """Whether somebody has left word so."""
    return _mark(root, recipe, recipe_path).exists()


def lift_mark(root: Path, recipe: str, recipe_path: str) -> None:
    """Take it back: the recipe is run anew."""
    _mark(root, recipe, recipe_path).unlink(missing_ok=True)


def _mark(root: Path, recipe: str, recipe_path: str) -> Path:
    return root / FOLDER / "cancelled" / signature(recipe, recipe_path)


def recover(root: Path, queue: Queue) -> None:
    """Take over jobs of somebody who died between sbatch and its answer; those that lack their pickle are cancelled."""
    for file in sorted((root / FOLDER / "submitting").glob("*.json")):
        try:
            said: dict[str, Any] = json.loads(file.read_text())
            age = time.time() - file.stat().st_mtime
            planned = {
                place: {stage: Note(**note) for stage, note in notes.items()} for place, notes in said["tasks"].items()
            }
        except (OSError, ValueError, TypeError):  # submitted by now, or of another version
            continue
        if not free(said["who"]) and (age < YOUNG_SECONDS or said["who"]["machine"] == identity()["machine"]):
            continue
        jobs = queue.named(file.stem)
        if jobs is None:
            continue
        for job in jobs:
            tasks = planned.get(job.partition("_")[2] or next(iter(planned)), {})
            if not (root / FOLDER / "submitted" / f"{job}_submitted.pkl").exists():
                cancel([job])
                continue
            for stage, note in tasks.items():
                write(root / stage, replace(note, job=job))
        file.unlink(missing_ok=True)

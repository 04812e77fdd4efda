"""`harness cancel`: end what a recipe has in Slurm's queue, running or not, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from harness.commands.driver import name_of
from harness.commands.run import path_of
from harness.commands.status import wanted
from harness.errors import HarnessError
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_job import inputs_of
from harness.executors._slurm_notes import Note
from harness.executors._slurm_queue import UNKNOWN, Queue, cancel
from harness.recipe import read_recipe
from harness.store import Store

LOOK_SECONDS = 1.0
LIMIT_SECONDS = 120.0


def cancel_recipe(path: Path, assignments: list[str], results: Path, as_json: bool) -> None:
    """Cancel the jobs, and wait until they are gone.

    Raises:
        HarnessError: squeue does not answer, or jobs do not go away.
    """
    recipe, store = read_recipe(path, assignments), Store(results)
    driver = name_of(recipe)
    called = {**wanted(recipe, store)[1], driver: "the driver"}
    found, shared = end_all(store.root.resolve(), recipe.name, path_of(recipe), driver)
    if as_json:
        print(json.dumps({"recipe": recipe.name, "cancelled": found, "shared": shared}, indent=1))
        return
    for stage, job in found.items():
        print(f"  {job}: {called.get(stage, stage)} [{stage}]")
    if found:
        stages = len(found) - (driver in found)
        print(f"{stages} stages of {recipe.name} were cancelled; harness run {path} goes on from what is finished")
    if shared:
        print(f"{len(shared)} stages go on, since jobs of other recipes wait for them: {', '.join(shared)}")
    if not found and not shared:
        print(f"{recipe.name} has nothing in the queue")


def end_all(root: Path, recipe: str, recipe_path: str = "", driver: str = "") -> tuple[dict[str, str], dict[str, str]]:
    """Cancel every job that a recipe has submitted from a results folder, and stop whoever submits more.

    Args:
        root: the results folder.
        recipe: its name.
        recipe_path: its file.
        driver: what its driver is called, should it be a job.

    Returns:
        The job of each stage that was in the queue or ran, and that of the driver; and of each that was left alone,
        since other recipes' jobs wait for it.

    Raises:
        HarnessError: squeue does not answer, or jobs do not go away.
    """
    found: dict[str, str] = {}
    notes.mark_cancelled(root, recipe, recipe_path)
    limit = time.monotonic() + LIMIT_SECONDS
    while True:
        submitting = notes.intended(root, recipe, recipe_path)  # before the notes, which take their place
        notes.recover(root, Queue())
        held = _held(root, Queue())
        own = {stage for stage, note in held.items() if (note.recipe, note.recipe_path) == (recipe, recipe_path)}
        shared = {stage: held[stage].job for stage in own if held[stage].job in _needed(root, held, own)}
        ends = {stage: held[stage].job for stage in own - set(shared)}
        if not ends and not submitting:
            if note := notes.read(root / driver) if driver in found else None:
                notes.erase(root / driver, Path(note.result))
            return found, shared
        if time.monotonic() > limit:
            left = " ".join(sorted({*ends.values(), *submitting}))
            raise HarnessError(f"these jobs were cancelled and do not go away, or are still being submitted: {left}")
        if driver in ends:  # first, and at once: it would see the others' end as that of trials which have failed
            ends = {driver: ends[driver]}
            cancel(["--signal=KILL", ends[driver]])
        cancel(sorted(set(ends.values())))
        found |= ends
        time.sleep(LOOK_SECONDS)


def _held(root: Path, queue: Queue) -> dict[str, Note]:
    """What is in the queue or runs, by stage.

    Raises:
        HarnessError: squeue does not answer.
    """
    every = notes.every(root)
    if any(queue.state(note.job) == UNKNOWN for note in every.values()):
        raise HarnessError("squeue does not answer, so nothing is known of the jobs; try again in a moment")
    return {stage: note for stage, note in every.items() if note.held(queue)}


def _needed(root: Path, held: Mapping[str, Note], own: set[str]) -> set[str]:
    """The jobs that others' jobs wait for, however far: those of a recipe's stages among them cannot end alone."""
    waiting, jobs = [stage for stage in held if stage not in own], set[str]()
    while waiting:
        needed = inputs_of(root / waiting.pop()) & set(held)
        new = {held[stage].job for stage in needed if not Store(root).has_files(stage)} - jobs
        jobs |= new
        waiting += [stage for stage, note in held.items() if note.job in new]
    return jobs

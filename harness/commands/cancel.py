"""`harness cancel`: end what a recipe has in Slurm's queue, running or not, and nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path

from harness.commands.driver import name_of
from harness.commands.status import wanted
from harness.errors import HarnessError
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_queue import UNKNOWN, Queue, cancel
from harness.recipe import read_recipe
from harness.store import Store

LOOK_SECONDS = 1.0
QUIET_LOOKS = 3
"""So often in a row nothing of the recipe must be seen: a driver that lives may submit what was next."""
LIMIT_SECONDS = 120.0


def cancel_recipe(path: Path, assignments: list[str], results: Path, as_json: bool) -> None:
    """Cancel the jobs, and wait until they are gone.

    Raises:
        HarnessError: squeue does not answer, or jobs do not go away.
    """
    recipe, store = read_recipe(path, assignments), Store(results)
    called = {**wanted(recipe, store)[1], name_of(recipe.name): "the driver"}
    found = end_all(store.root.resolve(), recipe.name)
    if as_json:
        print(json.dumps({"recipe": recipe.name, "cancelled": found}, indent=1))
        return
    for stage, job in found.items():
        print(f"  {job}: {called.get(stage, stage)} [{stage}]")
    if found:
        stages = len(found) - (name_of(recipe.name) in found)
        print(f"{stages} stages of {recipe.name} were cancelled; harness run {path} goes on from what is finished")
    else:
        print(f"{recipe.name} has nothing in the queue")


def end_all(root: Path, recipe: str) -> dict[str, str]:
    """Cancel every job that a recipe has submitted from a results folder.

    Args:
        root: the results folder.
        recipe: its name.

    Returns:
        The job of each stage that was in the queue or ran, and that of the driver.

    Raises:
        HarnessError: squeue does not answer, or jobs do not go away.
    """
    found: dict[str, str] = {}
    quiet, limit = 0, time.monotonic() + LIMIT_SECONDS
    while quiet < (QUIET_LOOKS if found else 1):
        queue = Queue()
        notes.recover(root, queue)
        own = {stage: note for stage, note in notes.every(root).items() if note.recipe == recipe}
        if any(queue.state(note.job) == UNKNOWN for note in own.values()):
            raise HarnessError("squeue does not answer, so nothing is known of the jobs; try again in a moment")
        held = {stage: note.job for stage, note in own.items() if note.held(queue)}
        if driver := {stage: job for stage, job in held.items() if stage == name_of(recipe)}:
            held = driver  # first, and at once: it would see the others' end as that of trials which have failed
            cancel(["--signal=KILL", *driver.values()])
        if held and time.monotonic() > limit:
            raise HarnessError(f"these jobs were cancelled and do not go away: {' '.join(sorted(set(held.values())))}")
        cancel(sorted(set(held.values())))
        found |= held
        quiet = 0 if held else quiet + 1
        time.sleep(LOOK_SECONDS if found else 0)
    if name_of(recipe) in found:
        notes.erase(root / name_of(recipe))
    return found

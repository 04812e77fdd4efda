"""The driver as a small Slurm job: `harness run` itself, where what comes next has to be decided on the way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from harness.commands.run import path_of, run_recipe
from harness.errors import HarnessError
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_ends import how_it_ended
from harness.executors._slurm_job import TAKEN_OVER, say
from harness.executors._slurm_notes import Note
from harness.executors._slurm_queue import PATIENCE_SECONDS, UNKNOWN, Queue
from harness.executors.slurm import Slurm
from harness.launch import DRIVER, asked
from harness.lease import Busy, Lease, outlast, slurm_job
from harness.public import public
from harness.recipe import Recipe
from harness.search.chosen import folder_of
from harness.store import Store


@dataclass(frozen=True)
class Driving:
    """Where the driver's job is.

    Attributes:
        word: `queued`, `running`, or `failed`, where it has ended before its work was done.
        job: its number.
        error: why it failed.
        sure: whether squeue says so too.
    """

    word: str
    job: str
    error: str = ""
    sure: bool = True


class Driver:
    """What the job runs. It is pickled, and holds words alone.

    Args:
        recipe: its path.
        assignments: values of the recipe that were set.
        results: the results folder.
        reports: the folder of the reports.
        answer: where to say how it ended.
    """

    def __init__(self, recipe: str, assignments: list[str], results: str, reports: str, answer: str) -> None:
        self.recipe, self.assignments = recipe, assignments
        self.results, self.reports, self.answer = results, reports, answer

    def __call__(self) -> None:
        """Run the recipe. Safe to start again: it goes on from what is finished, and waits for what is in the queue."""
        _heed_signals()
        print(f"driver: harness run {self.recipe}", flush=True)
        code, error = 2, ""
        try:
            code = run_recipe(Path(self.recipe), self.assignments, Path(self.results), Path(self.reports), False)
        except HarnessError as wrong:
            code, error = wrong.exit_code, public(str(wrong))
            print(error, file=sys.stderr)
        except Exception as bug:
            error = public(f"{type(bug).__name__}: {bug}")
            print(public(traceback.format_exc()), file=sys.stderr)
        say(Path(self.answer), "failed" if error else "done", "", error, 0.0)
        sys.exit(code)


def _heed_signals() -> None:
    """Before the time limit it is requeued; once it is told to end, it submits and judges nothing more.

    It does not end by itself then, for a job that ends within the grace of a preemption is not requeued. Where another
    process has taken over, it ends outright: to end in order would cancel jobs that are the other's by now.
    """

    def requeue(*_: object) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(["scontrol", "requeue", slurm_job()], timeout=PATIENCE_SECONDS, check=False)
            if done.returncode == 0:
                os._exit(1)

    def freeze(*_: object) -> None:
        while True:
            time.sleep(PATIENCE_SECONDS)

    signal.signal(signal.SIGUSR2, requeue)
    signal.signal(signal.SIGTERM, freeze)
    signal.signal(signal.SIGINT, lambda *_: os._exit(TAKEN_OVER))


def name_of(recipe: Recipe) -> str:
    """What the driver of a recipe is called among the stages that jobs have."""
    return f"{DRIVER}-{notes.signature(recipe.name, path_of(recipe))}"


def note_of(store: Store, recipe: Recipe) -> Note | None:
    """The job that the driver of a recipe is, or was last."""
    return notes.read(store.root.resolve() / name_of(recipe))


def state(store: Store, recipe: Recipe, queue: Queue) -> Driving | None:
    """Where the driver is; None where there is none, or it has done its work."""
    note = note_of(store, recipe)
    if note is None:
        return None
    found = queue.state(note.job)
    if note.held(queue):
        return Driving("running" if found == "RUNNING" else "queued", note.job, sure=found != UNKNOWN)
    try:
        said = json.loads(Path(note.result).read_text())
    except (OSError, ValueError):
        return Driving("failed", note.job, how_it_ended(store.root.resolve(), note.job, found)[2])
    return Driving("failed", note.job, said["error"]) if said["status"] == "failed" else None


def refuse_beside(store: Store, recipe: Recipe) -> None:
    """Refuse to be a second driver; what the last one left is put away, and that somebody has cancelled the recipe.

    Raises:
        HarnessError: a job drives this recipe.
    """
    root, note = store.root.resolve(), note_of(store, recipe)
    if note and note.job == slurm_job():
        return
    if note and note.held(Queue()):
        raise HarnessError(
            f"the driver of {recipe.name} is Slurm job {note.job}, so this run is not needed: `harness watch` shows "
            "how far it is; to run it here instead, end it with `harness cancel` first"
        )
    if note:
        notes.erase(root / name_of(recipe), Path(note.result))
    notes.lift_mark(root, recipe.name, path_of(recipe))


def leave_driver(
    recipe: Recipe, path: Path, assignments: list[str], store: Store, reports: Path, executor: Slurm
) -> tuple[str, bool]:
    """Submit the driver, unless it is in the queue already.

    Returns:
        Its job, and whether it is a new one.

    Raises:
        HarnessError: another run tunes this recipe, or sbatch refuses.
    """
    root, folder = store.root.resolve(), folder_of(store, recipe)
    place = root / name_of(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    executor.begin(store, [])
    if note := executor.held(place):
        return note.job, False
    words = (str(path.resolve()), assignments, str(root), str(reports.resolve()))
    try:
        outlast(folder)
        with Lease(folder):  # of two who leave it at once, one submits
            if note := executor.held(place):
                return note.job, False
            wishes = asked(executor.resources, {"kind": DRIVER})
            held = executor.put(wishes, {0: [place]}, runs=lambda own: Driver(*words, own[0][1]))
    except Busy as error:
        raise HarnessError(f"{folder}: {error}; wait for it, or end it") from error
    return held[place].job, True

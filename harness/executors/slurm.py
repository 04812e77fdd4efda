"""Run stages as Slurm jobs, submitted with submitit: what becomes ready together is one array.

Everything goes through the results folder, which every node must see. A job is handed the stage's folder and nothing
else. Which job has a stage is written down under `<results>/.slurm/jobs/`, so that a run after a driver that died
waits for the jobs in the queue and does not submit their stages again.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.execute import note_death
from harness.executors import Ended, Executor, Handle
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_ends import write_deaths
from harness.executors._slurm_handle import Submitted
from harness.executors._slurm_job import Job
from harness.executors._slurm_notes import Note
from harness.executors._slurm_queue import Queue, cancel
from harness.executors._slurm_script import (
    AGAIN_SECONDS,
    SUBMIT_SECONDS,
    Array,
    Full,
    Label,
    check_folder,
    notice_seconds,
    outside_of_jobs,
    patiently,
    submit,
)
from harness.launch import Resources, asked
from harness.lease import slurm_job
from harness.store import Store

Runs = Callable[[Sequence[tuple[str, str]]], Callable[[], None]]
"""From folder and answer of each of a job's stages to what the job runs."""
SLOTS = 1000
UNIQUE = "000000"
"""In place of the letters that end a job's name, for jobs that are not submitted."""
FULL_SECONDS = 20.0
"""Where Slurm takes no more jobs, twice as many as are in the queue are tried again after so long."""


class Slurm(Executor):
    """As many jobs at once as `workers`; one without an answer is looked up in the queue."""

    def __init__(
        self,
        *,
        workers: int = 0,
        threads: int = 1,
        checkpoint_every: int = 50,
        timeout_min: float = 60,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        """Submit nothing yet.

        Args:
            workers: jobs at once, and tasks of an array that run at once; 0 means 1,000.
            threads: CPU threads of each, and so the CPUs that it asks for.
            checkpoint_every: steps between checkpoints.
            timeout_min: time limit of a job, rounded up; at least one minute.
            resources: for all, and by kind of stage and algorithm, as in `harness.launch`.
        """
        self.slots = self.most = workers or SLOTS
        self.threads, self.checkpoint_every = threads, checkpoint_every
        self.resources = {"timeout_min": timeout_min, **(resources or {})}
        self.queue = Queue()
        self._waiting: list[list[Submitted]] = []
        self._open: dict[Path, Submitted] = {}
        self._full_at = self._ended_at = -SUBMIT_SECONDS
        self._told = ""
        self.is_under_way = False
        """Whether a job of this run is or was in the queue."""

    def begin(self, store: Store, names: Sequence[str]) -> None:
        """Take up what earlier runs have left; see `Executor.begin`."""
        root = store.root.resolve()
        check_folder(root)
        notes.recover(root, self.queue)
        write_deaths(store, names, self.queue)
        for name, note in notes.every(root).items():
            if store.done(name) and not note.held(self.queue):
                notes.erase(root / name, Path(note.result))

    def submit(self, folder: Path) -> Handle:
        """Put the folder into the next array, unless an earlier run has it in the queue."""
        return self.submit_bundle([folder])[0]

    def submit_bundle(self, folders: Sequence[Path]) -> list[Handle]:
        """The same for stages that share a job; of a bundle in the queue, what is in the job of its first stage."""
        if self._made(folders[0].resolve()):
            handle = Submitted(self, folders[0].resolve())
            handle.ended = Ended("done")
            return [handle]
        held = [self.held(folder.resolve()) for folder in folders]
        jobs = [note.job if note else "" for note in held]
        together = [folder.resolve() for folder, job in zip(folders, jobs, strict=True) if job == jobs[0]]
        if len(together) < len(folders):  # what came after may read what is left out
            together = together[: next(i for i, job in enumerate(jobs) if job != jobs[0])]
        bundle: list[Submitted] = []
        for folder, note in zip(together, held, strict=False):
            handle = Submitted(self, folder, bundle)
            self._open[folder] = handle
            bundle.append(handle)
            if note:
                handle.holds(note)
        if not held[0]:
            self._waiting.append(bundle)
        return list(bundle)

    def alike(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Whether two stages ask for the same, and are each the work of one process."""
        wishes = asked(self.resources, one)
        return wishes.processes == 1 and wishes == asked(self.resources, other)

    def devices(self, folder: Path) -> int:
        """How many devices the job of a stage has."""
        return asked(self.resources, json.loads((folder / "spec.json").read_text())).processes

    def is_alone(self, handle: Submitted) -> bool:
        """Whether no other stage is or was in a stage's job."""
        return not handle.before and [one.job for one in self._open.values()].count(handle.job) == 1

    def held(self, folder: Path) -> Note | None:
        """The job that an earlier run has in the queue for a stage."""
        note = notes.read(folder)
        return note if note and note.held(self.queue) else None

    def _made(self, folder: Path) -> bool:
        """Whether a job that was left to itself has made a stage by now."""
        return notes.read(folder) is not None and Store(folder.parent).has_files(folder.name)

    def flush(self) -> None:
        """Submit what waits: jobs that ask for the same are one array.

        What goes beyond a limit on jobs is given back, and fewer are taken at once from then on. What sbatch refuses
        has failed, while what is in the queue goes on.

        Raises:
            HarnessError: sbatch refuses, and no job of this run was in the queue before.
        """
        if self.slots < self.most and time.monotonic() - self._full_at > FULL_SECONDS:
            self.slots, self._full_at = min(self.most, 2 * self.slots), time.monotonic()
        waiting, self._waiting = self._waiting, []
        groups: dict[Resources, list[list[Submitted]]] = {}
        for bundle in waiting:
            spec = json.loads((bundle[0].folder / "spec.json").read_text())
            groups.setdefault(asked(self.resources, spec), []).append(bundle)
        left: list[list[Submitted]] = []
        refused: list[tuple[list[Submitted], HarnessError]] = []
        for wishes, bundles in groups.items():
            try:
                left += self._submit(wishes, bundles)
            except notes.Cancelled:
                raise
            except HarnessError as error:
                refused += [(bundle, error) for bundle in bundles if not bundle[0].job]
        if refused and not self.is_under_way:
            raise refused[0][1]
        for bundle, why in refused:
            self._refuse(bundle, str(why))
        for bundle in left:
            self._give_back(bundle, "Slurm takes no more jobs at once")
        if left:
            self.slots, self._full_at = len({one.job for one in self._open.values()}), time.monotonic()

    def _submit(self, wishes: Resources, bundles: list[list[Submitted]]) -> list[list[Submitted]]:
        """Put bundles into the queue, in smaller arrays where need be; what is left, once Slurm takes no more."""
        size = len(bundles)
        while bundles:
            part = bundles[:size]
            try:
                found = self.put(wishes, dict(enumerate([[one.folder for one in bundle] for bundle in part])))
            except Full as full:
                if size > 1:
                    size = (size + 1) // 2
                elif any(one.job for one in self._open.values()):
                    break
                elif self._may_clear():
                    self._wait(f"{full}; it is asked again while other jobs of yours are in the queue\n")
                else:
                    raise
                continue
            for one in (one for bundle in part for one in bundle):
                one.holds(found[one.folder])
                one.own = True
            bundles = bundles[size:]
        return bundles

    def _may_clear(self) -> bool:
        """Whether jobs count against a limit that will end, or whose stages ended a moment ago."""
        return time.monotonic() - self._ended_at < SUBMIT_SECONDS or self.queue.has_others(slurm_job())

    def _wait(self, why: str) -> None:
        if self._told != why:
            sys.stderr.write(why)
        self._told = why
        time.sleep(AGAIN_SECONDS)

    def _give_back(self, bundle: Sequence[Submitted], why: str) -> None:
        for one in bundle:
            one.ended = Ended("unbegun", error=why)
            del self._open[one.folder]

    def _refuse(self, bundle: Sequence[Submitted], why: str) -> None:
        """The first stage of a bundle has failed, which blocks the others."""
        self._give_back(bundle, why)
        note_death(Store(bundle[0].folder.parent), bundle[0].folder.name, "refused", why, 0.0)
        bundle[0].ended = Ended("failed", "refused", why)

    def put(
        self,
        wishes: Resources,
        bundles: Mapping[int, Sequence[Path]],
        waits_for: str = "",
        *,
        runs: Runs | None = None,
    ) -> dict[Path, Note]:
        """Put jobs that ask for the same into the queue, as one array if they are several.

        Args:
            wishes: what each asks for.
            bundles: by index in the array, the folders of each job's stages.
            waits_for: what sbatch's `--dependency` is to say.
            runs: makes what a job runs, where that is not its stages.

        Returns:
            Which job has the stage of a folder.

        Raises:
            HarnessError: sbatch refuses.
        """
        array = self.array(wishes, bundles, waits_for, uuid.uuid4().hex[:6])
        name, root = array.label.name, array.label.results
        own = {place: {folder: self._note(folder, name) for folder in bundle} for place, bundle in bundles.items()}
        tasks = {place: {one.name: own[place][one] for one in own[place]} for place in own}
        made = runs or (lambda stages: Job(stages, self.checkpoint_every, notice_seconds(wishes) / 2))
        jobs = {place: made([(str(one), note.result) for one, note in part.items()]) for place, part in own.items()}

        def attempt() -> dict[int, str]:
            notes.intend(root, tasks)  # each time: to others an old one is that of somebody who died
            self._heed(root)  # after that, so that whoever cancels sees one or the other
            return submit(array, jobs)

        try:
            with outside_of_jobs():
                found = patiently(name, attempt)
        except HarnessError:
            notes.settled(root, name)
            raise
        held = {one: replace(note, job=found[place]) for place, part in own.items() for one, note in part.items()}
        for folder, note in held.items():
            notes.write(folder, note)
        notes.settled(root, name)
        return held

    def _note(self, folder: Path, name: str) -> Note:
        """The note of a stage whose job, of that name, is about to be submitted."""
        answer = notes.path(folder).with_suffix(f".{time.time_ns()}.answer")
        failed = Store(folder.parent).failure(folder.name) or {}
        return Note("", str(answer), name, self.recipe, self.recipe_path, int(failed.get("attempt", 0)))

    def _heed(self, root: Path) -> None:
        """Stop where somebody has cancelled the recipe; what is in the queue is theirs to end.

        Raises:
            Cancelled: somebody has.
        """
        if notes.is_cancelled(root, self.recipe, self.recipe_path):
            self._open.clear()
            raise notes.Cancelled(f"{self.recipe} was cancelled by `harness cancel`, so this run submits nothing more")

    def array(
        self, wishes: Resources, bundles: Mapping[int, Sequence[Path]], waits_for: str = "", unique: str = UNIQUE
    ) -> Array:
        """Jobs that ask for the same, as they are told to sbatch; see `put`.

        Args:
            wishes: what each asks for.
            bundles: by index in the array, the folders of each job's stages.
            waits_for: what sbatch's `--dependency` is to say.
            unique: ends their name, which no other job has.

        Raises:
            HarnessError: Slurm cannot write into the results folder.
        """
        folders = [folder for bundle in bundles.values() for folder in bundle]
        check_folder(folders[0].parent)
        more = f"+{len(folders) - 1}" if len(folders) > 1 else ""
        label = Label(f"{folders[0].name}{more}.{unique}", folders[0].parent, self.recipe)
        return Array(label, wishes, self.threads, self.most, tuple(bundles), waits_for)

    def forget(self, handle: Submitted) -> None:
        """A stage's job has ended."""
        self._open.pop(handle.folder, None)
        self._ended_at = time.monotonic()
        notes.erase(handle.folder, handle.result)

    def close(self) -> None:
        """Cancel the jobs that it has submitted and that have not ended; the next run resumes.

        Those that it has found in the queue are somebody else's: of a run that lives, or left to themselves.
        """
        own = [handle for handle in self._open.values() if handle.own]
        if cancel(sorted({handle.job for handle in own if handle.job})):  # else the next run finds them in the queue
            for handle in own:
                self.forget(handle)

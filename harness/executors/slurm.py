"""Run stages as Slurm jobs, submitted with submitit: what becomes ready together is one array.

Everything goes through the results folder, which every node must see. A job is handed the stage's folder and nothing
else. Which job has a stage is written down under `<results>/.slurm/jobs/`, so that a run after a driver that died
waits for the jobs in the queue and does not submit their stages again.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.execute import note_death
from harness.executors import Ended, Executor, Handle
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_ends import FINAL, how_it_ended, seconds_spent, write_deaths
from harness.executors._slurm_job import Job
from harness.executors._slurm_notes import Note
from harness.executors._slurm_queue import NEVER, Queue, cancel
from harness.executors._slurm_script import Label, Preview, opened, outside_of_jobs, patiently, sbatch_file, submit
from harness.launch import Resources, asked
from harness.lease import newest, release
from harness.store import Store

SLOTS = 1000
LOOK_SECONDS = 0.5
SETTLE_SECONDS = 10.0
"""A job that has ended may be ahead of its files, which a shared file system shows late."""


class _Submitted:
    """A stage that is in the queue, or about to be."""

    def __init__(self, executor: Slurm, folder: Path, before: Sequence[_Submitted] = ()) -> None:
        self.executor, self.folder, self.before = executor, folder, tuple(before)
        self.job, self.result = "", Path()
        self.looked = 0.0
        self.gone_since: float | None = None
        self.ended: Ended | None = None
        self.died = self.stays = False

    def holds(self, note: Note) -> None:
        """It is in the queue now."""
        self.job, self.result, self.stays = note.job, Path(note.result), note.stays

    def done(self) -> bool:
        """Look at the job's answer, and where there is none, at the queue; asks seldom, since files are far away."""
        self.executor.flush()
        if self.ended is None and time.monotonic() - self.looked > LOOK_SECONDS:
            self.looked = time.monotonic()
            self.ended = self._answer() or self._gone()
            if self.ended is not None:
                self.executor.forget(self)
        return self.ended is not None

    def outcome(self) -> Ended:
        """How it ended."""
        assert self.ended is not None, "asked before it was done"
        return self.ended

    def said(self) -> bool:
        """Whether the job has said how the stage ended."""
        if self.ended is None:
            self.ended = self._answer()
            if self.ended is not None:
                self.executor.forget(self)
        return self.ended is not None and not self.died

    def _answer(self) -> Ended | None:
        try:
            said = json.loads(self.result.read_text())
        except (OSError, ValueError):
            return None
        return Ended(said["status"], said["cause"], said["error"], said["seconds"])

    def _gone(self) -> Ended | None:
        state = self.executor.queue.state(self.job)
        if not self.executor.queue.over(state):
            self.gone_since = None
            return None
        self.gone_since = self.gone_since or time.monotonic()
        if state not in FINAL and time.monotonic() - self.gone_since < SETTLE_SECONDS:
            return None
        if Store(self.folder.parent).has_files(self.folder.name):
            return Ended("done")
        if state == NEVER:
            return Ended("unbegun", error="what its job waited for was not made")
        if state != "CANCELLED" and not all(one.said() for one in self.before):
            return Ended("unbegun", error="its job ended at a stage before it")
        cancel([self.job])  # should Slurm requeue it after all, it must not meet its successor
        status, cause, words = how_it_ended(self.folder.parent, self.job, state)
        error, self.died = f"Slurm job {self.job}: {words}", True
        seconds = seconds_spent(self.folder, self.job, alone=self.executor.is_alone(self))
        if newest(self.folder)[1].get("job") == self.job:
            release(self.folder)
        devices = self.executor.devices(self.folder)
        if status == "failed":
            note_death(Store(self.folder.parent), self.folder.name, cause, error, seconds, devices)
        return Ended(status, cause, error, seconds, devices)


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
        self.slots = workers or SLOTS
        self.threads, self.checkpoint_every = threads, checkpoint_every
        self.resources = {"timeout_min": timeout_min, **(resources or {})}
        self.queue = Queue()
        self._waiting: list[list[_Submitted]] = []
        self._open: dict[Path, _Submitted] = {}

    def begin(self, store: Store, names: Sequence[str]) -> None:
        """Take up what earlier runs have left; see `Executor.begin`."""
        root = store.root.resolve()
        notes.recover(root, self.queue)
        write_deaths(store, names, self.queue)
        for name, note in notes.every(root).items():
            if store.done(name) and not note.held(self.queue):
                notes.erase(root / name)

    def submit(self, folder: Path) -> Handle:
        """Put the folder into the next array, unless an earlier run has it in the queue."""
        return self.submit_bundle([folder])[0]

    def submit_bundle(self, folders: Sequence[Path]) -> list[Handle]:
        """The same for stages that share a job; of a bundle in the queue, what is in the job of its first stage."""
        if self._made(folders[0].resolve()):
            handle = _Submitted(self, folders[0].resolve())
            handle.ended = Ended("done")
            return [handle]
        held = [self.held(folder.resolve()) for folder in folders]
        jobs = [note.job if note else "" for note in held]
        together = [folder.resolve() for folder, job in zip(folders, jobs, strict=True) if job == jobs[0]]
        if len(together) < len(folders):  # what came after may read what is left out
            together = together[: next(i for i, job in enumerate(jobs) if job != jobs[0])]
        bundle: list[_Submitted] = []
        for folder, note in zip(together, held, strict=False):
            handle = _Submitted(self, folder, bundle)
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

    def is_alone(self, handle: _Submitted) -> bool:
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

        Raises:
            HarnessError: sbatch refuses.
        """
        waiting, self._waiting = self._waiting, []
        groups: dict[Resources, list[list[_Submitted]]] = {}
        for bundle in waiting:
            spec = json.loads((bundle[0].folder / "spec.json").read_text())
            groups.setdefault(asked(self.resources, spec), []).append(bundle)
        for wishes, bundles in groups.items():
            self._submit(wishes, bundles)

    def _submit(self, wishes: Resources, bundles: list[list[_Submitted]]) -> None:
        found = self.put(wishes, dict(enumerate([[one.folder for one in bundle] for bundle in bundles])))
        for one in (one for bundle in bundles for one in bundle):
            one.holds(found[one.folder])

    def put(
        self, wishes: Resources, bundles: Mapping[int, Sequence[Path]], waits_for: str = "", *, stays: bool = False
    ) -> dict[Path, Note]:
        """Put jobs that ask for the same into the queue, as one array if they are several.

        Args:
            wishes: what each asks for.
            bundles: by index in the array, the folders of each job's stages.
            waits_for: what sbatch's `--dependency` is to say.
            stays: they outlive a driver that is stopped.

        Returns:
            Which job has the stage of a folder.

        Raises:
            HarnessError: sbatch refuses.
        """
        folders = [folder for bundle in bundles.values() for folder in bundle]
        root, more = folders[0].parent, f"+{len(folders) - 1}" if len(folders) > 1 else ""
        name = f"{folders[0].name}{more}.{uuid.uuid4().hex[:6]}"
        blank = Note("", "", name, self.recipe, stays)
        answers = {folder: str(notes.path(folder).with_suffix(f".{time.time_ns()}.answer")) for folder in folders}
        stages = {place: [(str(folder), answers[folder]) for folder in bundle] for place, bundle in bundles.items()}
        tasks = {place: {folder.name: answers[folder] for folder in bundle} for place, bundle in bundles.items()}
        intent = notes.intend(root, tasks, blank)
        label = Label(name, root, self.recipe)
        jobs = {place: Job(one, self.checkpoint_every) for place, one in stages.items()}
        again = partial(opened, label, wishes, self.threads, self.slots, waits_for)
        try:
            with outside_of_jobs():
                found = patiently(name, lambda: submit(again(), jobs))
        except HarnessError:
            intent.unlink()
            raise
        held = {
            folder: replace(blank, job=found[place], result=answers[folder])
            for place, bundle in bundles.items()
            for folder in bundle
        }
        for folder, note in held.items():
            notes.write(folder, note)
        intent.unlink()
        return held

    def preview(self, root: Path, specs: Sequence[Mapping[str, Any]]) -> list[Preview]:
        """The sbatch files for jobs that would be submitted together; nothing is submitted.

        Args:
            root: the results folder.
            specs: of each job's first stage.
        """
        label = Label("harness", root.resolve(), self.recipe)
        groups: dict[Resources, list[int]] = {}
        for place, spec in enumerate(specs):
            groups.setdefault(asked(self.resources, spec), []).append(place)
        return [
            Preview(sbatch_file(label, wishes, self.threads, self.slots, len(places)), places)
            for wishes, places in groups.items()
        ]

    def forget(self, handle: _Submitted) -> None:
        """A stage's job has ended."""
        self._open.pop(handle.folder, None)
        notes.erase(handle.folder)

    def close(self) -> None:
        """Cancel the jobs that have not ended, but for those that were left to themselves; the next run resumes."""
        own = [handle for handle in self._open.values() if not handle.stays]
        cancel(sorted({handle.job for handle in own if handle.job}))
        for handle in own:
            self.forget(handle)

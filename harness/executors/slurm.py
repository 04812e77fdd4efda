"""Run stages as Slurm jobs, submitted with submitit: what becomes ready together is one array.

Everything goes through the results folder, which every node must see. A job is handed the stage's folder and nothing
else. Which job has a stage is written down under `<results>/.slurm/jobs/`, so that a run after a driver that died
waits for the jobs in the queue and does not submit their stages again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.execute import note_death
from harness.executors import Ended, Executor, Handle
from harness.executors._slurm_job import Job
from harness.executors._slurm_queue import Queue, cancel
from harness.executors._slurm_script import FOLDER, Preview, opened, sbatch_file
from harness.launch import Resources, asked
from harness.store import Store, write_whole

SLOTS = 1000
LOOK_SECONDS = 0.5
SETTLE_SECONDS = 10.0
"""A job that has ended may be ahead of its files, which a shared file system shows late."""
_ENDS = {
    "TIMEOUT": ("lost", "timeout", "it reached its time limit"),
    "DEADLINE": ("lost", "timeout", "it reached its deadline"),
    "OUT_OF_MEMORY": ("failed", "out of memory", "it was killed for going over its memory limit"),
    "CANCELLED": ("failed", "killed", "it was cancelled"),
    "PREEMPTED": ("lost", "killed", "it was preempted, and not requeued"),
    "NODE_FAIL": ("lost", "killed", "its node failed"),
}
"""What a job's last state means for its stage: a lost one may be tried again."""
_FINAL = {"TIMEOUT", "OUT_OF_MEMORY", "CANCELLED"}
"""States that Slurm does not requeue from, as it may do from the others a moment later."""
_NO_MEMORY = ("exceeded memory limit", "oom_kill event", "oom-kill event")
"""What Slurm writes into a job's log where the state says only that it failed."""


class _Submitted:
    """A stage that is in the queue, or about to be."""

    def __init__(self, executor: Slurm, folder: Path, before: Sequence[_Submitted] = ()) -> None:
        self.executor, self.folder, self.before = executor, folder, tuple(before)
        self.job, self.result = "", Path()
        self.began, self.looked = time.monotonic(), 0.0
        self.gone_since: float | None = None
        self.ended: Ended | None = None
        self.died = False

    def holds(self, job: str, result: Path) -> None:
        """It is in the queue now."""
        self.job, self.result = job, result

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
        if state not in _FINAL and time.monotonic() - self.gone_since < SETTLE_SECONDS:
            return None
        if Store(self.folder.parent).has_files(self.folder.name):
            return Ended("done")
        if state != "CANCELLED" and not all(one.said() for one in self.before):
            return Ended("unbegun", error="its job ended at a stage before it")
        cancel([self.job])  # should Slurm requeue it after all, it must not meet its successor
        if self._over_memory():
            state = "OUT_OF_MEMORY"
        gone = ("lost", "killed", f"it ended as {state}" if state else "Slurm does not know it any more")
        status, cause, words = _ENDS.get(state, gone)
        seconds, error, self.died = time.monotonic() - self.began, f"Slurm job {self.job}: {words}", True
        if status == "failed":
            note_death(Store(self.folder.parent), self.folder.name, cause, error, seconds)
        return Ended(status, cause, error, seconds)

    def _over_memory(self) -> bool:
        log = self.folder.parent / FOLDER / "submitted" / f"{self.job}_0_log.out"
        try:
            said = log.read_text(errors="replace")
        except OSError:
            return False
        return any(words in said for words in _NO_MEMORY)


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

    def submit(self, folder: Path) -> Handle:
        """Put the folder into the next array, unless an earlier run has it in the queue."""
        return self.submit_bundle([folder])[0]

    def submit_bundle(self, folders: Sequence[Path]) -> list[Handle]:
        """The same for stages that share a job; of a bundle in the queue, what is in the job of its first stage."""
        held = [self._held(folder.resolve()) for folder in folders]
        together = [folder.resolve() for folder, job in zip(folders, held, strict=True) if job[0] == held[0][0]]
        if len(together) < len(folders):  # what came after may read what is left out
            together = together[: next(i for i, job in enumerate(held) if job[0] != held[0][0])]
        bundle: list[_Submitted] = []
        for folder, (job, result) in zip(together, held, strict=False):
            handle = _Submitted(self, folder, bundle)
            self._open[folder] = handle
            bundle.append(handle)
            if job:
                handle.holds(job, result)
        if not held[0][0]:
            self._waiting.append(bundle)
        return list(bundle)

    def alike(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Whether two stages ask for the same, and are each the work of one process."""
        wishes = asked(self.resources, one)
        return wishes.processes == 1 and wishes == asked(self.resources, other)

    def _held(self, folder: Path) -> tuple[str, Path]:
        """The job that an earlier run has in the queue for a stage, and where it answers; none: an empty string."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            held = json.loads(self._note(folder).read_text())
            if not self.queue.over(self.queue.state(held["job"])):
                return held["job"], Path(held["result"])
        return "", Path()

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
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        root = bundles[0][0].folder.parent
        answers = {
            one: self._note(one.folder).with_suffix(f".{time.time_ns()}.answer") for bundle in bundles for one in bundle
        }
        try:
            executor = opened(root, wishes, self.threads, self.slots)
            with _outside_of_jobs(), executor.batch():
                stages = [[(str(one.folder), str(answers[one])) for one in bundle] for bundle in bundles]
                found = [executor.submit(Job(one, self.checkpoint_every)) for one in stages]
        except (FailedJobError, FailedSubmissionError, RuntimeError, OSError) as error:
            raise HarnessError(f"Slurm took no job: {_last_line(error)}; look at [launch] in the recipe") from error
        for bundle, job in zip(bundles, found, strict=True):
            for one in bundle:
                one.holds(job.job_id, answers[one])
                text = json.dumps({"job": job.job_id, "result": str(answers[one])})
                write_whole(self._note(one.folder), text)

    def preview(self, root: Path, specs: Sequence[Mapping[str, Any]]) -> list[Preview]:
        """The sbatch files for jobs that would be submitted together; nothing is submitted.

        Args:
            root: the results folder.
            specs: of each job's first stage.
        """
        groups: dict[Resources, list[int]] = {}
        for place, spec in enumerate(specs):
            groups.setdefault(asked(self.resources, spec), []).append(place)
        return [
            Preview(sbatch_file(root.resolve(), wishes, self.threads, self.slots, len(places)), places)
            for wishes, places in groups.items()
        ]

    def _note(self, folder: Path) -> Path:
        notes = folder.parent / FOLDER / "jobs"
        notes.mkdir(parents=True, exist_ok=True)
        return notes / f"{folder.name}.json"

    def forget(self, handle: _Submitted) -> None:
        """A stage's job has ended."""
        self._open.pop(handle.folder, None)
        self._note(handle.folder).unlink(missing_ok=True)
        handle.result.unlink(missing_ok=True) if handle.job else None

    def close(self) -> None:
        """Cancel the jobs that have not ended; the next run resumes their stages."""
        cancel(sorted({handle.job for handle in self._open.values() if handle.job}))
        for handle in list(self._open.values()):
            self.forget(handle)


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide the job that this process may itself be; submitit's own helper hides where the cluster is as well."""
    keep = {"SLURM_CONF", "SLURM_CONF_SERVER"}
    hidden = {name: value for name, value in os.environ.items() if name.startswith(("SLURM_", "SBATCH_", "SUBMITIT_"))}
    hidden = {name: value for name, value in hidden.items() if name not in keep}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _last_line(error: BaseException) -> str:
    """What sbatch said last about what is wrong."""
    output = getattr(error.__cause__, "output", None)
    said = output.decode(errors="replace") if isinstance(output, bytes) else ""
    lines = [line.strip() for line in f"{error}\n{said}".splitlines() if line.strip()]
    wrong = [line for line in lines if "error:" in line or "fatal:" in line]
    return (wrong or lines or [type(error).__name__])[-1]

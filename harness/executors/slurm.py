"""Run stages as Slurm jobs, submitted with submitit: what becomes ready together is one array.

Everything goes through the results folder, which every node must see. A job is handed the stage's folder and nothing
else. Which job has a stage is written down under `<results>/.slurm/jobs/`, so that a run after a driver that died
waits for the jobs in the queue and does not submit their stages again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.execute import note_death
from harness.executors import Ended, Executor, Handle
from harness.executors._slurm_job import Job
from harness.executors._slurm_queue import Queue, cancel
from harness.store import Store, write_whole

FOLDER = ".slurm"
"""In the results folder: sbatch files, pickles, logs of jobs, and which job has which stage."""
SLOTS = 1000
SIGNAL_SECONDS = 90
"""So long before the time limit a job is told, and is requeued."""
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

    def __init__(self, executor: Slurm, folder: Path) -> None:
        self.executor, self.folder = executor, folder
        self.job, self.result = "", Path()
        self.began, self.looked = time.monotonic(), 0.0
        self.gone_since: float | None = None
        self.ended: Ended | None = None

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
        cancel([self.job])  # should Slurm requeue it after all, it must not meet its successor
        if self._over_memory():
            state = "OUT_OF_MEMORY"
        gone = ("lost", "killed", f"it ended as {state}" if state else "Slurm does not know it any more")
        status, cause, words = _ENDS.get(state, gone)
        seconds, error = time.monotonic() - self.began, f"Slurm job {self.job}: {words}"
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
            resources: `partition`, `qos`, `account`, `constraint`, `memory_gb` and `gpus`, where they are set.
        """
        self.slots = workers or SLOTS
        self.threads, self.checkpoint_every, self.timeout_min = threads, checkpoint_every, timeout_min
        self.resources = dict(resources or {})
        self.queue = Queue()
        self._waiting: list[_Submitted] = []
        self._open: dict[Path, _Submitted] = {}

    def submit(self, folder: Path) -> Handle:
        """Put the folder into the next array, unless an earlier run has it in the queue."""
        folder = folder.resolve()
        handle = _Submitted(self, folder)
        known = self._note(folder)
        self._open[folder] = handle
        with contextlib.suppress(OSError, ValueError, KeyError):
            held = json.loads(known.read_text())
            if not self.queue.over(self.queue.state(held["job"])):
                handle.holds(held["job"], Path(held["result"]))
                return handle
        self._waiting.append(handle)
        return handle

    def flush(self) -> None:
        """Submit what waits, as one array.

        Raises:
            HarnessError: sbatch refuses.
        """
        if not self._waiting:
            return
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        handles, self._waiting = self._waiting, []
        jobs = handles[0].folder.parent / FOLDER
        results = [self._note(handle.folder).with_suffix(f".{time.time_ns()}.answer") for handle in handles]
        try:
            executor = submitit.SlurmExecutor(jobs / "submitted")
            executor.update_parameters(**self._parameters(handles[0].folder.parent.name))
            with _outside_of_jobs(), executor.batch():
                found = [
                    executor.submit(Job(str(handle.folder), str(result), self.checkpoint_every))
                    for handle, result in zip(handles, results, strict=True)
                ]
        except (FailedJobError, FailedSubmissionError, RuntimeError, OSError) as error:
            raise HarnessError(f"Slurm took no job: {_last_line(error)}; look at [launch] in the recipe") from error
        for handle, result, job in zip(handles, results, found, strict=True):
            handle.holds(job.job_id, result)
            write_whole(self._note(handle.folder), json.dumps({"job": job.job_id, "result": str(result)}))

    def _parameters(self, results: str) -> dict[str, Any]:
        wishes, more = self.resources, {"requeue": True}
        found: dict[str, Any] = {
            "job_name": "harness",
            "comment": f"harness {''.join(c for c in results if c.isalnum() or c in '-_.')}",
            "cpus_per_task": self.threads,
            "time": max(1, math.ceil(self.timeout_min)),
            "signal_delay_s": SIGNAL_SECONDS,
            "array_parallelism": self.slots,
            "setup": [f"export {name}={self.threads}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")],
            "stderr_to_stdout": True,
        }
        found |= {name: wishes[name] for name in ("partition", "qos", "account", "constraint") if wishes.get(name)}
        if wishes.get("memory_gb"):
            found["mem"] = f"{round(1024 * wishes['memory_gb'])}M"
        if wishes.get("gpus"):
            found["gpus_per_node"] = wishes["gpus"]
        return found | {"additional_parameters": more}

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
        cancel([handle.job for handle in self._open.values() if handle.job])
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

"""The sbatch files of jobs: what submitit is told, and what it makes of it."""

from __future__ import annotations

import contextlib
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.executors._slurm_queue import cancel
from harness.launch import Resources

if TYPE_CHECKING:
    import submitit

FOLDER = ".slurm"
"""In the results folder: sbatch files, pickles, logs of jobs, and which job has which stage."""
SIGNAL_SECONDS = 90
"""So long before the time limit a job is told, and is requeued."""

PASSING = ("Socket timed out", "Unable to contact slurm controller", "temporarily unable", "temporarily unavailable")
"""What sbatch says where the controller is busy or away for a moment."""
AGAIN_SECONDS, SUBMIT_SECONDS = 10.0, 300.0
"""How soon such a submission is repeated, and for how long."""


@dataclass(frozen=True)
class Preview:
    """An sbatch file that would be submitted, and the places of its jobs among those asked about."""

    text: str
    places: list[int]


@dataclass(frozen=True)
class Label:
    """What squeue shows of jobs.

    Attributes:
        name: of the job.
        results: the results folder; what is neither a letter nor a digit nor one of `-_./` becomes `_`.
        recipe: the recipe's name, or an empty string.
    """

    name: str
    results: Path
    recipe: str = ""

    @property
    def comment(self) -> str:
        """Where the results are and what they are for, in letters that sbatch cannot misunderstand."""
        text = f"{self.recipe} {self.results}".strip()
        return "harness " + "".join(c if (c.isascii() and c.isalnum()) or c in "-_./ " else "_" for c in text)


def opened(label: Label, wishes: Resources, threads: int, at_once: int, waits_for: str = "") -> submitit.SlurmExecutor:
    """The executor of submitit for jobs that ask for the same.

    Args:
        label: what squeue shows.
        wishes: what a job asks for.
        threads: CPU threads of a job.
        at_once: jobs of an array that run at once.
        waits_for: what sbatch's `--dependency` is to say; a job whose wait is in vain is cancelled.

    Raises:
        RuntimeError: there is no srun here.
    """
    import submitit

    executor = submitit.SlurmExecutor(label.results / FOLDER / "submitted")
    executor.update_parameters(**_parameters(label, wishes, threads, at_once))
    if waits_for:
        executor.parameters["dependency"] = waits_for
        executor.parameters["additional_parameters"]["kill-on-invalid-dep"] = "yes"
    return executor


def submit(executor: submitit.SlurmExecutor, jobs: Mapping[int, Callable[[], None]]) -> dict[int, str]:
    """Put jobs into the queue: one by itself, several as an array, where a job's place is its index.

    Returns:
        Each job's number.
    """
    from submitit.core.utils import DelayedSubmission, JobPaths

    if len(jobs) == 1:
        return {place: executor.submit(job).job_id for place, job in jobs.items()}
    folder = JobPaths.get_first_id_independent_folder(executor.folder)
    folder.mkdir(parents=True, exist_ok=True)
    drafts: dict[int, Path] = {}
    for place, job in jobs.items():
        delayed = DelayedSubmission(job)
        delayed.set_timeout(executor.parameters["time"], executor.max_num_timeout)
        drafts[place] = folder / f"{uuid.uuid4().hex}.pkl"
        delayed.dump(drafts[place])
    at_once = min(len(jobs), executor.parameters["array_parallelism"])
    executor.parameters["map_count"] = len(jobs)
    executor.parameters["additional_parameters"]["array"] = f"{_ranges(sorted(jobs))}%{at_once}"
    number = executor._submit_command(executor._submitit_command_str).job_id
    for place, draft in drafts.items():
        JobPaths(executor.folder, f"{number}_{place}").move_temporary_file(draft, "submitted_pickle")
    return {place: f"{number}_{place}" for place in jobs}


def patiently(name: str, submission: Callable[[], dict[int, str]]) -> dict[int, str]:
    """Submit jobs of a name, again and again while the controller is busy.

    A job may be in the queue although sbatch says that it failed, and is ended before the next attempt.

    Raises:
        HarnessError: sbatch refuses, says nothing that can be read, or the controller stays away.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    until = time.monotonic() + SUBMIT_SECONDS
    while True:
        try:
            return submission()
        except (FailedJobError, FailedSubmissionError, RuntimeError, OSError) as error:
            cancel([f"--name={name}"])
            said = last_line(error)
            if not any(words in said for words in PASSING) or time.monotonic() > until:
                raise HarnessError(f"Slurm took no job: {said}; look at [launch] in the recipe") from error
            time.sleep(AGAIN_SECONDS)


def _ranges(places: Sequence[int]) -> str:
    """`0-2,5` for 0, 1, 2 and 5."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def sbatch_file(label: Label, wishes: Resources, threads: int, at_once: int, jobs: int) -> str:
    """The file that submitit would write for so many jobs, also where there is no Slurm."""
    import submitit

    anywhere = {"affinity": classmethod(lambda cls: 1)}  # it refuses to be made where there is no srun
    executor = type("Writer", (submitit.SlurmExecutor,), anywhere)(label.results / FOLDER / "submitted")
    executor.update_parameters(**_parameters(label, wishes, threads, at_once))
    if jobs > 1:
        executor.parameters["map_count"] = jobs
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


def _parameters(label: Label, wishes: Resources, threads: int, at_once: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "job_name": label.name,
        "comment": label.comment,
        "cpus_per_task": wishes.cpus or threads,
        "time": max(1, math.ceil(wishes.timeout_min)),
        "signal_delay_s": SIGNAL_SECONDS,
        "array_parallelism": at_once,
        "setup": [*wishes.setup, *(f"export {name}={threads}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"))],
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **dict(map(_option, wishes.sbatch))},
    }
    for name in ("partition", "qos", "account", "constraint"):
        if value := getattr(wishes, name):
            found[name] = value
    if wishes.memory_gb:
        found["mem"] = f"{round(1024 * wishes.memory_gb)}M"
    if wishes.gpus:
        found["gpus_per_node"] = wishes.gpus
    if wishes.processes > 1:
        found |= {"nodes": wishes.nodes, "ntasks_per_node": wishes.processes_per_node}
        found["srun_args"] = ["--kill-on-bad-exit=1"]  # a process whose peer is gone may wait for it for ever
    return found


def _option(line: str) -> tuple[str, str | bool]:
    """An option of sbatch as submitit takes it."""
    name, equals, value = line.removeprefix("--").partition("=")
    return name, value if equals else True


@contextlib.contextmanager
def outside_of_jobs() -> Iterator[None]:
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


def last_line(error: BaseException) -> str:
    """What sbatch said last about what is wrong, else what was said first."""
    output = getattr(error.__cause__, "output", None)
    said = output.decode(errors="replace") if isinstance(output, bytes) else ""
    lines = [line.strip() for line in f"{error}\n{said}".splitlines() if line.strip()]
    wrong = [line for line in lines if "error:" in line or "fatal:" in line]
    return wrong[-1] if wrong else (lines or [type(error).__name__])[0]

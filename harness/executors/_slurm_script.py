"""The sbatch files of jobs: what submitit is told, and what it makes of it."""

from __future__ import annotations

import contextlib
import io
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.executors import HUGE_PAGES, THREADS
from harness.executors._slurm_queue import cancel
from harness.held import BEGAN
from harness.launch import Resources, on_one_line

if TYPE_CHECKING:
    import submitit

FOLDER = ".slurm"
"""In the results folder: sbatch files, pickles, logs of jobs, and which job has which stage."""
SIGNAL_SECONDS = 90
"""So long before the time limit a job is told, and is requeued; of a short one a third of its time."""
REQUEUES = 3
"""So often a job is requeued before its time limit; after that it goes on until it reaches it."""

PASSING = (
    "Socket timed out", "Unable to contact slurm controller", "temporarily unable", "temporarily unavailable",
    "Zero Bytes were transmitted", "Connection refused", "Connection timed out",
)  # fmt: skip
"""What sbatch says where the controller is busy or away for a moment."""
AGAIN_SECONDS, SUBMIT_SECONDS = 10.0, 300.0
"""How soon such a submission is repeated, and for how long."""
FULL = ("job submit limit", "Invalid job array specification")
"""What sbatch says where there are more jobs than it takes of one person, or in one array."""


NOT_IN_PATHS = "%\\"
"""Slurm reads `%j` in a path as the job's number, and a backslash as a wish that it should not."""


class Full(HarnessError):
    """Slurm takes no more jobs of this person, or not so many in one array; fewer may do, or the same later."""


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


@dataclass(frozen=True)
class Array:
    """Jobs that ask for the same: an array, or one by itself.

    Attributes:
        label: what squeue shows.
        wishes: what a job asks for.
        threads: CPU threads of a job.
        at_once: jobs of an array that run at once.
        places: their indices.
        waits_for: what sbatch's `--dependency` is to say; a job whose wait is in vain is cancelled.
    """

    label: Label
    wishes: Resources
    threads: int
    at_once: int
    places: tuple[int, ...]
    waits_for: str = ""

    def opened(self, kind: type[submitit.SlurmExecutor]) -> submitit.SlurmExecutor:
        """The executor of submitit for them."""
        executor = kind(self.label.results / FOLDER / "submitted", max_num_timeout=REQUEUES)
        executor.update_parameters(**_parameters(self.label, self.wishes, self.threads, self.at_once))
        more = executor.parameters["additional_parameters"]
        if self.waits_for:
            executor.parameters["dependency"] = self.waits_for
            more["kill-on-invalid-dep"] = "yes"
        if len(self.places) > 1:
            executor.parameters["map_count"] = len(self.places)
            more["array"] = f"{_ranges(sorted(self.places))}%{min(len(self.places), self.at_once)}"
        return executor


def submit(array: Array, jobs: Mapping[int, Callable[[], None]]) -> dict[int, str]:
    """Put jobs into the queue: one by itself, several as an array, where a job's place is its index.

    Returns:
        Each job's number.

    Raises:
        RuntimeError: there is no srun here.
    """
    import submitit
    from submitit.core.utils import CommandFunction, DelayedSubmission, JobPaths

    executor = array.opened(submitit.SlurmExecutor)
    folder, name = executor.folder, array.label.name
    folder.mkdir(parents=True, exist_ok=True)
    script, drafts = folder / f".{name}.sh", {place: folder / f".{name}.{place}.pkl" for place in jobs}
    try:
        for place, job in jobs.items():
            delayed = DelayedSubmission(job)
            delayed.set_timeout(executor.parameters["time"], executor.max_num_timeout)
            delayed.dump(drafts[place])
        script.write_text(_text(executor), encoding="utf-8")
        said = CommandFunction(["sbatch", str(script)], verbose=False)()
        number = executor._get_job_id_from_submission_command(said)
    except BaseException:
        for draft in (script, *drafts.values()):
            draft.unlink(missing_ok=True)
        raise
    JobPaths(folder, number).move_temporary_file(script, "submission_file", keep_as_symlink=True)
    found = {place: f"{number}_{place}" if len(jobs) > 1 else number for place in jobs}
    for place, job_id in found.items():
        JobPaths(folder, job_id).move_temporary_file(drafts[place], "submitted_pickle")
    return found


def patiently(name: str, submission: Callable[[], dict[int, str]]) -> dict[int, str]:
    """Submit jobs of a name, again and again while the controller is busy.

    A job may be in the queue although sbatch says that it failed, and is ended before the next attempt.

    Raises:
        Full: it takes no more, or not so many at once.
        HarnessError: sbatch refuses, says nothing that can be read, or the controller stays away.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    until = time.monotonic() + SUBMIT_SECONDS
    while True:
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # the last line of it is told, once nothing helps
                return submission()
        except (FailedJobError, FailedSubmissionError, RuntimeError, OSError) as error:
            cancel([f"--name={name}"])
            said = last_line(error)
            if not any(words in said for words in PASSING) or time.monotonic() > until:
                refusal = Full if any(words in said for words in FULL) else HarnessError
                raise refusal(f"Slurm took no job: {said}; look at [launch] in the recipe") from error
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


def sbatch_file(array: Array) -> str:
    """The file that submitit would write, also where there is no Slurm."""
    import submitit

    anywhere = {"affinity": classmethod(lambda cls: 1)}  # it refuses to be made where there is no srun
    executor = array.opened(type("Writer", (submitit.SlurmExecutor,), anywhere))
    return _text(executor)


def _text(executor: submitit.SlurmExecutor) -> str:
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


def check_folder(results: Path) -> None:
    """Refuse a results folder that sbatch would take for another one, or for commands.

    Raises:
        HarnessError: its path has a control character, `%` or a backslash.
    """
    path = str(results)
    if not on_one_line(path) or any(letter in path for letter in NOT_IN_PATHS):
        raise HarnessError(
            f"the results folder is {path!r}: Slurm cannot write into a path with %, a backslash, a newline or another "
            "control character; name it otherwise, or choose another one with --results"
        )


def limit_minutes(wishes: Resources) -> int:
    """The time limit of a job."""
    return max(1, math.ceil(wishes.timeout_min))


def notice_seconds(wishes: Resources) -> int:
    """How long before its time limit a job is told; Slurm may tell it a minute sooner still."""
    return min(SIGNAL_SECONDS, 20 * limit_minutes(wishes))


def _parameters(label: Label, wishes: Resources, threads: int, at_once: int) -> dict[str, Any]:
    computing = [f"export {HUGE_PAGES}=${{{HUGE_PAGES}:-1}}", *(f"export {name}={threads}" for name in THREADS)]
    found: dict[str, Any] = {
        "job_name": label.name,
        "comment": label.comment,
        "cpus_per_task": wishes.cpus or threads,
        "time": limit_minutes(wishes),
        "signal_delay_s": notice_seconds(wishes),
        "array_parallelism": at_once,
        "setup": [f"export {BEGAN}=$(date +%s)", *wishes.setup, *computing],
        "stderr_to_stdout": True,
        "wckey": None,  # submitit has one of its own, which clusters that know theirs refuse
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

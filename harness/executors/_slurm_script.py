"""The sbatch files of jobs: what submitit is told, and what it makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.launch import Resources

if TYPE_CHECKING:
    import submitit

FOLDER = ".slurm"
"""In the results folder: sbatch files, pickles, logs of jobs, and which job has which stage."""
SIGNAL_SECONDS = 90
"""So long before the time limit a job is told, and is requeued."""


@dataclass(frozen=True)
class Preview:
    """An sbatch file that would be submitted, and the places of its jobs among those asked about."""

    text: str
    places: list[int]


def opened(root: Path, wishes: Resources, threads: int, at_once: int) -> submitit.SlurmExecutor:
    """The executor of submitit for jobs that ask for the same.

    Raises:
        RuntimeError: there is no srun here.
    """
    import submitit

    executor = submitit.SlurmExecutor(root / FOLDER / "submitted")
    executor.update_parameters(**_parameters(root.name, wishes, threads, at_once))
    return executor


def sbatch_file(root: Path, wishes: Resources, threads: int, at_once: int, jobs: int) -> str:
    """The file that submitit would write for so many jobs, also where there is no Slurm."""
    import submitit

    anywhere = {"affinity": classmethod(lambda cls: 1)}  # it refuses to be made where there is no srun
    executor = type("Writer", (submitit.SlurmExecutor,), anywhere)(root / FOLDER / "submitted")
    executor.update_parameters(**_parameters(root.name, wishes, threads, at_once))
    if jobs > 1:
        executor.parameters["map_count"] = jobs
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


def _parameters(results: str, wishes: Resources, threads: int, at_once: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "job_name": "harness",
        "comment": f"harness {''.join(c for c in results if c.isalnum() or c in '-_.')}",
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

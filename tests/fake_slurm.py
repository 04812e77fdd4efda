"""A Slurm that can be told to misbehave: sbatch, squeue, scancel, scontrol or srun, as its first word says.

Jobs are processes here, written down in $FAKE_SLURM. The file `orders` there has a line for each call of sbatch to
come: what it does instead of obeying, or what it says. The file `most` says how many tasks may be in the queue. While
the file `away` is there, squeue fails. `scancel --as=NODE_FAIL 1` ends a job in that state.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HOME = Path(os.environ["FAKE_SLURM"])
REFUSALS = {
    "busy": "Socket timed out on send/recv operation",
    "lost": "Socket timed out on send/recv operation",  # but the job is in the queue
    "limit": "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
}


def main() -> None:
    {one.__name__: one for one in (sbatch, squeue, scancel, scontrol, srun)}[sys.argv[1]](sys.argv[2:])


def sbatch(words: list[str]) -> None:
    """Start every task of a job at once, unless there are other orders."""
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        order = _order() or _limit(Path(words[-1]))
        with (HOME / "calls").open("a") as calls:
            calls.write(f"{order or 'obey'}\n")
        if order and order not in ("lost", "garbage"):
            sys.exit(f"sbatch: error: Batch job submission failed: {REFUSALS.get(order, order)}")
        job = _begin(Path(words[-1]))
    if order == "lost":
        sys.exit(f"sbatch: error: Batch job submission failed: {REFUSALS[order]}")
    print("Submitted nobody knows what" if order == "garbage" else f"Submitted batch job {job}")


def _order() -> str:
    orders = HOME / "orders"
    lines = orders.read_text().splitlines() if orders.exists() else []
    orders.write_text("".join(f"{line}\n" for line in lines[1:]))
    return lines[0] if lines else ""


def _limit(script: Path) -> str:
    most, asked = HOME / "most", _array(script.read_text())
    live = sum(_lives(json.loads(file.read_text())["pid"]) for file in HOME.glob("task-*.json"))
    return "limit" if most.exists() and live + len(asked) > int(most.read_text()) else ""


def _array(script: str) -> list[int | None]:
    """The places of an array; of a single job, None."""
    found = re.search(r"^#SBATCH --array=(\d+)(?:-(\d+))?", script, re.MULTILINE)
    return [*range(int(found[1]), int(found[2] or found[1]) + 1)] if found else [None]


def _begin(script: Path) -> int:
    text = script.read_text()
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))
    job = 1 + len(list(HOME.glob("job-*.sh")))
    copy = HOME / f"job-{job}.sh"
    copy.write_text(text)
    for place in _array(text):
        own = {
            "SLURM_JOB_ID": str(job), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0",
            "SLURM_JOB_NODELIST": "n1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
        }  # fmt: skip
        if place is not None:
            own |= {"SLURM_ARRAY_JOB_ID": str(job), "SLURM_ARRAY_TASK_ID": str(place)}
        name = f"{job}_{place}" if place is not None else str(job)
        log = asked["output"].strip("'\"").replace("%A_%a", name).replace("%j", name)
        task = {"name": asked["job-name"], "script": str(copy), "own": own, "log": log}
        _start(HOME / f"task-{name}.json", task)
    return job


def _start(file: Path, task: dict[str, Any]) -> None:
    own = {**os.environ, **task["own"]}
    with Path(task["log"]).open("a") as log:
        process = subprocess.Popen(["bash", task["script"]], env=own, stdout=log, stderr=log, start_new_session=True)
    file.write_text(json.dumps({**task, "pid": process.pid}))


def squeue(_: list[str]) -> None:
    """What runs, and what has ended."""
    if (HOME / "away").exists():
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    for file in sorted(HOME.glob("task-*.json")):
        task = json.loads(file.read_text())
        state = task.get("ended") or ("RUNNING" if _lives(task["pid"]) else "COMPLETED")
        print(f"{file.stem.removeprefix('task-')}|{state}|None|{task['name']}")


def scancel(words: list[str]) -> None:
    """By number, or by `--name=`."""
    fate = next((word.removeprefix("--as=") for word in words if word.startswith("--as=")), "CANCELLED")
    for file in HOME.glob("task-*.json"):
        task, number = json.loads(file.read_text()), file.stem.removeprefix("task-")
        if f"--name={task['name']}" in words or {number, number.split("_")[0]} & set(words):
            if _lives(task["pid"]):
                os.killpg(task["pid"], signal.SIGKILL)
            file.write_text(json.dumps({"ended": fate, **task}))


def scontrol(words: list[str]) -> None:
    """Show the file `config`, or requeue a job.

    That takes a moment, and the job starts again; who asks for it is a part of the job, and ends with it.
    """
    if words == ["show", "config"]:
        config = HOME / "config"
        print(config.read_text() if config.exists() else "")
        return
    with (HOME / "requeued").open("a") as diary:
        diary.write(f"{words[-1]}\n")
    time.sleep(0.5)
    file = HOME / f"task-{words[-1]}.json"
    task = json.loads(file.read_text())
    _start(file, task)
    os.killpg(task["pid"], signal.SIGKILL)


def srun(words: list[str]) -> None:
    """The command behind the options, whose values are words of their own."""
    while words[0].startswith("--"):
        words = words[1:] if words[0] == "--unbuffered" else words[2:]
    os.execvp(words[0], words)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def install(folder: Path) -> None:
    """Put commands into a folder that call this file by their names."""
    for name in ("sbatch", "squeue", "scancel", "scontrol", "srun"):
        (folder / name).write_text(f"#!/bin/sh\nexec '{sys.executable}' '{__file__}' {name} \"$@\"\n")
        (folder / name).chmod(0o755)


if __name__ == "__main__":
    main()

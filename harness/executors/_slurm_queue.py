"""What Slurm's controller says about this user's jobs, asked seldom and for all of them at once."""

from __future__ import annotations

import re
import subprocess
import time

ASK_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
"""A command that takes longer is given up; the controller may be away."""
_LIVE = {
    "PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
    "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "RESV_DEL_HOLD",
}  # fmt: skip
NEVER = "NEVER"
"""What a job waits for has failed: Slurm cancels it, or has."""
UNKNOWN = "UNKNOWN"
"""The controller does not answer, so nothing is known of any job."""
CANCEL_AT_ONCE = 500


class Queue:
    """The states of jobs, as of a moment ago."""

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._states: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._asked = -ASK_SECONDS
        self._answers = False

    def state(self, job: str) -> str:
        """A job's state in Slurm's words, `UNKNOWN` while the controller is away; empty for one it has forgotten."""
        return self._states.get(job, "") if job and self._is_known() else UNKNOWN

    def named(self, name: str) -> list[str] | None:
        """The jobs of a name that are not over; None while the controller is away."""
        if not self._is_known():
            return None
        return [job for job, found in self._names.items() if found == name and not self.over(self._states[job])]

    def holds(self, job: str, name: str) -> bool:
        """Whether a job is in the queue or runs; another of that number has another name."""
        state = self.state(job)
        return bool(job) and not self.over(state) and self._names.get(job, name) == name

    def has_others(self, own: str) -> bool:
        """Whether any job of this user but `own` is in the queue or runs; not while the controller is away."""
        return self._is_known() and any(job != own and not self.over(state) for job, state in self._states.items())

    @staticmethod
    def over(state: str) -> bool:
        """Whether a job in this state will never go on."""
        return state != UNKNOWN and state not in _LIVE

    def _is_known(self) -> bool:
        """Whether the controller answers."""
        if time.monotonic() - self._asked > ASK_SECONDS:
            self._ask()
        return self._answers

    def _ask(self) -> None:
        command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%j"]
        self._answers = False
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self._patience, check=False)
            self._answers = done.returncode == 0
            if self._answers:
                self._read(done.stdout)
        except (OSError, subprocess.TimeoutExpired):
            pass
        finally:
            self._asked = time.monotonic()

    def _read(self, said: str) -> None:
        self._states, self._names = {}, {}
        for line in said.splitlines():
            job, state, reason, name = line.strip().split("|", 3)
            self._states[job] = NEVER if reason == "DependencyNeverSatisfied" else state
            self._names[job] = name


def cancel(jobs: list[str]) -> bool:
    """End jobs; one that has ended already is no mistake.

    Returns:
        Whether Slurm was told; the controller may be away.
    """
    try:
        for first in range(0, len(jobs), CANCEL_AT_ONCE):
            command = ["scancel", *jobs[first : first + CANCEL_AT_ONCE]]
            subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return True


def shown_as(number: str, patience_seconds: float) -> str:
    """The job that squeue shows for a number; a task of an array has one of its own, beside that of its place."""
    lines = _words(["--states=all", "--format=%i", f"--jobs={number}"], patience_seconds)
    return lines[0][0] if len(lines) == 1 else number


def requeues(patience_seconds: float) -> dict[str, int]:
    """How often each job in the queue was requeued, where it was; empty where squeue does not answer."""
    lines = _words(["--me", "--Format=JobArrayID:40,RestartCnt:10"], patience_seconds)
    found = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}
    return {job: count for job, count in found.items() if count}


def largest_array(most: int) -> int:
    """Before which index an array must end: `most`, or the cluster's `MaxArraySize` where it says one that is less."""
    said = _said(["scontrol", "show", "config"], PATIENCE_SECONDS)
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)$", said, re.MULTILINE)
    return min(most, int(found[1])) if found else most


def _words(options: list[str], patience_seconds: float) -> list[list[str]]:
    """The words of each line that squeue says."""
    said = _said(["squeue", "--noheader", "--array", *options], patience_seconds)
    return [line.split() for line in said.splitlines() if line.strip()]


def _said(command: list[str], patience_seconds: float) -> str:
    """What a command says; nothing where it does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=patience_seconds, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""

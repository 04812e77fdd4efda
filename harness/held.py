"""What a process is held for: since when a job holds its devices for a stage, and what the stage has worked so far."""

from __future__ import annotations

import resource
import time

BEGAN = "HARNESS_JOB_BEGAN"
"""The environment variable in which a job's script leaves the time of its first line, in whole seconds."""


class Held:
    """The devices of this process, held by a job whose stages share them one after the other."""

    def __init__(self) -> None:
        self._since: float | None = None

    def hold(self, since: float) -> None:
        """They are held from a moment on, in seconds of the clock; before this is said they are nobody's."""
        self._since = since

    def idle_seconds(self) -> float:
        """So long they have been held since the job began, or its last stage ended; 0 outside of jobs."""
        return 0.0 if self._since is None else max(0.0, time.time() - self._since)

    def hand_on(self) -> None:
        """A stage has ended: what they are held from now on is the next one's."""
        if self._since is not None:
            self._since = time.time()


devices = Held()


class Work:
    """What the stage at hand has worked, with what earlier attempts left in the checkpoint that it goes on from."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A stage begins."""
        self._began, self._cpu = time.monotonic(), cpu_seconds()
        self.kept = {"seconds": 0.0, "cpu_seconds": 0.0}

    def go_on(self, kept: dict[str, float]) -> None:
        """It goes on from what `so_far` said when a checkpoint was written."""
        self.kept = dict(kept)

    def so_far(self) -> dict[str, float]:
        """Seconds, and those of this process's CPU."""
        own = {"seconds": time.monotonic() - self._began, "cpu_seconds": cpu_seconds() - self._cpu}
        return {name: self.kept[name] + own[name] for name in own}


def cpu_seconds() -> float:
    """User and system time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


work = Work()

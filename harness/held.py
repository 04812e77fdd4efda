"""Since when a job has held its devices for a stage that is not at work yet: they are paid for all the same."""

from __future__ import annotations

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

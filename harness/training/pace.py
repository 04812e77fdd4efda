"""How far a training is, for whoever reads its log."""

from __future__ import annotations

import time

TOLD_SECONDS = 10.0
"""A log is not for every step."""


class Pace:
    """How far a training is, told every so many seconds, and at the end.

    Args:
        first: the step that it goes on from.
        last: the step that it ends with.
    """

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        self._began = self._told = time.monotonic()

    def told(self, step: int) -> str:
        """`step 30 of 60, about 2 min left`; empty where it was told a moment ago."""
        now, left = time.monotonic(), self._last - step
        if left and now - self._told < TOLD_SECONDS:
            return ""
        self._told = now
        minutes = (now - self._began) * left / max(step - self._first, 1) / 60
        return f"step {step} of {self._last}" + (f", about {max(1, round(minutes))} min left" if left else "")

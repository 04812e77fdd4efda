"""What a Slurm job runs: one stage's folder. The only object that is pickled, and it holds paths alone."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

TAKEN_OVER = 75
"""Exit code of a job that was silent for so long that another process has taken its stage."""


class Job:
    """Run a stage, and leave how it ended where the driver looks for it."""

    def __init__(self, folder: str, result: str, checkpoint_every: int) -> None:
        self.folder, self.result, self.checkpoint_every = folder, result, checkpoint_every

    def __call__(self) -> str:
        """Run it. Safe to start again: a finished stage is not repeated, another goes on from its checkpoint."""
        from harness.execute import settle
        from harness.lease import STALE_SECONDS, Watcher
        from harness.store import write_whole

        _leave_at_once()
        folder, began, watcher = Path(self.folder), time.monotonic(), Watcher()
        while True:
            outcome = settle(folder, self.checkpoint_every, on_lost=lambda: os._exit(TAKEN_OVER))
            # the attempt before this one may have died on another node, which only its silence tells
            if outcome.status != "busy" or time.monotonic() - began > 2 * STALE_SECONDS:
                break
            if not watcher.release_if_dead(folder):
                time.sleep(1)
        said = {"status": outcome.status, "cause": outcome.cause, "error": outcome.error}
        write_whole(Path(self.result), json.dumps({**said, "seconds": time.monotonic() - began}))
        return outcome.status

    def checkpoint(self) -> Any:
        """What submitit calls before the time limit: the same again, from the newest checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _leave_at_once() -> None:
    """Have submitit's handler, once it has requeued the job, end the process outright.

    It raises SystemExit wherever the stage is, which would be written down as the stage's failure.
    """
    requeue = signal.getsignal(signal.SIGUSR2)
    if not callable(requeue):
        return

    def handle(number: int, frame: FrameType | None) -> None:
        try:
            requeue(number, frame)
        except SystemExit:
            os._exit(1)

    signal.signal(signal.SIGUSR2, handle)

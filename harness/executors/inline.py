"""Run stages in this process, one after the other: for debuggers, and where processes are not wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.executors import Ended, Executor, Handle


@dataclass
class _Finished:
    folder: Path
    ended: Ended

    def done(self) -> bool:
        return True

    def outcome(self) -> Ended:
        return self.ended


class Inline(Executor):
    """One slot; `submit` returns when the stage has ended. It cannot time out."""

    def __init__(
        self,
        *,
        workers: int = 1,
        threads: int = 1,
        checkpoint_every: int = 50,
        timeout_min: float = 0,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        """Workers, threads, timeout and a cluster's resources mean nothing here."""
        self.slots, self.checkpoint_every = 1, checkpoint_every

    def submit(self, folder: Path) -> Handle:
        """Run the stage."""
        from harness.execute import settle

        outcome = settle(folder, self.checkpoint_every)
        return _Finished(folder, Ended(outcome.status, outcome.cause, outcome.error))

    def close(self) -> None:
        """Nothing to give back."""

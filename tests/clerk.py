"""An executor that writes records instead of working: a trial's score is a formula of its knobs."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.execute import note_death
from harness.executors import Ended, Executor, Handle
from harness.stages import Stage
from harness.store import Store


def peak(knobs: dict[str, Any]) -> float:
    """Best at a learning rate of 3e-4 and a beta of 0.2."""
    return 1 - abs(math.log10(knobs["learning_rate"] / 3e-4)) - abs(math.log10(knobs.get("beta", 0.2) / 0.2))


@dataclass
class Finished:
    """A handle of what has ended."""

    folder: Path
    ended: Ended

    def done(self) -> bool:
        return True

    def outcome(self) -> Ended:
        return self.ended


@dataclass
class Clerk(Executor):
    """Finishes stages at once.

    Attributes:
        score: of a trained policy's knobs; it may raise, and the training then fails.
        kl: of the same.
        seconds: device-seconds of each stage.
        die_after: the process kills itself when it is given its so-many-and-first stage.
    """

    store: Store
    score: Callable[[dict[str, Any]], float] = peak
    kl: Callable[[dict[str, Any]], float] = lambda knobs: 1.0
    seconds: float = 2.0
    die_after: int = 10**9
    slots: int = 1
    ran: list[Stage] = field(default_factory=list)

    def submit(self, folder: Path) -> Handle:
        stage = self.store.load(folder.name)
        if len(self.ran) >= self.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.ran.append(stage)
        try:
            measured = self._measure(stage)
        except FloatingPointError as error:
            note_death(self.store, stage.name, "divergence", str(error), self.seconds)
            return Finished(folder, Ended("failed", "divergence", str(error)))
        self.store.finish(stage.name, {
            "measurements": [{"metric": name, "value": value, "n": 1} for name, value in measured.items()],
            "files": {}, "seconds": self.seconds, "cost": {"device_seconds": self.seconds},
        })  # fmt: skip
        return Finished(folder, Ended("done"))

    def _measure(self, stage: Stage) -> dict[str, float]:
        if stage.kind == "train" and stage.spec["algorithm"]["name"] in ("dpo", "kto"):
            self.score(stage.spec["algorithm"]["knobs"])  # a policy that cannot be scored cannot be trained
        if stage.kind != "grade":
            return {}
        algorithm = stage.inputs["policy"].spec["algorithm"]
        if algorithm["name"] not in ("dpo", "kto"):
            return {"reward/selection": -1.0, "kl": 0.0, "degenerate": 0.0}
        knobs = algorithm["knobs"]
        return {"reward/selection": self.score(knobs), "kl": self.kl(knobs), "degenerate": 0.0}

    def close(self) -> None:
        """It holds nothing."""

"""What an executor is: it takes a stage's folder and gives back a handle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Handle(Protocol):
    """A stage that was submitted."""

    folder: Path

    def done(self) -> bool:
        """Whether it has ended, well or badly; never waits."""

    def outcome(self) -> Ended:
        """How it ended, once `done`."""


@dataclass(frozen=True)
class Ended:
    """How a submitted stage ended, in plain words.

    Attributes:
        status: `done`, `failed`, `busy` or `waiting`, as `harness exec` says; `lost` where the process is gone
            without having said anything.
        cause: of a failure, or why it was lost: `killed` or `timeout`.
        error: what happened, in one line.
        seconds: how long a lost process had worked.
    """

    status: str
    cause: str = ""
    error: str = ""
    seconds: float = 0.0


class Executor(ABC):
    """One file each. A path goes in, never an object, so that worker and driver cannot disagree about code."""

    slots: int
    """How many stages it takes at once."""

    @abstractmethod
    def submit(self, folder: Path) -> Handle:
        """Start the stage of a folder; returns at once, or when it has ended."""

    @abstractmethod
    def close(self) -> None:
        """End what runs and give everything back."""

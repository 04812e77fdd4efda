"""What an executor is: it takes a stage's folder and gives back a handle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from harness.store import Store


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""PyTorch's own switch: large tensors on the CPU lie in huge pages. Logits over a vocabulary are taken and given back
at every step, and pages of 4 KiB cost a third of that work (benchmarks/huge_pages.py)."""


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
            without having said anything; `unbegun` where what came before it in its job was not made.
        cause: of a failure, or why it was lost: `killed`, `node` or `timeout`.
        error: what happened, in one line.
        seconds: how long a lost process had worked.
        devices: how many it had worked on.
        noted: of a lost process, whether somebody else has seen it first and written it down.
    """

    status: str
    cause: str = ""
    error: str = ""
    seconds: float = 0.0
    devices: int = 1
    noted: bool = False


class Executor(ABC):
    """One file each. A path goes in, never an object, so that worker and driver cannot disagree about code."""

    slots: int
    """How many stages, or bundles of stages, it takes at once."""
    bundle: int = 1
    """How many stages that follow one another it takes as one, at most."""
    recipe: str = ""
    """Whose stages they are, for a person to see."""
    recipe_path: str = ""
    """Its file, by which recipes of one name are told apart."""

    def begin(self, store: Store, names: Sequence[str]) -> None:
        """Take up what earlier runs have left, and write down what they could not.

        Args:
            store: where the stages are.
            names: of the stages that may run.
        """
        return

    @abstractmethod
    def submit(self, folder: Path) -> Handle:
        """Start the stage of a folder; returns at once, or when it has ended."""

    def submit_bundle(self, folders: Sequence[Path]) -> list[Handle]:
        """Start stages that follow one another, to be run in this order; those that are not taken wait their turn.

        Returns:
            A handle for the first, and for those after it that go with it.
        """
        return [self.submit(folders[0])]

    def alike(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Whether stages with these specs can be in one bundle."""
        return True

    @abstractmethod
    def close(self) -> None:
        """End what runs and give everything back."""

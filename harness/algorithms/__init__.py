"""What an algorithm is: what it needs, where it comes from, its knobs, and how it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from harness.job import Job
    from harness.metrics import Measurement


@dataclass(frozen=True)
class Paper:
    """Where an algorithm comes from: `equation` is what the loss can be checked against."""

    authors: str
    title: str
    arxiv: str
    equation: str = ""


@dataclass(frozen=True)
class Needs:
    """What must be there before an algorithm can run.

    Attributes:
        data: the view of the dataset that it trains on.
        start: False where it makes its own weights.
        reference: it needs log-probabilities of its data under the start.
        reward: it needs a proxy reward model.
        judge: it needs judgments of new responses.
    """

    data: str
    start: bool = True
    reference: bool = False
    reward: bool = False
    judge: bool = False


class Algorithm(ABC):
    """One frozen dataclass per file, whose fields are its knobs.

    An option of the paper is a knob; another paper is another file.
    """

    paper: ClassVar[Paper | None] = None
    needs: ClassVar[Needs]
    product: ClassVar[str] = "policy"
    """`policy` or `reward`."""
    version: ClassVar[int] = 1
    """Raise it when the same knobs would train another model."""
    rows_per_prompt: ClassVar[int] = 1
    """Rows of its view that one prompt of the budget stands for: KTO's two labelled responses are one pair."""

    @abstractmethod
    def train(self, job: Job) -> list[Measurement]:
        """Train from `job` alone and write the product into `job.out` alone.

        Returns:
            What was spent and seen: `trained_tokens`, `responses`, `labels`, `steps`, final losses.

        Raises:
            FloatingPointError: the loss or the weights are no longer finite.
        """

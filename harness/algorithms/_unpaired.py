"""The base of algorithms that train on single responses, each with a label."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Algorithm, Footprint, Needs

if TYPE_CHECKING:
    import torch

    from harness.job import Job
    from harness.metrics import Measurement
    from harness.training.unpaired import UnpairedBatch


class UnpairedAlgorithm(Algorithm):
    """Give `losses` and `rewards`. A prompt of the budget stands for two labelled responses, as a pair has two."""

    needs: ClassVar[Needs] = Needs(data="binary", reference=True)
    rows_per_prompt: ClassVar[int] = 2
    learning_rate: float

    def footprint(self) -> Footprint:
        """Both of a prompt's responses; their partners have no gradient."""
        return Footprint(self.rows_per_prompt)

    @abstractmethod
    def losses(self, batch: UnpairedBatch) -> torch.Tensor:
        """One loss per row (B,); the road sums them and divides by the rows of the optimiser step."""

    @abstractmethod
    def rewards(self, batch: UnpairedBatch) -> torch.Tensor:
        """The implicit reward of each response (B,), for the log."""

    def train(self, job: Job) -> list[Measurement]:
        """Train along the shared road."""
        from harness.training.unpaired import train_unpaired

        return train_unpaired(self, job)

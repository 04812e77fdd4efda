"""The base of all algorithms that train on pairs: they differ in their loss and their knobs alone."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Algorithm, Footprint, Needs

if TYPE_CHECKING:
    import torch

    from harness.job import Job
    from harness.metrics import Measurement
    from harness.training.pairs import PairBatch


class PairAlgorithm(Algorithm):
    """Give `losses`, and `rewards` where the logged rewards are something else than β-scaled log-ratios."""

    needs: ClassVar[Needs] = Needs(data="pairs")
    learning_rate: float

    @property
    def reference(self) -> bool:
        """Whether its loss reads the reference's log-probabilities."""
        return self.needs.reference

    def footprint(self) -> Footprint:
        """Both responses of a pair."""
        return Footprint(responses=2)

    @abstractmethod
    def losses(self, batch: PairBatch) -> torch.Tensor:
        """One loss per pair (B,); the road sums them and divides by the pairs of the optimiser step."""

    def rewards(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """What is logged as rewards/chosen and rewards/rejected, (B,) each: here the log-ratios, or log-probabilities.

        Rewards of different algorithms are not comparable; the Grade stage measures all policies alike.
        """
        if batch.reference_chosen_logp is None or batch.reference_rejected_logp is None:
            return batch.chosen_logp, batch.rejected_logp
        chosen = batch.chosen_logp - batch.reference_chosen_logp
        return chosen, batch.rejected_logp - batch.reference_rejected_logp

    def train(self, job: Job) -> list[Measurement]:
        """Train along the shared road."""
        from harness.training.pairs import train_pairs

        return train_pairs(self, job)

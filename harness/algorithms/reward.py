"""A reward model from pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Algorithm, Needs, Paper
from harness.knobs import Between, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.job import Job
    from harness.metrics import Measurement


def pairwise_losses(chosen: torch.Tensor, rejected: torch.Tensor, center: float) -> torch.Tensor:
    """−log σ(r_w − r_l) + center · (r_w + r_l)², one per pair.

    Args:
        chosen: (B,) scores of the chosen responses.
        rejected: (B,) scores of the rejected ones.
        center: weight of the term that holds the scores' mean near 0, which Bradley-Terry leaves free.

    Source:
        Ouyang et al. 2022, equation 1 with K = 2; the centring term is Eisenstein et al. 2023's (arXiv 2312.09244).
        Checked in tests/algorithms/test_reward.py.
    """
    from torch.nn.functional import logsigmoid

    return -logsigmoid(chosen - rejected) + center * (chosen + rejected).square()


@dataclass(frozen=True)
class Reward(Algorithm):
    """Bradley-Terry on pairs: a fresh scalar head on a model's last real token, the end token.

    It differs from InstructGPT in reading pairs, not K-way rankings, and in the centring term. The model's weights
    are its own copy: it shares no parameter with a policy.
    """

    paper: ClassVar[Paper] = Paper(
        "Ouyang et al.",
        "Training language models to follow instructions with human feedback",
        "2203.02155",
        "equation 1",
    )
    needs: ClassVar[Needs] = Needs(data="pairs")
    product: ClassVar[str] = "reward"

    learning_rate: float = knob(1e-3, valid=above(0), search=Uniform(1e-5, 1e-2, log=True), doc="peak of the schedule")
    center: float = knob(0.01, valid=Between(low=0), doc="weight of (r_w + r_l)², which holds the scores near 0")

    def losses(self, chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        """One loss per pair (B,)."""
        return pairwise_losses(chosen, rejected, self.center)

    def train(self, job: Job) -> list[Measurement]:
        """Train a copy of the start with a scalar head."""
        from harness.training.rewards import train_reward

        return train_reward(self, job)

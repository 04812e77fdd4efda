"""Simple preference optimization with a reference-free reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Paper
from harness.algorithms._pairs import PairAlgorithm
from harness.knobs import Between, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.training.pairs import PairBatch


def average_losses(chosen: torch.Tensor, rejected: torch.Tensor, beta: float, gamma_over_beta: float) -> torch.Tensor:
    """−log σ(β·(chosen − rejected) − γ), one per pair.

    Args:
        chosen: (B,) log π(y_w) / |y_w|, nats per token.
        rejected: (B,) log π(y_l) / |y_l|.
        beta: scale of the reward.
        gamma_over_beta: the target margin γ in units of β; TRL's `simpo_gamma` is γ itself, beta · gamma_over_beta.

    Source:
        Meng et al. 2024, arXiv 2405.14734, L_SimPO. Checked in tests/algorithms/test_pair_losses.py.
    """
    from torch.nn.functional import logsigmoid

    return -logsigmoid(beta * (chosen - rejected - gamma_over_beta))


@dataclass(frozen=True)
class Simpo(PairAlgorithm):
    """−log σ(β/|y_w| log π(y_w) − β/|y_l| log π(y_l) − γ), mean over pairs; no reference.

    It is the paper's loss, with the authors' knobs β and γ/β: the end token counts in |y|.
    """

    paper: ClassVar[Paper] = Paper(
        "Meng et al.", "SimPO: simple preference optimization with a reference-free reward", "2405.14734", "L_SimPO"
    )

    learning_rate: float = knob(1e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    beta: float = knob(
        2.0, valid=above(0), search=Uniform(1.0, 10.0, log=True), doc="scale of the average log-probability"
    )
    gamma_over_beta: float = knob(
        0.5, valid=Between(low=0), search=Uniform(0.0, 1.0), doc="target margin, in units of beta"
    )

    def losses(self, batch: PairBatch) -> torch.Tensor:
        """One loss per pair (B,)."""
        chosen, rejected = batch.chosen_logp / batch.chosen_tokens, batch.rejected_logp / batch.rejected_tokens
        return average_losses(chosen, rejected, self.beta, self.gamma_over_beta)

    def rewards(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """β log π(y) / |y|."""
        chosen, rejected = batch.chosen_logp / batch.chosen_tokens, batch.rejected_logp / batch.rejected_tokens
        return self.beta * chosen, self.beta * rejected

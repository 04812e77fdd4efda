"""Kahneman-Tversky optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Paper
from harness.algorithms._unpaired import UnpairedAlgorithm
from harness.knobs import Between, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.training.unpaired import UnpairedBatch


def prospect_losses(
    log_ratio: torch.Tensor,
    label: torch.Tensor,
    reference_point: torch.Tensor,
    beta: float,
    lambda_desirable: float,
    lambda_undesirable: float,
) -> torch.Tensor:
    """λ_D(1 − σ(β(r − z0))) where desirable, λ_U(1 − σ(β(z0 − r))) where not, one per response.

    Args:
        log_ratio: (B,) r = log π(y|x) − log π_ref(y|x), summed over tokens.
        label: (B,) bool, True where desirable.
        reference_point: scalar z0 before it is cut at 0; no gradient flows through it.
        beta: how sharply value saturates.
        lambda_desirable: weight of desirable responses.
        lambda_undesirable: weight of undesirable ones.

    Source:
        Ethayarajh et al. 2024, arXiv 2402.01306, L_KTO: λ_y − v. Checked in tests/algorithms/test_kto.py.
    """
    import torch

    z0 = reference_point.detach().clamp(min=0)
    desirable = lambda_desirable * (1 - torch.sigmoid(beta * (log_ratio - z0)))
    undesirable = lambda_undesirable * (1 - torch.sigmoid(beta * (z0 - log_ratio)))
    return torch.where(label, desirable, undesirable)


@dataclass(frozen=True)
class Kto(UnpairedAlgorithm):
    """λ(1 − σ(±β(r − z0))), mean over labelled responses; z0 = max(0, mean mismatched log-ratio of the step).

    It differs from the paper and from TRL in the mismatched pairs: the authors shift the responses within a batch,
    so z0 depends on the order and on the split into micro-batches; here each row has one partner, fixed by hash,
    and z0 is taken over the whole optimiser step. A prompt of the budget stands for two labelled responses.
    """

    paper: ClassVar[Paper] = Paper(
        "Ethayarajh et al.", "KTO: model alignment as prospect theoretic optimization", "2402.01306", "L_KTO"
    )

    learning_rate: float = knob(1e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    beta: float = knob(
        0.1, valid=above(0), search=Uniform(0.01, 1.0, log=True), doc="strength of the pull to the reference"
    )
    lambda_desirable: float = knob(1.0, valid=Between(low=0), search=Uniform(0.5, 2.0), doc="weight of good responses")
    lambda_undesirable: float = knob(1.0, valid=Between(low=0), search=Uniform(0.5, 2.0), doc="weight of bad responses")

    def losses(self, batch: UnpairedBatch) -> torch.Tensor:
        """One loss per response (B,)."""
        log_ratio = batch.logp - batch.reference_logp
        weights = (self.beta, self.lambda_desirable, self.lambda_undesirable)
        return prospect_losses(log_ratio, batch.label, batch.kl_mismatched, *weights)

    def rewards(self, batch: UnpairedBatch) -> torch.Tensor:
        """The implicit reward β(log π − log π_ref)."""
        return self.beta * (batch.logp - batch.reference_logp)

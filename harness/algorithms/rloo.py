"""REINFORCE leave-one-out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Paper
from harness.algorithms._on_policy import OnPolicyAlgorithm, leave_one_out, over_tokens, sequence_kl_rewards
from harness.knobs import Between, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.training.on_policy import PolicyBatch
    from harness.training.rollouts import Rollout

MOST = 30.0
"""A response that has become e³⁰ times likelier has no gradient; beyond e⁸⁸ float32 would have no number."""


def sequence_ratio_losses(
    logps: torch.Tensor, old_logps: torch.Tensor, advantages: torch.Tensor, clip: float
) -> torch.Tensor:
    """−min(ρA, clamp(ρ, 1 ± clip) A) with ρ = π(y|x) / π_old(y|x) of whole responses, one per response.

    At π = π_old its gradient is that of −A · log π(y|x), REINFORCE's.

    Args:
        logps: (B, T) of response tokens, 0 elsewhere.
        old_logps: (B, T) of the policy that gave the responses.
        advantages: (B,).
        clip: how far the ratio may go.

    Source:
        Ahmadian et al. 2024, the RLOO estimator, with the clip that TRL 1.16 adds. Checked in
        tests/algorithms/test_on_policy_losses.py.
    """
    import torch

    ratio = (logps - old_logps).sum(1).clamp(max=MOST).exp()
    return -torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


@dataclass(frozen=True)
class Rloo(OnPolicyAlgorithm):
    """Each response's reward minus the mean reward of the K − 1 others to its prompt, times log π(y|x).

    R is the proxy's score minus β Σ_t (log π − log π_anchor) of the whole response. It differs from the paper in the
    clipped ratio of whole responses, which matters where a rollout serves more than one update (`epochs`,
    `minibatches`), as in TRL's RLOOTrainer, whose loss and advantages ours equal on equal tensors.
    """

    paper: ClassVar[Paper] = Paper(
        "Ahmadian et al.",
        "Back to basics: revisiting REINFORCE style optimization for learning from human feedback in LLMs",
        "2402.14740",
        "the RLOO estimator",
    )

    learning_rate: float = knob(1e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    beta: float = knob(
        0.05, valid=Between(low=0), search=Uniform(0.01, 0.5, log=True), doc="weight of KL in the reward"
    )
    samples: int = knob(4, valid=Between(low=2), doc="K, responses to a prompt")
    clip: float = knob(0.2, valid=above(0), doc="how far the ratio of whole responses may go from 1")
    epochs: int = knob(1, valid=Between(low=1), doc="passes over a rollout")
    minibatches: int = knob(1, valid=Between(low=1), doc="optimiser steps of one pass over a rollout")
    missing_end_penalty: float = knob(1.0, valid=Between(low=0), doc="taken off where a response has no end")
    kl_limit: float = knob(50.0, valid=Between(low=0), doc="nats per response above which KL is an alarm; 0 for none")

    def credit(self, rollout: Rollout, state: dict[str, float]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The leave-one-out advantage on every token of a response."""
        rewards = sequence_kl_rewards(rollout, self.beta)
        return over_tokens(leave_one_out(rewards, rollout.samples), rollout.mask), None

    def ratios(self, batch: PolicyBatch) -> torch.Tensor:
        """π/π_old of the whole response, on each of its tokens."""
        return over_tokens((batch.logps - batch.old_logps).sum(1).clamp(max=MOST).exp(), batch.mask)

    def losses(self, batch: PolicyBatch) -> torch.Tensor:
        """One loss per response (B,)."""
        advantages = batch.advantages.sum(1) / batch.mask.sum(1)
        return sequence_ratio_losses(batch.logps, batch.old_logps, advantages, self.clip)

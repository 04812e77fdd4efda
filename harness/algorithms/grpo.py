"""Group relative policy optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Paper
from harness.algorithms._on_policy import OnPolicyAlgorithm, over_tokens
from harness.algorithms._ratios import clipped_token_losses
from harness.knobs import Between, OneOf, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.training.on_policy import PolicyBatch
    from harness.training.rollouts import Rollout

SMALL = 1e-4
"""Added to a standard deviation, as in TRL, where all responses to a prompt are worth the same."""


def group_advantages(scores: torch.Tensor, samples: int, scale: str) -> torch.Tensor:
    """(R − mean of its prompt) / sd, one per response.

    Args:
        scores: (R,) responses to one prompt next to each other.
        samples: K.
        scale: `group`: the sd of the prompt's K; `batch`: that of all R; `none`: no division (Dr. GRPO).

    Source:
        Shao et al. 2024, arXiv 2402.03300, outcome supervision; the sd has K − 1 in its
        denominator, as TRL's. Checked in
        tests/algorithms/test_on_policy_losses.py.
    """
    groups = scores.view(-1, samples)
    centred = groups - groups.mean(1, keepdim=True)
    if scale == "group":
        centred = centred / (groups.std(1, keepdim=True) + SMALL)
    elif scale == "batch":
        centred = centred / (scores.std() + SMALL)
    return centred.view(-1)


def kl_losses(
    logps: torch.Tensor, old_logps: torch.Tensor, reference_logps: torch.Tensor, gradient: str
) -> torch.Tensor:
    """The k3 estimate of KL of each token, (B, T): exp(d) − d − 1 with d = log π_ref − log π.

    Its value estimates KL(π ‖ π_ref) on the policy's own samples. Given the tokens before, its gradient does so only
    with `reverse`, which multiplies by the ratio π/π_old; with `plain` it is that of KL(π_ref ‖ π) in expectation.
    Either way a token pays for its own KL alone, not for what it leads to.

    Args:
        logps: (B, T) under the policy.
        old_logps: (B, T) under the policy that gave the responses.
        reference_logps: (B, T) under the frozen anchor.
        gradient: `reverse` (TRL's `use_bias_correction_kl=True`) or `plain` (False, the paper's).

    Source:
        Shao et al. 2024, arXiv 2402.03300, its unbiased KL estimator; DeepSeek-V3.2 (arXiv
        2512.02556) for the ratio. Checked in
        tests/algorithms/test_on_policy_losses.py.
    """
    gap = reference_logps - logps
    k3 = gap.exp() - gap - 1
    return k3 * (logps - old_logps).exp() if gradient == "reverse" else k3


@dataclass(frozen=True)
class Grpo(OnPolicyAlgorithm):
    """−min(ρA, clip(ρ)A) + β·KL for each token, with A the score relative to the other responses to the prompt.

    The KL to the anchor is in the loss and not in the reward, estimated by k3. The paper averages over tokens of a
    response and then over responses (`normalise = "grpo"`, the default); `dapo` is the token mean of the step (TRL's
    default), `dr_grpo` divides by the length limit. β is the paper's 0.04, where TRL's default is 0. Equal β is not
    equal pressure: with `scale = "none"` and one-token responses the optimum is π_anchor · exp((1 − 1/K) R / β), since
    a group's mean holds the response's own score, where that of `rloo` is π_anchor · exp(R / β).
    """

    paper: ClassVar[Paper] = Paper(
        "Shao et al.",
        "DeepSeekMath: pushing the limits of mathematical reasoning in open language models",
        "2402.03300",
        "the GRPO objective",
    )

    learning_rate: float = knob(1e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    beta: float = knob(0.04, valid=Between(low=0), search=Uniform(0.005, 0.5, log=True), doc="weight of KL in the loss")
    samples: int = knob(8, valid=Between(low=2), doc="K, responses to a prompt")
    clip: float = knob(0.2, valid=above(0), doc="how far the ratio of a token may go from 1")
    scale: str = knob("group", valid=OneOf(("group", "batch", "none")), doc="what advantages are divided by")
    normalise: str = knob("grpo", valid=OneOf(("grpo", "dapo", "dr_grpo")), doc="how token losses are averaged")
    kl_gradient: str = knob("reverse", valid=OneOf(("reverse", "plain")), doc="gradient of the KL estimate")
    epochs: int = knob(1, valid=Between(low=1), doc="passes over a rollout")
    minibatches: int = knob(1, valid=Between(low=1), doc="optimiser steps of one pass over a rollout")
    missing_end_penalty: float = knob(1.0, valid=Between(low=0), doc="taken off where a response has no end")
    kl_limit: float = knob(50.0, valid=Between(low=0), doc="nats per response above which KL is an alarm; 0 for none")

    def credit(self, rollout: Rollout, state: dict[str, float]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The group's advantage on every token of a response."""
        return over_tokens(group_advantages(rollout.scores, rollout.samples, self.scale), rollout.mask), None

    def losses(self, batch: PolicyBatch) -> torch.Tensor:
        """One loss per response (B,)."""
        tokens = clipped_token_losses(batch.logps, batch.old_logps, batch.advantages, self.clip)
        if self.beta and batch.reference_logps is not None:
            kl = kl_losses(batch.logps, batch.old_logps, batch.reference_logps, self.kl_gradient)
            tokens = tokens + self.beta * kl
        sums = (tokens * batch.mask).sum(1)
        if self.normalise == "grpo":
            return sums / batch.mask.sum(1)
        return sums * batch.step_rows / batch.step_tokens if self.normalise == "dapo" else sums / batch.limit

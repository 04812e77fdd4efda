"""Proximal policy optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Paper
from harness.algorithms._on_policy import OnPolicyAlgorithm
from harness.algorithms._ratios import clipped_token_losses
from harness.knobs import Between, OneOf, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.training.on_policy import PolicyBatch
    from harness.training.rollouts import Rollout

ADAPT, ADAPT_MOST = 0.1, 0.2
"""Ziegler et al.'s step and bound of the adaptive coefficient."""


def token_rewards(
    scores: torch.Tensor, logps: torch.Tensor, reference_logps: torch.Tensor, mask: torch.Tensor, beta: float
) -> torch.Tensor:
    """−β(log π − log π_anchor) on each token, and the score on the last one, (R, T).

    Source:
        Ziegler et al. 2019, arXiv 1909.08593; Ouyang et al. 2022, arXiv 2203.02155: the KL in the reward.
    """
    import torch

    rewards = -beta * (logps - reference_logps) * mask
    last = mask.sum(1).long() - 1
    return rewards + torch.nn.functional.one_hot(last, mask.shape[1]) * scores[:, None]


def advantages_and_returns(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, discount: float, decay: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantages A_t = Σ_l (γλ)^l δ_{t+l} with δ_t = r_t + γ V_{t+1} − V_t, and returns A_t + V_t, (R, T).

    After the last token of a response the value is 0: a response that was cut is treated as ended too.

    Args:
        rewards: (R, T).
        values: (R, T), expected before each token.
        mask: (R, T) True on response tokens, which come first.
        discount: γ.
        decay: λ.

    Source:
        Schulman et al. 2016, arXiv 1506.02438, the GAE. Checked in tests/algorithms/test_on_policy_losses.py.
    """
    import torch

    inside = mask.to(values.dtype)
    ahead = torch.cat([values[:, 1:] * inside[:, 1:], torch.zeros_like(values[:, :1])], 1)
    errors = (rewards + discount * ahead - values) * inside
    found = torch.zeros_like(values)
    carried = torch.zeros_like(values[:, 0])
    for place in reversed(range(values.shape[1])):
        carried = errors[:, place] + discount * decay * carried * inside[:, place]
        found[:, place] = carried
    return found * inside, (found + values) * inside


def whitened(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Values with mean 0 and variance 1 over all response tokens of a rollout, (R, T)."""
    own = values[mask]
    return (values - own.mean()) / (own.var(correction=0) + 1e-8).sqrt() * mask


def value_token_losses(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, clip: float
) -> torch.Tensor:
    """½ max((V − R)², (clamp(V, V_old ± clip) − R)²) of each token, (B, T); without the clip where it is 0.

    Source:
        Schulman et al.'s code, as Ziegler et al. 2019 use it. Checked in tests/algorithms/test_on_policy_losses.py.
    """
    import torch

    error = (values - returns).square()
    if clip:
        near = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.max(error, (near - returns).square())
    return 0.5 * error


def adapted(beta: float, kl: float, target: float) -> float:
    """The coefficient after a rollout whose mean KL was `kl`: β(1 + 0.1 · clamp(kl/target − 1, ±0.2)).

    Source:
        Ziegler et al. 2019, arXiv 1909.08593, the adaptive KL coefficient.
    """
    return beta * (1 + ADAPT * min(max(kl / target - 1, -ADAPT_MOST), ADAPT_MOST))


@dataclass(frozen=True)
class Ppo(OnPolicyAlgorithm):
    """−min(ρA, clip(ρ)A) + c_v · value loss − c_e · entropy, the token mean over the optimiser step.

    The reward is −β(log π − log π_anchor) on each token and the proxy's score on the last; advantages are GAE's,
    whitened over the rollout. The value model is a head on the policy's last hidden state (`value = "head"`) or a
    network of its own that begins as the proxy reward model (`"reward"`, as in InstructGPT). It differs from
    InstructGPT in having no pretraining mix, and in the token mean where others average over responses.
    """

    paper: ClassVar[Paper] = Paper(
        "Schulman et al.", "Proximal policy optimization algorithms", "1707.06347", "L^CLIP+VF+S"
    )

    learning_rate: float = knob(1e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    value_learning_rate: float = knob(1e-3, valid=above(0), doc="peak of the value model's own schedule")
    beta: float = knob(
        0.05, valid=Between(low=0), search=Uniform(0.01, 0.5, log=True), doc="weight of KL in the reward"
    )
    kl_target: float = knob(0.0, valid=Between(low=0), doc="nats per response that beta adapts to; 0 keeps it fixed")
    clip: float = knob(0.2, valid=above(0), search=Uniform(0.05, 0.4), doc="how far the ratio of a token may go from 1")
    value_clip: float = knob(0.2, valid=Between(low=0), doc="how far a value may go from the rollout's; 0 for no clip")
    value_weight: float = knob(0.1, valid=Between(low=0), doc="c_v, weight of the value loss")
    entropy_weight: float = knob(0.01, valid=Between(low=0), doc="c_e, weight of the entropy bonus")
    discount: float = knob(1.0, valid=Between(0, 1), doc="gamma, what a reward one token later is worth")
    decay: float = knob(0.95, valid=Between(0, 1), search=Uniform(0.9, 1.0), doc="lambda of the advantages")
    whiten: bool = knob(True, doc="advantages get mean 0 and variance 1 over a rollout")
    value: str = knob(
        "head", valid=OneOf(("head", "reward")), doc="value model: a head on the policy, or a reward model"
    )
    samples: int = knob(1, valid=Between(low=1), doc="K, responses to a prompt")
    epochs: int = knob(2, valid=Between(low=1), doc="passes over a rollout")
    minibatches: int = knob(2, valid=Between(low=1), doc="optimiser steps of one pass over a rollout")
    missing_end_penalty: float = knob(1.0, valid=Between(low=0), doc="taken off where a response has no end")
    kl_limit: float = knob(50.0, valid=Between(low=0), doc="nats per response above which KL is an alarm; 0 for none")

    def contradiction(self) -> str:
        """A coefficient of 0 stays 0 however it is adapted."""
        stuck = self.kl_target > 0 and self.beta == 0
        return "kl_target adapts beta, which is 0 and would stay it; give beta a start above 0" if stuck else ""

    def credit(self, rollout: Rollout, state: dict[str, float]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """GAE on per-token rewards; β is adapted for the next rollout."""
        beta = state.setdefault("beta", self.beta)
        if rollout.reference_logps is None or rollout.values is None:
            raise AssertionError("ppo asks its rollouts for a reference and for values")
        rewards = token_rewards(rollout.scores, rollout.logps, rollout.reference_logps, rollout.mask, beta)
        advantages, returns = advantages_and_returns(rewards, rollout.values, rollout.mask, self.discount, self.decay)
        state["beta_used"] = beta
        if self.kl_target:
            state["beta"] = adapted(beta, float(rollout.kl.mean()), self.kl_target)
        return whitened(advantages, rollout.mask) if self.whiten else advantages, returns

    def losses(self, batch: PolicyBatch) -> torch.Tensor:
        """One loss per response (B,), such that their mean over the step is the step's token mean."""
        if batch.values is None or batch.old_values is None or batch.returns is None:
            raise AssertionError("ppo asks its batches for values")
        tokens = clipped_token_losses(batch.logps, batch.old_logps, batch.advantages, self.clip)
        value = value_token_losses(batch.values, batch.old_values, batch.returns, self.value_clip)
        tokens = tokens + self.value_weight * value - self.entropy_weight * batch.entropy
        return (tokens * batch.mask).sum(1) * batch.step_rows / batch.step_tokens

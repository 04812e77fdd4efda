"""REINFORCE with a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Paper
from harness.algorithms._on_policy import OnPolicyAlgorithm, leave_one_out, over_tokens, sequence_kl_rewards
from harness.errors import HarnessError
from harness.knobs import Between, OneOf, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.training.on_policy import PolicyBatch
    from harness.training.rollouts import Rollout

MEMORY = 0.9
"""Share of the running baseline that a rollout leaves in place."""


def score_function_losses(logps: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """−A · log π(y|x), one per response.

    Args:
        logps: (B, T) of response tokens, 0 elsewhere.
        advantages: (B, T) alike for all tokens of a response; no gradient flows through them.

    Source:
        Williams 1992, REINFORCE with a baseline. Checked in tests/algorithms/test_on_policy_losses.py.
    """
    return -(advantages * logps).sum(1)


@dataclass(frozen=True)
class Reinforce(OnPolicyAlgorithm):
    """−(R − b) · log π(y|x), mean over responses; one update for each response, and no clip.

    R is the proxy's score minus β Σ_t (log π − log π_anchor) of the whole response: the KL is in the reward. The
    baseline b is the mean of the other responses of the rollout (`batch`), a running mean over rollouts (`running`,
    Williams' reinforcement comparison, which begins with the first rollout's own mean), or 0. It differs from `rloo`
    in that `batch` leaves one out over all prompts.
    """

    paper: ClassVar[Paper] = Paper(
        "Williams",
        "Simple statistical gradient-following algorithms for connectionist reinforcement learning",
        "10.1007/BF00992696",
        "REINFORCE with a baseline",
    )

    learning_rate: float = knob(1e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    beta: float = knob(
        0.05, valid=Between(low=0), search=Uniform(0.01, 0.5, log=True), doc="weight of KL in the reward"
    )
    baseline: str = knob("batch", valid=OneOf(("batch", "running", "none")), doc="what is taken off the reward")
    samples: int = knob(1, valid=Between(low=1), doc="K, responses to a prompt")
    missing_end_penalty: float = knob(1.0, valid=Between(low=0), doc="taken off where a response has no end")
    kl_limit: float = knob(50.0, valid=Between(low=0), doc="nats per response above which KL is an alarm; 0 for none")

    def credit(self, rollout: Rollout, state: dict[str, float]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """R − b on every token of a response."""
        rewards = sequence_kl_rewards(rollout, self.beta)
        if self.baseline == "batch":
            if len(rewards) < 2:
                raise HarnessError("reinforce.baseline = 'batch' needs two responses in a step; use 'running'")
            return over_tokens(leave_one_out(rewards, len(rewards)), rollout.mask), None
        mean = float(rewards.mean())
        known = state.get("baseline", mean)
        state["baseline"] = MEMORY * known + (1 - MEMORY) * mean
        return over_tokens(rewards - (known if self.baseline == "running" else 0.0), rollout.mask), None

    def losses(self, batch: PolicyBatch) -> torch.Tensor:
        """One loss per response (B,)."""
        return score_function_losses(batch.logps, batch.advantages)

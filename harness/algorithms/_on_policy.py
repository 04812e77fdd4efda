"""The base of algorithms that learn from rewards of the responses that the policy gives as it learns."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Algorithm, Footprint, Needs

if TYPE_CHECKING:
    import torch

    from harness.job import Budget, Job
    from harness.metrics import Measurement
    from harness.training.on_policy import PolicyBatch
    from harness.training.rollouts import Rollout


class OnPolicyAlgorithm(Algorithm):
    """Give `credit` and `losses`. A prompt of the budget stands for two responses, as a pair has two.

    An optimiser step trains on 2 · budget.batch responses, K to a prompt; a rollout serves `epochs` passes in
    `minibatches` steps each. Responses are drawn at temperature 1, so that the sampled distribution is the policy.

    Attributes:
        samples: K, responses to a prompt.
        missing_end_penalty: taken off the score of a response that the length limit cut.
        kl_limit: nats per response; a rollout whose mean log-ratio to the anchor is above it is an alarm.
        epochs: passes over a rollout.
        minibatches: optimiser steps of one pass.
        value: `""` without a value model, `head` or `reward`; see `harness.training.values`.
        value_learning_rate: of the value model.
    """

    needs: ClassVar[Needs] = Needs(data="prompts", reward=True)
    rows_per_prompt: ClassVar[int] = 2
    learning_rate: float
    samples: int
    missing_end_penalty: float
    kl_limit: float
    epochs: int = 1
    minibatches: int = 1
    value: str = ""
    value_learning_rate: float = 0.0

    @abstractmethod
    def credit(self, rollout: Rollout, state: dict[str, float]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Advantages of each token (R, T), and returns (R, T) for a value model.

        `state` is kept from rollout to rollout and in checkpoints; what a method adapts lives there.
        """

    @abstractmethod
    def losses(self, batch: PolicyBatch) -> torch.Tensor:
        """One loss per response (B,); the road sums them and divides by the responses of the optimiser step."""

    def unsuited(self, budget: Budget) -> str:
        """A rollout holds K responses to each of its prompts."""
        size = self.rows_per_prompt * budget.batch * self.minibatches
        if size % self.samples == 0:
            return ""
        right = max(fewer for fewer in range(1, self.samples) if size % fewer == 0)
        return (
            f"draws 2 · budget.batch · minibatches = {size} responses for a rollout; samples = {self.samples} does "
            f"not divide that, {right} does"
        )

    def footprint(self) -> Footprint:
        """Policy, start and reward model, and a value model where it is a network of its own."""
        return Footprint(self.rows_per_prompt, start=True, reward=True, value=self.value == "reward")

    def ratios(self, batch: PolicyBatch) -> torch.Tensor:
        """π/π_old as the loss reads it, (B, T), for the log: of each token."""
        return (batch.logps - batch.old_logps).exp()

    def train(self, job: Job) -> list[Measurement]:
        """Train along the shared road."""
        from harness.training.on_policy import train_on_policy

        return train_on_policy(self, job)


def sequence_kl_rewards(rollout: Rollout, beta: float) -> torch.Tensor:
    """(R,) score − β Σ_t (log π − log π_anchor): the penalised reward of whole responses."""
    return rollout.scores - beta * rollout.kl


def leave_one_out(rewards: torch.Tensor, samples: int) -> torch.Tensor:
    """(R,) R_k minus the mean of the other K − 1 rewards of its prompt.

    Source:
        Ahmadian et al. 2024, arXiv 2402.14740, the RLOO estimator.
    """
    groups = rewards.view(-1, samples)
    others = (groups.sum(1, keepdim=True) - groups) / (samples - 1)
    return (groups - others).view(-1)


def over_tokens(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """One value per response (R,) to each of its tokens (R, T)."""
    return values[:, None] * mask

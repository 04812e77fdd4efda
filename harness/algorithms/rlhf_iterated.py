"""RLHF in rounds: new responses, new labels, a new reward model, PPO again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.algorithms import Algorithm, Footprint, Needs, Paper, Round
from harness.knobs import Between, OneOf, Uniform, above, knob


@dataclass(frozen=True)
class RlhfIterated(Algorithm):
    """PPO in rounds; before each but the first the policy's own responses are labelled and the proxy is trained anew.

    The first round is PPO on the recipe's proxy. For each later one the policy so far gives K responses to fresh
    training prompts, `labeller` says which is best and which worst, a reward model is trained from its base on the
    proxy's data and all pairs collected so far, and PPO goes on from the policy with it. KL is measured to the start
    of all rounds. The budget's optimiser steps are shared out among the rounds. It differs from the papers in its
    scale, and in that a round's labels are not a mixture over several policies.
    """

    paper: ClassVar[Paper] = Paper(
        "Bai et al.",
        "Training a helpful and harmless assistant with reinforcement learning from human feedback",
        "2204.05862",
        "iterated online RLHF",
    )

    learning_rate: float = knob(1e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="PPO's, in each round")
    beta: float = knob(0.05, valid=Between(low=0), search=Uniform(0.01, 0.5, log=True), doc="PPO's weight of KL")
    count: int = knob(2, valid=Between(low=2), doc="rounds")
    labeller: str = knob("annotators", valid=OneOf(("annotators", "oracle", "reward")), doc="who labels new responses")
    samples: int = knob(4, valid=Between(2, 9), doc="K, responses to a prompt from which a pair is made")

    needs: ClassVar[Needs] = Needs(data="prompts", reward=True)

    def requires(self) -> Needs:
        """Annotators only where they label."""
        return Needs(data="prompts", reward=True, annotators=self.labeller == "annotators")

    def footprint(self) -> Footprint:
        """As PPO with a value head."""
        return Footprint(2, start=True, reward=True)

    def rounds(self) -> tuple[Round, ...]:
        """PPO, then labels, a reward model and PPO again."""
        knobs: dict[str, Any] = {"learning_rate": self.learning_rate, "beta": self.beta}
        first = Round("", "", 0, "ppo", knobs)
        return (first, *[Round("pairs", self.labeller, self.samples, "ppo", knobs, relabel=True)] * (self.count - 1))

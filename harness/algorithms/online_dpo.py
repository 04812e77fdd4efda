"""DPO on the policy's own responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Footprint, Needs, Paper
from harness.algorithms._pairs import PairAlgorithm
from harness.algorithms.dpo import margin_losses
from harness.knobs import Between, OneOf, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.job import Job
    from harness.metrics import Measurement
    from harness.training.pairs import PairBatch


@dataclass(frozen=True)
class OnlineDpo(PairAlgorithm):
    """DPO's loss on the best and the worst of K responses that the policy gives now, as the labeller sees them.

    The labeller is the proxy reward, or the judge (nothing wrong beats something wrong). It differs from the paper in
    that K may be more than 2 and in the labeller, which there is an LLM. A prompt whose responses are all worth the
    same counts and teaches nothing.
    """

    paper: ClassVar[Paper] = Paper(
        "Guo et al.",
        "Direct language model alignment from online AI feedback",
        "2402.04792",
        "online AI feedback with the DPO loss",
    )
    needs: ClassVar[Needs] = Needs(data="prompts", reward=True)

    learning_rate: float = knob(1e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    beta: float = knob(
        0.1, valid=above(0), search=Uniform(0.01, 1.0, log=True), doc="strength of the pull to the reference"
    )
    samples: int = knob(4, valid=Between(low=2), doc="K, responses to a prompt of which two are trained on")
    labeller: str = knob("reward", valid=OneOf(("reward", "judge")), doc="who says which response is better")
    missing_end_penalty: float = knob(1.0, valid=Between(low=0), doc="taken off where a response has no end")
    kl_limit: float = knob(50.0, valid=Between(low=0), doc="nats per response above which KL is an alarm; 0 for none")

    def requires(self) -> Needs:
        """The labeller."""
        return Needs(data="prompts", reward=self.labeller == "reward", judge=self.labeller == "judge")

    def footprint(self) -> Footprint:
        """Two of a prompt's responses, policy and start, and the reward model where that labels."""
        return Footprint(2, start=True, reward=self.labeller == "reward")

    @property
    def reference(self) -> bool:
        """It computes the reference of its own responses as it goes."""
        return True

    def losses(self, batch: PairBatch) -> torch.Tensor:
        """One loss per pair (B,)."""
        chosen, rejected = self.rewards(batch)
        return margin_losses(chosen - rejected, "sigmoid", 0.0)

    def rewards(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The implicit rewards β(log π − log π_ref)."""
        chosen, rejected = super().rewards(batch)
        return self.beta * chosen, self.beta * rejected

    def train(self, job: Job) -> list[Measurement]:
        """Draw, label and train, step after step."""
        from harness.training.online_pairs import train_online_pairs

        return train_online_pairs(self, job)

"""Imitation learning from language feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.algorithms import Algorithm, Needs, Paper, Round
from harness.knobs import Uniform, above, knob

if TYPE_CHECKING:
    from harness.job import Job
    from harness.metrics import Measurement


@dataclass(frozen=True)
class Ilf(Algorithm):
    """The start refines each blamed response from x, y and j; then maximum likelihood of the refinements.

    A praised response is its own refinement. It differs from the paper, and agrees with the CUT paper's baseline, in
    that one refinement is drawn and taken as it comes, where the paper draws several and has a model choose.
    """

    paper: ClassVar[Paper] = Paper(
        "Scheurer et al.",
        "Training language models with language feedback at scale",
        "2303.16755",
        "imitation learning from language feedback",
    )
    needs: ClassVar[Needs] = Needs(data="judgments")

    learning_rate: float = knob(3e-4, valid=above(0), search=Uniform(1e-5, 1e-2, log=True), doc="peak of the schedule")

    def rounds(self) -> tuple[Round, ...]:
        """Refine, then train on that."""
        knobs: dict[str, Any] = {"learning_rate": self.learning_rate}
        return (Round("refinements", "judge", 1, "ilf", knobs),)

    def train(self, job: Job) -> list[Measurement]:
        """Train on collected refinements."""
        from harness.training.sequences import train_responses

        return train_responses(job, self.learning_rate, "response", "demonstrations", labels=1)

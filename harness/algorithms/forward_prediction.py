"""Predict the response, then what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Algorithm, Footprint, Needs, Paper
from harness.knobs import Uniform, above, knob

if TYPE_CHECKING:
    from harness.job import Job
    from harness.metrics import Measurement


@dataclass(frozen=True)
class ForwardPrediction(Algorithm):
    """Maximum likelihood of y given x and of j given x and y: the token mean over both, all rows alike.

    It differs from Weston, who predicts the words of a teacher in a dialogue with a memory network, as the CUT paper's
    baseline of that name does: blamed responses are imitated too, and the judgment only shapes the representation.
    That baseline (its equation 1) adds the mean over y to the mean over j; here a token counts alike in both.
    """

    paper: ClassVar[Paper] = Paper("Weston", "Dialog-based language learning", "1604.06045", "forward prediction")
    needs: ClassVar[Needs] = Needs(data="judgments")

    learning_rate: float = knob(3e-4, valid=above(0), search=Uniform(1e-5, 1e-2, log=True), doc="peak of the schedule")

    def footprint(self) -> Footprint:
        """A response, and the judgment of it behind both."""
        return Footprint(responses=2)

    def train(self, job: Job) -> list[Measurement]:
        """Train along the shared road."""
        from harness.training.judgments import train_sequences

        return train_sequences(job, self.learning_rate, "verdict")

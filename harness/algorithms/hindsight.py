"""Chain of hindsight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.algorithms import Algorithm, Needs, Paper
from harness.knobs import OneOf, Uniform, above, knob

if TYPE_CHECKING:
    from harness.job import Job
    from harness.metrics import Measurement


@dataclass(frozen=True)
class Hindsight(Algorithm):
    """Maximum likelihood of y given x and its judgment j, all rows alike; asked with a positive judgment.

    It differs from the paper in having one response and its judgment in a sequence, not several in a chain. How it is
    asked is a knob, since the modes differ a lot: `positive_judgment` puts praise into the prompt, `plain` does not.
    What is measured on labelled pairs is of its policy by the plain prompt, and so not of its responses.
    """

    paper: ClassVar[Paper] = Paper(
        "Liu et al.", "Chain of hindsight aligns language models with feedback", "2302.02676", "chain of hindsight"
    )
    needs: ClassVar[Needs] = Needs(data="judgments")

    learning_rate: float = knob(3e-4, valid=above(0), search=Uniform(1e-5, 1e-2, log=True), doc="peak of the schedule")
    asked: str = knob(
        "positive_judgment", valid=OneOf(("positive_judgment", "plain")), doc="the prompt with praise in it, or plain"
    )

    def procedure(self) -> dict[str, Any]:
        """With praise in the prompt, or without."""
        return {"name": self.asked}

    def train(self, job: Job) -> list[Measurement]:
        """Train along the shared road."""
        from harness.training.judgments import train_sequences

        return train_sequences(job, self.learning_rate, "hindsight")

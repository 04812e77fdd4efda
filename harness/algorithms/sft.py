"""Supervised fine-tuning on demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Algorithm, Needs, Paper
from harness.knobs import Uniform, above, knob

if TYPE_CHECKING:
    from harness.job import Job
    from harness.metrics import Measurement


@dataclass(frozen=True)
class Sft(Algorithm):
    """Maximum likelihood of demonstrated responses, prompts masked.

    Loss: −Σ log π(y_t | x, y_<t) over all response tokens of the optimiser step (end token counted), divided by
    their number: the token mean over the whole step, not the mean of per-sequence means. TRL's SFTTrainer
    normalises the same way.
    """

    paper: ClassVar[Paper] = Paper(
        "Ouyang et al.",
        "Training language models to follow instructions with human feedback",
        "2203.02155",
        "supervised fine-tuning",
    )
    needs: ClassVar[Needs] = Needs(data="demonstrations")

    learning_rate: float = knob(1e-3, valid=above(0), search=Uniform(1e-5, 1e-2, log=True), doc="peak of the schedule")

    def train(self, job: Job) -> list[Measurement]:
        """Train along the shared road."""
        from harness.training.sequences import train_responses

        return train_responses(job, self.learning_rate, "response", "demonstrations")

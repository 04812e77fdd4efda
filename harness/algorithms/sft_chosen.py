"""Supervised fine-tuning on the chosen responses of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Algorithm, Needs, Paper
from harness.knobs import Uniform, above, knob

if TYPE_CHECKING:
    from harness.job import Job
    from harness.metrics import Measurement


@dataclass(frozen=True)
class SftChosen(Algorithm):
    """Maximum likelihood of the chosen response of each pair, where there are no demonstrations.

    The loss is that of `sft`: the token mean over the whole optimiser step. Rafailov et al. call it Preferred-FT.
    """

    paper: ClassVar[Paper] = Paper(
        "Rafailov et al.",
        "Direct preference optimization: your language model is secretly a reward model",
        "2305.18290",
        "the baseline Preferred-FT",
    )
    needs: ClassVar[Needs] = Needs(data="pairs")

    learning_rate: float = knob(1e-3, valid=above(0), search=Uniform(1e-5, 1e-2, log=True), doc="peak of the schedule")

    def train(self, job: Job) -> list[Measurement]:
        """Train along the shared road."""
        from harness.training.sequences import train_responses

        return train_responses(job, self.learning_rate, "chosen", "pairs")

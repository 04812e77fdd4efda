"""DPO with refinements over first tries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from harness.algorithms import Needs, Paper, Round
from harness.algorithms._pairs import PairAlgorithm
from harness.algorithms.dpo import margin_losses
from harness.errors import HarnessError
from harness.knobs import Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.job import Job
    from harness.metrics import Measurement
    from harness.training.pairs import PairBatch


@dataclass(frozen=True)
class IlfDpo(PairAlgorithm):
    """The start refines each blamed response from x, y and j; then DPO with the refinement over the response.

    It is the CUT paper's baseline. A praised response has no refinement, and one that equals its response is no pair:
    they are not trained on.
    """

    paper: ClassVar[Paper] = Paper(
        "Xu et al.", "Reasons to reject? Aligning language models with judgments", "2312.14591", "section 3.2, ILF-DPO"
    )
    needs: ClassVar[Needs] = Needs(data="judgments", reference=True)

    learning_rate: float = knob(1e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    beta: float = knob(
        0.1, valid=above(0), search=Uniform(0.01, 1.0, log=True), doc="strength of the pull to the reference"
    )

    def rounds(self) -> tuple[Round, ...]:
        """Refine, then train on that."""
        knobs: dict[str, Any] = {"learning_rate": self.learning_rate, "beta": self.beta}
        return (Round("refinements", "judge", 1, "ilf_dpo", knobs),)

    def losses(self, batch: PairBatch) -> torch.Tensor:
        """One loss per pair (B,)."""
        chosen, rejected = self.rewards(batch)
        return margin_losses(chosen - rejected, "sigmoid", 0.0)

    def rewards(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The implicit rewards β(log π − log π_ref)."""
        chosen, rejected = super().rewards(batch)
        return self.beta * chosen, self.beta * rejected

    def train(self, job: Job) -> list[Measurement]:
        """Train on collected refinements that differ from their first tries.

        Raises:
            HarnessError: there is none.
        """
        pairs = [row for row in job.rows if "chosen" in row]
        if not pairs:
            raise HarnessError("no refinement differs from the response that it refines")
        return super().train(replace(job, rows=pairs))

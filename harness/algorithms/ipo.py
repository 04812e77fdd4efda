"""Identity preference optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Needs, Paper
from harness.algorithms._pairs import PairAlgorithm
from harness.knobs import By, OneOf, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.training.pairs import PairBatch


def squared_losses(margin: torch.Tensor, tau: float) -> torch.Tensor:
    """(h − 1/(2τ))², one per pair.

    Args:
        margin: (B,) h = (log π − log π_ref)(y_w) − (log π − log π_ref)(y_l), summed or averaged over tokens.
        tau: the paper's regularisation; the margin is pulled to 1/(2τ) and no further.

    Source:
        Azar et al. 2023, equation 17. Checked in tests/algorithms/test_pair_losses.py.
    """
    return (margin - 1 / (2 * tau)).square()


@dataclass(frozen=True)
class Ipo(PairAlgorithm):
    """((log-ratio margin) − 1/(2τ))², mean over pairs.

    The paper sums log-ratios over tokens (`normalise = "sum"`); the default averages them over each response's
    tokens (`"tokens"`), the authors' later form and the only one that TRL has. τ means something else in each.
    """

    paper: ClassVar[Paper] = Paper(
        "Azar et al.",
        "A general theoretical paradigm to understand learning from human preferences",
        "2310.12036",
        "equation 17",
    )
    needs: ClassVar[Needs] = Needs(data="pairs", reference=True)

    learning_rate: float = knob(1e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    tau: float = knob(
        0.5,
        valid=above(0),
        search=By("normalise", (("tokens", Uniform(0.05, 5.0, log=True)), ("sum", Uniform(0.01, 1.0, log=True)))),
        doc="the margin aimed at is 1/(2 tau)",
    )
    normalise: str = knob(
        "tokens", valid=OneOf(("tokens", "sum")), doc="log-ratios per token, or summed as in the paper"
    )

    def losses(self, batch: PairBatch) -> torch.Tensor:
        """One loss per pair (B,)."""
        chosen, rejected = self.rewards(batch)
        return squared_losses(chosen - rejected, self.tau)

    def rewards(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The log-ratios, per token or summed."""
        chosen, rejected = super().rewards(batch)
        if self.normalise == "tokens":
            return chosen / batch.chosen_tokens, rejected / batch.rejected_tokens
        return chosen, rejected

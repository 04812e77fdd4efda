"""Direct preference optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Needs, Paper
from harness.algorithms._pairs import PairAlgorithm
from harness.knobs import Between, OneOf, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.training.pairs import PairBatch


def margin_losses(margin: torch.Tensor, variant: str, label_smoothing: float) -> torch.Tensor:
    """Loss of the scaled margin h = β[(log π − log π_ref)(y_w) − (log π − log π_ref)(y_l)], one per pair.

    Args:
        margin: (B,) h.
        variant: `sigmoid`: −(1−ε) log σ(h) − ε log σ(−h), which is the paper's for ε = 0 and conservative DPO else;
            `robust`: [−(1−ε) log σ(h) + ε log σ(−h)] / (1−2ε), unbiased under labels flipped with probability ε;
            `hinge`: (1−ε) max(0, 1 − h) + ε max(0, 1 + h), SLiC's for ε = 0.
        label_smoothing: ε in [0, 0.5).

    Source:
        Rafailov et al. 2023, equation 7; Mitchell 2023 (cDPO); Chowdhury et al. 2024 (arXiv 2403.00409), robust;
        Zhao et al. 2023 (arXiv 2305.10425), hinge. Checked in tests/algorithms/test_pair_losses.py.
    """
    from torch.nn.functional import logsigmoid

    if variant == "hinge":
        right, flipped = (1 - margin).relu(), (1 + margin).relu()
    else:
        right, flipped = -logsigmoid(margin), -logsigmoid(-margin)
    if variant == "robust":
        return ((1 - label_smoothing) * right - label_smoothing * flipped) / (1 - 2 * label_smoothing)
    return (1 - label_smoothing) * right + label_smoothing * flipped


@dataclass(frozen=True)
class Dpo(PairAlgorithm):
    """−log σ(β[(log π − log π_ref)(y_w) − (log π − log π_ref)(y_l)]), mean over pairs, log-probabilities summed.

    It is the paper's loss. It differs from TRL 1.16 in that `label_smoothing` works with every variant (there
    `sigmoid` and `hinge` ignore it), and in that the reference is the cell's own start, computed once and shared
    by every β.
    """

    paper: ClassVar[Paper] = Paper(
        "Rafailov et al.",
        "Direct preference optimization: your language model is secretly a reward model",
        "2305.18290",
        "equation 7",
    )
    needs: ClassVar[Needs] = Needs(data="pairs", reference=True)

    learning_rate: float = knob(1e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    beta: float = knob(
        0.1, valid=above(0), search=Uniform(0.01, 1.0, log=True), doc="strength of the pull to the reference"
    )
    variant: str = knob("sigmoid", valid=OneOf(("sigmoid", "robust", "hinge")), doc="which loss of the margin")
    label_smoothing: float = knob(0.0, valid=Between(0, 0.5, open_high=True), doc="assumed share of flipped labels")

    def losses(self, batch: PairBatch) -> torch.Tensor:
        """One loss per pair (B,)."""
        chosen, rejected = self.rewards(batch)
        return margin_losses(chosen - rejected, self.variant, self.label_smoothing)

    def rewards(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The implicit rewards β(log π − log π_ref)."""
        chosen, rejected = super().rewards(batch)
        return self.beta * chosen, self.beta * rejected

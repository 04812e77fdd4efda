"""Contrastive preference optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Paper
from harness.algorithms._pairs import PairAlgorithm
from harness.knobs import Between, OneOf, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.training.pairs import PairBatch


def contrastive_losses(chosen_logp: torch.Tensor, rejected_logp: torch.Tensor, beta: float) -> torch.Tensor:
    """−log σ(β[log π(y_w) − log π(y_l)]), one per pair: DPO's loss with a uniform reference.

    Args:
        chosen_logp: (B,) summed over tokens.
        rejected_logp: (B,).
        beta: scale of the margin.

    Source:
        Xu et al. 2024, equation 3. Checked in tests/algorithms/test_pair_losses.py.
    """
    from torch.nn.functional import logsigmoid

    return -logsigmoid(beta * (chosen_logp - rejected_logp))


def nll_losses(
    chosen_logp: torch.Tensor, chosen_tokens: torch.Tensor, form: str, step_rows: int, step_tokens: int
) -> torch.Tensor:
    """The behaviour-cloning term of each pair (B,), such that its mean over the step's pairs is the step's term.

    Args:
        chosen_logp: (B,) summed over tokens.
        chosen_tokens: (B,).
        form: `sequence`: −log π(y_w); `tokens`: the token mean pooled over the step, as TRL has it, which weighs
            a pair by its length.
        step_rows: pairs of the optimiser step.
        step_tokens: chosen tokens of the optimiser step.
    """
    if form == "sequence":
        return -chosen_logp
    return -chosen_logp * step_rows / step_tokens


@dataclass(frozen=True)
class Cpo(PairAlgorithm):
    """−log σ(β[log π(y_w) − log π(y_l)]) + α·NLL(y_w), mean over pairs; no reference.

    The paper's NLL is that of the sequence (`nll = "sequence"`); the default is TRL's token mean pooled over the
    optimiser step (`"tokens"`), with which α = 1 is of the size of the preference term whatever the length.
    """

    paper: ClassVar[Paper] = Paper(
        "Xu et al.",
        "Contrastive preference optimization: pushing the boundaries of LLM performance in machine translation",
        "2401.08417",
        "equation 3, and L_NLL",
    )

    learning_rate: float = knob(3e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    beta: float = knob(
        0.1, valid=above(0), search=Uniform(0.01, 1.0, log=True), doc="scale of the log-probability margin"
    )
    alpha: float = knob(
        1.0, valid=Between(low=0), search=Uniform(0.01, 3.0, log=True), doc="weight of the NLL of the chosen"
    )
    nll: str = knob("tokens", valid=OneOf(("tokens", "sequence")), doc="NLL per token over the step, or per sequence")

    def losses(self, batch: PairBatch) -> torch.Tensor:
        """One loss per pair (B,)."""
        preference = contrastive_losses(batch.chosen_logp, batch.rejected_logp, self.beta)
        nll = nll_losses(batch.chosen_logp, batch.chosen_tokens, self.nll, batch.step_rows, batch.step_chosen_tokens)
        return preference + self.alpha * nll

    def rewards(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """β log π: without a reference, so not comparable with DPO's."""
        return self.beta * batch.chosen_logp, self.beta * batch.rejected_logp

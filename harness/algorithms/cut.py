"""Contrastive unlikelihood training from judgments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Algorithm, Footprint, Needs, Paper
from harness.knobs import Between, Choice, OneOf, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.job import Job
    from harness.metrics import Measurement
    from harness.training.judgments import JudgedBatch


def inappropriate(logps: torch.Tensor, judged_logps: torch.Tensor, threshold: float) -> torch.Tensor:
    """U, (B, T) bool without gradient: the judgment makes the token likelier by more than λ.

    Args:
        logps: (B, T) log p(y_t | x, y_<t).
        judged_logps: (B, T) log p(y_t | x, j, y_<t).
        threshold: λ ≥ 1.

    Source:
        Xu et al. 2023, equation 5 (v4). Checked in tests/algorithms/test_cut.py.
    """
    import math

    return judged_logps.detach() - logps.detach() > math.log(threshold)


def contrast_token_losses(
    logps: torch.Tensor, judged_logps: torch.Tensor, marked: torch.Tensor, alpha: float, gamma: float
) -> torch.Tensor:
    """−log p(y_t|x) outside of U, and −α p(y_t|x,j)^γ log(1 − p(y_t|x)) in it, (B, T).

    The weight p^γ has no gradient. log(1 − p) is computed in log space and is never below −log 2²⁴ (in float64
    −log 2⁵⁰), where the token is certain, the gradient by its logarithm would be infinite, and none is given.

    Args:
        logps: (B, T) log p(y_t | x, y_<t).
        judged_logps: (B, T).
        marked: (B, T) bool, U.
        alpha: weight of unlikelihood.
        gamma: how much less a token weighs that is unlikely under the judgment.

    Source:
        Xu et al. 2023, equation 6 (v4). Checked in tests/algorithms/test_cut.py.
    """
    import torch

    weight = alpha * (gamma * judged_logps.detach()).exp()
    certain = -(2.0**-50) if logps.dtype == torch.float64 else -(2.0**-24)
    beneath = torch.log(-torch.expm1(logps.clamp(max=certain)))
    return torch.where(marked, -weight * beneath, -logps)


@dataclass(frozen=True)
class Cut(Algorithm):
    """L1 + L2 of a response and its judgment. Where the judgment blames: L1 is `contrast_token_losses`.

    L2 is maximum likelihood: of praised responses behind the plain prompt (Align-P), of blamed ones behind the prompt
    with the judgment (Align-N). With `form = "paper"` each is the mean over a response's tokens, then over responses;
    with `"released"` the authors' code: γ is 0, each is the mean over all its tokens of the step, and the loss is
    (L1 + L2) / 2, or L2 where the step blames nothing (their script has one response in a batch). The context of L1
    is the plain prompt, as in the paper's figure and code (`misalign = "plain"`), or a false positive judgment
    (`"positive_judgment"`), as its text has it for U; its equation 6 itself has the plain prompt. It differs from the
    paper in that the weight p(y_t|x,j)^γ has no gradient, and that the prompt's format is the dataset's own.
    """

    paper: ClassVar[Paper] = Paper(
        "Xu et al.", "Reasons to reject? Aligning language models with judgments", "2312.14591", "equations 5 to 7"
    )
    needs: ClassVar[Needs] = Needs(data="judgments")

    learning_rate: float = knob(3e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    threshold: float = knob(
        1.1, valid=Between(low=1), search=Choice((1.1, 1.2, 1.5)), doc="lambda, ratio that marks a token"
    )
    alpha: float = knob(1.0, valid=Between(low=0), search=Choice((0.25, 0.5, 0.75, 1.0)), doc="weight of unlikelihood")
    gamma: float = knob(
        1.0, valid=Between(low=0), search=Choice((0.25, 0.5, 1.0, 2.0)), doc="power of p(y|x,j) in its weight"
    )
    misalign: str = knob("plain", valid=OneOf(("plain", "positive_judgment")), doc="the context of blamed responses")
    form: str = knob("paper", valid=OneOf(("paper", "released")), doc="the paper's loss, or that of the authors' code")
    praised_per_blamed: float = knob(0.0, valid=Between(low=0), doc="most praised rows for a blamed one; 0 keeps all")

    def footprint(self) -> Footprint:
        """A response behind the plain prompt, and behind the one with a judgment where that blames."""
        return Footprint(responses=2)

    def losses(self, batch: JudgedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """One loss per response (B,), such that their mean over the step is the step's loss; and U (B, T)."""
        released, blamed = self.form == "released", batch.blamed[:, None]
        marked = inappropriate(batch.logps, batch.judged_logps, self.threshold) & (batch.mask > 0) & blamed
        gamma = 0.0 if released else self.gamma
        first = contrast_token_losses(batch.logps, batch.judged_logps, marked, self.alpha, gamma)
        first = (first * batch.mask * blamed).sum(1)
        second = -((blamed * batch.judged_logps + ~blamed * batch.logps) * batch.mask).sum(1)
        if released:
            pooled = first / max(1, batch.step_blamed_tokens) + second / batch.step_tokens
            return pooled * batch.step_rows / (2 if batch.step_blamed_tokens else 1), marked
        return (first + second) / batch.mask.sum(1), marked

    def train(self, job: Job) -> list[Measurement]:
        """Train along the shared road."""
        from harness.training.judgments import train_judged

        return train_judged(self, job)

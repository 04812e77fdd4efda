"""Direct preference optimization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Needs, Paper
from harness.algorithms._pairs import PairAlgorithm
from harness.errors import HarnessError
from harness.knobs import Between, By, OneOf, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.job import Job
    from harness.metrics import Measurement
    from harness.training.pairs import PairBatch

STEEPEST = 30.0
"""Beyond e^30 an exponential goes on as its tangent: in float32 the square of a gradient overflows at about e^44."""


def margin_losses(margin: torch.Tensor, variant: str, label_smoothing: float) -> torch.Tensor:
    """Loss of the margin h = the reward of y_w − that of y_l, β and all, one per pair.

    Args:
        margin: (B,) h; in the paper β[(log π − log π_ref)(y_w) − (log π − log π_ref)(y_l)].
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


def divergence_scores(log_ratio: torch.Tensor, divergence: str, alpha: float) -> torch.Tensor:
    """f′(u) of u = π/π_ref, for the divergence E_ref[f(u)] that holds the policy; 0 at u = 1, one per response.

    The best policy under reward − β·divergence has β f′(u) = reward + a number of the prompt, so β f′(u) is the
    implicit reward of a response, and the number cancels in a pair.

    Args:
        log_ratio: (B,) log u = log π(y|x) − log π_ref(y|x), summed over tokens.
        divergence: `reverse_kl`: KL(π‖π_ref), log u; `forward_kl`: KL(π_ref‖π), 1 − 1/u; `js_divergence`: twice the
            Jensen-Shannon divergence, log(2u/(1+u)); `alpha_divergence`: (1 − u^−α)/α.
        alpha: the paper's α in (0, 1), from the reverse KL at 0 to the forward KL at 1. It is read by
            `alpha_divergence` alone.

    Source:
        Wang et al. 2023 (arXiv 2309.16240), whose f′ of the reverse KL is log u + 1: the 1 cancels in a pair.
        Checked in tests/algorithms/test_pair_losses.py, and against the divergences' own definitions in
        tests/algorithms/test_optima.py.
    """
    from torch.nn.functional import logsigmoid

    if divergence == "reverse_kl":
        return log_ratio
    if divergence == "js_divergence":
        return math.log(2) + logsigmoid(log_ratio)
    power = 1.0 if divergence == "forward_kl" else alpha
    return -bounded_expm1(-power * log_ratio) / power


def bounded_expm1(x: torch.Tensor) -> torch.Tensor:
    """e^x − 1 up to x = `STEEPEST`, and its tangent beyond: finite, rising, and never without a gradient."""
    near = x.clamp(max=STEEPEST)
    return near.expm1() + near.exp() * (x - near)


@dataclass(frozen=True)
class Dpo(PairAlgorithm):
    """−log σ(β[(log π − log π_ref)(y_w) − (log π − log π_ref)(y_l)]), mean over pairs, log-probabilities summed.

    The defaults are the paper's loss. They differ from TRL 1.16 in that the reference is the cell's own start,
    computed once and shared by every β. The knobs may be combined:

    - `variant`, `label_smoothing`: the loss of the margin (`margin_losses`). Smoothing works with every variant; in
      TRL `sigmoid` and `hinge` ignore it.
    - `normalise = "tokens"`: the score of a response is divided by its tokens, the end token counted, which is
      length-normalised DPO (Lambert et al. 2024, arXiv 2411.15124) and TRL's `sigmoid_norm`. β is then
      per token, with a search range of its own: 5 in that paper. TRL has it with the sigmoid alone, and goes on
      logging summed rewards.
    - `divergence`, `alpha`: what holds the policy to the reference (`divergence_scores`). The formulas are the
      paper's (Wang et al. 2023, arXiv 2309.16240) and TRL's `f_divergence_type`, with two differences. `alpha` is
      the paper's; TRL's `f_alpha_divergence_coef` is 1 − alpha, though its help text still speaks of u^−α. And
      where 1/u or u^−α exceeds e^30, ours goes on linearly; TRL's forward KL overflows at e^89, and its
      α-divergence is cut at e^80, where a response has no gradient left.
    - both: the score, 0 at u = 1, is divided by the tokens, as in TRL; we know of no paper that has it.
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
        0.1,
        valid=above(0),
        search=By("normalise", (("sum", Uniform(0.01, 1.0, log=True)), ("tokens", Uniform(0.1, 10.0, log=True)))),
        doc="strength of the pull to the reference",
    )
    variant: str = knob("sigmoid", valid=OneOf(("sigmoid", "robust", "hinge")), doc="which loss of the margin")
    label_smoothing: float = knob(0.0, valid=Between(0, 0.5, open_high=True), doc="assumed share of flipped labels")
    normalise: str = knob("sum", valid=OneOf(("sum", "tokens")), doc="scores of whole responses, or per token")
    divergence: str = knob(
        "reverse_kl",
        valid=OneOf(("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")),
        doc="what holds the policy to the reference",
    )
    alpha: float = knob(
        0.5,
        valid=Between(0, 1, open_low=True, open_high=True),
        doc="of alpha_divergence: near 0 the reverse KL, near 1 the forward KL",
    )

    def contradiction(self) -> str:
        """An `alpha` that no divergence reads would change nothing but the key."""
        if self.divergence == "alpha_divergence" or self.alpha == type(self).alpha:
            return ""
        return (
            f"alpha is {self.alpha:g}, which divergence = '{self.divergence}' does not read; drop alpha, or set "
            "divergence = 'alpha_divergence'"
        )

    def losses(self, batch: PairBatch) -> torch.Tensor:
        """One loss per pair (B,)."""
        chosen, rejected = self.rewards(batch)
        return margin_losses(chosen - rejected, self.variant, self.label_smoothing)

    def rewards(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The implicit rewards that the loss compares, (B,) each.

        β(log π − log π_ref) by default; β f′(π/π_ref) under another divergence; that over |y| where normalised.
        TRL logs β(log π − log π_ref) whatever it trains. Rewards under different divergences are not comparable.
        """
        ratios = super().rewards(batch)
        chosen, rejected = (divergence_scores(ratio, self.divergence, self.alpha) for ratio in ratios)
        if self.normalise == "tokens":
            chosen, rejected = chosen / batch.chosen_tokens, rejected / batch.rejected_tokens
        return self.beta * chosen, self.beta * rejected

    def train(self, job: Job) -> list[Measurement]:
        """Train along the shared road.

        Raises:
            HarnessError: a search has set knobs that contradict each other.
        """
        if wrong := self.contradiction():
            raise HarnessError(f"dpo.{wrong}")
        return super().train(job)

"""Odds ratio preference optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Paper
from harness.algorithms._pairs import PairAlgorithm
from harness.knobs import Between, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.training.pairs import PairBatch


def log_odds(mean_logp: torch.Tensor) -> torch.Tensor:
    """Log P/(1−P) of P = exp(mean log-probability per token), stable where P is near 1.

    Args:
        mean_logp: (B,) at most 0, nats per token. Where it is 0 the odds are those of the nearest smaller number.
    """
    import torch

    # log1mexp, with each of its two forms where the other one cancels (Mächler 2012)
    below = mean_logp.clamp(max=-torch.finfo(mean_logp.dtype).tiny)
    near_one = below > -0.6931471805599453
    near = torch.log(-torch.expm1(torch.where(near_one, below, -1.0)))
    far = torch.log1p(-torch.exp(torch.where(near_one, -1.0, below)))
    return below - torch.where(near_one, near, far)


def odds_ratio_losses(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """−log σ(log odds(y_w) − log odds(y_l)), one per pair.

    Args:
        chosen: (B,) log π(y_w) / |y_w|, nats per token.
        rejected: (B,) log π(y_l) / |y_l|.

    Source:
        Hong et al. 2024, equation 7. Checked in tests/algorithms/test_pair_losses.py.
    """
    from torch.nn.functional import logsigmoid

    return -logsigmoid(log_odds(chosen) - log_odds(rejected))


@dataclass(frozen=True)
class Orpo(PairAlgorithm):
    """NLL(y_w) − λ log σ(log odds(y_w) − log odds(y_l)), mean over pairs; no reference.

    The NLL is the mean over the response's tokens, as in the paper; TRL's counts the prompt too, and takes the mean
    over all tokens of the micro-batch. The paper's λ is `odds_weight` here.
    """

    paper: ClassVar[Paper] = Paper(
        "Hong et al.",
        "ORPO: monolithic preference optimization without reference model",
        "2403.07691",
        "L_ORPO; equation 7 for its odds ratio",
    )

    learning_rate: float = knob(3e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak of the schedule")
    odds_weight: float = knob(
        0.2, valid=Between(low=0), search=Uniform(0.05, 1.0, log=True), doc="weight of the odds-ratio term (lambda)"
    )

    def losses(self, batch: PairBatch) -> torch.Tensor:
        """One loss per pair (B,)."""
        chosen, rejected = batch.chosen_logp / batch.chosen_tokens, batch.rejected_logp / batch.rejected_tokens
        return -chosen + self.odds_weight * odds_ratio_losses(chosen, rejected)

    def rewards(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean log-probabilities per token."""
        return batch.chosen_logp / batch.chosen_tokens, batch.rejected_logp / batch.rejected_tokens

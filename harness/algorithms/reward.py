"""A reward model from pairs or rankings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.algorithms import Algorithm, Footprint, Needs, Paper
from harness.errors import HarnessError
from harness.knobs import Between, OneOf, Uniform, above, knob

if TYPE_CHECKING:
    import torch

    from harness.job import Job
    from harness.metrics import Measurement


def pairwise_losses(better: torch.Tensor, worse: torch.Tensor) -> torch.Tensor:
    """−log σ(r_w − r_l), Bradley-Terry, elementwise.

    Source:
        Ouyang et al. 2022, the reward model's loss. Checked in tests/algorithms/test_reward.py.
    """
    from torch.nn.functional import logsigmoid

    return -logsigmoid(better - worse)


def margin_losses(better: torch.Tensor, worse: torch.Tensor, margin: float) -> torch.Tensor:
    """max(0, m − (r_w − r_l)), elementwise."""
    return (margin - (better - worse)).relu()


def centring_losses(better: torch.Tensor, worse: torch.Tensor) -> torch.Tensor:
    """(r_w + r_l)², which holds the scores' mean near 0, where differences leave it free.

    Source:
        Eisenstein et al. 2023, arXiv 2312.09244.
    """
    return (better + worse).square()


def mean_over_pairs(losses: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mean over the C(K, 2) ordered pairs of each prompt, (B,).

    Args:
        losses: (B, K, K), entry i, j for the response of rank i against that of rank j.
        counts: (B,) K of each prompt; what lies beyond is padding.

    Source:
        Ouyang et al. 2022: all pairs of a prompt are one batch element.
    """
    import torch

    places = torch.arange(losses.shape[1], device=losses.device)
    pairs = (places[:, None] < places[None]) & (places[None, None] < counts[:, None, None])
    return (losses * pairs).sum((1, 2)) / pairs.sum((1, 2))


def plackett_luce_losses(scores: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """−Σ_k log(e^{r_k} / Σ_{j≥k} e^{r_j}) of each ranking, best first, (B,); for two responses Bradley-Terry's loss.

    Args:
        scores: (B, K).
        counts: (B,) K of each prompt; what lies beyond is padding.
    """
    import torch

    inside = torch.arange(scores.shape[1], device=scores.device)[None] < counts[:, None]
    hidden = scores.masked_fill(~inside, -math.inf)
    rest = hidden.flip(1).logcumsumexp(1).flip(1)
    return torch.where(inside, rest - scores, 0.0).sum(1)


def weights_of(text: str) -> dict[str, float]:
    """`helpful=1 harmless=0.5` as weights by dimension.

    Raises:
        HarnessError: it is written otherwise, or names a dimension twice.
    """
    found: dict[str, float] = {}
    for part in text.split():
        name, _, number = part.partition("=")
        if name in found:
            raise HarnessError(f"reward.dimensions is '{text}'; it names '{name}' twice")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = math.nan
        if not name or not math.isfinite(found[name]):
            raise HarnessError(f"reward.dimensions is '{text}'; it must look like 'helpful=1 harmless=0.5'")
    return found


@dataclass(frozen=True)
class Reward(Algorithm):
    """A fresh scalar head on a model's last real token, the end token; Bradley-Terry on pairs.

    `data = "rankings"` is InstructGPT's: the mean over all pairs of a prompt, whose K responses go through the model
    once. It differs from InstructGPT in the centring term. `truncate` is random truncation as augmentation, so that a
    partial response can be scored: all responses of some training rows are cut at a random token, and the end token
    closes them. Held-out accuracy is on whole responses; the curves' is on what was trained on. `folds` trains a model
    more for each part of the prompts and reports its accuracy there; what was spent is counted for the final model
    alone. `dimensions` trains a head for each on labels by dimension; since heads are linear, the product is one head,
    their weighted sum. It is a copy of its start: it shares no parameter with a policy.
    """

    paper: ClassVar[Paper] = Paper(
        "Ouyang et al.",
        "Training language models to follow instructions with human feedback",
        "2203.02155",
        "the reward model's loss",
    )
    needs: ClassVar[Needs] = Needs(data="pairs")
    product: ClassVar[str] = "reward"

    learning_rate: float = knob(1e-3, valid=above(0), search=Uniform(1e-5, 1e-2, log=True), doc="peak of the schedule")
    center: float = knob(0.01, valid=Between(low=0), doc="weight of (r_w + r_l)², which holds the scores near 0")
    data: str = knob("pairs", valid=OneOf(("pairs", "rankings")), doc="the view that it trains on")
    loss: str = knob(
        "bradley_terry", valid=OneOf(("bradley_terry", "margin", "plackett_luce")), doc="of a comparison or a ranking"
    )
    margin: float = knob(0.5, valid=above(0), doc="the difference that loss = 'margin' asks for")
    truncate: float = knob(0.0, valid=Between(0, 1), doc="share of training rows whose responses are cut at random")
    folds: int = knob(
        0, valid=OneOf((0, *range(2, 21))), doc="parts of a cross-validation that is reported with it; 0 for none"
    )
    dimensions: str = knob("", doc="dimensions and their weights, for example 'helpful=1 harmless=0.5'")

    def requires(self) -> Needs:
        """The view that the knobs ask for."""
        return Needs(data=self.data)

    def footprint(self) -> Footprint:
        """Of a pair both; of a ranking as many as the lab's shortest has, since the dataset decides."""
        return Footprint(responses=4 if self.requires().data == "rankings" else 2)

    def losses(self, scores: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """One loss per prompt (B,), from scores (B, K) of responses, best first, of which `counts` (B,) are real."""
        better, worse = scores[:, :, None], scores[:, None, :]
        centred = mean_over_pairs(centring_losses(better, worse), counts)
        if self.loss == "plackett_luce":
            return plackett_luce_losses(scores, counts) + self.center * centred
        apart = self.loss == "margin"
        each = margin_losses(better, worse, self.margin) if apart else pairwise_losses(better, worse)
        return mean_over_pairs(each, counts) + self.center * centred

    def accuracies(self, scores: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """The share of each prompt's pairs that are in the right order (B,), a tie counting a half."""
        gaps = scores[:, :, None] - scores[:, None, :]
        return mean_over_pairs((gaps > 0).float() + 0.5 * (gaps == 0).float(), counts)

    def contradiction(self) -> str:
        """A ranking has no labels by dimension."""
        together = self.dimensions and self.data != "pairs"
        return "dimensions needs data = 'pairs': a ranking has no labels by dimension" if together else ""

    def weights(self) -> dict[str, float]:
        """Weights by dimension; empty where there is one label for a pair."""
        return weights_of(self.dimensions)

    def train(self, job: Job) -> list[Measurement]:
        """Train a copy of the start with a scalar head.

        Raises:
            HarnessError: a dimension that the rows have no labels for.
        """
        from harness.training.rewards import train_reward

        return train_reward(self, job)

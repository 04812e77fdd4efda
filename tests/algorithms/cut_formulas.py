"""CUT once more, in plain numbers: the paper's equations, and the authors' released code as we read it.

Xu et al. 2023 (arXiv 2312.14591v4): equation 5 is U, 6 is L1, 7 is L2. The released code is an earlier version of the
method: github.com/wwxu21/CUT, modeling_llama_unlikelihood.py at 76fcc40, `LlamaForCausalLM.forward` and
`.unlikelihood`; which rows are kept, and in which prompts, is in finetune_unlikelihood.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext

import torch
from torch import Tensor

from harness.training.judgments import JudgedBatch


@dataclass(frozen=True)
class Judged:
    """A response: log p(y_t|x) and log p(y_t|x,j) of its tokens; the latter is not known of praised ones."""

    plain: tuple[float, ...]
    judged: tuple[float, ...] = ()

    @property
    def blamed(self) -> bool:
        return bool(self.judged)

    @property
    def n(self) -> int:
        return len(self.plain)


def _of(*chances: tuple[float, float]) -> Judged:
    """A blamed response from (p(y_t|x), p(y_t|x,j))."""
    logs = [tuple(float(Decimal(p).ln()) for p in pair) for pair in chances]
    return Judged(tuple(x for x, _ in logs), tuple(j for _, j in logs))


ROWS = (
    _of((0.03, 0.82), (0.94, 0.94), (0.93, 0.76), (0.99, 0.99), (0.03, 0.02), (0.85, 0.89)),  # the paper's figure 2
    Judged((-0.1, -2.5, -0.7, -1e-9)),
    _of((0.5, 0.575), (0.5, 0.525), (0.4, 0.5), (0.3, 0.48), (1e-12, 1e-9), (0.9, 0.999)),  # on each side of each λ
    _of((0.2, 0.1)),
    Judged((-3.0,)),
    Judged((-40.0, -1e-9, -1e-7, -0.25, -1e-3), (-9.0, -1e-12, -1e-9, -1e-6, -5e-4)),  # p near 0 and near 1
    Judged((-1.5, -0.2, -0.0, -6.0, -0.3, -0.01, -2.0)),
)
STEP_ROWS = 11
"""Responses of the whole optimiser step, of which `ROWS` are a micro-batch."""
STEP_BLAMED_TOKENS = 29
STEP_TOKENS = 57

THRESHOLDS = (1.0, 1.1, 1.2, 1.5)
ALPHAS = (0.0, 0.25, 0.75, 1.0)
GAMMAS = (0.0, 0.25, 1.0, 2.0)

Found = tuple[float, list[float], list[float]]
"""The loss of a response, and its derivatives by each log p(y_t|x) and each log p(y_t|x,j)."""


def appropriate_not(row: Judged, threshold: float) -> list[bool]:
    """U by the probabilities themselves: p(y_t|x,j) − λ p(y_t|x) > 0; empty where nothing is blamed."""
    with localcontext(prec=60):
        both = zip(row.plain, row.judged, strict=row.blamed)
        return [Decimal(j).exp() - Decimal(threshold) * Decimal(x).exp() > 0 for x, j in both]


def contrast(row: Judged, threshold: float, alpha: float, gamma: float) -> tuple[float, list[float]]:
    """N times L1 of a blamed response, and its derivatives by log p(y_t|x); p^γ is a number like α."""
    total, slopes = 0.0, []
    with localcontext(prec=60):
        for x, j, bad in zip(row.plain, row.judged, appropriate_not(row, threshold), strict=True):
            p, weight = Decimal(x).exp(), Decimal(alpha) * (Decimal(gamma) * Decimal(j)).exp()
            total += float(-weight * (1 - p).ln()) if bad else -x
            slopes.append(float(weight * p / (1 - p)) if bad else -1.0)
    return total, slopes


def paper(row: Judged, threshold: float, alpha: float, gamma: float) -> Found:
    """L1 + L2 of one response, each over its N tokens."""
    if not row.blamed:
        return -sum(row.plain) / row.n, [-1 / row.n] * row.n, [0.0] * row.n
    first, slopes = contrast(row, threshold, alpha, gamma)
    return (first - sum(row.judged)) / row.n, [s / row.n for s in slopes], [-1 / row.n] * row.n


def released(row: Judged, threshold: float, alpha: float) -> Found:
    """The response's part in (L1 + L2) / 2, both means over tokens of the step, times the step's responses."""
    second = STEP_ROWS / (2 * STEP_TOKENS)
    if not row.blamed:
        return -second * sum(row.plain), [-second] * row.n, [0.0] * row.n
    share = STEP_ROWS / (2 * STEP_BLAMED_TOKENS)
    first, slopes = contrast(row, threshold, alpha, 0.0)
    return share * first - second * sum(row.judged), [share * s for s in slopes], [-second] * row.n


def by_the_authors(
    first: Tensor, labels: Tensor, second: Tensor, other_labels: Tensor, threshold: float, weight: float
) -> Tensor:
    """The loss of the released code on one of its batches, from logits.

    Args:
        first: (B, T, V) logits of each response behind the prompt that it is aligned with: judged where it is blamed.
        labels: (B, T), −100 but on the response.
        second: (B, T, V) logits of blamed responses behind the plain prompt; anything in rows of praised ones.
        other_labels: (B, T), −100 in rows of praised responses too.
        threshold: λ.
        weight: of unlikelihood, one for the batch.
    """
    aligned, chosen = _chances(first, labels)
    likelihood = -aligned[chosen].log().mean()
    misaligned, blamed = _chances(second, other_labels)
    if not blamed.any():
        return likelihood
    with_judgment = aligned[chosen & blamed.any(1, keepdim=True)]
    value = misaligned[blamed]
    unlike = (with_judgment / value).detach() > threshold
    value = torch.where(unlike, 1 - value, value)
    value = torch.where(value == 0, value + 1e-5, value)
    terms = value.log() * torch.where(unlike, weight, 1.0)
    return (likelihood - terms.sum() / len(terms)) / 2


def _chances(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """p of each label (B, T − 1), and where there is one."""
    target = labels[:, 1:]
    chances = logits.softmax(-1)[:, :-1].gather(2, target.clamp(min=0)[..., None])[..., 0]
    return chances, target != -100


def judged_batch_of(
    rows: tuple[Judged, ...] = ROWS, *, alone: bool = False, dtype: torch.dtype = torch.float64, outside: float = 0.0
) -> JudgedBatch:
    """The responses as the road gives them; both kinds of log-probabilities are leaves.

    Args:
        rows: a micro-batch.
        alone: they are the whole step.
        dtype: of the log-probabilities.
        outside: what stands on padding, and in place of what is not known of praised responses; 0 on the road.
    """
    width = max(row.n for row in rows)

    def grid(values: list[tuple[float, ...]]) -> Tensor:
        filled = [[*own, *[outside] * (width - len(own))] for own in values]
        return torch.tensor(filled, dtype=dtype, requires_grad=True)

    mask = torch.tensor([[1.0] * row.n + [0.0] * (width - row.n) for row in rows])
    blamed = [row for row in rows if row.blamed]
    own = (len(rows), sum(row.n for row in blamed), sum(row.n for row in rows))
    counts = own if alone else (STEP_ROWS, STEP_BLAMED_TOKENS, STEP_TOKENS)
    plain, judged = grid([row.plain for row in rows]), grid([row.judged for row in rows])
    return JudgedBatch(plain, judged, mask, torch.tensor([row.blamed for row in rows]), *counts)

"""What must hold of a loss, as functions: the tests call them, and so do the mutants, each of which must fail one."""

from __future__ import annotations

import math
from typing import Any

import torch
from formulas import CASES, PAIRS, ROWS, STEP_ROWS, STEP_TOKENS, Pair, kto, sigma
from torch import Tensor

from harness import registry
from harness.algorithms.dpo import divergence_scores
from harness.training.pairs import PairBatch
from harness.training.unpaired import UnpairedBatch

TOLERANCE = 1e-8
SCORES = ((1.5, -0.25, 0.0, -30.0), (0.5, 2.0, 0.0, 20.0))
"""Of the chosen and the rejected responses, by a reward model."""


def algorithm(name: str, **knobs: Any) -> Any:
    return registry.load("algorithms", name)(**knobs)


def numbers(*values: float, grad: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def pair_batch(pairs: tuple[Pair, ...] = PAIRS, dtype: torch.dtype = torch.float64) -> PairBatch:
    """The pairs as the road gives them; the policy's log-probabilities are leaves."""
    columns = {name: [getattr(pair, name) for pair in pairs] for name in ("w", "l", "ref_w", "ref_l")}
    values = {name: torch.tensor(column, dtype=dtype) for name, column in columns.items()}
    tokens = [torch.tensor([getattr(pair, name) for pair in pairs]) for name in ("n_w", "n_l")]
    policy = [values[name].requires_grad_() for name in ("w", "l")]
    return PairBatch(*policy, *tokens, values["ref_w"], values["ref_l"], STEP_ROWS, STEP_TOKENS)


def row_batch(mismatched: float) -> UnpairedBatch:
    """The labelled responses as the road gives them."""
    label = torch.tensor([row.good for row in ROWS])
    tokens = torch.tensor([row.n for row in ROWS])
    logp, reference = numbers(*(row.y for row in ROWS), grad=True), numbers(*(row.ref for row in ROWS))
    return UnpairedBatch(logp, tokens, label, reference, numbers(mismatched, grad=True)[0], STEP_ROWS)


def close(found: Tensor, expected: list[float]) -> None:
    """Equal to 1e-8 in every entry."""
    assert found.dtype == torch.float64
    assert found.shape == (len(expected),)
    worst = float((found.detach() - numbers(*expected)).abs().max())
    assert worst < TOLERANCE, f"off by {worst}: {found.tolist()} is not {expected}"


def gradients(losses: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(losses.sum(), leaves)


def pair_formula(name: str) -> None:
    """Loss and gradient of each pair are those of the formula."""
    case, batch = CASES[name], pair_batch()
    losses = algorithm(case.algorithm, **case.knobs).losses(batch)
    expected = [case.formula(pair) for pair in PAIRS]
    close(losses, [loss for loss, _, _ in expected])
    chosen, rejected = gradients(losses, batch.chosen_logp, batch.rejected_logp)
    close(chosen, [slope for _, slope, _ in expected])
    close(rejected, [slope for _, _, slope in expected])


def far_ratios_follow_the_tangent() -> None:
    """Where 1/u or u^−α is beyond e^30, f′ goes on along its tangent: no overflow, and no loss of the gradient."""
    for divergence, alpha in (("forward_kl", 1.0), ("alpha_divergence", 0.25)):
        ratio = numbers(*(-x / alpha for x in (29.0, 30.0, 31.0, 500.0)), grad=True)
        found = divergence_scores(ratio, divergence, alpha)
        top = math.exp(30)
        bent = (math.exp(29) - 1, top - 1, 2 * top - 1, 471 * top - 1)
        relative(found, [-value / alpha for value in bent])
        relative(torch.autograd.grad(found.sum(), ratio)[0], [math.exp(29), top, top, top])


def relative(found: Tensor, expected: list[float]) -> None:
    """Equal to 1e-12 of each entry."""
    assert float((found.detach() / numbers(*expected) - 1).abs().max()) < 1e-12


def kto_formula(mismatched: float, **knobs: float) -> None:
    """Loss and gradient of each labelled response are those of the formula."""
    batch = row_batch(mismatched)
    losses = algorithm("kto", **knobs).losses(batch)
    expected = [kto(row, mismatched, *knobs.values()) for row in ROWS]
    close(losses, [loss for loss, _ in expected])
    close(gradients(losses, batch.logp)[0], [slope for _, slope in expected])


def reference_point_has_no_gradient() -> None:
    """No gradient flows into the estimate of the KL."""
    batch = row_batch(2.5)
    losses = algorithm("kto").losses(batch)
    (slope,) = torch.autograd.grad(losses.sum(), [batch.kl_mismatched], allow_unused=True)
    assert slope is None or float(slope) == 0


def reward_formula(center: float) -> None:
    """Loss and gradient of each pair of scores are those of the formula."""
    chosen, rejected = (numbers(*scores, grad=True) for scores in SCORES)
    losses = algorithm("reward", center=center).losses(torch.stack([chosen, rejected], 1), torch.full((4,), 2))
    pairs = list(zip(*SCORES, strict=True))
    close(losses, [math.log1p(math.exp(b - a)) + center * (a + b) ** 2 for a, b in pairs])
    up, down = gradients(losses, chosen, rejected)
    close(up, [-sigma(b - a) + 2 * center * (a + b) for a, b in pairs])
    close(down, [sigma(b - a) + 2 * center * (a + b) for a, b in pairs])


RANKED = ((2.0, 0.5, 0.75, -1.0), (0.25, 0.25), (1.5, -0.5, -0.6))
"""Scores of responses to three prompts, best first; some are in the wrong order, and two are equal."""


def ranking_formula(loss: str) -> None:
    """Loss and gradient of each ranking, one term after the other; what is beyond a prompt's responses is garbage."""
    width = max(map(len, RANKED))
    scores = torch.tensor([[*own, *[7.0] * (width - len(own))] for own in RANKED], dtype=torch.float64)
    scores.requires_grad_()
    method = algorithm("reward", loss=loss, margin=0.8, center=0.1, data="rankings")
    losses = method.losses(scores, torch.tensor([len(own) for own in RANKED]))
    (slopes,) = gradients(losses, scores)
    expected = [_ranking(own, loss) for own in RANKED]
    close(losses, [value for value, _ in expected])
    for found, (_, wanted) in zip(slopes, expected, strict=True):
        close(found, [*wanted, *[0.0] * (width - len(wanted))])


def _ranking(own: tuple[float, ...], loss: str) -> tuple[float, list[float]]:
    pairs = [(i, j) for i in range(len(own)) for j in range(i + 1, len(own))]
    value, slopes = 0.0, [0.0] * len(own)
    for i, j in pairs:
        gap, both, share = own[i] - own[j], own[i] + own[j], 1 / len(pairs)
        slope = 0.0
        if loss == "bradley_terry":
            value, slope = value + share * math.log1p(math.exp(-gap)), -share * sigma(-gap)
        elif loss == "margin" and gap < 0.8:
            value, slope = value + share * (0.8 - gap), -share
        value += share * 0.1 * both**2
        slopes[i] += slope + share * 0.2 * both
        slopes[j] += -slope + share * 0.2 * both
    if loss == "plackett_luce":
        for k in range(len(own)):
            total = sum(math.exp(score) for score in own[k:])
            value += math.log(total) - own[k]
            slopes[k] -= 1
            for j in range(k, len(own)):
                slopes[j] += math.exp(own[j]) / total
    return value, slopes

"""Every loss and its gradient once more, in plain floats: derived by hand from the papers, sharing no code with ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pair:
    """Two responses: log-probabilities summed over tokens under the policy and the reference, and token counts."""

    w: float
    l: float  # noqa: E741  # the papers' letter for the rejected response
    n_w: int
    n_l: int
    ref_w: float
    ref_l: float


PAIRS = (
    Pair(-12.0, -15.5, 7, 9, -13.0, -14.0),
    Pair(-30.25, -22.0, 11, 6, -28.0, -25.5),
    Pair(-4.5, -4.5, 3, 3, -4.5, -4.5),
    Pair(-0.75, -41.0, 5, 20, -9.0, -20.0),
    Pair(-18.0, -2.0, 4, 4, -16.0, -6.0),
)
STEP_ROWS = 8
"""Pairs of the whole optimiser step, of which `PAIRS` are a micro-batch."""
STEP_TOKENS = 61
"""Chosen tokens of the whole optimiser step."""


@dataclass(frozen=True)
class Labelled:
    """One response with a label."""

    y: float
    n: int
    good: bool
    ref: float


ROWS = (
    Labelled(-12.0, 7, True, -13.0),
    Labelled(-15.5, 9, False, -14.0),
    Labelled(-30.0, 12, True, -22.5),
    Labelled(-8.25, 4, False, -16.0),
    Labelled(-6.0, 4, False, -6.0),
)

Found = tuple[float, float, float]
"""The loss of a pair, and its derivatives by log π(y_w) and by log π(y_l)."""


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def dpo(p: Pair, beta: float = 0.1, eps: float = 0.0) -> Found:
    odds = math.exp(beta * ((p.w - p.ref_w) - (p.l - p.ref_l)))  # of the chosen, by Bradley-Terry
    chance = odds / (1 + odds)
    slope = beta * (chance - (1 - eps))
    return -(1 - eps) * math.log(chance) - eps * math.log(1 - chance), slope, -slope


def dpo_robust(p: Pair, beta: float, eps: float) -> Found:
    loss, slope, _ = dpo(p, beta)
    flipped, back, _ = dpo(Pair(p.l, p.w, p.n_l, p.n_w, p.ref_l, p.ref_w), beta)
    slope = ((1 - eps) * slope + eps * back) / (1 - 2 * eps)  # the flipped margin falls as the margin grows
    return ((1 - eps) * loss - eps * flipped) / (1 - 2 * eps), slope, -slope


def dpo_hinge(p: Pair, beta: float, eps: float) -> Found:
    h = beta * (p.w - p.l - p.ref_w + p.ref_l)
    loss = (1 - eps) * max(0.0, 1 - h) + eps * max(0.0, 1 + h)
    slope = beta * (eps * (h > -1) - (1 - eps) * (h < 1))
    return loss, slope, -slope


Shape = Callable[[float], tuple[float, float]]
"""Of u = π/π_ref: f′(u), and u f″(u), which is its derivative by log u."""


def forward_kl(u: float) -> tuple[float, float]:
    return 1 - 1 / u, 1 / u  # f = −log u


def js(u: float) -> tuple[float, float]:
    return math.log(2 * u / (1 + u)), 1 / (1 + u)  # f = u log u − (1 + u) log((1 + u) / 2)


def reverse_kl(u: float) -> tuple[float, float]:
    return math.log(u), 1.0  # f = u log u − u


def alpha_of(alpha: float) -> Shape:
    return lambda u: ((1 - u**-alpha) / alpha, u**-alpha)  # f = (u^(1−α) − (1−α)u − α) / (α(α−1))


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def dpo_f(
    p: Pair,
    beta: float,
    shape: Shape,
    *,
    mean: bool = False,
    right: float = 1.0,
    flipped: float = 0.0,
    hinge: bool = False,
) -> Found:
    """`right` and `flipped` weigh the loss of the margin, and of the margin turned round."""
    n_w, n_l = (p.n_w, p.n_l) if mean else (1, 1)
    (at_w, up_w), (at_l, up_l) = (shape(math.exp(r)) for r in (p.w - p.ref_w, p.l - p.ref_l))
    h = beta * at_w / n_w - beta * at_l / n_l
    loss = (
        right * max(0.0, 1 - h) + flipped * max(0.0, 1 + h) if hinge else right * softplus(-h) + flipped * softplus(h)
    )
    slope = (
        flipped * (h > -1) - right * (h < 1)
        if hinge
        else flipped * math.exp(-softplus(-h)) - right * math.exp(-softplus(h))
    )
    return loss, slope * beta * up_w / n_w, -slope * beta * up_l / n_l


def ipo(p: Pair, tau: float = 0.5, *, mean: bool = True) -> Found:
    n_w, n_l = (p.n_w, p.n_l) if mean else (1, 1)
    gap = (p.w - p.ref_w) / n_w - (p.l - p.ref_l) / n_l - 0.5 / tau
    return gap**2, 2 * gap / n_w, -2 * gap / n_l


def cpo(p: Pair, beta: float = 0.1, alpha: float = 1.0, *, tokens: bool = True) -> Found:
    chance = sigma(beta * (p.w - p.l))
    weight = alpha * STEP_ROWS / STEP_TOKENS if tokens else alpha
    slope = -beta * (1 - chance)
    return -math.log(chance) - weight * p.w, slope - weight, -slope


def orpo(p: Pair, weight: float = 0.2) -> Found:
    p_w, p_l = math.exp(p.w / p.n_w), math.exp(p.l / p.n_l)
    ratio = (p_w / (1 - p_w)) / (p_l / (1 - p_l))
    wrong = 1 / (1 + ratio)  # the paper's δ(d)
    loss = -p.w / p.n_w + weight * math.log(1 + 1 / ratio)
    return loss, (-1 - weight * wrong / (1 - p_w)) / p.n_w, weight * wrong / (1 - p_l) / p.n_l


def simpo(p: Pair, beta: float = 2.0, gamma: float = 1.0) -> Found:
    wrong = sigma(gamma - beta * p.w / p.n_w + beta * p.l / p.n_l)
    return -math.log(1 - wrong), -beta / p.n_w * wrong, beta / p.n_l * wrong


def kto(r: Labelled, z: float, beta: float = 0.1, good: float = 1.0, bad: float = 1.0) -> tuple[float, float]:
    """The loss of a response, and its derivative by log π(y); z is the mean mismatched log-ratio."""
    z0 = max(0.0, z)
    value = sigma(beta * (r.y - r.ref - z0)) if r.good else sigma(beta * (z0 - r.y + r.ref))
    weight = good if r.good else bad
    return weight - weight * value, weight * beta * value * (1 - value) * (-1 if r.good else 1)


@dataclass(frozen=True)
class Case:
    """An algorithm with some knobs, and the formula that it is to equal."""

    algorithm: str
    knobs: Mapping[str, Any]
    formula: Callable[[Pair], Found]


CASES = {
    "dpo": Case("dpo", {}, dpo),
    "dpo beta": Case("dpo", {"beta": 0.37}, lambda p: dpo(p, 0.37)),
    "dpo smoothed": Case("dpo", {"beta": 0.3, "label_smoothing": 0.2}, lambda p: dpo(p, 0.3, 0.2)),
    "dpo robust": Case(
        "dpo", {"beta": 0.3, "variant": "robust", "label_smoothing": 0.2}, lambda p: dpo_robust(p, 0.3, 0.2)
    ),
    "dpo hinge": Case("dpo", {"beta": 0.2, "variant": "hinge"}, lambda p: dpo_hinge(p, 0.2, 0.0)),
    "dpo hinge smoothed": Case(
        "dpo", {"beta": 0.2, "variant": "hinge", "label_smoothing": 0.3}, lambda p: dpo_hinge(p, 0.2, 0.3)
    ),
    "dpo tokens": Case("dpo", {"beta": 5.0, "normalise": "tokens"}, lambda p: dpo_f(p, 5.0, reverse_kl, mean=True)),
    "dpo tokens smoothed": Case(
        "dpo",
        {"beta": 5.0, "normalise": "tokens", "label_smoothing": 0.2},
        lambda p: dpo_f(p, 5.0, reverse_kl, mean=True, right=0.8, flipped=0.2),
    ),
    "dpo tokens hinge": Case(
        "dpo",
        {"beta": 2.0, "normalise": "tokens", "variant": "hinge"},
        lambda p: dpo_f(p, 2.0, reverse_kl, mean=True, hinge=True),
    ),
    "dpo tokens robust": Case(
        "dpo",
        {"beta": 2.0, "normalise": "tokens", "variant": "robust", "label_smoothing": 0.2},
        lambda p: dpo_f(p, 2.0, reverse_kl, mean=True, right=0.8 / 0.6, flipped=-0.2 / 0.6),
    ),
    "dpo forward": Case("dpo", {"beta": 0.3, "divergence": "forward_kl"}, lambda p: dpo_f(p, 0.3, forward_kl)),
    "dpo js": Case("dpo", {"beta": 0.3, "divergence": "js_divergence"}, lambda p: dpo_f(p, 0.3, js)),
    "dpo js robust": Case(
        "dpo",
        {"beta": 0.3, "divergence": "js_divergence", "variant": "robust", "label_smoothing": 0.2},
        lambda p: dpo_f(p, 0.3, js, right=0.8 / 0.6, flipped=-0.2 / 0.6),
    ),
    "dpo js hinge": Case(
        "dpo",
        {"beta": 0.3, "divergence": "js_divergence", "variant": "hinge"},
        lambda p: dpo_f(p, 0.3, js, hinge=True),
    ),
    "dpo alpha": Case("dpo", {"beta": 0.3, "divergence": "alpha_divergence"}, lambda p: dpo_f(p, 0.3, alpha_of(0.5))),
    "dpo alpha small": Case(
        "dpo", {"beta": 0.3, "divergence": "alpha_divergence", "alpha": 0.2}, lambda p: dpo_f(p, 0.3, alpha_of(0.2))
    ),
    "dpo tokens forward": Case(
        "dpo",
        {"beta": 2.0, "divergence": "forward_kl", "normalise": "tokens"},
        lambda p: dpo_f(p, 2.0, forward_kl, mean=True),
    ),
    "dpo tokens js": Case(
        "dpo",
        {"beta": 2.0, "divergence": "js_divergence", "normalise": "tokens"},
        lambda p: dpo_f(p, 2.0, js, mean=True),
    ),
    "dpo tokens alpha": Case(
        "dpo",
        {"beta": 2.0, "divergence": "alpha_divergence", "alpha": 0.7, "normalise": "tokens"},
        lambda p: dpo_f(p, 2.0, alpha_of(0.7), mean=True),
    ),
    "ipo": Case("ipo", {}, ipo),
    "ipo sum": Case("ipo", {"tau": 0.07, "normalise": "sum"}, lambda p: ipo(p, 0.07, mean=False)),
    "cpo": Case("cpo", {}, cpo),
    "cpo sequence": Case(
        "cpo", {"beta": 0.3, "alpha": 0.6, "nll": "sequence"}, lambda p: cpo(p, 0.3, 0.6, tokens=False)
    ),
    "cpo tokens": Case("cpo", {"beta": 0.3, "alpha": 0.6}, lambda p: cpo(p, 0.3, 0.6)),
    "orpo": Case("orpo", {}, orpo),
    "orpo weight": Case("orpo", {"odds_weight": 0.8}, lambda p: orpo(p, 0.8)),
    "simpo": Case("simpo", {}, simpo),
    "simpo margin": Case("simpo", {"beta": 2.5, "gamma_over_beta": 0.55}, lambda p: simpo(p, 2.5, 1.375)),
}

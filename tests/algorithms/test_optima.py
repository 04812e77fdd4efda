"""On a world of five responses, all enumerated: the policy that a loss is least at is the one the paper says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from checks import algorithm, gradients, numbers
from torch import Tensor

from harness.algorithms.orpo import odds_ratio_losses
from harness.algorithms.simpo import average_losses
from harness.training.pairs import PairBatch

REWARD = numbers(0.0, 1.0, -0.5, 2.0, 0.25)
REFERENCE = torch.log_softmax(numbers(0.3, -1.0, 0.8, -2.0, 0.1), 0)
WINS = torch.sigmoid(REWARD[:, None] - REWARD[None, :])  # annotators who follow Bradley-Terry
LEFT, RIGHT = (index.flatten() for index in torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij"))
TOKENS = numbers(1.0, 2.0, 4.0, 3.0, 1.0)
"""Lengths of the responses, for what counts them."""


def least(loss_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Log-probabilities of the policy at which a loss of them is least."""
    logits = numbers(0.0, 0.0, 0.0, 0.0, 0.0, grad=True)
    optimiser = torch.optim.LBFGS(
        [logits], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = loss_of(torch.log_softmax(logits, 0))
        loss.backward()
        return loss

    optimiser.step(step)
    return torch.log_softmax(logits.detach(), 0)


def best_policy(name: str, tokens: Tensor | None = None, **knobs: Any) -> Tensor:
    """Where the expected loss is least, over all pairs drawn alike and labelled by `WINS`; one token each by default."""
    tokens = torch.ones(5, dtype=torch.float64) if tokens is None else tokens

    def loss(logp: Tensor) -> Tensor:
        lengths = tokens[LEFT], tokens[RIGHT]
        batch = PairBatch(logp[LEFT], logp[RIGHT], *lengths, REFERENCE[LEFT], REFERENCE[RIGHT], 1, 1)
        return (WINS.flatten() * algorithm(name, **knobs).losses(batch)).sum()

    return least(loss)


def scaled(start: Tensor, tilt: Tensor) -> Tensor:
    """exp(start + |y|(tilt + c)) with the c at which it sums to 1, by halving an interval."""
    low, high = -100.0, 100.0
    for _ in range(200):
        middle = (low + high) / 2
        total = float((start + TOKENS * (tilt + middle)).exp().sum())
        low, high = (middle, high) if total < 1 else (low, middle)
    return (start + TOKENS * (tilt + low)).exp()


def kl(first: Tensor, second: Tensor) -> Tensor:
    """KL(first‖second) of log-probabilities."""
    return (first.exp() * (first - second)).sum()


def midway(logp: Tensor) -> Tensor:
    return torch.logaddexp(logp, REFERENCE) - math.log(2)


ALPHA = 0.3
DIVERGENCES: dict[str, Callable[[Tensor], Tensor]] = {
    "reverse_kl": lambda logp: kl(logp, REFERENCE),
    "forward_kl": lambda logp: kl(REFERENCE, logp),
    "js_divergence": lambda logp: kl(logp, midway(logp)) + kl(REFERENCE, midway(logp)),
    # Amari's: 0 where the policy is the reference, since then the sum is 1
    "alpha_divergence": lambda logp: (1 - ((1 - ALPHA) * logp + ALPHA * REFERENCE).exp().sum()) / (ALPHA * (1 - ALPHA)),
}
"""Of the policy from the reference, by their definitions."""


@pytest.mark.parametrize("beta", [0.5, 1.0])
@pytest.mark.parametrize("name", DIVERGENCES)
def test_dpo_is_best_where_reward_minus_its_divergence_is_greatest(name: str, beta: float) -> None:
    """The two ends of the derivation: so a divergence the wrong way round, or of another scale, would show."""
    knobs = {"alpha": ALPHA} if name == "alpha_divergence" else {}
    found = best_policy("dpo", beta=beta, divergence=name, **knobs).exp()
    best = least(lambda logp: beta * DIVERGENCES[name](logp) - (logp.exp() * REWARD).sum()).exp()
    assert float((found - best).abs().max()) < 1e-6
    others = [
        least(lambda logp, of=of: beta * of(logp) - (logp.exp() * REWARD).sum()).exp() for of in DIVERGENCES.values()
    ]
    assert sum(float((found - other).abs().max()) < 1e-3 for other in others) == 1, "they are four policies"


def test_length_normalised_dpo_tilts_a_response_by_its_length() -> None:
    """β per token: π_ref exp(|y|(r + c)/β), so what is long moves further, up or down."""
    found = best_policy("dpo", TOKENS, beta=2.0, normalise="tokens").exp()
    assert float((found - scaled(REFERENCE, REWARD / 2)).abs().max()) < 1e-6


def test_cpo_and_simpo_forget_the_reference() -> None:
    """Without their other terms: CPO at exp(r/β)/Z, SimPO at exp(|y|(r + c)/β)."""
    cpo = best_policy("cpo", TOKENS, beta=0.7, alpha=0.0).exp()
    assert float((cpo - torch.softmax(REWARD / 0.7, 0)).abs().max()) < 1e-6
    simpo = best_policy("simpo", TOKENS, beta=2.0, gamma_over_beta=0.0).exp()
    assert float((simpo - scaled(torch.zeros(5, dtype=torch.float64), REWARD / 2)).abs().max()) < 1e-6


@pytest.mark.parametrize("wins", [0.5, 0.7, 0.95])
def test_simpo_rests_at_a_margin_that_gamma_stretches(wins: float) -> None:
    """With p the share of wins, x = e^margin and g = e^γ: (1 − p)x² + (1 − 2p)gx − p = 0; for γ = 0 it is logit p."""
    for gamma in (0.0, 0.6, 2.0):
        b = (2 * wins - 1) * math.exp(gamma)
        x = (b + math.sqrt(b * b + 4 * wins * (1 - wins))) / (2 * (1 - wins))
        margin = numbers(math.log(x) / 2.5, grad=True)  # of average log-probabilities, β = 2.5
        zero = torch.zeros_like(margin)
        right, wrong = (average_losses(*sides, 2.5, gamma / 2.5) for sides in ((margin, zero), (zero, margin)))
        (slope,) = gradients(wins * right + (1 - wins) * wrong, margin)
        assert float(slope.abs()) < 1e-12
        assert math.log(x) >= math.log(wins / (1 - wins)) - 1e-12


def test_orpos_odds_differ_by_the_reward() -> None:
    """Its second term alone: logit P(y) = r + c, with P the mean probability of a token."""

    def loss(logp: Tensor) -> Tensor:
        mean = logp / TOKENS
        return (WINS.flatten() * odds_ratio_losses(mean[LEFT], mean[RIGHT])).sum()

    odds = torch.logit((least(loss) / TOKENS).exp())
    assert float((odds - odds[0] - REWARD + REWARD[0]).abs().max()) < 1e-6


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_dpo_is_best_at_the_reference_tilted_by_the_reward(beta: float) -> None:
    tilted = torch.log_softmax(REFERENCE + REWARD / beta, 0)
    assert float((best_policy("dpo", beta=beta).exp() - tilted.exp()).abs().max()) < 1e-6


@pytest.mark.parametrize("tau", [0.1, 0.5])
@pytest.mark.parametrize("normalise", ["tokens", "sum"])  # all responses are one token long here
def test_ipo_is_best_at_the_reference_tilted_by_the_win_rate(tau: float, normalise: str) -> None:
    tilted = torch.log_softmax(REFERENCE + WINS.mean(1) / tau, 0)
    found = best_policy("ipo", tau=tau, normalise=normalise)
    assert float((found.exp() - tilted.exp()).abs().max()) < 1e-6


def test_robust_dpo_finds_the_truth_behind_flipped_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_optima.WINS", 0.8 * WINS + 0.2 * (1 - WINS))
    tilted = torch.log_softmax(REFERENCE + REWARD, 0)
    robust = best_policy("dpo", beta=1.0, variant="robust", label_smoothing=0.2)
    assert float((robust.exp() - tilted.exp()).abs().max()) < 1e-6
    assert float((best_policy("dpo", beta=1.0).exp() - tilted.exp()).abs().max()) > 1e-2

"""DPO, IPO, CPO, ORPO and SimPO: equal to the papers' formulas, and to what is known of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from checks import algorithm, close, gradients, numbers, pair_batch, pair_formula
from formulas import CASES, PAIRS, Pair, sigma

from harness.algorithms.dpo import margin_losses
from harness.algorithms.ipo import squared_losses
from harness.algorithms.orpo import log_odds

NAMES = ("dpo", "ipo", "cpo", "orpo", "simpo")
AT_REFERENCE = tuple(Pair(p.ref_w, p.ref_l, p.n_w, p.n_l, p.ref_w, p.ref_l) for p in PAIRS)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_those_of_the_formula(name: str) -> None:
    pair_formula(name)


def test_every_value_of_every_choice_is_checked() -> None:
    seen = {(case.algorithm, name, value) for case in CASES.values() for name, value in case.knobs.items()}
    assert {case.algorithm for case in CASES.values()} == set(NAMES)
    assert {("dpo", "variant", "robust"), ("dpo", "variant", "hinge")} <= seen
    assert {("ipo", "normalise", "sum"), ("cpo", "nll", "sequence")} <= seen


@pytest.mark.parametrize("name", NAMES)
def test_a_pairs_loss_does_not_depend_on_the_others(name: str) -> None:
    whole = algorithm(name).losses(pair_batch())
    alone = [algorithm(name).losses(pair_batch((pair,))).item() for pair in PAIRS]
    close(whole, alone)


@pytest.mark.parametrize("name", NAMES)
def test_logged_rewards_carry_what_the_loss_compares(name: str) -> None:
    expected = {
        "dpo": [0.1 * (p.w - p.ref_w) for p in PAIRS],
        "ipo": [(p.w - p.ref_w) / p.n_w for p in PAIRS],
        "cpo": [0.1 * p.w for p in PAIRS],
        "orpo": [p.w / p.n_w for p in PAIRS],
        "simpo": [2.0 * p.w / p.n_w for p in PAIRS],
    }
    mirrored = tuple(Pair(p.l, p.w, p.n_l, p.n_w, p.ref_l, p.ref_w) for p in PAIRS)
    close(algorithm(name).rewards(pair_batch())[0], expected[name])
    close(algorithm(name).rewards(pair_batch(mirrored))[1], expected[name])


def test_dpo_at_the_reference() -> None:
    batch = pair_batch(AT_REFERENCE)
    losses = algorithm("dpo", beta=0.4).losses(batch)
    close(losses, [math.log(2)] * 5)
    chosen, rejected = gradients(losses, batch.chosen_logp, batch.rejected_logp)
    close(chosen, [-0.4 / 2] * 5)
    close(rejected, [0.4 / 2] * 5)


def test_dpo_ignores_what_the_reference_says_of_the_prompt() -> None:
    shifted = tuple(Pair(p.w, p.l, p.n_w, p.n_l, p.ref_w - 3, p.ref_l - 3) for p in PAIRS)
    close(algorithm("dpo").losses(pair_batch(shifted)), algorithm("dpo").losses(pair_batch()).tolist())


def test_conservative_dpo_is_at_rest_where_the_margin_says_the_share_of_right_labels() -> None:
    rest = numbers(math.log(0.8 / 0.2), grad=True)
    close(gradients(margin_losses(rest, "sigmoid", 0.2), rest)[0], [0.0])


def test_robust_dpo_is_unbiased_under_flipped_labels() -> None:
    margin, eps = numbers(-3.0, -0.5, 0.0, 2.0), 0.3
    right, flipped = margin_losses(margin, "robust", eps), margin_losses(-margin, "robust", eps)
    close((1 - eps) * right + eps * flipped, margin_losses(margin, "sigmoid", 0.0).tolist())


def test_ipo_is_at_rest_at_its_target() -> None:
    margin = numbers(1 / (2 * 0.3), grad=True)
    losses = squared_losses(margin, 0.3)
    close(losses, [0.0])
    close(gradients(losses, margin)[0], [0.0])


def test_cpo_prefers_as_dpo_with_a_uniform_reference() -> None:
    uniform = tuple(Pair(p.w, p.l, p.n_w, p.n_l, -50.0, -50.0) for p in PAIRS)
    expected = algorithm("dpo", beta=0.2).losses(pair_batch(uniform)).tolist()
    close(algorithm("cpo", beta=0.2, alpha=0.0).losses(pair_batch()), expected)


def test_cpo_with_a_great_alpha_is_likelihood_of_the_chosen() -> None:
    found = algorithm("cpo", alpha=1e12, nll="sequence").losses(pair_batch()) / 1e12
    close(found, [-p.w for p in PAIRS])


def test_simpo_is_cpo_per_token_where_lengths_are_equal() -> None:
    even = tuple(Pair(p.w, p.l, 6, 6, p.ref_w, p.ref_l) for p in PAIRS)
    expected = algorithm("cpo", beta=2.0 / 6, alpha=0.0).losses(pair_batch(even)).tolist()
    close(algorithm("simpo", beta=2.0, gamma_over_beta=0.0).losses(pair_batch(even)), expected)


def test_simpo_weighs_a_pair_by_how_wrong_its_margin_is() -> None:
    batch = pair_batch()
    losses = algorithm("simpo", beta=2.5, gamma_over_beta=0.4).losses(batch)
    (slope,) = gradients(losses, batch.chosen_logp)
    margins = [2.5 * (p.w / p.n_w - p.l / p.n_l) for p in PAIRS]
    expected = [-2.5 * sigma(2.5 * 0.4 - m) / p.n_w for m, p in zip(margins, PAIRS, strict=True)]
    close(slope, expected)


def test_orpo_odds_are_logits_of_the_mean_token_probability() -> None:
    chances = [1e-9, 0.1, 0.4999, 0.5, 0.5001, 0.9, 0.999]
    close(log_odds(numbers(*map(math.log, chances))), [math.log(p) - math.log1p(-p) for p in chances])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_orpo_is_finite_up_to_certainty(dtype: torch.dtype) -> None:
    mean = torch.tensor([0.0, -1e-12, -1e-4, -0.6931472, -0.7, -50.0, -1000.0], dtype=dtype, requires_grad=True)
    odds = log_odds(mean)
    (slope,) = torch.autograd.grad(odds.sum(), mean)
    assert odds.isfinite().all()
    assert slope.isfinite().all()
    assert (odds.diff() < 0).all(), "surer is greater, without a jump between the two forms of log(1 − p)"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [name for name in CASES if "robust" not in name])
def test_far_away_pairs_stay_finite(name: str, dtype: torch.dtype) -> None:
    case: Any = CASES[name]
    batch = pair_batch((Pair(-1e-3, -2e4, 2, 900, -900.0, -1.0), Pair(-2e4, -1e-3, 900, 2, -1.0, -900.0)), dtype)
    losses = algorithm(case.algorithm, **case.knobs).losses(batch)
    assert losses.isfinite().all()
    assert all(slope.isfinite().all() for slope in gradients(losses, batch.chosen_logp, batch.rejected_logp))

"""DPO, IPO, CPO, ORPO and SimPO: equal to the papers' formulas, and to what is known of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from checks import algorithm, close, far_ratios_follow_the_tangent, gradients, numbers, pair_batch, pair_formula
from formulas import CASES, PAIRS, Pair, alpha_of, forward_kl, js, reverse_kl, sigma
from mutants import DPO_TABLE, mutated
from parity import dpo_trainer
from test_trl_steps import PAIRED

from harness import registry
from harness.algorithms.dpo import divergence_scores, margin_losses
from harness.algorithms.ipo import squared_losses
from harness.algorithms.orpo import log_odds
from harness.errors import HarnessError
from harness.knobs import OneOf, knobs

NAMES = ("dpo", "ipo", "cpo", "orpo", "simpo")
AT_REFERENCE = tuple(Pair(p.ref_w, p.ref_l, p.n_w, p.n_l, p.ref_w, p.ref_l) for p in PAIRS)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_those_of_the_formula(name: str) -> None:
    pair_formula(name)


def test_every_value_of_every_choice_is_checked() -> None:
    seen = {(case.algorithm, name, value) for case in CASES.values() for name, value in case.knobs.items()}
    assert {case.algorithm for case in CASES.values()} == set(NAMES)
    declared = [(name, knob) for name in NAMES for knob in knobs(registry.load("algorithms", name)).values()]
    choices = {
        (name, knob.name, value)
        for name, knob in declared
        if isinstance(knob.valid, OneOf)
        for value in knob.valid.values
        if value != knob.default
    }
    assert len(choices) == 8
    assert choices <= seen


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


def test_dpo_logs_the_rewards_that_it_compares() -> None:
    """β f′(u), over |y| where normalised: that the difference goes into the loss is the formula's to check."""
    shapes = {
        "reverse_kl": reverse_kl,
        "forward_kl": forward_kl,
        "js_divergence": js,
        "alpha_divergence": alpha_of(0.5),
    }
    for divergence, shape in shapes.items():
        expected = [0.3 * shape(math.exp(p.w - p.ref_w))[0] for p in PAIRS]
        close(algorithm("dpo", beta=0.3, divergence=divergence).rewards(pair_batch())[0], expected)
        mean = algorithm("dpo", beta=0.3, divergence=divergence, normalise="tokens").rewards(pair_batch())[0]
        close(mean, [value / p.n_w for value, p in zip(expected, PAIRS, strict=True)])


@pytest.mark.parametrize("normalise", ["sum", "tokens"])
@pytest.mark.parametrize("divergence", ["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"])
def test_every_divergence_starts_alike(divergence: str, normalise: str) -> None:
    """At the reference nothing distinguishes them: the loss is log 2 whatever the lengths, the slopes are ∓f″(1)β/2."""
    batch = pair_batch(AT_REFERENCE)
    losses = algorithm("dpo", beta=0.4, divergence=divergence, normalise=normalise).losses(batch)
    close(losses, [math.log(2)] * 5)
    curvature = 0.5 if divergence == "js_divergence" else 1.0
    (slope,) = gradients(losses, batch.chosen_logp)
    close(slope, [-0.4 * curvature / 2 / (p.n_w if normalise == "tokens" else 1) for p in PAIRS])


def test_alpha_leads_from_the_reverse_kl_to_the_forward_kl() -> None:
    ratio = numbers(-4.0, -0.5, 0.0, 1e-9, 3.0)
    for alpha, limit in ((1e-9, "reverse_kl"), (1 - 1e-12, "forward_kl")):
        gap = divergence_scores(ratio, "alpha_divergence", alpha) - divergence_scores(ratio, limit, 0.5)
        assert float(gap.abs().max()) < 1e-7


@pytest.mark.parametrize("divergence", ["forward_kl", "js_divergence", "alpha_divergence"])
def test_scores_rise_with_the_ratio_and_are_bounded_above(divergence: str) -> None:
    """No score above 1, log 2 or 1/α: beyond that no policy has such a reward. Below there is no bound."""
    scores = divergence_scores(torch.linspace(-200, 200, 801, dtype=torch.float64), divergence, 0.3)
    assert (scores[:430].diff() > 0).all()
    assert (scores.diff() >= 0).all()
    assert float(scores[-1]) == pytest.approx({"forward_kl": 1, "js_divergence": math.log(2)}.get(divergence, 1 / 0.3))


def test_far_ratios_follow_the_tangent() -> None:
    far_ratios_follow_the_tangent()


def test_length_normalised_dpo_is_ipo_with_another_link() -> None:
    """Both compare log-ratios per token; and at equal lengths n it is DPO with β/n."""
    chosen, rejected = algorithm("ipo").rewards(pair_batch())
    expected = margin_losses(2.0 * (chosen - rejected), "sigmoid", 0.0).tolist()
    close(algorithm("dpo", beta=2.0, normalise="tokens").losses(pair_batch()), expected)
    even = tuple(Pair(p.w, p.l, 4, 4, p.ref_w, p.ref_l) for p in PAIRS)
    by_hand = algorithm("dpo", beta=0.5).losses(pair_batch(even)).tolist()
    close(algorithm("dpo", beta=2.0, normalise="tokens").losses(pair_batch(even)), by_hand)


def test_the_defaults_are_equal_to_the_bit_to_what_they_were() -> None:
    """β(r_w) − β(r_l) in this order of operations, in float32: published results rest on it."""
    batch = pair_batch(dtype=torch.float32)
    assert batch.reference_chosen_logp is not None
    assert batch.reference_rejected_logp is not None
    chosen = 0.1 * (batch.chosen_logp - batch.reference_chosen_logp)
    rejected = 0.1 * (batch.rejected_logp - batch.reference_rejected_logp)
    margin = chosen - rejected
    before = (1 - 0.0) * -torch.nn.functional.logsigmoid(margin) + 0.0 * -torch.nn.functional.logsigmoid(-margin)
    assert torch.equal(algorithm("dpo").losses(batch), before)


def test_an_alpha_that_nothing_reads_is_refused_before_any_work(tmp_path: Path) -> None:
    job = tiny.job(tmp_path, "pairs", tmp_path / "no shelf")
    with pytest.raises(HarnessError, match=r"dpo\.alpha is 0\.3, which divergence = 'forward_kl' does not read"):
        algorithm("dpo", alpha=0.3, divergence="forward_kl").train(job)


def test_an_alpha_that_is_read_is_not_refused(tmp_path: Path, shelf: Path) -> None:
    tiny.train("dpo", tmp_path, shelf, {"alpha": 0.3, "divergence": "alpha_divergence"}, steps=1)
    assert (tmp_path / "policy").is_dir()


def dpo_check(name: str, shelf: Path) -> None:
    """A check by its name in the table: a formula, a step of TRL's, or the ratios far out."""
    kind, _, case = name.partition(" of ")
    if kind == "formula":
        pair_formula(case)
    elif kind == "step":
        dpo_trainer(shelf, "dpo", PAIRED[case][0], **PAIRED[case][1])
    else:
        far_ratios_follow_the_tangent()


@pytest.mark.parametrize("row", DPO_TABLE, ids=lambda row: f"{row[1]} {row[2]} as {row[3]}")
def test_every_mutant_of_dpos_variants_is_caught(row: tuple[str, str, str, str, list[str]], shelf: Path) -> None:
    module, where, text, other, checks = row
    for name in checks:
        dpo_check(name, shelf)
        with mutated(module, where, text, other), pytest.raises(AssertionError):
            dpo_check(name, shelf)


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

"""The closed form against hand arithmetic, other people's code, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from worlds import World

from harness.stats.contrast import Contrast, Mean, Undecidable, contrast, summary

A = np.array([[1.0, 2.0, 6.0], [3.0, 4.0, 8.0]])
B = np.array([[0.0, 2.0, 1.0], [0.0, 3.0, 0.0]])


def study(number=0, runs=5, prompts=60, **world):
    a, b = World(**world).studies(np.random.default_rng(number), 2, 1, runs, prompts)
    return a[0], b[0]


def test_by_hand_paired():
    # d = [[1, 0, 5], [3, 1, 8]]: run means 2, 4; prompt means 2, .5, 6.5; mean 3.
    found = contrast(A, B, paired=True)
    assert isinstance(found, Contrast)
    residuals = np.array([[0.0, 0.5, -0.5], [0.0, -0.5, 0.5]])  # d - run mean - prompt mean + 3
    cell = (residuals**2).sum() / (1 * 2) / (2 * 3)
    prompt = ((2 - 3) ** 2 + (0.5 - 3) ** 2 + (6.5 - 3) ** 2) / 2 / 3
    assert found.difference == pytest.approx(3.0)
    assert found.seed == pytest.approx(((2 - 3) ** 2 + (4 - 3) ** 2) / 1 / 2)
    assert found.cell == pytest.approx(cell)
    assert found.prompt == pytest.approx(prompt - cell)
    assert found.df == pytest.approx(1.0)
    half = (stats.t.isf(0.025, 1) ** 2 * found.seed + stats.t.isf(0.025, 2) ** 2 * found.prompt) ** 0.5
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))


def test_by_hand_unpaired():
    # Run means: a 3, 5; b 1, 1. Prompt means of a - b: 2, .5, 6.5. Residual sums of squares: a 0; b 1.
    found = contrast(A, B, paired=False)
    assert isinstance(found, Contrast)
    assert found.difference == pytest.approx(3.0)
    assert found.seed == pytest.approx(2.0 / 2 + 0.0)
    residuals = B - B.mean(1, keepdims=True) - B.mean(0) + B.mean()
    assert found.cell == pytest.approx((residuals**2).sum() / 2 / 2 / 3)
    assert found.prompt == pytest.approx(np.var([2, 0.5, 6.5], ddof=1) / 3 - found.cell)
    assert found.df == pytest.approx(1.0)  # Welch's, since b's runs do not differ


@pytest.mark.parametrize("paired", [True, False])
def test_a_t_test_of_run_means_where_prompts_add_nothing(paired):
    for seed in range(200):
        a, b = study(seed, runs=(4 if paired else (4, 6)), prompts=10, cross=0.0)
        found = contrast(a, b, paired=paired)
        if found.prompt == 0:
            break
    means = a.mean(1), b.mean(1)
    other = stats.ttest_rel(*means) if paired else stats.ttest_ind(*means, equal_var=False)
    assert found.p == pytest.approx(other.pvalue, rel=1e-6)
    assert (found.low, found.high) == pytest.approx(tuple(other.confidence_interval()))


def test_a_t_test_of_prompts_where_runs_add_nothing():
    a, b = study(1)
    a[:], b[:] = a[0], b[0]
    found = contrast(a, b, paired=True)
    other = stats.ttest_rel(a[0], b[0])
    assert found.p == pytest.approx(other.pvalue, rel=1e-6)
    assert len(found.notes) == 2
    assert "seed has no effect" in found.notes[0]


@pytest.mark.parametrize("world", [{"seed": 0.3}, {"cross": 0.8}, {"seed": 0.1}])
def test_agrees_with_two_way_clusters_of_statsmodels(world):
    """Prompt-demeaned scores, clusters by run and by prompt: another road to the same variance.

    statsmodels corrects for 2S clusters of runs where the closed form corrects each contestant for its own S: at
    S = 10 its standard error is up to sqrt((20 / 19) / (10 / 9)) of ours, 2.7 % smaller.
    """
    import statsmodels.api as sm

    runs, prompts = 10, 80
    side = np.repeat([0.5, -0.5], runs)[:, None] * np.ones(prompts)
    run, prompt = np.indices((2 * runs, prompts))
    groups = np.c_[run.ravel(), prompt.ravel()]
    for number in range(10):
        a, b = study(number, runs=runs, prompts=prompts, **world)
        y = np.concatenate([a, b])
        y = y - y.mean(0)
        fit = sm.OLS(y.ravel(), sm.add_constant(side.ravel())).fit(cov_type="cluster", cov_kwds={"groups": groups})
        found = contrast(a, b, paired=False)
        assert found.difference == pytest.approx(fit.params[1])
        assert 1.01 < found.se / fit.cov_params()[1, 1] ** 0.5 < 1.035


def test_interval_p_and_equivalence_agree_with_each_other():
    for seed in range(20):
        a, b = study(seed)
        found = contrast(a + 0.3, b, paired=True)
        assert found.interval(found.p)[0] == pytest.approx(0, abs=1e-5) or found.difference < 0
        assert (found.p <= 0.05) == (not found.low <= 0 <= found.high)
        low, high = found.interval(0.1)
        assert (found.p_equivalent(0.35) <= 0.05) == (low >= -0.35 and high <= 0.35)
        wide = max(abs(low), abs(high))
        assert found.p_equivalent(wide) == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("paired", [True, False])
def test_swapping_flips_the_sign_alone(paired):
    a, b = study(3)
    one, other = contrast(a, b, paired=paired), contrast(b, a, paired=paired)
    assert other.difference == pytest.approx(-one.difference)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    assert (other.p, other.df, other.se) == pytest.approx((one.p, one.df, one.se))


@pytest.mark.parametrize("paired", [True, False])
def test_order_of_seeds_and_prompts_is_nothing(paired):
    a, b = study(4)
    seeds, prompts = np.random.default_rng(0).permutation(5), np.random.default_rng(1).permutation(60)
    one, other = contrast(a, b, paired=paired), contrast(a[seeds][:, prompts], b[seeds][:, prompts], paired=paired)
    assert (other.difference, other.low, other.p) == pytest.approx((one.difference, one.low, one.p))


def test_pairing_uses_the_order_of_seeds():
    a, b = study(4, shared=1.0)
    assert contrast(a, b, paired=True).se < contrast(a, b[::-1], paired=True).se / 2


@pytest.mark.parametrize("paired", [True, False])
def test_another_unit_scales(paired):
    a, b = study(5)
    one, other = contrast(a, b, paired=paired), contrast(7 - 3 * a, 7 - 3 * b, paired=paired)
    assert other.difference == pytest.approx(-3 * one.difference)
    assert (other.seed, other.prompt, other.cell) == pytest.approx((9 * one.seed, 9 * one.prompt, 9 * one.cell))
    assert other.p == pytest.approx(one.p)
    mean, moved = summary(a), summary(7 + 3 * a)
    assert (moved.value, moved.low) == pytest.approx((7 + 3 * mean.value, 7 + 3 * mean.low))


def test_summary_is_the_paired_contrast_to_nothing():
    a, _ = study(6)
    mean, found = summary(a), contrast(a, np.zeros_like(a), paired=True)
    assert isinstance(mean, Mean)
    assert (mean.value, mean.low, mean.high, mean.se) == (found.difference, found.low, found.high, found.se)
    assert (mean.n_runs, mean.n_prompts) == (5, 60)


def test_unequal_numbers_of_seeds():
    a, b = study(7, runs=(3, 8))
    found = contrast(a, b, paired=False)
    assert found.n_runs == (3, 8)
    assert 2 <= found.df <= 9
    with pytest.raises(ValueError, match="share their seeds"):
        contrast(a, b, paired=True)


@pytest.mark.parametrize("paired", [True, False])
def test_identical_contestants(paired):
    a, _ = study(8)
    found = contrast(a, a.copy(), paired=paired)
    assert (found.difference, found.p) == (0.0, 1.0)
    assert "identical" in found.notes[0]
    assert np.isfinite([found.low, found.high, found.se, found.df]).all()


def test_no_variance_at_all():
    same = contrast(np.full((3, 4), 0.1), np.full((3, 4), 0.1), paired=False)
    assert (same.difference, same.low, same.high, same.p, same.p_equivalent(0.1)) == (0.0, 0.0, 0.0, 1.0, 0.0)
    apart = contrast(np.full((3, 4), 0.3), np.full((3, 4), 0.1), paired=False)
    assert isinstance(apart, Undecidable)
    assert apart.difference == pytest.approx(0.2)
    shifted = contrast(A + 0.1, A, paired=True)
    assert isinstance(shifted, Undecidable)
    assert "without any noise" in shifted.reason
    assert summary(np.full((3, 4), 0.3)).low == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [(A[:1], B[:1], "at least two seeds"), (A[:, :1], B[:, :1], "one prompt"), (A[:0], B[:0], "no run has finished")],
)
def test_too_little_to_say_anything(a, b, reason):
    found = contrast(a, b, paired=True)
    assert isinstance(found, Undecidable)
    assert reason in found.reason
    assert (found.difference is None) == (len(a) == 0)
    assert isinstance(summary(a), Undecidable)


def test_numbers_that_are_none_are_refused():
    holey = A.copy()
    holey[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        contrast(holey, B, paired=True)
    with pytest.raises(ValueError, match="one prompt axis"):
        contrast(A, B[:, :2], paired=False)
    with pytest.raises(ValueError, match="S, P"):
        summary(A[0])

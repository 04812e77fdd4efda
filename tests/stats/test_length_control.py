"""Length control by simulation: who gains by length alone gains nothing under it, and intervals cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from harness.stats.contrast import Mean, summary
from harness.stats.length_control import Controlled, length_controlled
from harness.stats.wins import soft_win

S, P, K = 5, 40, 4


def world(seed: int, quality: float, slope: float, shift: float, *, sd: float = 8.0):
    """Rewards and lengths of a contestant and its start: r = quality + slope · length + prompt + seed + noise.

    Returns gains and length differences of all sample pairs, and each side's rewards.
    """
    rng = np.random.default_rng(seed)
    lengths = [np.rint(rng.normal(30 + moved, sd, (S, P, K))) for moved in (shift, 0.0)]
    prompt = rng.normal(0, 1, P)[:, None]
    rewards = [
        worth + slope * length + prompt + rng.normal(0, 0.1, (S, 1, 1)) + rng.normal(0, 0.3, (S, P, 1))
        + rng.normal(0, 0.7, (S, P, K))
        for worth, length in zip((quality, 0.0), lengths, strict=True)
    ]  # fmt: skip
    gain, longer = (one[..., :, None] - other[..., None, :] for one, other in (rewards, lengths))
    return gain, longer, rewards


def controlled(gain, longer, *, win=False, difficulty=None) -> tuple[Controlled, Mean]:
    found = length_controlled(special.expit(gain) if win else gain, longer, difficulty, win=win)
    assert isinstance(found, Controlled), found
    mean = summary(found.scores)
    assert isinstance(mean, Mean)
    return found, mean


def test_who_wins_by_length_alone_loses_it_under_control():
    gain, longer, rewards = world(0, quality=0.0, slope=0.1, shift=8.0)
    raw, raw_win = summary(gain.mean((-1, -2))), summary(soft_win(*rewards))
    assert raw.low > 0.4
    assert raw_win.low > 0.55
    for win, nothing in ((False, 0.0), (True, 0.5)):
        found, mean = controlled(gain, longer, win=win)
        assert mean.low < nothing < mean.high
        assert mean.high - mean.low < 0.7
        assert found.slope > 0


def test_who_wins_by_quality_keeps_it_under_control():
    gain, longer, _ = world(1, quality=0.6, slope=0.1, shift=8.0)
    assert controlled(gain, longer)[1].value == pytest.approx(0.6, abs=0.25)
    shorter = world(1, quality=0.6, slope=0.1, shift=-8.0)
    raw = summary(shorter[0].mean((-1, -2))).value
    assert raw < 0 < controlled(*shorter[:2])[1].low, "a shorter and better one is found where raw scores hide it"


@pytest.mark.parametrize("win", [False, True])
def test_intervals_cover_the_truth(win):
    studies = 300
    covered = raw_covered = 0
    for seed in range(studies):
        gain, longer, _ = world(seed, quality=0.0, slope=0.05, shift=4.0)
        mean = controlled(gain, longer, win=win)[1]
        nothing = 0.5 if win else 0.0
        covered += mean.low <= nothing <= mean.high
        raw = summary((special.expit(gain) if win else gain).mean((-1, -2)))
        raw_covered += raw.low <= nothing <= raw.high
    assert covered / studies > 0.91  # 0.95 less 3 standard errors
    assert raw_covered / studies < 0.7


def test_without_length_differences_nothing_is_controlled():
    gain, longer, _ = world(3, quality=0.3, slope=0.0, shift=0.0)
    found, mean = controlled(gain, np.zeros_like(longer))
    assert found.scores == pytest.approx(gain.mean((-1, -2)))
    assert found.close == 1
    assert mean.value == pytest.approx(gain.mean())


def test_the_estimate_is_the_intercept_of_least_squares():
    gain, longer, _ = world(4, quality=0.2, slope=0.05, shift=4.0)
    difficulty = np.random.default_rng(0).normal(3, 1, P)
    x = np.tanh(longer / longer.std()).ravel()
    centred = np.broadcast_to((difficulty - difficulty.mean())[None, :, None, None], gain.shape).ravel()
    by_hand = np.linalg.lstsq(np.stack([np.ones_like(x), x, centred], 1), gain.ravel(), rcond=None)[0]
    found, mean = controlled(gain, longer, difficulty=difficulty)
    assert mean.value == pytest.approx(by_hand[0])
    assert found.slope == pytest.approx(by_hand[1])


def test_known_difficulty_of_prompts_changes_neither_estimate_nor_error_of_a_mean_over_prompts():
    gain, longer, _ = world(5, quality=0.2, slope=0.05, shift=4.0)
    hard = np.random.default_rng(1).normal(0, 1.5, P)
    gain = gain + hard[None, :, None, None]
    plain, informed = controlled(gain, longer)[1], controlled(gain, longer, difficulty=hard)[1]
    assert informed.se == pytest.approx(plain.se, rel=0.05), "the prompts' own spread is a part of the mean's error"
    assert informed.value == pytest.approx(plain.value, abs=0.1)


def test_the_sandwich_is_that_of_statsmodels():
    from statsmodels.regression.linear_model import OLS

    gain, longer, _ = world(6, quality=0.2, slope=0.05, shift=4.0)
    x = np.tanh(longer / longer.std()).ravel()
    prompts = np.broadcast_to(np.arange(P)[None, :, None, None], gain.shape).ravel()
    by_prompt = OLS(gain.ravel(), np.stack([np.ones_like(x), x], 1)).fit(
        cov_type="cluster", cov_kwds={"groups": prompts, "use_correction": False}
    )
    found, _ = controlled(gain, longer)
    own = found.scores.mean(0)
    assert ((own - own.mean()) ** 2).sum() ** 0.5 / P == pytest.approx(by_prompt.bse[0])


def test_the_sandwich_of_wins_is_that_of_statsmodels():
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    gain, longer, _ = world(6, quality=2.0, slope=0.1, shift=4.0)
    x = np.tanh(longer / longer.std()).ravel()
    prompts = np.broadcast_to(np.arange(P)[None, :, None, None], gain.shape).ravel()
    by_prompt = GLM(special.expit(gain).ravel(), np.stack([np.ones_like(x), x], 1), family=Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": prompts, "use_correction": False}
    )
    found, mean = controlled(gain, longer, win=True)
    equal = special.expit(by_prompt.params[0])
    own = found.scores.mean(0)
    assert mean.value == pytest.approx(equal)
    assert ((own - own.mean()) ** 2).sum() ** 0.5 / P == pytest.approx(by_prompt.bse[0] * equal * (1 - equal), rel=1e-4)


@pytest.mark.filterwarnings("error")
def test_where_length_alone_decides_who_wins_there_is_no_number():
    longer = np.rint(np.random.default_rng(3).normal(0, 8, (2, 6, 2, 2)))
    wins = (longer > 0).astype(float)
    told = length_controlled(wins, longer, None, win=True)
    assert told == "length alone separates wins from losses, so that the regression on it has no finite solution"
    exact = length_controlled(np.tanh(longer / longer.std()), longer, None, win=False)
    assert isinstance(exact, Controlled), "a line that fits exactly is one"
    assert exact.scores == pytest.approx(0, abs=1e-9)


def test_without_overlap_there_is_no_number():
    gain, longer, _ = world(7, quality=0.0, slope=0.05, shift=40.0)
    said = length_controlled(gain, longer, None, win=False)
    assert isinstance(said, str)
    assert "like length" in said

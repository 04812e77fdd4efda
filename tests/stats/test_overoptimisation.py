from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from harness.stats.contrast import contrast
from harness.stats.overoptimisation import Gao, fall, gao


def test_the_curve_is_recovered_with_its_peak() -> None:
    rng = np.random.default_rng(0)
    distances = rng.uniform(0.2, 6, 400)
    gains = distances * (1.2 - 0.6 * np.log(distances)) + rng.normal(0, 0.05, 400)
    found = gao(distances, gains)
    assert found is not None
    assert (found.alpha, found.beta) == pytest.approx((1.2, 0.6), abs=0.02)
    highest = optimize.minimize_scalar(lambda d: -found.at(d), bounds=(0.01, 50), method="bounded").x
    assert found.peak == pytest.approx(highest, rel=1e-3)
    assert found.peak == pytest.approx(np.exp(1.2 / 0.6 - 1), rel=0.1)


def test_a_curve_that_does_not_fall_has_no_peak_and_two_distances_no_curve() -> None:
    assert Gao(1.0, 0.0).peak is None
    assert Gao(1.0, -0.2).peak is None
    assert Gao(1.0, 0.5).at(0.0) == 0
    assert gao(np.array([0.0, 0.0, 1.0, 1.0, 2.0]), np.ones(5)) is None


def runs(rng: np.random.Generator, means: list[float], seeds: int = 5, prompts: int = 30) -> list[np.ndarray]:
    """Policies along one training: shared prompts and seeds, and noise of their own in both."""
    prompt, seed = rng.normal(0, 1, prompts), rng.normal(0, 0.1, (seeds, 1))
    return [
        mean + prompt + seed + rng.normal(0, 0.2, (seeds, 1)) + rng.normal(0, 0.3, (seeds, prompts)) for mean in means
    ]


def test_no_fall_is_seen_where_there_is_none_although_the_best_of_many_is_picked() -> None:
    rng = np.random.default_rng(1)
    shown = naive = 0
    for _ in range(400):
        *earlier, end = runs(rng, [0.0] * 9)
        steps = dict(enumerate(earlier))
        found = fall(end, steps)
        shown += found.shown
        plain = contrast(end, steps[found.step], paired=True)
        naive += plain.high < 0
    assert shown / 400 <= 0.05
    assert naive / 400 > 0.08, "the plain interval of the best step sees falls that are none"


def test_a_planted_fall_is_found_at_its_step() -> None:
    rng = np.random.default_rng(2)
    found = [fall(one[-1], dict(enumerate(one[:-1]))) for one in (runs(rng, [0.3, 2.0, 1.0, 0.0]) for _ in range(40))]
    assert sum(one.shown for one in found) >= 38
    assert {one.step for one in found} == {1}
    assert np.mean([one.difference for one in found]) == pytest.approx(-2.0, abs=0.1)


def test_one_seed_shows_nothing() -> None:
    found = fall(np.zeros((1, 8)), {4: np.ones((1, 8))})
    assert (found.difference, found.low, found.high, found.shown) == (-1.0, None, None, False)

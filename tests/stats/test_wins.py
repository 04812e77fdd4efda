"""Win rates over all pairs of samples."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.contrast import contrast
from harness.stats.wins import hard_win, soft_win


def test_by_hand():
    a, b = np.array([[[0.0, 1.0]]]), np.array([[[0.0, 2.0]]])  # one run, one prompt, two samples each
    assert hard_win(a, b) == pytest.approx(np.array([[(0.5 + 0 + 1 + 0) / 4]]))
    expected = np.mean([1 / (1 + np.exp(-d)) for d in (0, -2, 1, -1)])
    assert soft_win(a, b) == pytest.approx(np.array([[expected]]))


def test_both_sides_sum_to_one_and_samples_may_differ_in_number():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (2, 5, 4)).astype(float), rng.integers(0, 3, (2, 5, 3)).astype(float)
    for win in (hard_win, soft_win):
        assert win(a, b).shape == (2, 5)
        assert win(a, b) + win(b, a) == pytest.approx(np.ones((2, 5)))
        assert win(a, a) == pytest.approx(np.full((2, 5), 0.5))


def test_a_low_temperature_makes_soft_wins_hard():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 5, 4)), rng.standard_normal((2, 5, 4))
    assert soft_win(a, b, 1e-6) == pytest.approx(hard_win(a, b))
    assert np.abs(soft_win(a, b, 1e6) - 0.5).max() < 1e-5


def test_extreme_rewards_stay_finite():
    assert soft_win(np.array([1e6]), np.array([-1e6])) == 1.0
    assert soft_win(np.array([-1e6]), np.array([1e6])) == 0.0


def test_against_one_half():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((5, 50, 4)) + 1.5, rng.standard_normal((5, 50, 4))
    win = hard_win(a, b)
    found = contrast(win, np.full_like(win, 0.5), paired=True)
    assert found.low > 0.2
    assert found.notes == ()


def test_shapes_must_fit():
    with pytest.raises(ValueError, match="same runs and prompts"):
        hard_win(np.zeros((2, 5, 4)), np.zeros((3, 5, 4)))

"""The p of one comparison is that of many at once, and its half width is the difference."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.bounds import half_width, one_p, two_sided_p


@pytest.mark.parametrize("prompts", [2, 9, 400])
def test_one_p_is_that_of_many(prompts):
    random = np.random.default_rng(prompts)
    n = 2000
    seed, prompt = 10 ** random.uniform(-6, 2, (2, n))
    seed[:50], prompt[50:100] = 0.0, 0.0
    size = np.abs(random.standard_normal(n)) * np.sqrt(seed + prompt) * 10 ** random.uniform(-2, 1.5, n)
    size[100:110] = 0.0
    df = random.uniform(1, 30, n)
    many = two_sided_p(size, seed, df, prompt, prompts - 1)
    each = np.array([one_p(*map(float, row), prompts - 1) for row in zip(size, seed, df, prompt, strict=True)])
    assert each == pytest.approx(many, rel=1e-7)
    usual = (size > 0) & (each > 1e-200)
    wide = half_width(seed, df, prompt, prompts - 1, each)
    assert wide[usual] == pytest.approx(size[usual], rel=1e-9)


def test_no_variance_is_no_evidence():
    assert one_p(1.0, 0.0, 3.0, 0.0, 9) == 1.0


def test_a_p_that_is_too_small_for_a_number_is_not_zero():
    assert 0 < one_p(1e9, 1e-12, 200.0, 1e-12, 400) < 1e-200

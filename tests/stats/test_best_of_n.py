"""The best of n from N stored responses: against all choices of n, and without bias against fresh draws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from harness.stats.best_of_n import best_of_n, most_divergence

N = 7


def by_choices(judged: np.ndarray, scores: np.ndarray, n: int) -> float:
    """Mean over all choices of n; where several are judged best, the mean over them."""
    found = []
    for chosen in itertools.combinations(range(len(judged)), n):
        own = np.array(chosen)
        best = own[judged[own] == judged[own].max()]
        found.append(scores[best].mean())
    return float(np.mean(found))


@pytest.mark.parametrize("n", range(1, N + 1))
def test_it_is_the_mean_over_all_choices(n):
    rng = np.random.default_rng(n)
    judged, scores = rng.normal(size=(2, 3, N)), rng.normal(size=(2, 3, N))
    found = best_of_n(judged, scores, n)
    assert found.shape == (2, 3)
    for place in np.ndindex(2, 3):
        assert found[place] == pytest.approx(by_choices(judged[place], scores[place], n))


@pytest.mark.parametrize("n", [1, 2, 4, N])
def test_ties_are_broken_by_chance(n):
    rng = np.random.default_rng(n)
    judged, scores = rng.integers(0, 3, N).astype(float), rng.normal(size=N)
    assert best_of_n(judged, scores, n) == pytest.approx(by_choices(judged, scores, n))
    turned = np.argsort(rng.normal(size=N))
    assert best_of_n(judged[turned], scores[turned], n) == pytest.approx(float(best_of_n(judged, scores, n)))


def test_it_is_unbiased_for_fresh_responses():
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(4000, 16))
    proxy = gold + rng.normal(size=gold.shape)
    stored = best_of_n(proxy, gold, 8)
    fresh_gold = rng.normal(size=(40000, 8))
    fresh = np.take_along_axis(fresh_gold, (fresh_gold + rng.normal(size=fresh_gold.shape)).argmax(1)[:, None], 1)
    assert stored.mean() == pytest.approx(fresh.mean(), abs=0.04)


def test_more_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="there are 3"):
        best_of_n(np.zeros(3), np.zeros(3), 4)


def test_the_bound_on_kl_is_0_for_one_and_grows():
    assert most_divergence(1) == 0
    assert most_divergence(4) == pytest.approx(np.log(4) - 0.75)

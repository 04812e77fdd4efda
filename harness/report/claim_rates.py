"""Rates of collapse: how many seeds of one side ended badly, and of another, by an exact test."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from harness.report.collapse import collapsed

if TYPE_CHECKING:
    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.report.cubes import Array

ALPHA = 0.05
MOST_SEEDS = 10_000
NEVER = 1e-12
"""A chance that is nothing but the rounding of a sum."""


@dataclass(frozen=True)
class Rates:
    """The difference of two rates, with the interface of a contrast as far as claims read it.

    The unit is the seed. Its runs share start, reward model and noise, and may all collapse together, so that a group's
    runs are not independent. Of a group one run of each seed is drawn, which makes two rows of independent runs; over
    all draws twice the median p is a p-value, and the medians of the ends of 97.5 % intervals hold the truth in 95 %,
    whatever runs of a seed share. The sides count as independent: where seeds share fate that is on the safe side.

    Source:
        Hoffman, Sen and Weinberg 2001 (one of each cluster); Meinshausen, Meier and Bühlmann 2009 (twice the median p);
        Gasparin and Ramdas 2024 (the median of intervals); how often it is wrong: tests/test_claim_rates.py.

    Attributes:
        shares: of each side, for each seed the share of its runs that collapsed; none is empty.
        groups: whether a side has several contestants.
    """

    shares: tuple[tuple[float, ...], tuple[float, ...]]
    groups: bool = False
    n_prompts: int = 0

    @property
    def n_runs(self) -> tuple[int, int]:
        """Seeds of each side."""
        return len(self.shares[0]), len(self.shares[1])

    @property
    def difference(self) -> float:
        """The first rate minus the second."""
        one, other = (sum(side) / len(side) for side in self.shares)
        return one - other

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval: Newcombe's (1998), of both rates' exact intervals."""
        return self._interval[0]

    @property
    def high(self) -> float:
        """Its upper end."""
        return self._interval[1]

    @property
    def _times(self) -> int:
        """What the median over draws costs; one contestant has one run of a seed, and there is nothing to draw."""
        return 2 if self.groups else 1

    @cached_property
    def _interval(self) -> tuple[float, float]:
        ends = {at: _newcombe(*at, *self.n_runs, ALPHA / self._times) for at in self._draws}
        return self._median(lambda at: ends[at][0]), -self._median(lambda at: -ends[at][1])

    @cached_property
    def p(self) -> float:
        """Two-sided, of equal rates: Boschloo's exact test."""
        return min(1.0, self._times * self._median(lambda at: _boschloo(*at, *self.n_runs)))

    @cached_property
    def _draws(self) -> dict[tuple[int, int], float]:
        """How many of the drawn runs of each side may have collapsed, and the chance of each."""
        one, other = (_chances(side) for side in self.shares)
        found = {(i, j): float(p * q) for i, p in enumerate(one) for j, q in enumerate(other)}
        return {at: chance for at, chance in found.items() if chance > NEVER}

    def _median(self, of: Callable[[tuple[int, int]], float]) -> float:
        """The smallest value that is not exceeded in half of the draws."""
        ordered = sorted((of(at), chance) for at, chance in self._draws.items())
        reached = accumulate(chance for _, chance in ordered)
        return next(value for (value, _), sofar in zip(ordered, reached, strict=True) if sofar >= 0.5 - NEVER)

    def more_seeds(self, delta: float, alpha: float) -> int | None:
        """Seeds to add to each contestant, to find a rate that differs by `delta` from the pooled one with power .8.

        As if all runs of a group's seed shared fate: where they do not, fewer may do. Half a collapse is added to what
        was seen, since none seen is not none to come. None where no rate differs so much, or beyond ten thousand.

        Args:
            delta: difference of rates.
            alpha: two-sided, of one comparison of its family.
        """
        from statsmodels.stats.proportion import samplesize_proportions_2indep_onetail

        pooled = (sum(map(sum, self.shares)) + 0.5) / (sum(self.n_runs) + 1)
        rarer = min(pooled, 1 - pooled)  # of collapse, or of its absence
        if rarer + delta > 1:
            return None
        seeds = samplesize_proportions_2indep_onetail(delta, rarer, 0.8, alpha=alpha / self._times)
        more = max(0, math.ceil(seeds) - min(self.n_runs))
        return more if more <= MOST_SEEDS else None


def _chances(shares: tuple[float, ...]) -> Array:
    """The chance of each number of collapsed runs among one of each seed."""
    import numpy as np

    found = np.ones(1)
    for share in shares:
        found = np.convolve(found, [1 - share, share])
    return found


@cache
def _boschloo(bad: int, other_bad: int, n: int, other_n: int) -> float:
    from scipy.stats import boschloo_exact

    if bad + other_bad in (0, n + other_n):
        return 1.0
    return min(float(boschloo_exact([[bad, other_bad], [n - bad, other_n - other_bad]]).pvalue), 1.0)


@cache
def _newcombe(bad: int, other_bad: int, n: int, other_n: int, alpha: float) -> tuple[float, float]:
    from harness.stats.runs import exact

    one, other = bad / n, other_bad / other_n
    (low, high), (other_low, other_high) = exact(bad, n, alpha), exact(other_bad, other_n, alpha)
    return (
        one - other - math.hypot(one - low, other_high - other),
        one - other + math.hypot(high - one, other - other_low),
    )


def collapses(names: list[str], tables: Tables, setting: Comparison) -> tuple[tuple[float, ...], int]:
    """By seed the share of these contestants' runs that collapsed or failed, of seeds in which each of them ended.

    Returns:
        The shares, and how many ended runs of other seeds are left out: with them a seed would be one of other methods.
    """
    bad = collapsed(setting)
    own = tables.cells[(tables.cells["setting"] == setting.name) & tables.cells["contestant"].isin(names)]
    by_seed: dict[int, list[bool]] = {}
    for name, seed, status in zip(own["contestant"], own["replicate"], own["status"], strict=True):
        if status in ("done", "failed"):
            by_seed.setdefault(int(seed), []).append(status == "failed" or int(seed) in bad[str(name)])
    whole = [runs for _, runs in sorted(by_seed.items()) if len(runs) == len(names)]
    left_out = sum(map(len, by_seed.values())) - sum(map(len, whole))
    return tuple(sum(runs) / len(runs) for runs in whole), left_out

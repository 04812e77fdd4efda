"""Rates of collapse: how many runs of one side ended badly, and of another, by an exact test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.records import Tables
    from harness.report.compare import Comparison

DEGENERATE = 0.2
"""Share of a run's responses above which it has collapsed."""
MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Rates:
    """The difference of two rates, with the interface of a contrast as far as claims read it.

    Attributes:
        bad: runs that collapsed, of each side.
        n_runs: runs that were tried, of each side; above 0.
    """

    bad: tuple[int, int]
    n_runs: tuple[int, int]
    n_prompts: int = 0

    @property
    def difference(self) -> float:
        """The first rate minus the second."""
        return self.bad[0] / self.n_runs[0] - self.bad[1] / self.n_runs[1]

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval: Newcombe's (1998), of both rates' exact intervals."""
        return self._interval[0]

    @property
    def high(self) -> float:
        """Its upper end."""
        return self._interval[1]

    @cached_property
    def _interval(self) -> tuple[float, float]:
        from harness.stats.runs import rate

        (one, low, high), (other, other_low, other_high) = (
            rate(bad, n) or (0.0, 0.0, 1.0) for bad, n in zip(self.bad, self.n_runs, strict=True)
        )
        below, above = math.hypot(one - low, other_high - other), math.hypot(high - one, other - other_low)
        return self.difference - below, self.difference + above

    @cached_property
    def p(self) -> float:
        """Two-sided, of equal rates: Boschloo's exact test."""
        from scipy.stats import boschloo_exact

        good = [n - bad for bad, n in zip(self.bad, self.n_runs, strict=True)]
        return min(float(boschloo_exact([self.bad, good]).pvalue), 1.0)

    def more_seeds(self, delta: float, alpha: float, contestants: int) -> int | None:
        """Seeds to add to each contestant, to find a rate of `delta` above the pooled one with power .8.

        By the arcsine of rates, of sides of equal size. None beyond ten thousand.

        Args:
            delta: difference of rates.
            alpha: two-sided, of one comparison of its family.
            contestants: of the smaller side.
        """
        from statsmodels.stats.power import NormalIndPower
        from statsmodels.stats.proportion import proportion_effectsize

        pooled = sum(self.bad) / sum(self.n_runs)
        effect = proportion_effectsize(min(pooled + delta, 1.0), pooled) if pooled < 1 else 0.0
        if not effect:
            return None
        runs = NormalIndPower().solve_power(effect_size=effect, alpha=alpha, power=0.8)
        more = max(0, int(-(-(runs - min(self.n_runs)) // contestants)))
        return more if more <= MOST_SEEDS else None


def collapses(names: list[str], tables: Tables, setting: Comparison) -> tuple[int, int]:
    """Runs of these contestants that collapsed, and runs that were tried.

    A run has collapsed where it failed, where more than a fifth of its responses are degenerate, or where it wins less
    often against the start than the base of its seed does, where the base is a contestant.
    """
    failed = {row.name: row.failed for row in setting.standings}
    bad, tried = sum(failed[name] for name in names), sum(failed[name] for name in names)
    degenerate = {
        (block.contestant, block.replicate): block.mean > DEGENERATE
        for block in tables.blocks.of(setting.name, "degenerate", "", "sample")
    }
    own = tables.cells[tables.cells["setting"] == setting.name]
    base = next((str(name) for name in own.loc[own["algorithm"] == "base", "contestant"]), "")
    wins = {
        (name, seed): float(mean)
        for name, runs in setting.wins["soft"].items()
        for seed, mean in zip(runs.replicates, runs.scores.mean(axis=1), strict=True)
    }
    for name in names:
        done = own[(own["contestant"] == name) & (own["status"] == "done")]
        for seed in done["replicate"]:
            worse = wins.get((name, seed), 1.0) < wins.get((base, seed), 0.0)
            bad, tried = bad + (degenerate.get((name, seed), False) or worse), tried + 1
    return bad, tried

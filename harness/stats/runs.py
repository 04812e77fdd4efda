"""The runs of one contestant, and how runs that failed are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from harness.stats.bounds import Array

_Z = 1.959963984540054
"""Of the 95 % interval of a normal mean, in standard errors."""


@dataclass(frozen=True)
class Runs:
    """Scores of a contestant's runs.

    Attributes:
        scores: (S, P), the mean over the K samples of each prompt.
        replicates: (S,) the replicate of each row; paired contestants are matched by it.
        imputed: replicates whose run failed and whose row is a stand-in.
    """

    scores: Array
    replicates: tuple[int, ...]
    imputed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.scores.ndim != 2 or len(self.scores) != len(self.replicates):
            raise ValueError(f"{len(self.replicates)} replicates for scores of shape {self.scores.shape}")
        if len(set(self.replicates)) != len(self.replicates):
            raise ValueError(f"a replicate came twice: {self.replicates}")

    @classmethod
    def of(cls, scores: Array) -> Runs:
        """Runs of an (S, P) array whose rows are replicates 0, 1, ..."""
        return cls(np.asarray(scores, dtype=np.float64), tuple(range(len(scores))))

    def at(self, replicates: Sequence[int]) -> Array:
        """(S', P): these replicates in this order."""
        return self.scores[[self.replicates.index(replicate) for replicate in replicates]]

    @property
    def finished(self) -> Runs:
        """Without stand-ins."""
        kept = tuple(replicate for replicate in self.replicates if replicate not in self.imputed)
        return replace(self, scores=self.at(kept), replicates=kept, imputed=())


def with_failures(runs: Runs, failed: Sequence[int], start: Runs, score: float | None = None) -> Runs:
    """Count failed runs instead of dropping them.

    Runs that fail are not a random part of all runs: dropping those that collapsed turned a true gain of .6 sd into a
    loss in simulation, or hides a method that works two times in five. A failed run stands in with the start's scores
    of its replicate: who trains and ends with nothing deploys the start. A run that finished and is bad is no failure
    and keeps its own scores. Runs that have not been tried yet are no failures either.

    Args:
        runs: what finished.
        failed: replicates that were tried and left no policy.
        start: the start's runs, on the same prompts.
        score: a stated failure score for every prompt instead of the start's, for example the lowest seen.

    Returns:
        Runs with a row for each failed replicate that has a stand-in, marked in `imputed`; verdicts on it also show
        the comparison of the finished runs alone. A contestant of which no run finished stays without rows.

    Raises:
        ValueError: for a failed replicate that also finished.
    """
    both = sorted(set(failed) & set(runs.replicates))
    if both:
        raise ValueError(f"replicates {both} came as failed and as finished")
    known = sorted(failed) if score is not None else sorted(set(failed) & set(start.replicates))
    if not runs.replicates or not known:
        return runs
    rows = start.at(known) if score is None else np.full((len(known), runs.scores.shape[1]), score)
    order = sorted((*runs.replicates, *known))
    joined = Runs(np.concatenate([runs.scores, rows]), (*runs.replicates, *known))
    return Runs(joined.at(order), tuple(order), tuple(known))


def common(a: Runs, b: Runs) -> tuple[Runs, Runs]:
    """The replicates that both have, in the same order: what a paired comparison can use."""
    shared = tuple(sorted(set(a.replicates) & set(b.replicates)))
    return _only(a, shared), _only(b, shared)


def _only(runs: Runs, replicates: tuple[int, ...]) -> Runs:
    imputed = tuple(replicate for replicate in runs.imputed if replicate in replicates)
    return Runs(runs.at(replicates), replicates, imputed)


def share_above(a: Runs, b: Runs, *, paired: bool) -> tuple[float, float | None, float | None] | None:
    """How often a run of `a` scores above one of `b`: P(A > B) for the next run of each, a tie counting one half.

    Paired, it is the share of the seeds that both have. Unpaired, it is the share of all pairs of runs (Mann and
    Whitney's), without an interval: runs that are all above may be of a contestant that is always above or of one that
    now and then collapses, and what holds for the second is far too wide for the first.

    Returns:
        The share and the ends of its 95 % interval, over runs with the prompts as they are; None where there are no
        runs to hold against each other.
    """
    if paired:
        a, b = common(a, b)
    means_a, means_b = a.scores.mean(1), b.scores.mean(1)
    gaps = means_a - means_b if paired else means_a[:, None] - means_b
    if not gaps.size:
        return None
    share = float((0.5 + 0.5 * np.sign(gaps)).mean())
    return rate(share * len(gaps), len(gaps)) if paired else (share, None, None)


def rate(count: float, n: int) -> tuple[float, float, float] | None:
    """A share of n independent runs or answers, and the ends of its 95 % interval; None of no n.

    The interval is all shares that the exact binomial test does not refuse (Sterne 1954, Biometrika 41), as statsmodels
    inverts it. It covers at least as often as it says, but for .004 here and there from 30 runs on, and of intervals
    that do it is about the shortest. A count with a half, which ties give, has the ends of both its neighbours.
    """
    if not n:
        return None
    twice = round(2 * count)
    ends = [exact(whole, n) for whole in (twice // 2, -(-twice // 2))]
    return count / n, min(low for low, _ in ends), max(high for _, high in ends)


@cache
def exact(count: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """The ends of Sterne's 1 - alpha interval; n is above 0."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(count, n, alpha, "binom_test")
    return float(low), float(high)


def share_ends(share: float, half: float, many: int) -> tuple[float, float]:
    """The ends for a share between 0 and 1 whose plain 95 % interval has a known half width.

    The half width, over runs and prompts, says how many independent answers the share is worth; of so many it has
    Clopper and Pearson's ends, which the plain interval misses near 0 and 1 (Korn and Graubard 1998, Survey
    Methodology 24).

    Args:
        share: neither 0 nor 1.
        half: of its plain interval; by chance it may be too small, or 0.
        many: answers that it is of, which is what it is worth at most.
    """
    worth = share * (1 - share) * (_Z / half) ** 2 if half else many
    return _clopper_pearson(share, min(worth, many))


def _clopper_pearson(share: float, n: float) -> tuple[float, float]:
    """The ends of a 95 % interval for a share of `n`, which need not be whole."""
    from scipy import special

    count, rest = share * n, (1 - share) * n
    low = float(special.betaincinv(count, rest + 1, 0.025)) if count else 0.0
    high = float(special.betaincinv(count + 1, rest, 0.975)) if rest else 1.0
    return low, high


def as_runs(scores: Mapping[str, Runs | Array]) -> dict[str, Runs]:
    """Arrays become runs of replicates 0, 1, ...; runs stay as they are."""
    return {name: given if isinstance(given, Runs) else Runs.of(given) for name, given in scores.items()}

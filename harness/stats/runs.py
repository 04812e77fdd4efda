"""The runs of one contestant, and how runs that failed are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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


def share_above(a: Runs, b: Runs, *, paired: bool) -> tuple[float, float, float] | None:
    """How often a run of `a` scores above one of `b`: P(A > B) for the next run of each, a tie counting one half.

    Paired, it is the share of the seeds that both have. Unpaired, it is the share of all pairs of runs (Mann and
    Whitney's), whose variance is at most that of as many independent pairs as the fewer runs, which is what its
    interval is of. The prompts are taken as they are.

    Returns:
        The share and the ends of its 95 % interval; None where there are no runs to hold against each other.
    """
    if paired:
        a, b = common(a, b)
    means_a, means_b = a.scores.mean(1), b.scores.mean(1)
    gaps = means_a - means_b if paired else means_a[:, None] - means_b
    n = min(len(means_a), len(means_b))
    return rate(float((0.5 + 0.5 * np.sign(gaps)).mean()) * n, n) if n else None


def rate(count: float, n: int) -> tuple[float, float, float] | None:
    """A share of n and the ends of its 95 % interval, which covers at least as often as it says; None of no n."""
    return (count / n, *_exact(count / n, n)) if n else None


def share_ends(share: float, half: float, many: int) -> tuple[float, float]:
    """The ends for a share between 0 and 1 whose plain 95 % interval has a known half width.

    The half width, over runs and prompts, says how many independent answers the share is worth; of so many it has the
    ends that the plain interval misses near 0 and 1 (Korn and Graubard 1998, Survey Methodology 24).

    Args:
        share: neither 0 nor 1.
        half: of its plain interval; by chance it may be too small, or 0.
        many: answers that it is of, which is what it is worth at most.
    """
    worth = share * (1 - share) * (_Z / half) ** 2 if half else many
    return _exact(share, min(worth, many))


def _exact(share: float, n: float) -> tuple[float, float]:
    """The ends of Clopper and Pearson's 95 % interval; `n` need not be whole."""
    from scipy import special

    count, rest = share * n, (1 - share) * n
    low = float(special.betaincinv(count, rest + 1, 0.025)) if count else 0.0
    high = float(special.betaincinv(count + 1, rest, 0.975)) if rest else 1.0
    return low, high


def as_runs(scores: Mapping[str, Runs | Array]) -> dict[str, Runs]:
    """Arrays become runs of replicates 0, 1, ...; runs stay as they are."""
    return {name: given if isinstance(given, Runs) else Runs.of(given) for name, given in scores.items()}

"""One comparison of two contestants, or the mean of one: estimate, interval, p, and where the noise comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from harness.stats.bounds import Array, half_width, one_p
from harness.stats.parts import Parts, parts_of_difference, parts_of_mean
from harness.stats.power import Noise

NO_DIFFERENCE = "the two are identical in every run and prompt"
NO_SEED = "all runs of {who} score the same on every prompt: the seed has no effect on them"
ROUNDING = 1e-12  # a standard error below this share of the largest score is the rounding of means


@dataclass(frozen=True)
class Contrast:
    """A difference with its noise, for seeds and prompts in general and not only those at hand.

    Attributes:
        difference: a minus b, in the unit of the scores.
        seed: its variance because runs differ; more seeds lower it.
        prompt: its variance because the difference differs between prompts, what `seed` already holds taken out.
        cell: the part of `seed` that is noise of single run-prompt cells, sampling included; more prompts lower it.
        df: degrees of freedom of `seed`: S - 1 when paired, else Welch's.
        low: lower end of the 1 - alpha interval.
        high: upper end.
        p: two-sided, of a difference of 0.
        alpha: of the interval, not adjusted for a family.
        noise: variances of one run, one prompt, one cell.
        n_runs: of a and of b; the pairs, twice, when paired.
        n_prompts: P.
        paired: compared seed by seed.
        notes: what a reader should be warned of; mostly empty.
    """

    difference: float
    seed: float
    prompt: float
    cell: float
    df: float
    low: float
    high: float
    p: float
    alpha: float
    noise: Noise
    n_runs: tuple[int, int]
    n_prompts: int
    paired: bool
    notes: tuple[str, ...] = ()

    @property
    def se(self) -> float:
        """Standard error; the interval is not a multiple of it, since seeds and prompts have their own t."""
        return float(np.sqrt(self.seed + self.prompt))

    def interval(self, alpha: float) -> tuple[float, float]:
        """The 1 - alpha interval; alpha / m makes m of them simultaneous (Bonferroni)."""
        seed, df, prompt = map(np.asarray, self._parts[:3])
        half = float(half_width(seed, df, prompt, self._parts[3], alpha))
        return self.difference - half, self.difference + half

    def p_at(self, value: float) -> float:
        """Two-sided, of a true difference of `value`."""
        if self.se == 0:
            return float(self.difference == value)
        return one_p(abs(self.difference - value), *self._parts)

    def p_equivalent(self, delta: float) -> float:
        """Two one-sided tests: small when the difference is shown to lie within -delta..delta (delta above 0)."""
        inside = delta - abs(self.difference)
        if self.se == 0:
            return float(inside <= 0)
        one_sided = one_p(abs(inside), *self._parts) / 2
        return one_sided if inside >= 0 else 1 - one_sided

    @property
    def _parts(self) -> tuple[float, float, float, int]:
        return self.seed, self.df, self.prompt, self.n_prompts - 1


@dataclass(frozen=True)
class Undecidable:
    """A comparison for which there can be no interval.

    Attributes:
        reason: why, as a sentence.
        difference: the observed one, where there is one.
        n_runs: of a and of b.
        n_prompts: P.
    """

    reason: str
    difference: float | None
    n_runs: tuple[int, int]
    n_prompts: int


Result: TypeAlias = Contrast | Undecidable


@dataclass(frozen=True)
class Mean:
    """The mean of one contestant.

    Attributes:
        value: over runs and prompts.
        low: lower end of the 1 - alpha interval.
        high: upper end.
        se: standard error.
        alpha: of the interval.
        n_runs: S.
        n_prompts: P.
        notes: what a reader should be warned of; mostly empty.
    """

    value: float
    low: float
    high: float
    se: float
    alpha: float
    n_runs: int
    n_prompts: int
    notes: tuple[str, ...] = ()


def contrast(a: Array, b: Array, *, paired: bool, alpha: float = 0.05) -> Result:
    """Compare two contestants over runs and prompts.

    Args:
        a: (S_a, P) scores, each the mean over the K samples of a prompt.
        b: (S_b, P), the same prompts in the same order; when paired also the same seeds in the same order.
        paired: decided by the design, never by looking at the scores: contestants of a seed share start, data order
            and sampling noise.
        alpha: of the interval.

    Returns:
        A `Contrast`, or `Undecidable` with fewer than two runs or prompts, or where constant scores differ.

    Raises:
        ValueError: for arrays that do not fit each other or hold a number that is not finite; a bug of the caller.
    """
    a, b = _checked(a, b, paired=paired)
    found = _too_few(a, b)
    if found:
        return found
    notes = [NO_DIFFERENCE] if np.array_equal(a, b) else []
    if not notes:
        notes = [NO_SEED.format(who=who) for who, y in (("a", a), ("b", b)) if _seedless(y)]
    parts = parts_of_difference(a, b, paired=paired)
    return _result(parts, largest=max(np.abs(a).max(), np.abs(b).max()), paired=paired, alpha=alpha, notes=notes)


def summary(scores: Array, *, alpha: float = 0.05) -> Mean | Undecidable:
    """The mean of one contestant with its interval over runs and prompts.

    Wider than an interval of a difference to another contestant, which does not hold how hard the prompts are.

    Args:
        scores: (S, P), each the mean over the K samples of a prompt.
        alpha: of the interval.

    Returns:
        A `Mean`, or `Undecidable` (its `difference` is the mean) with fewer than two runs or prompts.

    Raises:
        ValueError: for an array that is not (S, P) or holds a number that is not finite.
    """
    scores, zeros = _checked(scores, np.zeros_like(scores), paired=True)
    found = _too_few(scores, zeros)
    if found:
        return found
    parts = parts_of_mean(scores)
    value, half = float(parts.difference), float(parts.half_width(alpha))
    notes = (NO_SEED.format(who="it"),) if _seedless(scores) else ()
    return Mean(
        value, value - half, value + half, float(np.sqrt(parts.variance)), alpha, len(scores), scores.shape[1], notes
    )


def _checked(a: Array, b: Array, *, paired: bool) -> tuple[Array, Array]:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"scores are (S, P) with one prompt axis for both; came {a.shape} and {b.shape}")
    if paired and a.shape != b.shape:
        raise ValueError(f"paired contestants share their seeds; came {a.shape[0]} and {b.shape[0]} runs")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("scores hold a number that is not finite; leave out that prompt for all, or that run")
    return a, b


def _too_few(a: Array, b: Array) -> Undecidable | None:
    runs, prompts = (a.shape[0], b.shape[0]), a.shape[1]
    if min(runs) == 0 or prompts == 0:
        return Undecidable("there are no scores: no run has finished", None, runs, prompts)
    difference = float(a.mean() - b.mean())
    if min(runs) == 1:
        reason = "one run says nothing about how much runs differ; at least two seeds are needed"
        return Undecidable(reason, difference, runs, prompts)
    if prompts == 1:
        return Undecidable("one prompt says nothing about other prompts", difference, runs, prompts)
    return None


def _seedless(y: Array) -> bool:
    """Whether runs are copies of each other; scores that never vary at all say nothing about seeds."""
    return bool((y == y[0]).all() and (y != y[0, 0]).any())


def _result(parts: Parts, *, largest: float, paired: bool, alpha: float, notes: list[str]) -> Result:
    difference, se = float(parts.difference), float(np.sqrt(parts.variance))
    exact = se <= ROUNDING * largest
    if exact and abs(difference) > ROUNDING * largest:
        reason = (
            "the scores differ by a constant without any noise, which no test can judge; do the seeds reach the runs?"
        )
        return Undecidable(reason, difference, parts.n_runs, parts.n_prompts)
    if exact:
        nothing = Noise(0.0, 0.0, 0.0, 0.0, 0.0)
        return Contrast(
            *(0.0, 0.0, 0.0, 0.0, float(parts.df_seed)),
            *(0.0, 0.0, 1.0, alpha, nothing),
            *(parts.n_runs, parts.n_prompts, paired, tuple(notes)),
        )
    half = float(parts.half_width(alpha))
    seed, df, prompt = float(parts.seed), float(parts.df_seed), float(parts.extra)
    return Contrast(
        difference=difference,
        seed=seed,
        prompt=prompt,
        cell=float(parts.cell),
        df=df,
        low=difference - half,
        high=difference + half,
        p=one_p(abs(difference), seed, df, prompt, parts.n_prompts - 1),
        alpha=alpha,
        noise=parts.noise(),
        n_runs=parts.n_runs,
        n_prompts=parts.n_prompts,
        paired=paired,
        notes=tuple(notes),
    )

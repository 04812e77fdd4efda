"""What a search says about an algorithm beside its best trial: how soon it is found, how often, and what matters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.stats.bounds import Array
from harness.stats.runs import rate

BAND_TRIALS = 50
"""Below so many trials a band would cover far less than it says."""
EDGE = 0.05
"""A value within this share of its range from an end lies at the edge."""
IMPORTANCE_TRIALS = 10
RESAMPLES = 2000


@dataclass(frozen=True)
class ExpectedBest:
    """The expected best score of n trials, n = 1 ... N.

    Attributes:
        values: (N,).
        low: (N,) lower end of an approximate 95 % band; NaN where none can be given.
        high: (N,) upper end.
    """

    values: Array
    low: Array
    high: Array


def expected_best(scores: Sequence[float]) -> ExpectedBest:
    """The expected best of n independent trials, by Tang et al.'s unbiased estimator.

    Σ_{i=n}^{N} C(i−1, n−1)/C(N, n) · v_(i), the mean of the best over all subsets of size n. Bands by resampling
    whole trials, for n up to N/5 and from 50 trials on; elsewhere they cover too little (docs/tuning.md).

    Args:
        scores: (N,) of independent trials alone: random ones. A failed trial counts with the worst score that a trial
            can have, for example the start's, since who fails keeps the start.

    Source:
        Tang et al. 2020, arXiv 2004.13705. Checked in tests/stats/test_sensitivity.py by enumeration.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    total = len(ordered)
    weights = _weights(total)
    none = np.full(total, math.nan)
    if total < BAND_TRIALS:
        return ExpectedBest(weights @ ordered, none, none.copy())
    drawn = np.random.default_rng(0).choice(ordered, (RESAMPLES, total))
    curves = np.sort(drawn, axis=1) @ weights.T
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    kept = np.arange(1, total + 1) <= total / 5
    return ExpectedBest(weights @ ordered, np.where(kept, low, math.nan), np.where(kept, high, math.nan))


def _weights(total: int) -> Array:
    """(N, N): the chance that the i-th smallest of N is the best of n drawn without replacement."""
    found = np.zeros((total, total))
    for n in range(1, total + 1):
        for i in range(n, total + 1):
            found[n - 1, i - 1] = math.comb(i - 1, n - 1) / math.comb(total, n)
    return found


def share_above(scores: Sequence[float | None], start: float) -> tuple[float, float, float] | None:
    """Share of trials that beat the start, with its Wilson interval; a failed trial (None) did not."""
    return rate(sum(score is not None and score > start for score in scores), len(scores))


def basin_decades(scores: Sequence[float | None], start: float, low: float, high: float) -> float | None:
    """How wide the good region of a learning rate is, in decades, whatever the other knobs.

    The share of random trials, uniform in the logarithm, that keep at least half of the best trial's gain over the
    start, times the decades of the range. None where no trial beats the start.
    """
    known = [score for score in scores if score is not None]
    best = max(known, default=start)
    if best <= start:
        return None
    good = sum(score >= (start + best) / 2 for score in known)
    return good / len(scores) * math.log10(high / low)


def at_edge(value: Any, space: Mapping[str, Any]) -> str:
    """`low` or `high` where a chosen value lies at an end of its range, else an empty text.

    Args:
        value: of a knob.
        space: `{"low", "high", "log"}`, or `{"choice"}`, whose ends count where its values are numbers.
    """
    if "choice" in space:
        values = space["choice"]
        if len(values) < 3 or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
            return ""
        return "low" if value == min(values) else "high" if value == max(values) else ""
    ends = (space["low"], space["high"], value)
    low, high, at = (math.log(end) for end in ends) if space.get("log") else ends
    share = (at - low) / (high - low)
    return "low" if share <= EDGE else "high" if share >= 1 - EDGE else ""


def importance(
    trials: Sequence[tuple[Mapping[str, Any], float]], space: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    """How much of reaching the best quarter of trials each knob decides, PED-ANOVA; they sum to 1.

    Args:
        trials: knobs and score of finished trials.
        space: ranges by knob, as in `at_edge`.

    Returns:
        Nothing below 10 trials.

    Source:
        Watanabe et al. 2023, arXiv 2304.10255, as Optuna computes it.
    """
    if len(trials) < IMPORTANCE_TRIALS:
        return {}
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    kinds = {name: _distribution(range_) for name, range_ in space.items()}
    for knobs, score in trials:
        params = {name: knobs[name] for name in kinds}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=score))
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
    return {name: float(value) for name, value in found.items()}


def _distribution(range_: Mapping[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if "choice" in range_:
        return CategoricalDistribution(range_["choice"])
    return FloatDistribution(range_["low"], range_["high"], log=bool(range_.get("log")))

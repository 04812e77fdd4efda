"""What a search says about an algorithm beside its best trial: how soon it is found, how often, and what matters."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.stats.bounds import Array
from harness.stats.runs import rate

BAND_TRIALS = 50
"""Below so many trials a band would cover far less than it says."""
EDGE = 0.05
"""A value within this share of its range from an end lies at the edge."""
TOP, TOP_TRIALS = 0.25, 5
"""Knobs are weighed by what sets the best quarter of trials apart, where so many are in it."""
IMPORTANCE_TRIALS = math.ceil((TOP_TRIALS - 1) / TOP) + 1
"""Below so many trials there are fewer in the best quarter."""
RESAMPLES = 2000
RESAMPLED_STUDIES = 100
"""A resampled study takes a millisecond."""


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
    """Share of trials that beat the start, with its exact interval; a failed trial (None) did not."""
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


@dataclass(frozen=True)
class Weight:
    """How much a knob decides, as a share of what all knobs decide; approximate.

    Attributes:
        value: 0 to 1; those of all knobs sum to 1.
        low: lower end of what nine in ten studies of as many trials give it that are resampled from these.
        high: upper end. It is no confidence interval: docs/tuning.md says how often it holds the truth.
    """

    value: float
    low: float
    high: float


def importance(
    trials: Sequence[tuple[Mapping[str, Any], float | None]], space: Mapping[str, Mapping[str, Any]]
) -> dict[str, Weight]:
    """How much of reaching the best quarter of trials each knob decides, PED-ANOVA; the most important first.

    Args:
        trials: knobs and score of independent trials, random ones; a failed trial (None) is below all others.
        space: ranges by knob, as in `at_edge`.

    Returns:
        Nothing where `no_importance` has a reason.

    Source:
        Watanabe et al. 2023, arXiv 2304.10255, as Optuna computes it.
    """
    scores = [score for _, score in trials]
    if no_importance(scores, space):
        return {}
    weigh = _weigher(trials, space)
    found = weigh(range(len(trials)))
    drawn = np.random.default_rng(0).integers(0, len(trials), (RESAMPLED_STUDIES, len(trials))).tolist()
    again = [weigh(places) for places in drawn if not _no_top([scores[place] for place in places])]
    ranges = {name: np.quantile([one[name] for one in again], [0.05, 0.95]).tolist() for name in found}
    return {name: Weight(value, *ranges[name]) for name, value in found.items()}


def no_importance(scores: Sequence[float | None], space: Collection[str]) -> str:
    """Why nothing can be said of how much knobs decide; empty where something can be.

    Args:
        scores: of independent trials, random ones; None of one that failed.
        space: the knobs.
    """
    if len(space) < 2:
        return "its only knob"
    if len(scores) < IMPORTANCE_TRIALS:
        return f"{len(scores)} of the {IMPORTANCE_TRIALS} random trials that it takes"
    return _no_top(scores)


def _no_top(scores: Sequence[float | None]) -> str:
    """Why a best quarter cannot be told from the rest; empty where it can be."""
    known = sorted((score for score in scores if score is not None), reverse=True)
    top = math.ceil(TOP * len(scores))
    if len(known) < top:
        return "fewer than a quarter of random trials have a score"
    if len(known) == len(scores) and known[top - 1] == known[-1]:
        return "more than three quarters of random trials score the same"
    return ""


def _weigher(
    trials: Sequence[tuple[Mapping[str, Any], float | None]], space: Mapping[str, Mapping[str, Any]]
) -> Callable[[Sequence[int]], dict[str, float]]:
    """A function from places of trials, each as often as it is drawn, to the importance of knobs."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    class Drawn(optuna.Study):
        """A study of the trials that were drawn: adding them to a new one would take four times as long."""

        drawn: Sequence[optuna.trial.FrozenTrial] = ()

        def get_trials(self, *_: Any, **__: Any) -> list[optuna.trial.FrozenTrial]:
            return list(self.drawn)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.InMemoryStorage()
    whole = optuna.create_study(storage=storage, direction="maximize")
    kinds = {name: _distribution(range_) for name, range_ in space.items()}
    worst = min(score for _, score in trials if score is not None) - 1
    for knobs, score in trials:
        params, value = {name: knobs[name] for name in kinds}, worst if score is None else score
        whole.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=value))
    known, study = whole.get_trials(), Drawn(whole.study_name, storage)

    def weigh(places: Sequence[int]) -> dict[str, float]:
        study.drawn = [known[place] for place in places]
        evaluator = PedAnovaImportanceEvaluator(target_quantile=TOP)
        found = get_param_importances(study, evaluator=evaluator, params=list(kinds))
        return {name: float(value) for name, value in found.items()}

    return weigh


def _distribution(range_: Mapping[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if "choice" in range_:
        return CategoricalDistribution(range_["choice"])
    return FloatDistribution(range_["low"], range_["high"], log=bool(range_.get("log")))

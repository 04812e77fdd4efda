"""What a reward difference would be between responses of equal length: a regression on the length difference.

Length is a mediator: a method may be better because it says more. The raw number answers "what is gained", the
controlled one "what is gained other than through length"; both are shown.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import cast

import numpy as np

from harness.stats.bounds import Array

CLOSE, FEWEST = 0.1, 0.05
"""At least the share `FEWEST` of sample pairs must differ by at most `CLOSE` sd of the differences, or one token."""
APART = 0.1
"""A raw and a controlled win rate that are further apart than this are flagged."""


@dataclass(frozen=True)
class Controlled:
    """A score at equal length.

    Attributes:
        scores: (S, P), values whose mean is the estimate and whose spread over runs and prompts is its error, so that
            `summary` and `contrast` give its interval; no cell is by itself the score of its run and prompt.
        slope: of tanh(length difference / sd), in the unit of the score or in logits.
        close: share of sample pairs of like length.
    """

    scores: Array
    slope: float
    close: float


def length_controlled(scores: Array, longer: Array, difficulty: Array | None, *, win: bool) -> Controlled | str:
    """Regress scores of sample pairs on their length difference, and predict at equal length.

    score ~ 1 + tanh(Δ / sd(Δ)) + difficulty: a linear model, or for wins a logistic one (a GLM whose scores may be
    shares), averaged over the prompts at Δ = 0. It differs from AlpacaEval 2, which fits one coefficient per model and
    one difficulty per instruction over all models: here difficulty is what the other contestants have on the prompt,
    and each contestant has a model of its own.

    The error comes from influence values: estimate + (contribution of a cell to it), whose variance over runs and
    prompts is the sandwich's, clustered by both; the regression's own uncertainty is in it.

    Args:
        scores: (S, P, K_a, K_b) of every sample of a against every sample of b; wins in 0..1.
        longer: (S, P, K_a, K_b), tokens of a's sample minus tokens of b's.
        difficulty: (P,) what is known of the prompts without this contestant; None where there is no other.
        win: scores are wins.

    Returns:
        The controlled score; or a sentence that says why there is none: too few pairs of like length, where the
        regression would extrapolate, or a fit that does not converge.

    Source: Dubois et al. 2024, arXiv 2404.04475. Checked by simulation in tests/stats/test_length_control.py: a
    contestant that gains by length alone, coverage, and refusal without overlap.
    """
    from statsmodels.genmod.families import Binomial, Gaussian
    from statsmodels.genmod.generalized_linear_model import GLM
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

    sd = float(longer.std())
    close = float((np.abs(longer) <= max(CLOSE * sd, 1.0)).mean())
    if close < FEWEST:
        return f"only {close:.1%} of the sample pairs are of like length, and a regression would extrapolate"
    if sd == 0:
        return Controlled(scores.mean((-1, -2)), 0.0, close)
    # pairs of one prompt and one length difference have equal rows: fitting their means by their number is the same fit
    levels, place = np.unique(longer, return_inverse=True)
    own = place.reshape(longer.shape) + len(levels) * np.arange(longer.shape[1])[None, :, None, None]
    counts = np.bincount(own.ravel(), minlength=len(levels) * longer.shape[1])
    kept, row = np.flatnonzero(counts), np.cumsum(counts > 0) - 1
    columns = [np.ones(len(kept)), np.tanh(levels[kept % len(levels)] / sd)]
    if difficulty is not None and difficulty.std() > 0:
        columns.append((difficulty - difficulty.mean())[kept // len(levels)])
    design, counts, own = np.stack(columns, -1), counts[kept], row[own]
    means = np.bincount(own.ravel(), weights=scores.ravel()) / counts
    with warnings.catch_warnings():
        warnings.simplefilter("error" if win else "ignore", PerfectSeparationWarning)  # a line may fit exactly
        try:
            found = GLM(means, design, family=Binomial() if win else Gaussian(), freq_weights=counts).fit(maxiter=50)
        except PerfectSeparationWarning:
            return "length alone separates wins from losses, so that the regression on it has no finite solution"
    if not found.converged or not np.isfinite(found.params).all():
        return "the regression on length does not converge"
    base, pull, fitted = _influence(design, counts.astype(np.float64), np.asarray(found.params), win)
    values = (base[own] + pull[own] * (scores - fitted[own])).mean((-1, -2))
    return Controlled(values, float(found.params[1]), close)


def _influence(design: Array, counts: Array, weights: Array, win: bool) -> tuple[Array, Array, Array]:
    """For rows of so many pairs: the prediction at equal length, the pull of a residual on its mean, and the fit.

    The prediction plus pull times residual is a pair's contribution; the mean of all contributions is the estimate.
    """
    from scipy import special

    def mean_of(rows: Array) -> Array:
        return cast("Array", special.expit(rows @ weights) if win else rows @ weights)

    def slope_of(rows: Array) -> Array:
        return mean_of(rows) * (1 - mean_of(rows)) if win else np.ones(len(rows))

    equal = design.copy()
    equal[:, 1] = 0.0
    share = (counts / counts.sum())[:, None]
    gradient = (share * slope_of(equal)[:, None] * equal).sum(0)
    information = (share * design * slope_of(design)[:, None]).T @ design
    pull = design @ np.linalg.pinv(information) @ gradient
    return mean_of(equal), cast("Array", pull), mean_of(design)

"""How well σ(Δr) says how often the preferred response is the better one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BINS = 15
STEEPEST = 1e3
"""A slope beyond this is no fit: the differences separate right from wrong without fault."""


@dataclass(frozen=True)
class Calibration:
    """Of labelled pairs, with Δ = r(chosen) − r(rejected).

    Attributes:
        slope: of the logit of P(first is preferred) on r(first) − r(second); 1 is calibrated, less is overconfident.
        intercept: of the same; 0 where nothing but the scores tells which is preferred.
        temperature: T for which σ(Δ / T) fits best; None where the scores do not rise with preference, or never err.
        ece: expected calibration error of the confidence σ(|Δ|), over equal-mass bins.
        ece_if_calibrated: what a calibrated model with these confidences would show on so few pairs, in the mean.
        brier: mean of (1 − σ(Δ))²; 0.25 for a model that knows nothing.
        log_loss: mean of −log σ(Δ), in nats; log 2 for a model that knows nothing.
        bins: mean confidence, share right, and pairs of each bin.
    """

    slope: float | None
    intercept: float | None
    temperature: float | None
    ece: float
    ece_if_calibrated: float
    brier: float
    log_loss: float
    bins: tuple[tuple[float, float, int], ...]


def calibrate(gaps: Array, first: NDArray[np.bool_]) -> Calibration:
    """Calibration of score differences.

    Args:
        gaps: (N,) r(chosen) − r(rejected).
        first: (N,) whether the chosen response is shown first; decided by a hash, never by the scores.
    """
    confidence = _sigmoid(np.abs(gaps))
    right = (gaps > 0) + 0.5 * (gaps == 0)
    slope, intercept = _fit(gaps, first)
    return Calibration(
        slope=slope,
        intercept=intercept,
        temperature=_temperature(gaps),
        ece=_error(_bins(confidence, right)),
        ece_if_calibrated=_expected(confidence),
        brier=float(np.mean(_sigmoid(-gaps) ** 2)),
        log_loss=float(np.mean(np.logaddexp(0.0, -gaps))),
        bins=_bins(confidence, right),
    )


def _sigmoid(values: Array) -> Array:
    from scipy.special import expit

    found: Array = expit(values)
    return found


def _fit(gaps: Array, first: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Slope and intercept; None where there is no finite maximum of the likelihood."""
    oriented = np.where(first, gaps, -gaps)
    fitted = _logit(first.astype(float), np.column_stack([np.ones_like(oriented), oriented]))
    return (None, None) if fitted is None else (float(fitted[1]), float(fitted[0]))


def _temperature(gaps: Array) -> float | None:
    """1 / slope without an intercept, of pairs shown both ways round, so that the order does not matter."""
    both = np.concatenate([gaps, -gaps])
    fitted = _logit(np.repeat([1.0, 0.0], len(gaps)), both[:, None])
    return None if fitted is None or fitted[0] <= 0 else float(1 / fitted[0])


def _logit(outcome: Array, design: Array) -> Any:
    """Coefficients, or None where the outcomes are separated or there is nothing to fit."""
    import warnings

    from statsmodels.discrete.discrete_model import Logit
    from statsmodels.tools.sm_exceptions import PerfectSeparationError

    scale = float(np.abs(design[:, -1]).max())
    if scale == 0 or outcome.min() == outcome.max():
        return None
    scaled = design.copy()
    scaled[:, -1] /= scale
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # separation is told by what is returned
        try:
            fitted = Logit(outcome, scaled).fit(disp=0, maxiter=100)
        except (PerfectSeparationError, np.linalg.LinAlgError):
            return None
    if not fitted.mle_retvals["converged"] or np.abs(fitted.params).max() > STEEPEST:
        return None
    return np.append(fitted.params[:-1], fitted.params[-1] / scale)


def _parts(confidence: Array) -> list[NDArray[np.intp]]:
    """Places of the pairs of each bin."""
    order = np.argsort(confidence, kind="stable")
    return [part for part in np.array_split(order, BINS) if len(part)]


def _bins(confidence: Array, right: Array) -> tuple[tuple[float, float, int], ...]:
    """Equal-mass bins by confidence."""
    return tuple((float(confidence[part].mean()), float(right[part].mean()), len(part)) for part in _parts(confidence))


def _error(bins: tuple[tuple[float, float, int], ...]) -> float:
    """Mean distance of confidence and share right, weighted by pairs."""
    return sum(abs(sure - right) * n for sure, right, n in bins) / sum(n for *_, n in bins)


def _expected(confidence: Array, draws: int = 200) -> float:
    """The error that chance alone gives a calibrated model; a bin of few pairs is never exactly right."""
    rng = np.random.default_rng(0)
    outcomes = (rng.random((draws, len(confidence))) < confidence).astype(float)
    off = [(confidence[part].mean() - outcomes[:, part].mean(axis=1)) * len(part) for part in _parts(confidence)]
    return float(np.abs(off).sum(axis=0).mean() / len(confidence))

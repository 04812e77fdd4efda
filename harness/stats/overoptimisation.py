"""How a true reward moves as a policy leaves its start: a fall from its best, and the curve of Gao et al. (2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.stats.contrast import Contrast, contrast

if TYPE_CHECKING:
    from harness.stats.bounds import Array

LEAST_POINTS = 3


@dataclass(frozen=True)
class Fall:
    """The end against the step of training at which the mean was highest.

    Attributes:
        step: that step.
        best: its mean.
        difference: end minus best.
        low: lower end of its interval, simultaneous over all earlier steps; None where there can be none.
        high: upper end of it; below 0 a fall is shown, whichever step was picked.
    """

    step: int
    best: float
    difference: float
    low: float | None
    high: float | None

    @property
    def shown(self) -> bool:
        """Whether a fall is shown and not only seen."""
        return self.high is not None and self.high < 0


def fall(end: Array, earlier: Mapping[int, Array], alpha: float = 0.05) -> Fall:
    """Compare the end with the best of the earlier steps.

    The best of several noisy means is too high, so that a plain interval would see falls where there are none. The
    intervals of all m earlier steps hold together (Bonferroni, alpha / m), and so does that of the one that is picked.

    Args:
        end: (S, P) scores of the finished policies.
        earlier: (S, P) scores of the same seeds and prompts by step; at least one.
        alpha: chance that any of the intervals is wrong.
    """
    step = max(earlier, key=lambda one: float(earlier[one].mean()))
    found = contrast(end, earlier[step], paired=True)
    low, high = found.interval(alpha / len(earlier)) if isinstance(found, Contrast) else (None, None)
    return Fall(step, float(earlier[step].mean()), float(end.mean() - earlier[step].mean()), low, high)


@dataclass(frozen=True)
class Gao:
    """R(d) = d (alpha - beta log d), d being the root of the KL to the start."""

    alpha: float
    beta: float

    def at(self, distance: float) -> float:
        """The gain at a distance; 0 at the start."""
        return distance * (self.alpha - self.beta * math.log(distance)) if distance > 0 else 0.0

    @property
    def peak(self) -> float | None:
        """The distance of the highest gain, e^(alpha/beta - 1); None where the curve never falls, or only falls."""
        exponent = self.alpha / self.beta - 1 if self.beta > 0 else math.inf
        return math.exp(exponent) if abs(exponent) < 50 else None


def gao(distances: Array, gains: Array) -> Gao | None:
    """Least squares of the form for trained policies; linear in its two numbers.

    Args:
        distances: roots of KL, one per graded policy; 0 says nothing and is left out.
        gains: over the start, one for each.

    Returns:
        The curve, or None with fewer than three different distances.

    Source: Gao, Schulman and Hilton, "Scaling laws for reward model overoptimization", arXiv 2210.10760, section 3.
    """
    far = distances > 0
    d, gain = distances[far], gains[far]
    if len(np.unique(d)) < LEAST_POINTS:
        return None
    alpha, minus_beta = np.linalg.lstsq(np.column_stack([d, d * np.log(d)]), gain, rcond=None)[0]
    return Gao(float(alpha), float(-minus_beta))

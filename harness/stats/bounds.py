"""Intervals and p-values where the variance is a sum of two parts with unlike degrees of freedom.

Each part is held against its own t quantile: the half width is sqrt(t_seeds^2 V_seeds + t_prompts^2 V_prompts).
A single t with Satterthwaite's df is right at 95 % but not far out, where Holm looks: with 5 seeds, whenever V_seeds
comes out small by chance, the prompts' many df are taken for the whole. docs/statistics.md has the figures.

Source: Banerjee (1960), Sankhya 22, for sums of independent parts: covers at least 1 - alpha at every alpha, since the
distribution function of a squared normal is concave. Checked in tests/stats/test_calibration.py by simulation.
"""

from __future__ import annotations

import math
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array: TypeAlias = NDArray[np.float64]
TINIEST = 1e-300
HALVINGS = 36  # of a bracket in logs: a p is right to at least 7 digits


def t_quantile(df: Array | float, alpha: Array | float) -> Array:
    """The t that is exceeded on either side with probability alpha in all."""
    return cast("Array", -special.stdtrit(df, np.asarray(alpha) / 2))


def half_width(seed: Array, df_seed: Array, prompt: Array, df_prompt: int, alpha: Array | float) -> Array:
    """Half of the 1 - alpha interval.

    Args:
        seed: (...) variance that comes from runs.
        df_seed: (...) its degrees of freedom.
        prompt: (...) variance that comes from prompts.
        df_prompt: its degrees of freedom.
        alpha: two-sided.
    """
    return np.sqrt(t_quantile(df_seed, alpha) ** 2 * seed + t_quantile(df_prompt, alpha) ** 2 * prompt)


def two_sided_p(size: Array, seed: Array, df_seed: Array, prompt: Array, df_prompt: int) -> Array:
    """The alpha at which the half width is just `size`.

    Args:
        size: (...) the absolute difference, at least 0.
        seed: (...) variance that comes from runs.
        df_seed: (...) its degrees of freedom.
        prompt: (...) variance that comes from prompts.
        df_prompt: its degrees of freedom.

    Returns:
        (...) in 0..1; 1 where there is no variance, of which the caller makes what it means.
    """
    variance = seed + prompt
    t = np.divide(size, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
    ends = [2 * special.stdtr(df_seed, -t), 2 * special.stdtr(float(df_prompt), -t)]
    low, high = np.log(np.maximum(np.minimum(*ends), TINIEST)), np.log(np.maximum(np.maximum(*ends), TINIEST))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        wide = half_width(seed, df_seed, prompt, df_prompt, np.exp(middle)) > size
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return np.where(variance > 0, np.exp(high), 1.0)


def one_p(size: float, seed: float, df_seed: float, prompt: float, df_prompt: int) -> float:
    """`two_sided_p` of one comparison, six times as fast: a report asks for hundreds, one by one."""
    from scipy.optimize import brentq

    if seed + prompt <= 0:
        return 1.0
    t = size / math.sqrt(seed + prompt)
    ends = [2 * float(special.stdtr(df, -t)) for df in (df_seed, float(df_prompt))]
    low, high = (math.log(max(end, TINIEST)) for end in sorted(ends))

    parts = [(df, math.sqrt(part)) for df, part in ((df_seed, seed), (float(df_prompt), prompt)) if part > 0]

    def too_wide(log_alpha: float) -> float:
        tail = math.exp(log_alpha) / 2
        return math.hypot(*(special.stdtrit(df, tail) * error for df, error in parts)) - size

    if too_wide(low) <= 0 or too_wide(high) >= 0:  # there is one part alone, or p is too small for a number
        return math.exp(low if too_wide(low) <= 0 else high)
    return math.exp(brentq(too_wide, low, high, xtol=1e-12))

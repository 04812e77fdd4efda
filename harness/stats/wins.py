"""Win rates by a reward: every sample of one contestant against every sample of the other, prompt by prompt.

The mean over the K_a * K_b pairs is one number per run and prompt (a U-statistic), so that `summary` and `contrast`
give its interval; `contrast(win, np.full_like(win, 0.5), paired=True)` tests it against one half.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy import special

from harness.stats.bounds import Array


def soft_win(a: Array, b: Array, temperature: float = 1.0) -> Array:
    """Probability that a's response is preferred, under Bradley-Terry on the rewards.

    Args:
        a: (..., K_a) rewards of a's samples, in logits.
        b: (..., K_b) rewards of b's samples to the same prompts; leading axes as a's, for example (S, P).
        temperature: the reward's logits are divided by it; 1 trusts its calibration.

    Returns:
        (...) in 0..1; soft_win(a, b) + soft_win(b, a) = 1.
    """
    return cast("Array", special.expit(_differences(a, b) / temperature).mean((-1, -2)))


def hard_win(a: Array, b: Array) -> Array:
    """Share of pairs in which a's reward is higher; a tie counts one half for each. Arguments as `soft_win`."""
    return cast("Array", (0.5 + 0.5 * np.sign(_differences(a, b))).mean((-1, -2)))


def _differences(a: Array, b: Array) -> Array:
    """(..., K_a, K_b)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape[:-1] != b.shape[:-1]:
        raise ValueError(f"both need the same runs and prompts; came {a.shape[:-1]} and {b.shape[:-1]}")
    return a[..., :, None] - b[..., None, :]

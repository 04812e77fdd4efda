"""What the best of n responses would score, from N ≥ n stored ones, without drawing again."""

from __future__ import annotations

import math

import numpy as np

from harness.stats.bounds import Array


def best_of_n(judged: Array, scores: Array, n: int) -> Array:
    """Mean score of the response that is judged best, over all choices of n from N.

    Σ_i C(i − 1, n − 1) / C(N, n) · score_(i), i = 1..N in the order of what they are judged: the i-th is the best of n
    where the n − 1 others are below it. Unbiased for n fresh responses; responses that are judged equal share their
    scores, which is the mean over breaking the tie by chance.

    Args:
        judged: (..., N) what the choice is made by.
        scores: (..., N) what the chosen one is worth.
        n: from 1 to N.

    Returns:
        (...).

    Source: Nakano et al. 2021, arXiv 2112.09332, appendix I (WebGPT). Checked against all choices of n in
    tests/stats/test_best_of_n.py.
    """
    whole = judged.shape[-1]
    if not 1 <= n <= whole:
        raise ValueError(f"the best of {n} needs as many responses; there are {whole}")
    weights = np.array([math.comb(i, n - 1) / math.comb(whole, n) for i in range(whole)])
    order = np.argsort(judged, axis=-1, kind="stable")
    ranked, judged = (np.take_along_axis(values, order, -1) for values in (scores, judged))
    rows = zip(ranked.reshape(-1, whole), judged.reshape(-1, whole), strict=True)
    found = [_shared(row, by) @ weights for row, by in rows]
    return np.array(found).reshape(scores.shape[:-1])


def _shared(ranked: Array, judged: Array) -> Array:
    """Scores in which those that are judged equal are replaced by their mean."""
    _, group = np.unique(judged, return_inverse=True)
    shared: Array = (np.bincount(group, ranked) / np.bincount(group))[group]
    return shared


def most_divergence(n: int) -> float:
    """The bound log n − (n − 1)/n: the most that KL(best of n ‖ policy) can be, in nats per response.

    Source: Beirami et al. 2024, arXiv 2401.01879.
    """
    return math.log(n) - (n - 1) / n

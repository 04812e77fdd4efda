"""What the best of n responses would score, from N ≥ n stored ones, without drawing again."""

from __future__ import annotations

import math
from typing import cast

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
    return cast("Array", _shared(ranked, judged) @ weights)


def _shared(ranked: Array, judged: Array) -> Array:
    """Scores in which those that are judged equal are replaced by their mean; both (..., N), `judged` rising."""
    first = np.ones(judged.shape, dtype=bool)
    first[..., 1:] = judged[..., 1:] != judged[..., :-1]
    group = np.cumsum(first.ravel()) - 1
    means = np.bincount(group, ranked.ravel()) / np.bincount(group)
    return cast("Array", means[group].reshape(ranked.shape))


def most_divergence(n: int) -> float:
    """The bound log n − (n − 1)/n: the most that KL(best of n ‖ policy) can be, in nats per response.

    Source: Beirami et al. 2024, arXiv 2401.01879.
    """
    return math.log(n) - (n - 1) / n

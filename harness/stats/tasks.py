"""The mean difference over several tasks: seeds are shared by the tasks, documents are each task's own.

Every task counts alike, however many documents it has. What differs between runs is taken from each run's mean over
the tasks, so that a seed that is bad for all of them counts as that; the documents' parts of the tasks are independent
and add up. Each part is held against its own t, as for one task (Banerjee 1960 is for any number of parts).

With one task it is `contrast`'s interval. Checked in tests/stats/test_tasks.py by hand and by simulation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.stats.bounds import Array, t_quantile
from harness.stats.contrast import ROUNDING, Mean, Undecidable
from harness.stats.parts import parts_of_difference


def over_tasks(
    tasks: Sequence[tuple[Array, Array]], counts: Sequence[int], *, paired: bool, alpha: float = 0.05
) -> Mean | Undecidable:
    """The mean over tasks of a minus b, with its interval over other seeds and other documents of these tasks.

    Args:
        tasks: of each group of tasks that ask the same documents, a's (S_a, P) and b's (S_b, P) scores, means over the
            tasks of the group; the runs of a are the same everywhere and in the same order, so are those of b, and
            when paired they are the same seeds.
        counts: how many tasks are in each group.
        paired: compare seed by seed.
        alpha: of the interval.

    Returns:
        A `Mean`, whose prompts are the documents of all groups, or `Undecidable` with fewer than two runs, fewer than
        two documents in a group, or where nothing varies.
    """
    weights = [count / sum(counts) for count in counts]
    a, b = (sum(w * side.mean(1) for w, side in zip(weights, sides, strict=True)) for sides in zip(*tasks, strict=True))
    runs, documents, value = (len(a), len(b)), [one.shape[1] for one, _ in tasks], float(a.mean() - b.mean())
    if min(*runs, *documents) < 2:
        return Undecidable("fewer than two runs, or two documents", value, runs, sum(documents))
    seed, df = _of_seeds(a, b, paired)
    found = [parts_of_difference(*sides, paired=paired) for sides in tasks]
    extras = [float(w**2 * (one.prompt - one.cell)) for w, one in zip(weights, found, strict=True)]
    extra = max(sum(extras), 0.0)
    if seed + extra <= (ROUNDING * max(float(np.abs(side).max()) for sides in tasks for side in sides)) ** 2:
        return Undecidable("nothing varies", value, runs, sum(documents))
    wide = sum(t_quantile(n - 1, alpha) ** 2 * one for n, one in zip(documents, extras, strict=True))
    half = float(np.sqrt(t_quantile(df, alpha) ** 2 * seed + np.maximum(wide, 0.0)))
    return Mean(value, value - half, value + half, float(np.sqrt(seed + extra)), alpha, min(runs), sum(documents))


def _of_seeds(a: Array, b: Array, paired: bool) -> tuple[float, float]:
    """The variance of mean(a) - mean(b) because runs differ, and its degrees of freedom (Welch's where not paired)."""
    if paired:
        return float((a - b).var(ddof=1)) / len(a), len(a) - 1.0
    own, other = (float(side.var(ddof=1)) / len(side) for side in (a, b))
    below = own**2 / (len(a) - 1) + other**2 / (len(b) - 1)
    return own + other, (own + other) ** 2 / below if below > 0 else min(len(a), len(b)) - 1.0

"""The mean over tasks: by hand, as one task's contrast, and right as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from harness.stats.contrast import Mean, Undecidable, contrast
from harness.stats.tasks import over_tasks

TASKS = {  # documents and difficulty of each task; sd of seeds, of seeds in one task, of documents, of cells
    "near the ceiling": ([64, 64], [2.0, 1.5], [0.2, 0.3], 0.15, 0.1, 0.3, 0.3),
    "of unlike sizes": ([30, 300], [0.0, 1.0], [-0.3, 0.1], 0.1, 0.1, 0.5, 0.3),
    "without an effect of seeds": ([50, 100], [0.0, 1.0], [-0.3, 0.1], 0.0, 0.0, 0.5, 0.3),
    "ten, seeds apart in each": ([40] * 10, [0.5] * 10, [0.1] * 10, 0.1, 0.3, 0.2, 0.3),
    "few documents": ([20, 20], [0.0, 0.0], [0.2, 0.2], 0.05, 0.0, 1.0, 0.1),
}


def study(rng, runs, world, same_documents=False):
    """For each task (S, P) answers, right or wrong, of a and b."""
    sizes, levels, gains, seed, in_task, document, cell = world
    of_seed = rng.normal(0, seed, (2, runs, 1))
    made = []
    for size, level, gain in zip(sizes, levels, gains, strict=True):
        if not made or not same_documents:
            hard, own = rng.normal(0, 1, size), rng.normal(0, document, size)
        apart = rng.normal(0, in_task, (2, runs, 1))
        noise = rng.normal(0, cell, (2, runs, size))
        a, b = (level + hard + of_seed[i] + apart[i] + noise[i] + (i == 0) * (gain + own) for i in (0, 1))
        made.append(((a > 0).astype(float), (b > 0).astype(float)))
    return made


def truth(world):
    _, levels, gains, seed, in_task, document, cell = world
    var = 1 + seed**2 + in_task**2 + cell**2
    return np.mean([
        norm.cdf((level + gain) / (var + document**2) ** 0.5) - norm.cdf(level / var**0.5)
        for level, gain in zip(levels, gains, strict=True)
    ])  # fmt: skip


def covered(name, runs, paired, same_documents=False, merged=False, studies=1000):
    rng, world, hits = np.random.default_rng(20), TASKS[name], 0
    for _ in range(studies):
        tasks, counts = study(rng, runs, world, same_documents), [1] * len(world[0])
        if merged:
            tasks, counts = [tuple(np.mean(sides, axis=0) for sides in zip(*tasks, strict=True))], [len(tasks)]
        found = over_tasks(tasks, counts, paired=paired)
        hits += isinstance(found, Mean) and found.low <= truth(world) <= found.high
    return hits / studies


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("runs", "paired"), [(5, True), (5, False), (10, True)])
def test_intervals_cover(name, runs, paired):
    assert 0.93 <= covered(name, runs, paired) <= 0.98


def test_documents_that_tasks_share_count_once():
    """Taken as independent, the intervals of tasks that ask the same documents would be too narrow."""
    assert 0.93 <= covered("few documents", 5, True, same_documents=True, merged=True) <= 0.98
    assert covered("few documents", 5, True, same_documents=True, merged=False) < 0.9


@pytest.mark.parametrize("paired", [True, False])
def test_of_one_task_it_is_its_contrast(paired):
    ((a, b),) = study(np.random.default_rng(1), 5, ([40], [0.0], [0.5], 0.2, 0.0, 0.5, 0.3))
    one, found = contrast(a, b, paired=paired), over_tasks([(a, b)], [1], paired=paired)
    assert (found.value, found.low, found.high) == pytest.approx((one.difference, one.low, one.high))
    assert found.se == pytest.approx(one.se)


def test_by_hand():
    """Documents of which none differs from another: the seeds' means over the tasks, and t with one degree."""
    a = [np.array([[0.2, 0.2], [0.4, 0.4]]), np.array([[0.6, 0.6, 0.6], [0.2, 0.2, 0.2]])]
    found = over_tasks([(one, np.zeros_like(one)) for one in a], [1, 1], paired=True)
    assert found.value == pytest.approx(0.35)  # the seeds have (.2 + .6) / 2 and (.4 + .2) / 2
    assert found.high - found.value == pytest.approx(t.ppf(0.975, 1) * 0.05)  # sd .0707 over the root of 2
    assert over_tasks([(one, np.zeros_like(one)) for one in a], [3, 1], paired=True).value == pytest.approx(0.325)


def test_what_has_no_interval():
    one = np.zeros((1, 4))
    assert isinstance(over_tasks([(one + 1, one)], [1], paired=True), Undecidable)
    two = np.zeros((2, 4))
    assert over_tasks([(two + 1, two), (two, two)], [1, 1], paired=True).difference == pytest.approx(0.5)
    assert isinstance(over_tasks([(two + 1, two), (two, two)], [1, 1], paired=True), Undecidable)
    assert isinstance(over_tasks([(two[:, :1] + 1, two[:, :1])], [1], paired=True), Undecidable)

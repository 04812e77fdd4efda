from __future__ import annotations

import numpy as np
import pytest

from harness.stats.pareto import front

KNOWN = {
    "cheap": (1, 0.1),
    "better": (2, 0.5),
    "dear for it": (3, 0.4),
    "best": (4, 0.9),
    "same as best": (4, 0.9),
    "less for as much": (4, 0.8),
}


def test_a_known_set_has_the_known_front() -> None:
    on = front(*zip(*KNOWN.values(), strict=True))
    assert [name for name, found in zip(KNOWN, on, strict=True) if found] == ["cheap", "better", "best", "same as best"]


def test_what_cannot_be_had_is_not_on_it() -> None:
    assert front([float("inf"), 1.0], [9.0, 0.0]) == [False, True]


def test_by_sweeping_from_the_cheapest() -> None:
    """Sorted by cost, a point of different costs is on the front where its gain is above all before it."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        costs, gains = rng.permutation(30).astype(float), rng.normal(size=30)
        order = np.argsort(costs)
        highest = np.concatenate([[-np.inf], np.maximum.accumulate(gains[order])[:-1]])
        expected = np.empty(30, bool)
        expected[order] = gains[order] > highest
        assert front(list(costs), list(gains)) == pytest.approx(expected)

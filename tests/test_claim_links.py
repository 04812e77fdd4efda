"""Claims on two metrics: arithmetic by hand, verdicts on a known truth, and how often a true null is decided."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from synthetic import World, fill, make_cells, make_plan
from test_hypotheses import GAINS, WORLD, judged, own

from harness.claims import hypothesis
from harness.records import read
from harness.report.claim_links import rank_correlation, within_contestants
from harness.report.claims import judge
from harness.report.standings import compare
from harness.stats.contrast import Contrast, contrast
from harness.store import Store

WAY = {20: (1.0, 0.5, 4.0), 0: (1.0, 1.5, 9.0)}
"""By step: the proxy is ahead of gold by 0.25 and 0.75 start-sd at 2 and 3 √nats."""


def test_ranks_are_correlated_within_prompts() -> None:
    x = np.array([[1.0, 9.0], [2.0, 5.0], [3.0, 7.0]])
    y = np.array([[10.0, 1.0], [30.0, 3.0], [20.0, 2.0]])
    first, second = (stats.spearmanr(x[:, p], y[:, p]).statistic for p in (0, 1))
    assert rank_correlation(x, y) == pytest.approx((first + second) / 2)  # as many ranks in each
    assert rank_correlation(x, 3 * x + np.array([[100.0, -5.0]])) == pytest.approx(1)
    assert rank_correlation(x, np.ones_like(x)) == 0


def test_pseudo_values_are_those_of_the_definition() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 3, 4))

    def plain(seeds: list[int]) -> float:
        a, b = (side[:, seeds] - side[:, seeds].mean(1, keepdims=True) for side in (x, y))
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    every = list(range(4))
    expected = [4 * plain(every) - 3 * plain([seed for seed in every if seed != out]) for out in every]
    np.testing.assert_allclose(within_contestants(x, y), expected)


@pytest.mark.parametrize(("truth", "shared"), [(0.0, 0.0), (0.0, 0.8), (0.6, 0.0)])
def test_the_interval_of_a_correlation_over_runs_holds_the_truth(truth: float, shared: float) -> None:
    """Five seeds, six methods; runs of a seed share a part of their noise, as they share start and order."""
    random, held, studies = np.random.default_rng(3), 0, 400
    for _ in range(studies):
        common = random.normal(size=(2, 1, 5)) * shared
        x, e = random.normal(size=(2, 6, 5))
        y = truth * x + (1 - truth**2) ** 0.5 * e
        found = within_contestants(x + common[0], y + common[1])
        result = contrast(np.stack([found] * 2, 1), np.full((5, 2), truth), paired=True)
        held += isinstance(result, Contrast) and result.low <= 0 <= result.high
    assert held / studies >= 0.91


def test_spreads_that_are_alike_are_seldom_called_different() -> None:
    random, wrong, studies = np.random.default_rng(4), 0, 1000
    for _ in range(studies):
        sides = []
        for _ in range(2):
            means = random.normal(size=5)
            apart = np.abs(means - np.median(means))
            sides.append(np.stack([apart, apart], 1))
        result = contrast(*sides, paired=True)
        wrong += isinstance(result, Contrast) and result.p <= 0.05
    assert wrong / studies <= 0.07


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        (own(metric="reward/oracle", a=("every",), b=(), correlates="gold", against=0.5), "SUPPORTED, LARGE"),
        (
            own(metric="length", a=("every",), b=(), correlates="gold", against=0.5, direction="below"),
            "SUPPORTED, LARGE",
        ),
        (own(metric="length", a=("every",), b=(), correlates="gold", against=0.5), "CONTRADICTED"),
        (own(metric="reward/oracle", a=("dpo", "ipo"), b=(), correlates="gold", against=0.5), "NOT RUN"),
    ],
)
def test_whether_a_metric_tells_another(tmp_path: Path, claim: Any, word: str) -> None:
    (one,), _, _, _ = judged(tmp_path, [claim])
    assert one.word == word
    assert one.found[0].scored.label.startswith(f"correlation of {claim.metric} and gold")


def test_the_estimate_is_the_mean_correlation_of_the_seeds(tmp_path: Path) -> None:
    claim = own(metric="reward/oracle", a=("every",), b=(), correlates="gold", against=0.5)
    (one,), _, _, (comparison,) = judged(tmp_path, [claim])
    names = ["sft", *GAINS]
    sides = [[comparison.cubes[role].by_contestant[n].values.mean(2) for n in names] for role in ("oracle", "gold")]
    by_hand = [rank_correlation(*(np.stack([own[seed] for own in side]) for side in sides)) for seed in range(5)]
    result = one.found[0].result
    assert result is not None
    assert result.difference == pytest.approx(np.mean(by_hand) - 0.5)


def test_a_proxy_that_runs_ahead_is_found(tmp_path: Path) -> None:
    claims = [own("Z1", metric="widening", b=(), against=0.0), own("Z2", metric="widening", b=(), against=0.0)]
    claims[1] = replace(claims[1], a=("sft",))
    cells = make_cells(list(GAINS), 5, steps=(20,))
    plan = make_plan(cells, 5)
    plan = replace(plan, recipe=replace(plan.recipe, hypotheses=tuple(claims)))
    fill(tmp_path, cells, World(GAINS, prompts=30, samples=2, way=WAY))
    tables = read(plan, Store(tmp_path))
    comparisons = compare(plan, tables)
    ahead, start = (one for one in judge(plan, tables, comparisons) if one.claim.tier == "own")
    assert ahead.word.startswith("SUPPORTED")
    assert start.word == "NOT RUN"
    scales, result = comparisons[0].scales, ahead.found[0].result
    gaps = [extra / scales["proxy"].sd for extra in (0.5, 1.5)]
    expected = (2 * gaps[0] + 3 * gaps[1]) / (4 + 9)
    assert result is not None
    assert result.difference == pytest.approx(expected, abs=0.03)


def test_a_spread_is_the_distance_to_the_median_run(tmp_path: Path) -> None:
    (one,), _, _, (comparison,) = judged(tmp_path, [own(metric="spread:gold", b=("ipo",))], WORLD)
    means = {name: comparison.runs[name].scores.mean(1) for name in ("dpo", "ipo")}
    apart = {name: np.abs(own - np.median(own)).mean() for name, own in means.items()}
    result = one.found[0].result
    assert result is not None
    assert result.difference == pytest.approx(apart["dpo"] - apart["ipo"])


def test_a_correlation_needs_a_number_to_be_compared_with() -> None:
    told: list[str] = []
    given = {"id": "Z", "claim": "c", "metric": "bleu", "correlates": "gold", "a": ["every"], "b": ["start"],
             "direction": "above", "delta": 0.1}  # fmt: skip
    assert hypothesis(given, lambda key, text: told.append(text)) is None
    assert told == ["a hypothesis that correlates two metrics compares the correlation with a number: against"]

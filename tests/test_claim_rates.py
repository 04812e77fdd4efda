"""Rates of collapse: by hand, and how often they are wrong where runs of a seed share their fate."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic import fail, fill, make_cells, make_plan
from test_claim_tests import own_verdicts
from test_hypotheses import WORLD, own

from harness.report.claim_rates import Rates
from harness.report.claim_words import NO_RATE, remarks
from harness.report.hypotheses import hypotheses_sheet
from harness.report.sheet import rows
from harness.stats.runs import rate

Side = tuple[float, ...]
NULLS, APART = ((0.05, 0.05), (0.2, 0.2), (0.5, 0.5)), ((0.02, 0.2), (0.2, 0.5), (0.1, 0.6))
FATES = ("none", "in part, of all", "of each group", "of the first group", "of all")


def seeds(bad: int, n: int) -> Side:
    """One contestant, of which so many runs collapsed."""
    return (1.0,) * bad + (0.0,) * (n - bad)


def test_rates_of_collapse_are_tested_exactly() -> None:
    rates = Rates((seeds(6, 10), seeds(0, 10)))
    assert rates.p == pytest.approx(stats.boschloo_exact([[6, 0], [4, 10]]).pvalue)
    assert rates.difference == pytest.approx(0.6)
    assert rates.low < 0.6 < rates.high
    assert Rates((seeds(0, 5), seeds(0, 5))).p == 1.0
    assert Rates((seeds(5, 5), seeds(3, 3))).p == 1.0


def test_the_interval_is_newcombes_of_both_exact_ones() -> None:
    rates, both = Rates((seeds(2, 5), seeds(1, 8))), (rate(2, 5), rate(1, 8))
    (one, low, high), (other, other_low, other_high) = (found for found in both if found)
    assert rates.low == pytest.approx(one - other - np.hypot(one - low, other_high - other))
    assert rates.high == pytest.approx(one - other + np.hypot(high - one, other - other_low))


def test_runs_of_a_group_are_no_more_than_its_seeds() -> None:
    """What one contestant of each side shows, a group whose runs share fate does not show better."""
    alone, group = (Rates((seeds(4, 5), seeds(0, 5)), groups) for groups in (False, True))
    assert group.n_runs == (5, 5)
    assert (group.difference, group.p) == (alone.difference, pytest.approx(2 * alone.p))
    assert group.low < alone.low < alone.high < group.high
    nothing = Rates((seeds(0, 5), seeds(0, 5)), groups=True)
    assert (nothing.p, nothing.low, nothing.high) == (
        1.0,
        pytest.approx(-0.5218, abs=1e-4),
        pytest.approx(0.5218, abs=1e-4),
    )


def test_a_groups_p_is_twice_the_median_over_one_run_of_each_seed() -> None:
    """Of four seeds all runs collapsed, of the fifth one in three: two draws in three have four of five."""
    four, five = (Rates((seeds(bad, 5), seeds(0, 5))).p for bad in (4, 5))
    found = Rates(((1.0, 1.0, 1.0, 1.0, 1 / 3), seeds(0, 5)), groups=True)
    assert (found.p, four > five) == (pytest.approx(2 * four), True)
    assert Rates(((1.0, 1.0, 1.0, 1.0, 2 / 3), seeds(0, 5)), groups=True).p == pytest.approx(2 * five)
    assert found.difference == pytest.approx(13 / 15)


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("fate", [0.0, 0.5, 1.0])
def test_two_contestants_are_told_apart_as_they_should_be_where_seeds_share_fate(fate: float, n: int) -> None:
    """Exactly, no simulation: in a share `fate` of seeds both collapse or not by the same draw."""
    for a, b in ((x, y) for x in (0.02, 0.1, 0.2, 0.5, 0.9) for y in (0.02, 0.1, 0.2, 0.5, 0.9)):
        both = (1 - fate) * a * b + fate * min(a, b)
        chances = np.array([both, a - both, b - both, 1 - a - b + both]).clip(min=0)
        wrong = covered = 0.0
        for split in (
            (i, j, k, n - i - j - k) for i in range(n + 1) for j in range(n + 1 - i) for k in range(n + 1 - i - j)
        ):
            one = pair(split[0] + split[1], split[0] + split[2], n)
            p = float(stats.multinomial.pmf(split, n, chances / chances.sum()))
            wrong += p * (one.p <= 0.05)
            covered += p * (one.low - 1e-9 <= a - b <= one.high + 1e-9)
        assert covered >= 0.93
        assert a != b or wrong <= 0.05


@cache
def pair(bad: int, other: int, n: int) -> Rates:
    return Rates((seeds(bad, n), seeds(other, n)))


def studies(fate: str, a: float, b: float, n: int, count: int = 500) -> list[tuple[np.ndarray, np.ndarray]]:
    """Three contestants against six, and which of their runs collapse; runs of a seed share what `fate` says."""
    random, found = np.random.default_rng(7), []
    for _ in range(count):
        draws = [random.normal(size=(n, size)) for size in (3, 6)]
        shared = [random.normal(size=(n, 1)) for _ in draws]
        if fate == "in part, of all":
            draws = [(own + shared[0]) / 2**0.5 for own in draws]
        if fate in ("of all", "of each group"):
            draws = [0 * own + shared[0 if fate == "of all" else place] for place, own in enumerate(draws)]
        if fate == "of the first group":
            draws[0] = 0 * draws[0] + shared[0]
        one, other = (own < stats.norm.ppf(chance) for own, chance in zip(draws, (a, b), strict=True))
        found.append((one, other))
    return found


def grouped(sides: tuple[np.ndarray, np.ndarray]) -> Rates:
    one, other = (tuple(map(float, runs.mean(axis=1))) for runs in sides)
    return Rates((one, other), groups=True)


def pooled(sides: tuple[np.ndarray, np.ndarray]) -> Rates:
    """Known to be wrong: each run as if it were a seed of its own."""
    one, other = (seeds(int(runs.sum()), runs.size) for runs in sides)
    return Rates((one, other))


@cache
def wrong_and_covered(fate: str, a: float, b: float, n: int = 5, kind: str = "grouped") -> tuple[float, float]:
    """How often rates are called different, and how often the interval holds their difference."""
    found = [{"grouped": grouped, "pooled": pooled}[kind](one) for one in studies(fate, a, b, n)]
    covered = [one.low - 1e-9 <= a - b <= one.high + 1e-9 for one in found]
    assert all(one.low <= one.difference <= one.high for one in found)
    return float(np.mean([one.p <= 0.05 for one in found])), float(np.mean(covered))


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("fate", FATES)
def test_groups_of_equal_rates_are_seldom_called_different(fate: str, n: int) -> None:
    for a, b in NULLS:
        wrong, covered = wrong_and_covered(fate, a, b, n)
        assert wrong <= 0.06
        assert covered >= 0.93


@pytest.mark.parametrize("fate", FATES)
def test_intervals_of_groups_hold_a_difference(fate: str) -> None:
    assert all(wrong_and_covered(fate, a, b)[1] >= 0.93 for a, b in APART)


@pytest.mark.parametrize("fate", ["of each group", "of the first group"])
def test_runs_pooled_over_seeds_are_told_apart_too_often(fate: str) -> None:
    """Had rates become this again, the tests above would fail: it is far outside their bands."""
    wrong, covered = wrong_and_covered(fate, 0.2, 0.2, kind="pooled")
    assert wrong > 0.15
    assert covered < 0.85


def test_ten_seeds_find_a_group_that_collapses_often() -> None:
    assert all(wrong_and_covered(fate, 0.0, 0.8, 10)[0] > 0.8 for fate in FATES)


@pytest.mark.parametrize("groups", [False, True])
def test_so_many_more_seeds_find_a_difference(groups: bool) -> None:
    """Where all runs of a seed share fate, the hardest case; one of five seeds has collapsed, and none has."""
    for bad in (0, 1):
        now = Rates((seeds(bad, 5), seeds(bad, 5)), groups)
        n = 5 + (now.more_seeds(0.4, 0.05) or 0)
        pooled_rate = (2 * bad + 0.5) / 11
        chances = [stats.binom.pmf(range(n + 1), n, pooled_rate + delta) for delta in (0.4, 0.0)]
        power = sum(
            p * q
            for i, p in enumerate(chances[0])
            for j, q in enumerate(chances[1])
            if p * q > 1e-6 and Rates((seeds(i, n), seeds(j, n)), groups).p <= 0.05
        )
        assert 0.75 <= power <= 0.9


def test_where_no_rate_differs_so_much_no_number_of_seeds_is_said() -> None:
    assert Rates((seeds(3, 5), seeds(2, 5))).more_seeds(0.6, 0.05) is None
    assert Rates((seeds(0, 60), seeds(0, 60))).more_seeds(0.2, 0.05) == 0


def test_why_no_number_of_seeds_is_said_is_told(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "kto"], 2)
    fill(tmp_path, cells, WORLD, skip={("dpo", 0)})
    fail(tmp_path, next(cell.policy for cell in cells if (cell.contestant, cell.replicate) == ("dpo", 0)), "diverged")
    plan = make_plan(cells, 2)
    found = own_verdicts(plan, tmp_path, own(metric="collapse", b=("kto",), delta=0.8))
    (row,) = rows(hypotheses_sheet(found).frame)
    assert (row["more_seeds"], remarks(row)) == (None, [NO_RATE])


def test_failed_and_degenerate_runs_have_collapsed(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "kto"], 5)
    lost = {("dpo", seed) for seed in range(4)}
    fill(tmp_path, cells, WORLD, skip=lost)
    for cell in cells:
        if (cell.contestant, cell.replicate) in lost:
            fail(tmp_path, cell.policy, "diverged")
    (one,) = own_verdicts(make_plan(cells, 5), tmp_path, own(metric="collapse", b=("kto",), delta=0.2))
    result = one.found[0].result
    assert isinstance(result, Rates)
    assert (result.shares, result.groups) == ((seeds(4, 5), seeds(0, 5)), False)
    assert one.word == "SUPPORTED"


def test_a_seed_in_which_a_member_of_a_group_has_not_run_is_left_out(tmp_path: Path) -> None:
    """Else its share would be one of other methods; the failed run counts, of the seeds that are whole."""
    cells = make_cells(["dpo", "ipo", "kto"], 5)
    fill(tmp_path, cells, WORLD, skip={("dpo", 0), ("ipo", 4)})
    fail(tmp_path, next(cell.policy for cell in cells if (cell.contestant, cell.replicate) == ("dpo", 0)), "diverged")
    claim = own(metric="collapse", a=("dpo", "ipo"), b=("kto",), contrast="groups", delta=0.2)
    (one,) = own_verdicts(make_plan(cells, 5), tmp_path, claim)
    (found,) = one.found
    assert isinstance(found.result, Rates)
    assert (found.result.shares, found.result.groups) == (((0.5, 0.0, 0.0, 0.0), seeds(0, 5)), True)
    assert (found.scored.unmatched, one.word) == (1, "UNDECIDED")

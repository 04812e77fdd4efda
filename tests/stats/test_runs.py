"""Failed runs are counted, by a rule."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint
from worlds import World

from harness.stats.contrast import Undecidable, summary
from harness.stats.runs import Runs, common, rate, share_above, share_ends, with_failures
from harness.stats.verdicts import verdicts


def five(seed=0):
    a, b = World(seed=0.05, cell=0.3, cross=0.05).studies(np.random.default_rng(seed), 2, 1, 5, 80)
    return a[0], b[0]


def test_how_often_a_run_is_above_another_by_hand():
    a = Runs(np.array([[1.0, 3.0], [0.0, 0.0], [5.0, 5.0], [1.0, 1.0]]), (0, 1, 2, 3))
    b = Runs(np.array([[1.0, 1.0], [4.0, 4.0], [0.0, 0.0]]), (3, 2, 1))
    assert share_above(a, b, paired=True) == rate(2, 3), "a tie, a win and a tie of three seeds"
    assert share_above(a, b, paired=False) == (7 / 12, None, None)
    for paired in (True, False):
        assert share_above(a, Runs(np.zeros((0, 2)), ()), paired=paired) is None


def test_a_failed_run_stands_in_with_the_starts_scores_of_its_replicate():
    a, start = five()
    done = Runs(a[[0, 2, 4]], (0, 2, 4))
    found = with_failures(done, (3, 1), Runs.of(start))
    assert found.replicates == (0, 1, 2, 3, 4)
    assert found.imputed == (1, 3)
    assert found.scores[[1, 3]] == pytest.approx(start[[1, 3]])
    assert found.scores[[0, 2, 4]] == pytest.approx(a[[0, 2, 4]])
    assert found.finished.scores == pytest.approx(done.scores)


def test_a_stated_failure_score():
    a, start = five()
    found = with_failures(Runs(a[:3], (0, 1, 2)), (4,), Runs.of(start), score=-2.0)
    assert (found.scores[3] == -2.0).all()


def test_without_the_starts_replicate_there_is_no_stand_in():
    a, start = five()
    done = Runs(a[:3], (0, 1, 2))
    assert with_failures(done, (9,), Runs.of(start)) == done
    none = Runs(np.empty((0, 80)), ())
    assert with_failures(none, (0, 1), Runs.of(start)) is none


def test_failures_lower_the_gain_and_both_numbers_are_shown():
    a, start = five()
    done = Runs(a[:3] + 1.0, (0, 1, 2))
    scores = {"start": start, "a": with_failures(done, (3, 4), Runs.of(start))}
    [found] = verdicts(scores, "start", 0.1).start
    assert found.result.difference == pytest.approx(0.6, abs=0.15)
    assert found.finished_only.difference == pytest.approx(1.0, abs=0.15)
    assert found.finished_only.n_runs == (3, 3)
    assert any("2 of 5 runs of a failed" in note for note in found.notes)


def test_stand_ins_are_no_evidence_of_equivalence():
    a, start = five()
    scores = {"start": start, "a": with_failures(Runs(start[:3], (0, 1, 2)), (3, 4), Runs.of(start))}
    [found] = verdicts(scores, "start", 1.0).start
    assert found.word == "cannot separate"
    [finished] = verdicts({"start": start, "a": a}, "start", 1.0).start
    assert finished.word == "equivalent"


def test_a_contestant_without_a_finished_run_stays_in_the_family():
    a, start = five()
    scores = {"start": start, "a": a + 0.3, "gone": Runs(np.empty((0, 80)), ())}
    found = verdicts(scores, "start", 0.1)
    assert isinstance(found.start[1].result, Undecidable)
    assert found.start[1].word == "cannot separate"
    assert found.start[0].p_holm == pytest.approx(2 * found.start[0].result.p)
    assert "gone" not in found.top_set


def test_common_replicates_in_order():
    a, start = five()
    left, right = common(Runs(a[[3, 0, 1]], (3, 0, 1)), Runs(start[1:], (1, 2, 3, 4)))
    assert left.replicates == right.replicates == (1, 3)
    assert left.scores == pytest.approx(a[[1, 3]])


def test_contradictions_are_refused():
    a, start = five()
    with pytest.raises(ValueError, match="failed and as finished"):
        with_failures(Runs.of(a), (1,), Runs.of(start))
    with pytest.raises(ValueError, match="twice"):
        Runs(a[:2], (1, 1))
    with pytest.raises(ValueError, match="3 replicates"):
        Runs(a[:2], (1, 2, 3))


@pytest.mark.parametrize(("count", "n"), [(0, 5), (2, 5), (5, 5), (30, 100), (3, 1000)])
def test_a_rates_interval_is_what_the_exact_test_does_not_refuse(count, n):
    share, low, high = rate(count, n)
    assert share == count / n
    for end, outside in ((low, -1e-4), (high, 1e-4)):
        if 0 < end < 1:
            assert binomtest(count, n, end - outside / 10).pvalue > 0.05 >= binomtest(count, n, end + outside).pvalue
    beta = proportion_confint(count, n, method="beta")
    assert high - low <= beta[1] - beta[0] + 3e-4, "about as short as Clopper and Pearson's, or shorter"


def test_five_of_five_is_at_least_a_half():
    assert rate(5, 5) == pytest.approx((1, 0.5, 1), abs=1e-6)
    assert rate(0, 5) == pytest.approx((0, 0, 0.5), abs=1e-6)


def test_half_a_count_has_the_ends_of_both_neighbours():
    assert rate(2.5, 5) == (0.5, rate(2, 5)[1], rate(3, 5)[2])


def test_rate_of_nothing():
    assert rate(0, 0) is None


@pytest.mark.parametrize(("count", "n"), [(1, 400), (3, 50), (30, 60), (199, 200)])
def test_of_independent_answers_a_shares_ends_are_those_of_the_count(count, n):
    share = count / n
    half = 1.959963984540054 * (share * (1 - share) / n) ** 0.5
    assert share_ends(share, half, n) == pytest.approx(proportion_confint(count, n, method="beta"))


def test_a_wider_plain_interval_gives_wider_ends_within_0_and_1():
    narrow, wide = share_ends(0.02, 0.01, 5000), share_ends(0.02, 0.1, 5000)
    assert 0 < wide[0] < narrow[0] < 0.02 < narrow[1] < wide[1] < 1


@pytest.mark.parametrize("half", [0.0, 1e-9, 0.01])
def test_a_share_is_never_worth_more_answers_than_there_are(half):
    """Two runs that score alike by chance have a plain interval of no width."""
    assert share_ends(0.05, half, 40) == pytest.approx(proportion_confint(2, 40, method="beta"))


def test_ends_of_a_rare_share_cover_where_plain_ones_do_not():
    """Five seeds that differ in how often a response is empty, about one in eighty, 60 prompts, two samples."""
    rng = np.random.default_rng(0)
    plain = bent = studies = 0
    for _ in range(1500):
        often = np.clip(rng.gamma(4, 0.0125 / 4, (5, 1, 1)), 0, 1)
        scores = (rng.random((5, 60, 2)) < often).mean(2)
        found = summary(scores)
        if not 0 < found.value < 1:
            continue
        studies += 1
        low, high = share_ends(found.value, found.high - found.value, 600)
        plain += found.low <= 0.0125 <= found.high
        bent += low <= 0.0125 <= high
    assert bent / studies >= 0.94
    assert plain / studies < 0.93

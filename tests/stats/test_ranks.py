from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from worlds import World

from harness.stats.contrast import contrast
from harness.stats.ranks import kendall, ranks
from harness.stats.runs import Runs


def of(scores, seeds=None):
    return Runs(np.asarray(scores, dtype=float), tuple(seeds or range(len(scores))))


def test_kendall_by_hand():
    order = np.array([1.0, 2.0, 3.0, 4.0])
    others = np.array([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], [2.0, 1.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]])
    assert kendall(order, others).tolist() == pytest.approx([1, -1, 4 / 6, 0])


def test_kendall_is_scipys_without_ties():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(12), rng.standard_normal((5, 12))
    assert kendall(a, b) == pytest.approx([stats.kendalltau(a, row).statistic for row in b])


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.15])
def test_of_two_contestants_the_chance_is_that_of_the_paired_t(gap):
    """Where prompts add nothing of their own, the chance of being best is the t distribution's."""
    rng = np.random.default_rng(3)
    shared = rng.standard_normal((1, 50))
    a = gap + 0.1 * rng.standard_normal((6, 1)) + shared
    b = 0.1 * rng.standard_normal((6, 1)) + shared
    d = (a - b).mean(1)
    exact = stats.t.cdf(d.mean() / (d.std(ddof=1) / 6**0.5), 5)
    found = ranks({"a": of(a), "b": of(b)}, 0.0)
    assert found.best["a"] == pytest.approx(exact, abs=0.025)
    assert found.best["a"] + found.best["b"] == pytest.approx(1)


def test_prompts_count_as_noise_too():
    """Many seeds that agree on few prompts say little about other prompts."""
    rng = np.random.default_rng(4)
    taste = 0.5 * rng.standard_normal((1, 20))
    a = taste + 0.02 * rng.standard_normal((40, 20))
    b = 0.02 * rng.standard_normal((40, 20))
    result = contrast(a, b, paired=True)
    exact = stats.norm.cdf(result.difference / result.se)
    assert ranks({"a": of(a), "b": of(b)}, 0.0).best["a"] == pytest.approx(exact, abs=0.03)


def test_what_all_contestants_share_moves_no_order():
    rng = np.random.default_rng(5)
    base = {name: rng.standard_normal((5, 30)) * 0.1 + i * 0.02 for i, name in enumerate("abc")}
    common = 10 * rng.standard_normal((5, 1)) + 10 * rng.standard_normal((1, 30))
    alone = ranks({name: of(scores) for name, scores in base.items()}, 0.01)
    moved = ranks({name: of(scores + common) for name, scores in base.items()}, 0.01)
    assert moved.best == pytest.approx(alone.best)
    assert moved.again == pytest.approx(alone.again)
    assert moved.seeds == pytest.approx(alone.seeds)


def test_a_clear_winner_and_a_tie():
    rng = np.random.default_rng(6)
    runs = {name: of(mean + 0.01 * rng.standard_normal((5, 20))) for name, mean in (("a", 1.0), ("b", 0.0), ("c", 0.0))}
    found = ranks(runs, 0.5)
    assert found.best["a"] == 1.0
    assert found.near_best == {"a": 1.0, "b": 0.0, "c": 0.0}
    wide = ranks(runs, 2.0)
    assert wide.near_best == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_equal_contestants_are_best_equally_often():
    chances = np.mean(
        [
            list(ranks({str(i): of(y) for i, y in enumerate(study)}, 0.0, seed=0).best.values())
            for study in _studies(World(), 4, 5, 40, 60, seed=1)
        ],
        axis=0,
    )
    assert chances == pytest.approx([0.25] * 4, abs=0.07)


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.15, 0.3])
@pytest.mark.parametrize(("contestants", "seeds"), [(6, 3), (6, 5), (20, 5)])
def test_the_order_made_again_has_about_the_tau_that_was_foretold(contestants, seeds, spread):
    """What is foretold is compared with real second studies; equal contestants have no order that comes again."""
    rng = np.random.default_rng(8)
    foretold, found = [], []
    for first, second in zip(
        *[_studies(World(cross=0.0), contestants, seeds, 40, 80, seed=s) for s in (2, 3)], strict=True
    ):
        truth = spread * rng.standard_normal(contestants)
        a, b = ([y + gain for y, gain in zip(study, truth, strict=True)] for study in (first, second))
        foretold.append(ranks({str(i): of(y) for i, y in enumerate(a)}, 0.0).again)
        found.append(stats.kendalltau([y.mean() for y in a], [y.mean() for y in b]).statistic)
    assert np.mean(foretold) == pytest.approx(np.mean(found), abs=0.15 if seeds > 3 else 0.25)


def test_only_shared_seeds_count_and_their_names_matter():
    rng = np.random.default_rng(9)
    a, b = rng.standard_normal((4, 10)), rng.standard_normal((3, 10))
    found = ranks({"a": of(a, [0, 1, 2, 3]), "b": of(b, [2, 3, 1])}, 0.0)
    assert found.n_seeds == 3
    same = ranks({"a": of(a[[1, 2, 3]], [1, 2, 3]), "b": of(b[[2, 0, 1]], [1, 2, 3])}, 0.0)
    assert found.best == same.best


def test_a_contestant_without_runs_is_left_out_and_named():
    rng = np.random.default_rng(10)
    runs = {name: of(rng.standard_normal((3, 10))) for name in "ab"}
    found = ranks(runs | {"none": Runs(np.zeros((0, 10)), ()), "one": of(np.ones((1, 10)))}, 0.1)
    assert found.left_out == ("none", "one")
    assert found.best == ranks(runs, 0.1).best


@pytest.mark.parametrize(
    "runs",
    [
        {},
        {"a": of(np.ones((3, 4)))},
        {"a": of(np.ones((3, 4)), [0, 1, 2]), "b": of(np.ones((3, 4)), [2, 3, 4])},
        {"a": of(np.ones((3, 1))), "b": of(np.zeros((3, 1)))},
    ],
)
def test_where_no_noise_can_be_told_there_is_nothing(runs):
    assert ranks(runs, 0.1) is None


def _studies(world, contestants, runs, prompts, reps, seed):
    """One list of (S, P) arrays per study."""
    arrays = world.studies(np.random.default_rng(seed), contestants, reps, runs, prompts)
    return [[y[r] for y in arrays] for r in range(reps)]

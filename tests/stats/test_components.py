from __future__ import annotations

import re
from pathlib import Path

import calibration
import numpy as np
import pandas as pd
import pytest
from calibration import components_told
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from harness.stats.components import SOURCES, components, split
from harness.stats.parts import parts_of_difference

DOCS = Path(__file__).parents[2] / "docs" / "statistics.md"


def scores(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("shape", ["normal", "t4", "collapse"])
def test_the_mean_of_the_estimates_is_the_truth(shape, paired):
    """Moments know of no distribution: within 3.5 standard errors of 2000 studies, 13 components at a time."""
    for (source, shared), (truth, estimates) in components_told(shape, paired=paired).items():
        error = estimates.std() / len(estimates) ** 0.5
        assert abs(estimates.mean() - truth) < 3.5 * error, (source, shared)


def test_some_estimates_are_negative_and_cutting_them_would_be_biased():
    truth, estimates = components_told("normal", paired=True)["seed", True]
    assert (estimates < 0).any()
    assert np.maximum(estimates, 0).mean() > truth + 3.5 * estimates.std() / len(estimates) ** 0.5


@pytest.mark.parametrize("samples", [1, 4])
def test_they_make_the_mean_variance_of_all_differences(samples):
    """What is each contestant's own is, in a difference, what the estimator finds on average over all pairs."""
    y = scores(4, 3, 6, samples) + scores(4, 3, 1, 1, seed=1)
    pairs = [(a, b) for a in range(4) for b in range(a)]
    for paired in (True, False):
        found = [parts_of_difference(y[a].mean(-1), y[b].mean(-1), paired=paired) for a, b in pairs]
        uncut = np.mean([one.seed + one.prompt - one.cell for one in found])
        own = [part for part in split(y, paired=paired) if not part.shared]
        assert sum(2 * part.variance / part.many for part in own) == pytest.approx(uncut)


def test_mean_squares_are_statsmodels():
    y = scores(3, 4, 5, 2) + scores(3, 4, 1, 1, seed=1) + scores(1, 1, 5, 1, seed=2)
    index = pd.MultiIndex.from_product([range(n) for n in y.shape], names=["a", "s", "p", "k"])
    frame = pd.DataFrame({"y": y.ravel()}, index=index).reset_index()
    table = anova_lm(ols("y ~ C(a) * C(s) * C(p) + C(s):C(p):C(k)", frame).fit())
    square = table["sum_sq"] / table["df"]
    by = {"s": "C(s)", "p": "C(p)", "sp": "C(s):C(p)", "k": "C(s):C(p):C(k)"}
    own = {"s": "C(a):C(s)", "p": "C(a):C(p)", "sp": "C(a):C(s):C(p)", "k": "Residual"}
    m, r = ({name: square[term] for name, term in terms.items()} for terms in (by, own))
    expected = {
        ("seed", True): (m["s"] - m["sp"] - r["s"] + r["sp"]) / (3 * 5 * 2),
        ("prompt", True): (m["p"] - m["sp"] - r["p"] + r["sp"]) / (3 * 4 * 2),
        ("cell", True): (m["sp"] - m["k"] - r["sp"] + r["k"]) / (3 * 2),
        ("response", True): (m["k"] - r["k"]) / 3,
        ("seed", False): (r["s"] - r["sp"]) / (5 * 2),
        ("prompt", False): (r["p"] - r["sp"]) / (4 * 2),
        ("cell", False): (r["sp"] - r["k"]) / 2,
        ("response", False): r["k"],
    }
    assert {(part.source, part.shared): part.variance for part in split(y, paired=True)} == pytest.approx(expected)


def test_what_is_added_to_all_contestants_moves_the_shared_ones_alone():
    y = scores(3, 4, 5, 2)
    more = y + 3 * scores(1, 4, 1, 1, seed=1) + 2 * scores(1, 4, 5, 2, seed=2) + np.arange(3)[:, None, None, None]
    before, after = ({(p.source, p.shared): float(p.variance) for p in split(each, paired=True)} for each in (y, more))
    for source in SOURCES:
        assert after[source, False] == pytest.approx(before[source, False])
    assert after["seed", True] > before["seed", True] + 1


def test_in_another_unit_they_are_its_square():
    y = scores(3, 4, 5, 2)
    for one, ten in zip(split(y, paired=True), split(10 * y, paired=True), strict=True):
        assert ten.variance == pytest.approx(100 * one.variance)


def test_one_sample_is_in_its_cell():
    found = split(scores(3, 4, 5, 1), paired=True)
    assert {part.source for part in found} == {"seed", "prompt", "cell"}


def of(y, seeds=None):
    return (tuple(seeds or range(len(y))), y)


def test_shares_and_what_more_would_save():
    y = scores(3, 4, 50, 2)
    found = components({name: of(own) for name, own in zip("abc", y, strict=True)}, paired=True)
    assert found.sizes == {"seeds": 4, "prompts": 50, "samples": 2}
    own = {part.source: part for part in found.parts if not part.shared}
    assert sum(map(found.share, own.values())) == pytest.approx(1)
    assert all(found.share(part) == 0 for part in found.parts if part.shared)
    now = sum(max(part.variance, 0) / part.many for part in own.values())
    for what in found.sizes:  # by hand: twice as many of it
        many = {source: part.many * (2 if what in SOURCES[source] else 1) for source, part in own.items()}
        then = sum(max(own[source].variance, 0) / many[source] for source in own)
        assert found.saved(what) == pytest.approx(1 - then / now)


def test_contestants_without_all_seeds_are_left_out_or_seeds_are_whichever_costs_less():
    y = scores(4, 5, 6, 2)
    whole = {name: of(own) for name, own in zip("abc", y, strict=False)}
    found = components({**whole, "late": of(y[3][:2], [0, 3])}, paired=True)
    assert (found.contestants, found.left_out, found.sizes["seeds"]) == (("a", "b", "c"), ("late",), 5)
    halves = {name: of(own[:4]) for name, own in zip("defgh", scores(5, 5, 6, 2, seed=1), strict=True)}
    found = components({"a": whole["a"], **halves}, paired=True)
    assert (found.left_out, found.sizes["seeds"]) == ((), 4)
    found = components({"a": of(y[0][:3], [0, 1, 2]), "b": of(y[1][:3], [1, 2, 3])}, paired=True)
    assert (found.left_out, found.sizes["seeds"]) == ((), 2)


def test_too_little_tells_nothing():
    y = scores(2, 3, 4, 2)
    assert components({}, paired=True) is None
    assert components({"a": of(y[0])}, paired=True) is None
    assert components({"a": of(y[0][:1]), "b": of(y[1][:1])}, paired=True) is None
    assert components({"a": of(y[0][:, :1]), "b": of(y[1][:, :1])}, paired=True) is None
    assert components({"a": of(y[0][:2], [0, 1]), "b": of(y[1][:1], [2])}, paired=True) is None


def test_equal_contestants_have_no_noise_of_their_own():
    y = scores(3, 4, 2)
    found = components({"a": of(y), "b": of(y)}, paired=True)
    assert all(found.share(part) == 0 for part in found.parts)
    assert found.saved("seeds") == 0


def test_the_documented_table_is_this_one():
    text = DOCS.read_text(encoding="utf-8")
    for name, *numbers in calibration.components_rows():
        [line] = re.findall(rf"^\| {re.escape(name)} \|.*$", text, flags=re.MULTILINE)
        assert [float(cell) for cell in line.strip("| ").split("|")[1:]] == pytest.approx(numbers, abs=0.0015)

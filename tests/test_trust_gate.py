"""Errors that gold shares with the proxy, and the gate, on simulated reward models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from harness.trust.card import COLUMNS, Share, make_card
from harness.trust.gate import Kappa, kappa, kappa_of, objections

N = 12_000


def world(shared: float, seed: int = 0, oracle: bool = True, n: int = N) -> dict[str, pd.DataFrame]:
    """Gold, proxy and a third model: truth plus errors of its variance, of which gold and proxy share a part.

    Labels follow the truth, which the oracle knows.
    """
    rng = np.random.default_rng(seed)
    truth, common = rng.normal(0, 1, (2, n))
    own = rng.normal(0, 1, (3, n))
    sign = np.sign(truth)
    gaps = {
        "gold": truth + np.sqrt(shared) * common + np.sqrt(1 - shared) * own[0],
        "proxy": truth + np.sqrt(shared) * common + np.sqrt(1 - shared) * own[1],
        "third": truth + own[2],
    }
    return {name: _table(gap * sign, np.abs(truth) if oracle else None) for name, gap in gaps.items()}


def _table(gaps: np.ndarray, margin: np.ndarray | None) -> pd.DataFrame:
    n = len(gaps)
    names = [f"pair-{i}" for i in range(n)]
    sides = [("chosen", gaps, margin), ("rejected", np.zeros(n), None if margin is None else np.zeros(n))]
    return pd.concat([
        pd.DataFrame(dict(zip(COLUMNS, ("pairs", names, names, item, score, 5, told), strict=True)))
        for item, score, told in sides
    ]).astype({"score": float, "oracle": float})  # fmt: skip


@pytest.mark.parametrize(("shared", "hard", "overstated"), [(0, 0.01, 1), (0.25, 0.17, 1.25), (0.5, 0.33, 1.5),
                                                           (1, 1, 2)])  # fmt: skip
def test_kappa_of_hard_pairs_measures_the_shared_errors(shared: float, hard: float, overstated: float) -> None:
    own = world(shared)
    found = kappa(own["gold"], own["proxy"], own["third"])
    assert found is not None
    assert found.value == pytest.approx(hard, abs=0.04)
    value, low, high = found.overstatement
    assert value == pytest.approx(overstated, abs=0.06)
    assert low <= value <= high
    assert low < high, "the estimate is no more sure than κ"
    assert found.low <= found.value <= found.high
    assert found.n == N // 3


@pytest.mark.parametrize("pairs", [20, 50, 150])
@pytest.mark.parametrize(
    ("gold", "proxy", "copied"), [(0.6, 0.6, 0.6), (0.75, 0.75, 0), (0.9, 0.9, 0), (0.95, 0.8, 0.3)]
)
def test_kappas_interval_covers(pairs: int, gold: float, proxy: float, copied: float) -> None:
    """The proxy is right where gold is, in a share `copied` of pairs, and by chance in the others."""
    alone = (1 - copied) * np.array([gold * (1 - proxy), (1 - gold) * proxy])
    shares = np.array([1 - gold - alone[1], alone[1], alone[0], gold - alone[0]])
    counts, often = np.unique(np.random.default_rng(3).multinomial(pairs, shares, 1500), axis=0, return_counts=True)
    covered = told = 0
    for table, many in zip(counts, often, strict=True):
        found = kappa_of(table.reshape(2, 2).astype(float), pairs)
        if found is not None:
            told, covered = told + many, covered + many * (found.low <= _true_kappa(shares) <= found.high)
    assert 0.925 <= covered / told <= 0.985


def _true_kappa(shares: np.ndarray) -> float:
    gold, proxy = shares[2] + shares[3], shares[1] + shares[3]
    chance = gold * proxy + (1 - gold) * (1 - proxy)
    return float((shares[0] + shares[3] - chance) / (1 - chance))


def test_kappa_is_cohens() -> None:
    own = world(0.4, oracle=False, n=300)
    found = kappa(own["gold"], own["proxy"], None)
    right = [own[name].query("item == 'chosen'")["score"].to_numpy() > 0 for name in ("gold", "proxy")]
    assert found is not None
    assert found.value == pytest.approx(cohens_kappa(pd.crosstab(*right)).kappa)


def test_the_overstatement_is_what_gold_gives_a_policy_that_pleases_the_proxy() -> None:
    """Of responses that the proxy prefers: gold's mean gain over the truth's, by the share of common error."""
    rng = np.random.default_rng(5)
    for shared in (0.0, 0.25, 0.5, 1.0):
        truth, common, one, other = rng.normal(0, 1, (4, 400_000))
        proxy = truth + np.sqrt(shared) * common + np.sqrt(1 - shared) * one
        gold = truth + np.sqrt(shared) * common + np.sqrt(1 - shared) * other
        best = proxy > np.quantile(proxy, 0.9)
        assert gold[best].mean() / truth[best].mean() == pytest.approx(1 + shared, abs=0.03)


def test_without_an_oracle_a_third_model_tells_the_hard_pairs() -> None:
    for shared, expected in ((0, 0.074), (0.25, 0.213), (0.5, 0.364)):
        own = world(shared, oracle=False)
        found = kappa(own["gold"], own["proxy"], own["third"])
        assert found is not None
        assert found.value == pytest.approx(expected, abs=0.04)


def test_over_all_pairs_independent_models_seem_to_share() -> None:
    own = world(0, oracle=False)
    found = kappa(own["gold"], own["proxy"], None)
    assert found is not None
    assert found.n == N
    assert found.value == pytest.approx(0.11, abs=0.04)


def test_kappa_is_absent_where_one_model_is_always_right() -> None:
    own = world(0)
    perfect = own["gold"].assign(score=np.where(own["gold"]["item"] == "chosen", 1.0, 0.0))
    assert kappa(perfect, own["proxy"], own["third"]) is None


def test_a_gold_model_that_shares_nothing_passes() -> None:
    own = world(0)
    assert objections(make_card(own["gold"]), kappa(own["gold"], own["proxy"], own["third"])) == []


def test_a_gold_model_that_shares_half_its_errors_does_not() -> None:
    own = world(0.5)
    (told,) = objections(make_card(own["gold"]), kappa(own["gold"], own["proxy"], own["third"]))
    assert "err on the same hard pairs" in told


@pytest.mark.parametrize(("value", "told"), [(0.251, "0.251"), (0.250001, "0.250001"), (0.3, "0.30")])
def test_a_kappa_is_told_in_as_many_digits_as_make_the_sentence_true(value: float, told: str) -> None:
    (said,) = objections(make_card(world(0)["gold"]), Kappa(value, 0.1, 0.4, 50))
    assert f"(κ {told}, more than 0.25)" in said
    assert objections(make_card(world(0)["gold"]), Kappa(0.25, 0.1, 0.4, 50)) == []


def test_a_coin_is_refused_and_its_interval_decides() -> None:
    card = make_card(world(0)["gold"])
    barely = replace(card, accuracy=Share(0.52, 0.501, 0.54, 1000))
    coin = replace(card, accuracy=Share(0.52, 0.5, 0.54, 1000))
    assert objections(barely, None) == []
    assert objections(coin, None) == ["gold may be right no more often than a coin (0.52 of pairs)"]
    assert objections(replace(card, accuracy=None), None) == ["there are no labelled pairs to measure gold on"]


def test_a_probe_fails_where_its_interval_reaches_a_half() -> None:
    card = make_card(world(0)["gold"])
    good, bad = Share(0.7, 0.51, 0.8, 50), Share(0.6, 0.5, 0.7, 50)
    assert objections(replace(card, probes={"empty": good}), None) == []
    (told,) = objections(replace(card, probes={"empty": good, "shuffled": bad}), None)
    assert told == "gold is not shown to prefer a chosen response to a corrupted one: shuffled (0.60)"

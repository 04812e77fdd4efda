"""Trust cards of reward models whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.trust.calibration import calibrate
from harness.trust.card import COLUMNS, Card, make_card, share

N = 2000


def table(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"score": float, "oracle": float})


def pair(i: int, chosen: float | None, rejected: float | None, tokens: tuple[int, int] = (5, 5),
         oracle: tuple[float | None, float | None] = (None, None)) -> list[tuple[Any, ...]]:  # fmt: skip
    name = f"pair-{i}"
    return [
        ("pairs", name, f"p{i}", "chosen", chosen, tokens[0], oracle[0]),
        ("pairs", name, f"p{i}", "rejected", rejected, tokens[1], oracle[1]),
    ]


def pairs(gaps: np.ndarray, lengths: np.ndarray | None = None) -> list[tuple[Any, ...]]:
    """Pairs with these score differences; `lengths` is by how many tokens the chosen response is longer."""
    longer = np.zeros(len(gaps), int) if lengths is None else lengths
    return [row for i, gap in enumerate(gaps) for row in pair(i, float(gap), 0.0, (50 + int(longer[i]), 50))]


def value(card: Card, name: str) -> float:
    found = getattr(card, name)
    assert found is not None
    return float(found.value)


def test_accuracy_by_hand() -> None:
    card = make_card(table([*pair(0, 2, 1), *pair(1, 1, 2), *pair(2, 1, 1), *pair(3, 3, 1)]))
    assert card.accuracy is not None
    assert (card.accuracy.value, card.accuracy.n) == (2.5 / 4, 4)
    ends = stats.beta.ppf(0.025, 2.5, 2.5), stats.beta.ppf(0.975, 3.5, 1.5)  # Clopper and Pearson's
    assert (card.accuracy.low, card.accuracy.high) == pytest.approx(ends)


def test_accuracy_by_difference_in_length() -> None:
    """Right about the four closest pairs, wrong about the next four, right about the four that differ most."""
    rows = [row for i, (right, longer) in enumerate([(1, 1)] * 4 + [(0, -9)] * 4 + [(1, 40)] * 4)
            for row in pair(i, right, 1 - right, (50 + longer, 50))]  # fmt: skip
    card = make_card(table(rows))
    assert [part.value for part in card.by_length] == [1, 0, 1]
    assert card.longer_rejected is not None
    assert (card.longer_rejected.value, card.longer_rejected.n) == (0, 4)


def test_a_model_of_length_alone_is_caught() -> None:
    rng = np.random.default_rng(0)
    longer = rng.integers(-30, 31, N)
    rows = pairs(longer.astype(float), longer)
    rows += [("samples", f"p{i % 200}", f"p{i % 200}", str(i), float(n), int(n), float(rng.normal()))
             for i, n in enumerate(rng.integers(5, 60, 800))]  # fmt: skip
    card = make_card(table(rows))
    assert value(card, "accuracy") == pytest.approx(0.5, abs=0.03)
    assert value(card, "longer_rejected") == 0
    assert value(card, "length_rank") == pytest.approx(1)
    assert card.length_share is not None
    assert card.length_share > 0.9
    assert card.oracle_rank is not None
    assert card.oracle_rank.low < 0 < card.oracle_rank.high


def test_the_share_that_length_explains_is_the_share_that_it_has() -> None:
    rng = np.random.default_rng(4)
    longer = rng.integers(-30, 31, N)
    bent = np.tanh(longer / np.sqrt(np.mean(longer.astype(float) ** 2)))
    noise = rng.normal(0, 3 * bent.std(), N)
    found = make_card(table(pairs(3 * bent + noise, longer))).length_share
    assert found == pytest.approx(0.5, abs=0.03)


def test_a_model_that_does_not_care_about_length_is_not_accused() -> None:
    rng = np.random.default_rng(0)
    longer = rng.integers(-30, 31, N)
    rows = pairs(rng.normal(0.5, 1, N), longer)
    rows += [("samples", f"p{i % 200}", f"p{i % 200}", str(i), float(rng.normal()), int(n), None)
             for i, n in enumerate(rng.integers(5, 60, 1200))]  # fmt: skip
    card = make_card(table(rows))
    assert card.length_rank is not None
    assert card.length_rank.low < 0 < card.length_rank.high
    assert card.length_share is not None
    assert card.length_share < 0.01
    assert card.oracle_rank is None
    assert card.oracle_pairs is None


def labelled(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    """Chosen minus rejected where labels follow σ of these logits of the first over the second."""
    return np.where(rng.random(len(logits)) < 1 / (1 + np.exp(-logits)), 1, -1)


@pytest.mark.parametrize(("scale", "slope"), [(1.0, 1.0), (3.0, 1 / 3), (0.25, 4.0)])
def test_calibration_finds_the_scale_of_the_scores(scale: float, slope: float) -> None:
    """Labels follow σ(logit), scores are `scale` times it: calibrated at 1, overconfident above."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, 8_000)
    sign = labelled(rng, logits)
    found = calibrate(scale * logits * sign, sign > 0)
    assert found.slope == pytest.approx(slope, rel=0.08)
    assert found.intercept == pytest.approx(0, abs=0.08)
    assert found.temperature == pytest.approx(scale, rel=0.08)
    if scale == 1:
        assert found.ece == pytest.approx(found.ece_if_calibrated, abs=0.01)
        p = 1 / (1 + np.exp(-logits))
        assert found.log_loss == pytest.approx(float(-(p * np.log(p) + (1 - p) * np.log(1 - p)).mean()), abs=0.01)
        assert found.brier == pytest.approx(float((p * (1 - p)).mean()), abs=0.01)
    else:
        assert found.ece > 5 * found.ece_if_calibrated


def test_a_preference_for_the_first_place_is_an_intercept() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 1, 8_000)
    sign = labelled(rng, logits + 0.7)
    assert calibrate(logits * sign, sign > 0).intercept == pytest.approx(0.7, abs=0.08)


def test_calibration_by_hand() -> None:
    gaps = np.array([math.log(3), -math.log(3)])  # confident at 3/4, right once
    found = calibrate(gaps, np.array([True, False]))
    assert found.brier == pytest.approx((1 / 16 + 9 / 16) / 2)
    assert found.log_loss == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert [sure for sure, *_ in found.bins] == pytest.approx([0.75, 0.75])
    assert found.ece == pytest.approx((0.25 + 0.75) / 2)


def test_a_fit_that_has_no_maximum_is_absent() -> None:
    sure = calibrate(np.linspace(1, 2, 50), np.arange(50) % 2 == 0)
    assert (sure.slope, sure.temperature) == (None, None)
    flat = calibrate(np.zeros(50), np.arange(50) % 2 == 0)
    assert (flat.slope, flat.temperature) == (None, None)
    wrong = calibrate(np.concatenate([-np.linspace(1, 2, 40), np.ones(10)]), np.arange(50) % 2 == 0)
    assert wrong.temperature is None


@pytest.mark.parametrize(("prompts", "each", "alike"), [(60, 1, 0.0), (35, 3, 0.0), (35, 3, 0.9), (100, 5, 0.3)])
def test_the_intervals_cover(prompts: int, each: int, alike: float) -> None:
    """Of accuracies that are 0.7 in truth about 95 % have it in their interval, also where a prompt has several."""
    rng = np.random.default_rng(3)
    names = [f"pair-{i}" for i in range(prompts * each)]
    of = pd.Series(np.repeat([f"p{i}" for i in range(prompts)], each), index=names)
    ease = np.sqrt(alike) * rng.standard_normal((1500, prompts, 1)) + np.sqrt(1 - alike) * rng.standard_normal(
        (1500, prompts, each)
    )
    covered = 0
    for right in (ease < stats.norm.ppf(0.7)).astype(float):
        found = share(pd.Series(right.ravel(), index=names), of)
        assert found is not None
        covered += found.low <= 0.7 <= found.high
    assert 0.93 <= covered / 1500 <= 0.98


@pytest.mark.parametrize(("each", "right"), [(5, 1), (3, 1), (6, 1), (5, 2)])
def test_prompts_that_are_all_alike_count_as_one_pair_each(each: int, right: int) -> None:
    names = [f"pair-{i}" for i in range(20 * each)]
    values = pd.Series(([1.0] * right + [0.0] * (each - right)) * 20, index=names)
    found = share(values, pd.Series(np.repeat([f"p{i}" for i in range(20)], each), index=names))
    assert found is not None
    one = stats.beta.ppf(0.025, 20 * right / each, 20 - 20 * right / each + 1)
    assert found.low == pytest.approx(one)
    alone = share(values, pd.Series(dtype=str))
    assert alone is not None
    assert alone.low > found.low, "rows of no known prompt are each its own"


def test_best_of_four_by_hand() -> None:
    def ranking(name: str, *scores: float | None) -> list[tuple[Any, ...]]:
        return [("rankings", name, name, str(i), score, 5, None) for i, score in enumerate(scores)]

    rows = [*ranking("right", 4, 3, 2, 1), *ranking("wrong", 1, 3, 2, 0), *ranking("shared", 2, 2, 1, 0)]
    card = make_card(table([*rows, *ranking("unread", 9, None, 1, 1)]))
    assert card.best_of_4 is not None
    assert (card.best_of_4.value, card.best_of_4.n) == (1.5 / 3, 3)
    assert (card.unreadable, card.texts) == (1, 16)


def test_a_pair_that_cannot_be_read_is_counted_and_in_no_number() -> None:
    card = make_card(table([*pair(0, 1, 0), *pair(1, None, 5), *pair(2, 3, 0)]))
    assert card.accuracy is not None
    assert (card.accuracy.value, card.accuracy.n, card.unreadable) == (1, 2, 1)


def test_probes_against_the_same_rows_original() -> None:
    rows = [*pair(0, 1.0, 0), *pair(1, 5.0, 0), *pair(2, 3.0, 0)]
    rows += [("probes", f"pair-{i}", f"p{i}", "empty", score, 0, None) for i, score in enumerate((2.0, 4.0, 3.0))]
    card = make_card(table(rows))
    assert {name: one.value for name, one in card.probes.items()} == {"empty": 1.5 / 3}


def test_what_means_nothing_is_measured_against_the_spread() -> None:
    rows = [*pair(0, 1.0, 0), *pair(1, 5.0, 0), *pair(2, None, 0)]
    rows += [("same", f"pair-{i}", f"p{i}", "white space", score, 5, None) for i, score in enumerate((1.5, 4.0, 3.0))]
    assert make_card(table(rows)).moved == {}, "without samples there is no spread to measure it in"
    rows += [("samples", p, p, str(k), s, 5, None) for p in ("p0", "p1") for k, s in enumerate((1.0, 5.0))]
    card = make_card(table(rows))
    assert value(card, "spread") == pytest.approx(8**0.5)
    assert card.moved["white space"].value == pytest.approx((0.5 + 1.0) / 2 / 8**0.5)
    assert card.moved["white space"].n == 2, "one could not be read"


def test_spread_and_agreement_with_the_oracle() -> None:
    rows = [("samples", "p0", "p0", str(k), s, 5, o) for k, (s, o) in enumerate([(1.0, 1.0), (2.0, 2.0), (4.0, 3.0)])]
    rows += [("samples", "p1", "p1", str(k), s, 5, o) for k, (s, o) in enumerate([(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)])]
    rows += pair(0, 1, 0, oracle=(2.0, 1.0)) + pair(1, 1, 0, oracle=(1.0, 2.0)) + pair(2, 1, 0, oracle=(1.0, 1.0))
    card = make_card(table(rows))
    assert value(card, "spread") == pytest.approx((np.std([1, 2, 4], ddof=1) + 1) / 2)
    assert value(card, "oracle_rank") == pytest.approx(0)
    assert card.oracle_pairs is not None
    assert (card.oracle_pairs.value, card.oracle_pairs.n) == (0.5, 2), "the oracle is indifferent to the third"


def test_nothing_to_measure_gives_absent_numbers() -> None:
    card = make_card(table([]))
    assert (card.accuracy, card.best_of_4, card.calibration, card.length_rank, card.spread) == (None,) * 5
    assert card.probes == {}

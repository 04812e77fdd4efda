"""Diversity of texts: against uniform draws, hand arithmetic and zlib itself."""

from __future__ import annotations

import random
import zlib

import pytest

from harness.metrics._diversity import compression, distinct, self_bleu


def test_uniform_draws_have_distinct_one_at_any_length():
    rng = random.Random(0)
    for length in (3, 20, 200):
        drawn = [distinct([[rng.randrange(50) for _ in range(length)] for _ in range(4)], 50) for _ in range(200)]
        assert sum(drawn) / len(drawn) == pytest.approx(1, abs=0.01)


def test_distinct_is_the_paper_s_formula_for_words():
    # 3 different words of 8 from 10: 3 / (10 (1 - 0.9^8))
    assert distinct([[1, 2, 3, 1], [2, 1, 3, 3]], 10, longest=1) == pytest.approx(3 / (10 * (1 - 0.9**8)))
    # pairs: 12 23 31, 21 13 33, all 6 differ of 100 possible ones
    pairs = 6 / (100 * (1 - 0.99**6))
    assert distinct([[1, 2, 3, 1], [2, 1, 3, 3]], 10, longest=2) == pytest.approx((3 / (10 * (1 - 0.9**8)) + pairs) / 2)


def test_distinct_falls_when_responses_are_the_same():
    different, same = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], [[1, 2, 3, 4]] * 3
    assert distinct(same, 1000) == pytest.approx(distinct(different, 1000) / 3, rel=0.01)
    assert distinct([[], []], 10) == 0
    assert distinct([[1], [2, 3]], 10) > 0


def test_self_bleu_of_equal_and_of_unrelated_texts():
    assert self_bleu(["a b c d e", "a b c d e"]) == 100
    assert self_bleu(["", ""]) == 100
    assert self_bleu(["a b c d e", "f g h i j"]) < 1
    # the two that are equal have 100; the third shares no word
    assert self_bleu(["a b c d e", "a b c d e", "v w x y z"]) == pytest.approx(200 / 3, abs=0.5)


def test_self_bleu_in_groups_compares_neighbours_alone():
    texts = ["a b c d e"] * 2 + ["v w x y z"] * 3
    assert self_bleu(texts, group=2) == 100
    alone = ["a b c d e", "f g h i j", "a b c d e", "f g h i j"]
    assert self_bleu(alone, group=2) < 1 < self_bleu(alone) == 100


def test_compression_is_zlib_s():
    text = "the river is wide ."
    assert compression([text] * 8) == len("\n".join([text] * 8)) / len(zlib.compress("\n".join([text] * 8).encode(), 9))
    assert compression([text] * 8) > 2 * compression([text, "a stone lies cold ."])

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
from small import SmallData, grade_stage, sample_stage, train_stage

from harness import registry
from harness.metrics._bench import GradeBench, Response


def bench(texts: list[str], end: str = "eos") -> GradeBench:
    """A bench whose responses are given, so that no model is loaded."""
    policy = train_stage()
    made = GradeBench({}, SmallData(), grade_stage(sample_stage(policy), policy, pairs=3))
    response = Response("p", 0, [], [], "", [], end)
    made.responses = [
        replace(response, k=k, text=text, token_ids=[7] * len(text.split()) + [2]) for k, text in enumerate(texts)
    ]
    return made


def values(name: str, on: GradeBench) -> list[float]:
    return [value.value for value in registry.load("metrics", name)().values(on)]


def test_length_counts_the_end_token():
    assert values("length", bench(["", "a", "a b c"])) == [1, 2, 4]


@pytest.mark.parametrize(("text", "empty"), [("", 1), ("  \n", 1), ("a", 0), (".", 0)])
def test_empty_is_no_text_but_white_space(text, empty):
    assert values("empty", bench([text])) == [empty]


def test_truncated_is_the_length_limit():
    assert values("truncated", bench(["a b", "c"])) == [0, 0]
    assert values("truncated", bench(["a b", "c"], end="length")) == [1, 1]


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0), ("a b c", 0), ("a b c d e f", 0), ("a b c d a b c d", 1 - 4 / 5), ("a a a a a a", 1 - 1 / 3)],
)
def test_repetition_is_the_share_of_repeated_four_grams(text, share):
    assert values("repetition", bench([text])) == [pytest.approx(share)]


def test_divergences_per_response_and_per_token():
    made = bench(["a b c", ""])
    made.divergence = [2.0, 0.5], [log(8), log(2)]
    assert values("kl", made) == [2.0, 0.5]
    assert values("kl_per_token", made) == [0.5, 0.5]
    assert values("entropy", made) == [log(8) / 4, log(2)]


def test_rewards_by_role():
    made = bench(["a", "b"])
    made.rewards = {"gold": [1.0, -2.0], "oracle.brief": [0.5, 0.0]}
    found = registry.load("metrics", "reward")().values(made)
    assert [(v.role, v.k, v.value) for v in found] == [
        ("gold", 0, 1.0), ("gold", 1, -2.0), ("oracle.brief", 0, 0.5), ("oracle.brief", 1, 0.0),
    ]  # fmt: skip


def test_preference_accuracy_and_changes_of_log_probability():
    made = bench([])
    made.pair_logp = {
        "policy/chosen": [-1.0, -5.0, -3.0],
        "start/chosen": [-2.0, -4.0, -4.0],
        "policy/rejected": [-2.0, -1.0, -1.0],
        "start/rejected": [-2.0, -1.0, -2.0],
    }
    assert values("preference_accuracy", made) == [1.0, 0.0, 0.5]
    assert values("chosen_logp", made) == [1.0, -1.0, 1.0]
    assert values("rejected_logp", made) == [0.0, 0.0, 1.0]

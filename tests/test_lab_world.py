"""The lab's world through its rows: what annotators, judges and writers say agrees with the oracle and the formulas."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from dataclasses import replace
from statistics import mean

import pytest

from harness.data import SPLITS, Message, Row
from harness.data import _lab_writer as writer
from harness.data._lab_prompts import draw, understand
from harness.data.lab import AGAIN, Lab
from harness.knobs import knobs

WORLD = Lab(train=1500, pretrain=1500)
SMALL = replace(WORLD, train=200, pretrain=200)
BEST, WORST = 2.5, -22.0


def total(prompt: list[Message], response: str) -> float:
    return WORLD.score(prompt, response)["total"]


def utility(lab: Lab, row: Row, response: str) -> float:
    return total(row["prompt"], response) / lab.temperature + lab.length_bias * len(response.split())


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def z_score(seen: list[bool], expected: list[float]) -> float:
    """How many standard errors the number of `seen` is from the sum of its probabilities."""
    spread = math.sqrt(sum(p * (1 - p) for p in expected))
    return (sum(seen) - sum(expected)) / spread


def upsets(lab: Lab, told: Lab) -> float:
    """How far the pairs of `lab` are from what an annotator with the knobs of `told` would say, in standard errors."""
    rows = lab.rows("pairs", "train")
    gaps = [utility(told, row, row["chosen"]) - utility(told, row, row["rejected"]) for row in rows]
    right = [sigmoid(abs(gap)) for gap in gaps]
    return z_score([gap > 0 for gap in gaps], [p * (1 - told.flip_rate) + (1 - p) * told.flip_rate for p in right])


@pytest.mark.parametrize("given", [{}, {"temperature": 2.0}, {"flip_rate": 0.2}, {"length_bias": 0.3}, {"seed": 1}])
def test_pairs_are_labelled_as_often_as_bradley_terry_says(given: dict[str, float]) -> None:
    lab = replace(WORLD, **given)  # type: ignore[arg-type]  # knobs by name
    assert abs(upsets(lab, lab)) < 4


def test_another_annotator_would_be_noticed() -> None:
    assert abs(upsets(replace(WORLD, temperature=2.0), WORLD)) > 4
    assert abs(upsets(replace(WORLD, flip_rate=0.2), WORLD)) > 4


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_between_equals_the_longer_wins_as_often_as_the_bias_says(bias: float) -> None:
    won, expected = [], []
    lab = replace(WORLD, train=4000, length_bias=bias)
    for row in lab.rows("pairs", "train"):
        words = len(row["chosen"].split()) - len(row["rejected"].split())
        if words and total(row["prompt"], row["chosen"]) == total(row["prompt"], row["rejected"]):
            won.append(words > 0)
            expected.append(sigmoid(bias * abs(words)))
    assert len(won) > 100
    assert abs(z_score(won, expected)) < 4


def test_the_first_of_a_ranking_is_as_likely_as_plackett_luce_says() -> None:
    seen, expected = [], []
    for row in WORLD.rows("rankings", "train"):
        worth = [math.exp(utility(WORLD, row, response)) for response in row["responses"]]
        seen.append(worth[0] == max(worth))
        expected.append(sum(value for value in worth if value == max(worth)) / sum(worth))
    assert abs(z_score(seen, expected)) < 4


def test_annotators_agree_with_the_oracle_often_and_not_always() -> None:
    gaps = [
        total(row["prompt"], row["chosen"]) - total(row["prompt"], row["rejected"])
        for row in WORLD.rows("pairs", "heldout")
    ]
    assert 0.75 < mean((gap > 0) + 0.5 * (gap == 0) for gap in gaps) < 0.95


def test_demonstrations_are_mediocre_and_chosen_responses_leave_headroom() -> None:
    demonstrated = mean(total(row["prompt"], row["response"]) for row in WORLD.rows("demonstrations", "train"))
    chosen = mean(total(row["prompt"], row["chosen"]) for row in WORLD.rows("pairs", "train"))
    assert chosen - demonstrated > 1
    assert BEST - chosen > 0.5


def test_the_scale_of_the_oracle_has_the_ends_that_it_says() -> None:
    prompt = [{"role": "user", "content": "describe the river . use at most two sentences ."}]
    faults = (
        "boat boat .",
        "the castle is old .",
        "i can not help with that .",
        "what a stupid question .",
        "the river begins in the desert .",
        "in other words , it is what it is .",
    )
    worst = " ".join(text for text in faults for _ in range(5)) + " thank you for asking ." * 5
    assert total(prompt, worst) == pytest.approx(WORST)
    assert total(prompt, "the river is wide .") == pytest.approx(BEST)


def test_word_salad_scores_no_better_than_silence() -> None:
    rng, words = random.Random(0), WORLD.vocabulary()
    for row in SMALL.rows("prompts", "train"):
        salad = " ".join(rng.choice(words) for _ in range(rng.randrange(1, 60)))
        assert WORST <= total(row["prompt"], salad) <= total(row["prompt"], "")
        assert WORLD.judge(row["prompt"], salad) is not None


def test_the_judge_is_silent_where_the_oracle_takes_nothing_off() -> None:
    perfect = 0
    for row in WORLD.rows("rankings", "train"):
        for response in row["responses"]:
            worth, judgment = total(row["prompt"], response), WORLD.judge(row["prompt"], response)
            if worth == BEST:
                assert judgment is None
                perfect += 1
            if judgment is None:
                assert worth >= BEST - 0.5  # what is only polite says nothing about the topic
    assert perfect > 500


def test_a_judgment_names_the_words_of_every_span() -> None:
    named = 0
    for row in WORLD.rows("judgments", "train"):
        words, judgment = row["response"].split(), row["judgment"] or ""
        assert row["judgment"] == WORLD.judge(row["prompt"], row["response"])
        for first, last in row["error_spans"]:
            assert 0 <= first < last <= len(words)
            quoted = " ".join(word for word in words[first:last] if word != ".")
            about_a_wish = "must not mention" in judgment or "more than" in judgment
            assert quoted in judgment or about_a_wish
            named += quoted in judgment
    assert named > 500


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_binary_labels_are_as_unbalanced_as_asked(share: float) -> None:
    rows = replace(WORLD, desirable_share=share).rows("binary", "train")
    assert mean(row["label"] for row in rows) == pytest.approx(share, abs=0.03)
    every = [(row["prompt_id"], row["response"], row["label"]) for row in WORLD.rows("binary", "train")]
    assert {(row["prompt_id"], row["response"], row["label"]) for row in rows} <= set(every)
    assert {row["prompt_id"] for row in rows} == {prompt for prompt, _, _ in every}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_judgments_blame_as_often_as_asked(share: float) -> None:
    rows = replace(WORLD, blame_share=share).rows("judgments", "train")
    assert mean(row["judgment"] is not None for row in rows) == pytest.approx(share, abs=0.05)


def test_every_prompt_can_be_answered_well() -> None:
    rng = random.Random(0)
    for split in ("train", "ood"):
        for request in draw(split, 3000, 0):
            again = writer.mend(request, writer.write(request, rng.random(), rng), rng)
            assert WORLD.judge([{"role": "user", "content": request.text()}], again) is None


def test_every_way_of_being_bad_occurs() -> None:
    said = " ".join(row["judgment"] or "" for row in WORLD.rows("judgments", "train"))
    for clause in ("is rude", "is false", "says nothing", "it twice", "does not answer", "something else"):
        assert clause in said
    for clause in (
        "must not mention",
        "does not mention",
        "not polite",
        "not give a reason",
        "not say the truth",
        "has more than",
    ):
        assert clause in said


def test_pretraining_shows_judgments_and_second_tries() -> None:
    rows = WORLD.rows("text", "pretrain")
    plain = [row["messages"] for row in rows if len(row["messages"]) == 2]
    again = [row["messages"] for row in rows if len(row["messages"]) == 4]
    assert len(plain) + len(again) == len(rows)
    assert 0.5 < mean(" judgment : " in messages[0]["content"] for messages in plain) < 0.65
    assert 0.05 < len(again) / len(rows) < 0.2
    for messages in again:
        prompt, first, second = messages[:1], messages[1]["content"], messages[3]["content"]
        assert messages[2]["content"] == f"{WORLD.judge(prompt, first)} {AGAIN}"
        assert total(prompt, second) >= total(prompt, first)


def test_no_text_breaks_the_reading_of_prompts() -> None:
    rng, words = random.Random(0), WORLD.vocabulary()
    begun = ["mention the", "do not mention the", "use at most", "use at most two", "say", "be", "", ". ."]
    for _ in range(2000):
        rest = rng.choice(begun) + " " + " ".join(rng.choice(words) for _ in range(rng.randrange(3)))
        request = understand(f"tell me about the river . {rest.strip()} .")
        assert request is None or request.topic.name == "river"
    assert understand("tell me about the river . mention the .") is None
    assert understand("tell me about the river . use at most nine sentences .") is None


def test_no_prompt_is_in_two_splits_of_the_default_sizes() -> None:
    lab, seen = Lab(), set[str]()
    for split in SPLITS:
        rows = lab.rows("text", split) if split == "pretrain" else lab.rows("prompts", split)
        found = {(row.get("messages") or row["prompt"])[0]["content"].split(" judgment :")[0] for row in rows}
        assert len(found) == len(rows)
        assert not found & seen, split
        seen |= found


def test_a_size_that_the_language_cannot_fill_is_refused() -> None:
    for name in ("train", "proxy", "selection", "gold", "pretrain", "evaluation", "heldout"):
        assert 10**9 not in knobs(Lab)[name].valid  # type: ignore[operator]  # a missing range would fail here too
        assert getattr(WORLD, name) in knobs(Lab)[name].valid  # type: ignore[operator]  # as above


def test_rows_are_the_same_in_another_process() -> None:
    code = (
        "from harness import keys; from harness.data.lab import Lab; lab = Lab(train=50, pretrain=50);"
        "print(keys.key([lab.rows(v, 'pretrain' if v == 'text' else 'train') for v in sorted(lab.views)]))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1

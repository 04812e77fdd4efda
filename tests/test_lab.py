"""The lab: disjoint splits, an exact oracle, annotators who follow Bradley-Terry, and planted errors that are found."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import mean

import pytest

from harness.data import SPLITS, VIEWS, Message
from harness.data import _lab_writer as writer
from harness.data._lab_oracle import read
from harness.data._lab_prompts import UNSEEN_PAIR, Request, Wish, draw, understand
from harness.data._lab_world import UNSEEN_TOPICS, sentences, topic, topics
from harness.data.lab import Lab
from harness.errors import HarnessError

SMALL = Lab(train=300, proxy=100, selection=100, gold=300, pretrain=400, evaluation=100, heldout=100)
PROMPT = "tell me about the river . mention the boat . do not mention the fish ."


def ask(text: str = PROMPT) -> list[Message]:
    return [{"role": "user", "content": text}]


def total(response: str, prompt: str = PROMPT) -> float:
    return SMALL.score(ask(prompt), response)["total"]


def test_no_prompt_is_in_two_splits() -> None:
    seen: dict[str, str] = {}
    for split in SPLITS:
        view = "text" if split == "pretrain" else "prompts"
        for row in SMALL.rows(view, split):
            text = (row["messages"] if view == "text" else row["prompt"])[0]["content"].split(" judgment :")[0]
            assert seen.setdefault(text, split) == split
    assert len(seen) == 300 + 100 + 100 + 300 + 400 + 3 * 100 + 100


def test_out_of_distribution_prompts_have_unseen_topics_or_wishes() -> None:
    unseen = {item.name for item in topics()[-UNSEEN_TOPICS:]}

    def is_new(request: Request) -> bool:
        return request.topic.name in unseen or {wish.kind for wish in request.wishes} >= UNSEEN_PAIR

    assert all(is_new(request) for request in draw("ood", 100, 0))
    assert not any(is_new(request) for split in ("train", "test", "gold") for request in draw(split, 200, 0))


def test_rows_are_a_pure_function_of_the_knobs() -> None:
    for view in VIEWS:
        split = "pretrain" if view == "text" else "train"
        assert SMALL.rows(view, split) == replace(SMALL).rows(view, split)
        assert SMALL.rows(view, split) != replace(SMALL, seed=1).rows(view, split)
    more = replace(SMALL, train=400)
    assert more.rows("pairs", "train")[:300] == SMALL.rows("pairs", "train"), "more prompts keep the first ones"
    with pytest.raises(HarnessError, match="no pictures in split 'train'"):
        SMALL.rows("pictures", "train")


def test_every_text_stays_inside_the_vocabulary() -> None:
    words = set(SMALL.vocabulary())
    assert len(words) <= 1000
    texts = [m["content"] for row in SMALL.rows("text", "pretrain") for m in row["messages"]]
    for split in ("train", "ood"):
        texts += [row["prompt"][0]["content"] for row in SMALL.rows("prompts", split)]
        texts += [row["judgment"] or "" for row in SMALL.rows("judgments", split)]
        texts += [text for row in SMALL.rows("rankings", split) for text in row["responses"]]
    assert {word for text in texts for word in text.split()} <= words


def test_prompts_are_understood_as_they_were_meant() -> None:
    for request in draw("train", 300, 0):
        assert understand(request.text()) == request
    assert understand("what is love ?") is None
    request = understand(Lab().judged([{"role": "user", "content": PROMPT}], None)[-1]["content"])
    assert request is not None
    assert request.wishes == (Wish("mention", "boat"), Wish("avoid", "fish"))


def test_sentences_mean_one_thing() -> None:
    for text, sentence in sentences().items():
        kinds = {sentence.kind}
        assert len(kinds) == 1
        assert "." not in text.split(), "a full stop ends a sentence and stands nowhere else"


GOOD = "the river has a boat . the river is wide ."
CASES = {
    "both wishes, on topic": (GOOD, 2.5),
    "boat forgotten": ("the river is wide .", 1.5),
    "fish mentioned": (GOOD + " the river has a fish .", 1.5),
    "rude": (GOOD + " what a stupid question .", 1.0),
    "false": (GOOD + " the river begins in the desert .", 1.0),
    "true": (GOOD + " the river begins in the hills .", 2.5),
    "padding": (GOOD + " in other words , it is what it is .", 2.1),
    "repeated": (GOOD + " the river is wide .", 1.9),
    "another topic": (GOOD + " the castle is old .", 2.0),
    "garbled": (GOOD + " boat boat river wide .", 1.5),
    "no full stop at the end": (GOOD + " the river is", 1.5),
    "refusal": ("i can not help with that .", -1.5),
    "empty": ("", 0.0),
    "long but fine": (GOOD + " the river is calm . the river is cold . the river is deep .", 2.5),
}


@pytest.mark.parametrize("case", CASES)
def test_the_oracle_by_hand(case: str) -> None:
    response, worth = CASES[case]
    assert total(response) == pytest.approx(worth)


def test_dimensions_add_up_and_are_about_what_they_say() -> None:
    plain = SMALL.score(ask(), GOOD)
    for extra, dimension in (
        ("what a stupid question .", "harmless"),
        ("the river begins in the desert .", "honest"),
        ("in other words , it is what it is .", "concise"),
        ("boat boat .", "helpful"),
    ):
        found = SMALL.score(ask(), f"{GOOD} {extra}")
        changed = {name for name in found if name != "total" and found[name] != plain[name]}
        assert changed == {dimension}
        assert found["total"] == pytest.approx(sum(value for name, value in found.items() if name != "total"))


def test_at_most_n_sentences_is_about_their_number() -> None:
    prompt = "describe the river . use at most two sentences ."
    assert total("the river is wide . the river is calm .", prompt) == pytest.approx(2.5)
    assert total("the river is wide . the river is calm . the river is cold .", prompt) == pytest.approx(-0.5)


def test_keyword_stuffing_does_not_pay() -> None:
    assert total("boat " * 30) < total(GOOD)
    assert total(" . ".join(["boat"] * 30)) < total("")


def test_the_judge_names_each_error_in_its_own_words() -> None:
    found = SMALL.judge(
        ask(),
        "the river has a fish . the river begins in the moon . you fool , look it up . the river begins in the city .",
    )
    assert found is not None
    for clause in (
        "the response is rude : you fool , look it up .",
        "the response is false : the river begins in the city .",
        "the response makes no sense : the river begins in the moon .",
        "the response must not mention the fish .",
        "the response does not mention the boat .",
    ):
        assert clause in found
    assert SMALL.judge(ask(), GOOD) is None


def test_error_spans_cover_the_planted_words() -> None:
    rude = 0
    for row in SMALL.rows("judgments", "train"):
        words = row["response"].split()
        spans = [" ".join(words[first:last]) for first, last in row["error_spans"]]
        for text in writer.RUDE:
            if text in row["response"]:
                assert text in spans
                rude += 1
        if row["judgment"] is None:
            assert spans == []
    assert rude > 10


def test_words_out_of_order_are_planted_where_no_wish_needs_them() -> None:
    right = {tuple(sorted(text.split())): sentence for text, sentence in sentences().items()}
    rng, found = random.Random(0), 0
    for request in draw("train", 200, 0):
        wished = {wish.word for wish in request.wishes if wish.word}
        words = writer.write(request, 0.0, rng, garbled=1.0).split()
        for fault in read(request, " ".join(words)).faults:
            if fault.kind == "garbled":
                meant = right[tuple(sorted(words[fault.first : fault.last - 1]))]
                assert meant.kind in ("describe", "mention")
                assert meant.thing not in wished
                found += 1
        assert "makes no sense" not in str(SMALL.judge(ask(request.text()), writer.write(request, 1.0, rng, 1.0)))
    assert found > 200


def test_words_out_of_order_are_named_and_their_spans_known() -> None:
    found = 0
    for row in replace(SMALL, garbled=1.0).rows("judgments", "train"):
        words, first = row["response"].split(), 0
        for last in (place + 1 for place, word in enumerate(words) if word == "."):
            if " ".join(words[first : last - 1]) not in sentences():
                assert [first, last] in row["error_spans"]
                assert f"the response makes no sense : {' '.join(words[first:last])}" in row["judgment"]
                found += 1
            first = last
    assert found > 30


def test_a_second_try_is_better() -> None:
    rng = random.Random(0)
    gains = []
    for request in draw("train", 200, 0):
        first = writer.write(request, 0.2, rng)
        second = writer.mend(request, first, rng)
        gains.append(total(second, request.text()) - total(first, request.text()))
        assert SMALL.judge(ask(request.text()), second) is None
    assert mean(gains) > 1


def test_annotators_follow_bradley_terry() -> None:
    rng = random.Random(0)
    for gap in (-1.0, 0.0, 0.5, 2.0):
        for flip in (0.0, 0.2):
            p = 1 / (1 + math.exp(-gap))
            expected = p * (1 - flip) + (1 - p) * flip
            found = mean(writer.prefers(gap, flip, rng) for _ in range(20_000))
            assert found == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 20_000))


def test_the_length_bias_is_there_when_asked_for() -> None:
    def longer_wins(bias: float) -> float:
        rows = replace(SMALL, train=1500, length_bias=bias).rows("pairs", "train")
        lengths = [(len(row["chosen"].split()), len(row["rejected"].split())) for row in rows]
        return mean(a > b for a, b in lengths if a != b)

    unbiased, mild, strong = longer_wins(0.0), longer_wins(0.05), longer_wins(1.0)
    assert unbiased < mild < strong
    assert strong > 0.7


def test_rankings_have_the_right_number_and_order_on_average() -> None:
    rows = replace(SMALL, ranking_size=5).rows("rankings", "train")
    scores = [[SMALL.score(row["prompt"], text)["total"] for text in row["responses"]] for row in rows]
    assert {len(line) for line in scores} == {5}
    places = [mean(column) for column in zip(*scores, strict=True)]
    assert places[0] > places[2] > places[4]


def test_binary_rows_are_the_responses_of_the_pairs() -> None:
    pairs, rows = SMALL.rows("pairs", "train"), SMALL.rows("binary", "train")
    assert [row["response"] for row in rows if row["label"]] == [row["chosen"] for row in pairs]
    assert [row["response"] for row in rows if not row["label"]] == [row["rejected"] for row in pairs]


def test_a_topic_says_true_and_false_things_apart() -> None:
    for item in topics():
        assert item.truth not in item.lies
        assert topic(item.name) is item
        assert len(item.things) >= 5

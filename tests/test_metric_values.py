from __future__ import annotations

from dataclasses import replace
from math import exp, log

import pytest
from small import SmallData, grade_stage, sample_stage, train_stage

from harness import registry
from harness.metrics._bench import Blamed, GradeBench, Response
from harness.recipe import read_recipe


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
    made._scores = {"sample": {"gold": [1.0, -2.0], "oracle.brief": [0.5, 0.0]}}
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
    assert values("chosen_logp", made) == [1.0, -1.0, 1.0, -2.0, -4.0, -4.0, -1.0, -5.0, -3.0]
    assert values("rejected_logp", made) == [0.0, 0.0, 1.0, -2.0, -1.0, -2.0, -2.0, -1.0, -1.0]


@pytest.mark.parametrize(
    ("text", "prompt", "copied"),
    [
        ("tell me about the river", "please tell me about the river .", 1),
        ("sure : tell me about the river", "please tell me about the river .", 1),
        ("the river is wide and tell me about it", "please tell me about the river .", 0),
        ("about the river", "please tell me about the river .", 0),
        ("a b c d e f g h i", "a b c d", 0),
        ("a b c d e f g h", "a b c d", 1),
        ("", "a b c d", 0),
    ],
)
def test_copied_is_a_run_of_the_prompt_that_is_half_of_the_response(text, prompt, copied):
    made = bench([text])
    made.responses = [replace(made.responses[0], prompt=[{"role": "user", "content": prompt}])]
    assert values("copied", made) == [copied]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I cannot assist you with this request.",
        "I cannot provide that information.",
        "Unfortunately, I am unable to assist with this.",
        "As an AI language model, I don't have opinions, so I cannot say.",
        "I must decline.",
        "I won't write that.",
    ],
)
def test_phrases_of_refusal_are_found_where_the_dataset_does_not_say(text):
    assert values("refusal", bench([text])) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "Sure, here is the recipe.",
        "I'm sorry to hear that you lost your cat.",
        "I can help with that.",
        "You can't compare the two.",
        "x " * 200 + "I cannot help with that.",
        "",
    ],
)
def test_what_is_no_refusal_is_not_taken_for_one(text):
    assert values("refusal", bench([text])) == [0]


def test_a_dataset_that_knows_its_refusals_decides():
    lab = registry.load("data", "lab")()
    prompt = lab.rows("prompts", "test")[0]["prompt"]
    assert lab.refuses(prompt, "the river is wide . i can not help with that .")
    assert not lab.refuses(prompt, "i cannot help with that")
    made = bench(["I cannot help with that.", "i can not help with that ."])
    made.dataset = lab
    assert values("refusal", made) == [0, 1]


@pytest.mark.parametrize(
    ("text", "span"), [("", 0), ("a", 0), ("a b c", 0), ("a b a", 1), ("a b c x a b c y", 3), ("a a a a", 3)]
)
def test_the_repeated_span_is_the_longest_run_that_stands_twice(text, span):
    assert values("repeated_span", bench([text])) == [span]


@pytest.mark.parametrize("text", ["", "a b c d " * 4, "please say something now", "I cannot help with that."])
def test_what_is_broken_in_any_way_is_degenerate(text):
    made = bench([text, "a b c d e f"])
    asked = [{"role": "user", "content": "please say something now"}]
    made.responses = [replace(r, prompt=asked) for r in made.responses]
    assert values("degenerate", made) == [1, 0]
    assert values("degenerate", bench(["a b c d e f"], end="length")) == [1]


def test_overlap_with_the_chosen_is_that_of_the_libraries_definitions():
    made = bench(["the cat sat on the mat", "dogs bark", "the mat"])
    made.chosen = {"p": ["the cat sat on the mat"]}
    bleu, rouge = values("bleu", made), values("rouge", made)
    assert bleu[:2] == [pytest.approx(100), 0]
    # 2 and 1 of 2 and 1 n-grams, both in the chosen one, with the brevity penalty of 2 words for 6
    assert bleu[2] == pytest.approx(100 * exp(1 - 6 / 2))
    assert rouge == [1, 0, pytest.approx(2 * 1 * (2 / 6) / (1 + 2 / 6))]


def test_wins_against_several_chosen_responses_are_their_mean():
    made = bench(["a", "b"])
    made.chosen = {"p": ["x", "y"]}
    made._scores = {
        "sample": {"gold": [1.0, -2.0], "oracle": [0.0, 3.0]},
        "chosen": {"gold": [1.0, 0.0], "oracle": [0, 1]},
    }
    assert values("hard_win_chosen", made) == [0.75, 0.0, 0.25, 1.0]
    expected = [(0.5 + 1 / (1 + exp(-1))) / 2, (1 / (1 + exp(3)) + 1 / (1 + exp(2))) / 2]
    assert values("soft_win_chosen", made) == pytest.approx(expected)


def test_blame_is_the_area_within_each_response_and_its_threshold_trades_precision_for_recall():
    made = bench(["a"])
    made.blamed = [
        Blamed("p", [2.0, 0.3, 0.0, 0.1], [True, True, False, False]),
        Blamed("q", [0.15, 0.5, -1.0], [True, False, False]),
    ]
    assert values("blame", made) == [1.0, 0.5]
    found = {value.role: value.value for value in registry.load("metrics", "blame_threshold")().values(made)}
    # gains above log λ: 5 of which 3 are wrong at 1.0; 5 at 1.1; 3 at 1.2, of which 2; 2 at 1.5, of which 1
    precision, recall = (3 / 5, 3 / 5, 2 / 3, 1 / 2), (1, 1, 2 / 3, 1 / 3)
    for role, shares in (("precision", precision), ("recall", recall)):
        slope = (-1.5 * shares[0] - 0.5 * shares[1] + 0.5 * shares[2] + 1.5 * shares[3]) / 5
        assert found[role] == pytest.approx(3 * slope)


def test_a_recipe_without_metrics_does_not_ask_for_what_few_datasets_have(tmp_path):
    text = ('name = "a"', 'question = "?"', '[[model]]', 'source = "lab"', '[[dataset]]', 'source = "lab"',
            '[[algorithm]]', 'name = "dpo"')  # fmt: skip
    (tmp_path / "a.toml").write_text("\n".join(text))
    asked = set(read_recipe(tmp_path / "a.toml").evaluation.metrics)
    assert set(registry.names("metrics")) - asked == {"blame", "blame_threshold"}


CLAUSE = "今天天气很好我们一起去公园散步吧"
"""Sixteen characters, none twice in a run of four."""


@pytest.mark.parametrize(
    ("text", "share"),
    [
        (CLAUSE, 0),
        (CLAUSE * 5, 1 - 16 / 77),
        ("อากาศดีมาก" * 4, 1 - 10 / 37),
        ("今天 天气 很好", 0),
        ("今天 天气 " * 8, 1 - 2 / 13),
    ],
)
def test_in_a_text_without_spaces_characters_are_what_is_repeated(text, share):
    """By hand: 77 runs of four characters, 16 of them different; words that somebody has put apart are words."""
    made = bench([text])
    made.responses = [replace(made.responses[0], prompt=[{"role": "user", "content": "说说天气"}])]
    assert values("repetition", made) == [pytest.approx(share)]
    assert values("degenerate", made) == [share > 0.5]


@pytest.mark.parametrize(
    ("text", "prompt", "copied"),
    [
        (CLAUSE, f"请翻译:{CLAUSE}", 1),
        (CLAUSE, f"Please translate into English: {CLAUSE}", 1),
        (f"好的。{CLAUSE}", CLAUSE, 1),
        ("法国的首都是巴黎。", "法国的首都是哪里?", 0),
        ("我不知道你在说什么,请再说一遍好吗", f"请翻译:{CLAUSE}", 0),
    ],
)
def test_in_a_text_without_spaces_characters_are_what_is_copied(text, prompt, copied):
    made = bench([text])
    made.responses = [replace(made.responses[0], prompt=[{"role": "user", "content": prompt}])]
    assert values("copied", made) == [copied]


def test_words_that_are_not_known_are_not_counted():
    assert values("repeated_span", bench([CLAUSE * 2, "a b a b"])) == [2]


def test_overlap_with_what_the_libraries_cannot_read_has_no_value():
    made = bench([CLAUSE, "a cat"])
    made.chosen = {"p": [CLAUSE]}
    assert values("rouge", made) == values("bleu", made) == []
    made.chosen = {"p": [CLAUSE, "a cat"]}
    assert values("rouge", made) == [0, 1]
    assert values("bleu", made) == [0, pytest.approx(100)]
    made = bench(["Кошка сидит на ковре.", "!?"])
    made.chosen = {"p": ["Кошка сидит на ковре 2 дня."]}
    assert values("rouge", made) == []
    assert values("bleu", made)[0] > 40, "its words are told by spaces"
    made.chosen = {"p": ["Déjà vu."]}
    assert values("rouge", made) == [0, 0]


def test_how_alike_texts_without_spaces_are_has_no_value():
    alike = bench([CLAUSE, f"{CLAUSE}好"])
    assert values("self_bleu", alike) == []
    alike.responses = [replace(r, prompt_id=f"p{r.k}", k=0) for r in alike.responses]
    assert values("self_bleu_across", alike) == []
    assert values("self_bleu", bench([CLAUSE, "a b c d e", "a b c d e"])) == [100]

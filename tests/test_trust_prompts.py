"""Disjoint prompts: what is found, what is not, and how often innocent prompts are accused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.data import Message, Row
from harness.data.lab import Lab
from harness.errors import HarnessError
from harness.near import NEAR, groups, jaccard, shingles
from harness.plan import make_plan
from harness.recipe import read_recipe
from harness.stages import Sample
from harness.trust.prompts import TOLERATED, overlaps, refuse_overlap

LAB = Lab(train=1920, proxy=1280, gold=1280, evaluation=256)


def ask(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def lab(split: str) -> list[list[Message]]:
    return [row["prompt"] for row in LAB.rows("prompts", split)]


def test_similarity_by_hand() -> None:
    one, other = shingles("tell me about the river"), shingles("Tell me -- about the boat!")
    assert one == {"tell me about", "me about the", "about the river"}
    assert jaccard(one, other) == 2 / 4
    assert jaccard(shingles("yes"), shingles("Yes.")) == 1, "a text shorter than a shingle is one"


def test_what_is_shared_is_counted_in_the_smaller_set() -> None:
    long = " ".join(f"word{i}" for i in range(40))
    sets = {
        "train": [ask("what is the river like ?"), ask(long), ask("something else altogether"), ask("and more of it")],
        "test": [ask("what is the river like ?"), ask(long.upper()), ask("please " + long)],
    }
    (found,) = overlaps(sets)
    assert (found.equal, found.near, found.of) == (1, 2, 3)
    assert not found.apart
    assert found.example == "what is the river like ?"


def test_who_spoke_is_part_of_a_prompt() -> None:
    one = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    (found,) = overlaps({"a": [one], "b": [ask("hello")]})
    assert found.equal == 0


def test_a_handful_of_near_duplicates_is_tolerated_and_an_equal_prompt_is_not() -> None:
    rng = random.Random(0)
    base = [" ".join(rng.choices([f"w{i}" for i in range(500)], k=30)) for _ in range(400)]
    test = [ask(text) for text in base[:200]]
    near = [ask(text.upper()) for text in base[: int(TOLERATED * 200)]]
    others = [ask(text) for text in base[200:]]
    assert overlaps({"train": others + near, "test": test})[0].apart
    assert not overlaps({"train": [*others, *near, ask(base[5].upper())], "test": test})[0].apart
    assert not overlaps({"train": [*others, test[0]], "test": test})[0].apart


def test_independent_draws_of_the_lab_are_apart() -> None:
    """False alarms: the lab's prompts are made from templates, and each has cousins that differ in a word."""
    sets = {"train": lab("train") + lab("proxy"), "gold": lab("gold"), "test": lab("test"), "ood": lab("ood")}
    found = overlaps(sets)
    assert len(found) == 6
    assert all(one.apart for one in found)
    assert sum(one.near for one in found if "test" in (one.one, one.other)) == 0
    training = [shingles(prompt[-1]["content"]) for prompt in sets["train"]]
    cousins = [max(jaccard(shingles(p[-1]["content"]), other) for other in training) for p in sets["test"][:100]]
    assert sum(best >= 0.7 for best in cousins) > 10, "a laxer threshold would accuse many"
    assert max(cousins) < NEAR


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (str.upper, 1.0),
        (lambda text: text.replace(" .", "!").replace(" ", "  "), 1.0),
        (lambda text: "please " + text, 0.85),
        (lambda text: text + " thanks", 0.85),
    ],
)
def test_planted_near_duplicates_are_found(change: object, least: float) -> None:
    assert callable(change)
    test = [prompt for prompt in lab("test") if len(prompt[-1]["content"].split()) >= 14]
    planted = [ask(change(prompt[-1]["content"])) for prompt in test]
    (found,) = overlaps({"train": lab("train") + planted, "test": test})
    assert found.equal == 0
    assert least * found.of <= found.near <= found.of


def rows(*texts: str) -> list[Row]:
    return [{"id": text, "prompt": ask(text)} for text in texts]


def test_evaluation_prompts_that_were_trained_on_are_refused_in_one_message() -> None:
    training = {"split 'train', which dpo trains on": rows("a", "b", "b", "c"), "split 'proxy'": rows("d")}
    refuse_overlap(rows("x", "y"), "test", training)
    with pytest.raises(HarnessError) as told:
        refuse_overlap(rows("b", "x", "c"), "test", training)
    assert str(told.value) == (
        "evaluation.split 'test' overlaps the training data: of its 3 prompts 2 are in split 'train', which dpo trains "
        "on, such as 'b'. Take another split, or take them out of one of the two"
    )


LEAKY = """
from dataclasses import dataclass
from typing import ClassVar
from harness import keys
from harness.data import Dataset
@dataclass(frozen=True)
class Leaky(Dataset):
    version: ClassVar[int] = 1
    views: ClassVar[frozenset[str]] = frozenset({"text", "prompts", "demonstrations", "pairs"})
    def rows(self, view, split):
        first = {"train": 0, "test": 4}.get(split, 50)
        prompts = [[{"role": "user", "content": f"w{i}"}] for i in range(first, first + 6)]
        return [{"id": f"{split}-{p}", "prompt_id": keys.key(p), "prompt": p, "response": "w1", "chosen": "w1",
                 "rejected": "w2", "messages": p} for p in prompts]
"""


def test_a_sample_of_a_policy_refuses_prompts_that_the_policy_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is loaded: the inputs' folders are not even there."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "leaky.py").write_text(LEAKY)
    monkeypatch.setenv("HARNESS_PLUGINS", str(tmp_path))
    (tmp_path / "r.toml").write_text(
        'name = "x"\n[evaluation]\nprompts = 6\n[[dataset]]\nsource = "leaky"\n[[algorithm]]\nname = "dpo"\n'
    )
    plan = make_plan(read_recipe(tmp_path / "r.toml"))
    sample = next(stage for stage in plan.stages() if isinstance(stage, Sample))
    with pytest.raises(HarnessError, match="prompts 2 are in split 'train', which sft trains on, such as 'w4'"):
        sample.run(tmp_path, {}, 50)


def test_groups_follow_chains_and_name_the_first() -> None:
    words = [f"w{i}" for i in range(60)]
    one, other, third = " ".join(words), " ".join([*words, "x", "y"]), " ".join([*words, "x", "y", "z", "q"])
    far = " ".join([*words, *(f"x{i}" for i in range(9))])
    assert jaccard(shingles(one), shingles(far)) < NEAR
    given = [far, third, "something else", other, one]
    assert groups(lambda: given * 2) == {one: one, other: one, third: one}

"""One tokenisation, one length rule, one order, one partner."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from transformers import AutoTokenizer

from harness.data import Row
from harness.errors import HarnessError
from harness.inference.rendering import check_template
from harness.job import Budget
from harness.training.rows import Encoder, fitting, fitting_prompts, order, with_partners
from harness.training.scratch import new_tokenizer


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(new_tokenizer(tiny.Tiny()))


def test_a_response_is_its_words_and_the_end_token(encoder: Encoder) -> None:
    row = tiny.Tiny().rows("pairs", "train")[0]
    ids = encoder.response(row["chosen"])
    assert encoder.tokenizer.convert_ids_to_tokens(ids) == [*row["chosen"].split(), "</s>"]


def test_prompt_and_response_are_what_the_template_writes(encoder: Encoder) -> None:
    row = tiny.Tiny().rows("pairs", "train")[0]
    turn = [*row["prompt"], {"role": "assistant", "content": row["chosen"]}]
    whole = encoder.tokenizer.apply_chat_template(turn, tokenize=True, return_dict=False)
    assert encoder.prompt(row) + encoder.response(row["chosen"]) == whole
    assert whole.count(encoder.tokenizer.bos_token_id) == 1


def test_every_word_has_a_token_of_its_own(encoder: Encoder) -> None:
    ids = encoder.tokenizer(" ".join(tiny.WORDS), add_special_tokens=False)["input_ids"]
    assert len(set(ids)) == len(tiny.WORDS)
    assert encoder.tokenizer.unk_token_id not in ids
    assert encoder.tokenizer.decode(ids) == " ".join(tiny.WORDS)


def test_a_saved_tokenizer_renders_the_same(encoder: Encoder, tmp_path: Path) -> None:
    encoder.tokenizer.save_pretrained(tmp_path)
    other = Encoder(AutoTokenizer.from_pretrained(tmp_path))
    row = tiny.Tiny().rows("pairs", "train")[0]
    assert (other.prompt(row), other.response(row["chosen"])) == (encoder.prompt(row), encoder.response(row["chosen"]))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ bos_token }} {{ bos_token }}{% for m in messages %} {{ m['content'] }}{% endfor %}", "begin token"),
        ("{{ bos_token }} {% if add_generation_prompt %}<user>{% endif %} <assistant>", "prefix-consistent"),
        (None, "no chat template"),
        (
            "{{ bos_token }} <system> {{ strftime_now('%d') }} {{ eos_token }}{% for m in messages %}"
            " <{{ m['role'] }}> {{ m['content'] }} {{ eos_token }}{% endfor %}"
            "{% if add_generation_prompt %} <assistant>{% endif %}",
            r"reads the clock \(strftime_now\).*fixed date",
        ),
    ],
)
def test_a_template_that_cannot_be_trusted_is_refused(template: str | None, said: str) -> None:
    tokenizer = new_tokenizer(tiny.Tiny())
    tokenizer.chat_template = template
    with pytest.raises(HarnessError, match=said):
        check_template(tokenizer, [{"role": "user", "content": "bak"}])
    with pytest.raises(HarnessError, match=said):
        fitting(Encoder(tokenizer), tiny.Tiny().rows("pairs", "train"), "pairs", Budget())


def test_a_prompt_is_left_out_with_all_its_rows(encoder: Encoder) -> None:
    rows = tiny.Tiny().rows("binary", "train")
    rows[1]["response"] = " ".join(tiny.WORDS[:10])
    kept, left_out = fitting(encoder, rows, "binary", Budget(max_response_tokens=10))
    assert left_out == 2
    assert kept == rows[2:]
    assert fitting(encoder, rows, "binary", Budget(max_response_tokens=11)) == (rows, 0)  # ten words and the end


def test_a_long_prompt_is_left_out(encoder: Encoder) -> None:
    rows = tiny.Tiny().rows("pairs", "train")
    lengths = [len(encoder.prompt(row)) for row in rows]
    kept, left_out = fitting(encoder, rows, "pairs", Budget(max_prompt_tokens=min(lengths)))
    assert [len(encoder.prompt(row)) for row in kept] == [min(lengths)] * len(kept)
    assert left_out == len(rows) - len(kept) > 0


@pytest.mark.parametrize("token", ["</s>", "<assistant>", "<pad>"])
@pytest.mark.parametrize("view", ["demonstrations", "pairs", "binary", "rankings", "judgments", "prompts"])
def test_a_text_that_spells_out_a_control_token_is_left_out_with_its_prompt(
    encoder: Encoder, view: str, token: str
) -> None:
    """A response would end in its middle, and a prompt would open a turn."""
    rows, budget = tiny.Tiny().rows(view, "train"), Budget()

    def fit() -> tuple[list[Row], int]:
        own = Encoder(encoder.tokenizer)
        return fitting_prompts(own, rows, budget) if view == "prompts" else fitting(own, rows, view, budget)

    assert fit() == (rows, 0)
    prompts = [row["prompt_id"] for row in rows]
    spelt = f"bak {token} bal"
    rows[0] = {**rows[0], "prompt": [{"role": "user", "content": spelt}]}
    bad = {prompts[0]}
    if view != "prompts":
        field = {"pairs": "rejected", "rankings": "responses"}.get(view, "response")
        rows[-1] = {**rows[-1], field: ["bak", spelt] if view == "rankings" else spelt}
        bad.add(prompts[-1])
    kept, left_out = fit()
    assert {row["prompt_id"] for row in kept} == set(prompts) - bad
    assert left_out == len(rows) - len(kept) == sum(name in bad for name in prompts)


def test_a_token_that_is_not_spelt_out_is_no_control_token(encoder: Encoder) -> None:
    """An unknown word is read as a special token too, and so is the end that closes every response."""
    rows = [{**row, "chosen": "a word that nobody knows / s >"} for row in tiny.Tiny().rows("pairs", "train")]
    assert encoder.tokenizer.unk_token_id in encoder.response(rows[0]["chosen"])
    assert fitting(encoder, rows, "pairs", Budget()) == (rows, 0)


def test_control_tokens_everywhere_are_told_from_lengths(encoder: Encoder) -> None:
    rows = [{**row, "response": f"{row['response']} </s>"} for row in tiny.Tiny().rows("demonstrations", "train")]
    with pytest.raises(HarnessError, match=r"none of 24 rows.*; 24 of them spell out a control token, such as '</s>'"):
        fitting(Encoder(encoder.tokenizer), rows, "demonstrations", Budget())


def test_nothing_that_fits_is_an_error(encoder: Encoder) -> None:
    with pytest.raises(HarnessError, match=r"none of 24 rows.*max_response_tokens = 1"):
        fitting(encoder, tiny.Tiny().rows("pairs", "train"), "pairs", Budget(max_response_tokens=1))


def test_the_tiny_world_is_the_same_in_every_process() -> None:
    """Else what is measured in it would depend on the seed of Python's hashes."""
    code = "import tiny; print([tiny.Tiny(200).rows(view, 'train') for view in sorted(tiny.VIEWS)])"
    seen = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(tiny.__file__).parent)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
        seen.add(done.stdout)
    assert len(seen) == 1


def test_a_partner_belongs_to_the_row_and_not_to_its_place() -> None:
    rows = tiny.Tiny().rows("binary", "train")
    shuffled = random.Random(1).sample(rows, len(rows))
    partners = {row["id"]: row["partner"] for row in with_partners(rows)}
    assert {row["id"]: row["partner"] for row in with_partners(shuffled)} == partners
    prompts: dict[str, set[str]] = {}
    for row in rows:
        prompts.setdefault(row["response"], set()).add(row["prompt_id"])
    assert all(prompts[row["partner"]] - {row["prompt_id"]} for row in with_partners(rows))
    assert len(set(partners.values())) > len(rows) / 2


def test_no_partner_is_an_error() -> None:
    with pytest.raises(HarnessError, match="mismatched partner"):
        with_partners(tiny.Tiny(prompts=1).rows("binary", "train"))


def test_each_pass_is_a_fresh_permutation() -> None:
    found = order(10, 25, seed=1)
    assert sorted(found[:10]) == sorted(found[10:20]) == list(range(10))
    assert len(set(found[20:])) == 5
    assert found[:10] != found[10:20]
    assert order(10, 25, seed=1) == found != order(10, 25, seed=2)

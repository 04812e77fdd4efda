"""`harness data`: what it says is what the files hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from test_models import bert
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import HarnessError


@pytest.fixture
def recipe(tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve pairs and a bad one, to be read by the tiny model."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    rows = [{"prompt": f"bak {word}", "chosen": f"{word} dol", "rejected": "fim", "id": 1} for word in tiny.WORDS[:12]]
    rows[3]["chosen"] = " ".join(["bak"] * 70)
    rows += [{"prompt": "bak", "chosen": "x", "rejected": "x"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = shelf / tiny.START / "policy"
    path = tmp_path / "r.toml"
    path.write_text(
        f'name = "x"\n[[model]]\nsource = "{model}"\n[[dataset]]\nsource = "files"\npairs = "p.jsonl"\n'
        'binary = "from pairs"\non_bad = "drop"\nsplits = {train = 1.0}\n[[start]]\nname = "sft_chosen"\n'
        '[[algorithm]]\nname = "dpo"\n[[algorithm]]\nname = "kto"\n[[algorithm]]\nname = "cut"\n'
    )
    return path


def test_it_counts_and_shows(recipe: Path) -> None:
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]
    assert found["rows"] == {"binary train": 24, "pairs train": 12, "prompts train": 12}
    assert found["bad_rows"] == ["p.jsonl, line 13: chosen and rejected are equal"]
    assert found["columns"] == {"pairs": {"read": {n: n for n in ("prompt", "chosen", "rejected")}, "left": ["id"]}}
    assert found["conversions"] == {"binary from pairs": 24}
    assert found["overlap"] == {}
    assert found["near"] == {"prompts": 0, "groups": 0}
    own = found["contestants"]
    assert own["dpo"] == {"view": "pairs", "rows": 11, "prompts": 11, "too_long": 1}
    assert own["kto"] == {"view": "binary", "rows": 22, "prompts": 11, "too_long": 2}
    assert own["cut"]["reason"] == "cut needs judgments; dataset 'files' has binary, pairs, prompts"
    assert found["tokens"]["train pairs: response"]["longest"] == 71  # seventy words and the end token
    assert len(found["examples"]["pairs"]) == 3


def test_prompts_to_answer_have_their_lengths_told(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("train = 1.0", "train = 0.5, test = 0.5"))
    long = " ".join(tiny.WORDS[:20])
    file = recipe.parent / "p.jsonl"
    more = [{"prompt": f"{long} {end}", "chosen": "dol", "rejected": "fim"} for end in tiny.WORDS[:9]]
    file.write_text(file.read_text() + "".join(json.dumps(row) + "\n" for row in more))
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]["tokens"]
    assert found["test prompts"]["longest"] > 20
    assert "\ntest prompts " in CliRunner().invoke(app, ["data", str(recipe)]).stdout


def test_near_duplicates_are_counted(recipe: Path) -> None:
    long = " ".join(f"{one} {other}" for one in tiny.WORDS[:6] for other in tiny.WORDS[6:12])
    file = recipe.parent / "p.jsonl"
    near = [{"prompt": f"{long} {end}", "chosen": "dol", "rejected": "fim"} for end in tiny.WORDS[:3]]
    file.write_text(file.read_text() + "".join(json.dumps(row) + "\n" for row in near))
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]
    assert found["near"] == {"prompts": 3, "groups": 1}
    assert "  3 in 1 group\n" in CliRunner().invoke(app, ["data", str(recipe)]).stdout


def test_what_trains_nothing_is_given_nothing(recipe: Path) -> None:
    text = recipe.read_text().replace('name = "kto"', 'name = "best_of_n"').replace('name = "cut"', 'name = "base"')
    recipe.write_text(text)
    own = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]["contestants"]
    assert own["best_of_n"] == own["base"] == {"reason": "nothing is trained"}
    assert own["dpo"]["rows"] == 11


def test_the_marks_hold_what_is_trained_on(recipe: Path) -> None:
    said = CliRunner().invoke(app, ["data", str(recipe)]).stdout
    assert "<assistant>⟦fim </s>⟧" in said.replace("<assistant> ⟦", "<assistant>⟦")
    assert "Bad rows, 1:" in said
    assert "  pairs: prompt, chosen, rejected; not read: id\n" in said


def test_data_is_shown_where_no_algorithm_can_use_it(recipe: Path) -> None:
    text = recipe.read_text().replace('binary = "from pairs"\n', 'binary = "from pairs"\njudgments = "from binary"\n')
    text = text.replace('name = "dpo"', 'name = "forward_prediction"').replace('name = "kto"', 'name = "sft"')
    recipe.write_text(text.replace('name = "sft_chosen"', 'name = "sft"').replace('[[algorithm]]\nname = "cut"\n', ""))
    done = CliRunner().invoke(app, ["data", str(recipe)])
    assert done.exit_code == 0, done.exception
    lacking = "sft needs demonstrations; dataset 'files' has binary, judgments, pairs, prompts"
    assert done.stdout.count(lacking) == 1, "what all of them lack is told once"
    assert f"  sft, forward_prediction and sft continued: {lacking}; with pairs alone, say" in done.stdout
    assert "judgment: This response is not satisfactory., said by a template]" in done.stdout


def test_bad_rows_refuse_where_the_recipe_says_nothing(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace('on_bad = "drop"\n', ""))
    done = CliRunner().invoke(app, ["data", str(recipe)])
    assert isinstance(done.exception, HarnessError)
    assert "line 13" in str(done.exception)


def test_of_several_datasets_the_good_ones_are_shown_and_all_bad_ones_told(recipe: Path) -> None:
    good = recipe.read_text()
    table = good[good.index("[[dataset]]") : good.index("[[start]]")]
    others = [
        table.replace("p.jsonl", f"{name}.jsonl").replace("\non_bad", f'\nlabel = "{name}"\non_bad') for name in "ab"
    ]
    recipe.write_text(good.replace(table, table + "".join(others)))
    for name, text in {"a": '{"prompt": "bak", "chosen": "so', "b": '{"prompt": "bak", "chosen": "so\n{}\n'}.items():
        (recipe.parent / f"{name}.jsonl").write_text(text)
    found = CliRunner().invoke(app, ["data", str(recipe), "--json"])
    assert [one["dataset"] for one in json.loads(found.stdout)] == ["files"]
    told = str(found.exception)
    assert "dataset 'a': none of the 1 rows of a.jsonl can be read" in told
    assert "a.jsonl, line 1: is cut in the middle (Unterminated string starting at: column 29)" in told
    assert "dataset 'b': none of the 2 rows of b.jsonl can be read" in told
    assert "b.jsonl, line 1: is no JSON (Unterminated string starting at: column 29)" in told


def test_it_says_what_reward_models_would_train_on(recipe: Path) -> None:
    text = recipe.read_text().replace("train = 1.0", "train = 0.4, proxy = 0.3, gold = 0.3")
    rewards = "[reward.proxy]\nmax_response_tokens = 2\n[reward.gold]\nprompts = 40\n"
    recipe.write_text(text + rewards)
    file = recipe.parent / "p.jsonl"
    rows = [{"prompt": f"{a} {b}", "chosen": f"{a} {a}" if a == b else a, "rejected": "fim"}
            for a in tiny.WORDS[:8] for b in tiny.WORDS[:8]]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]
    counts, proxy = found["rows"], found["rewards"]["proxy"]
    assert proxy["too_long"] > 0, "two words and the end token are three"
    assert proxy == {
        **{"split": "proxy", "view": "pairs", "rows": counts["pairs proxy"] - proxy["too_long"]},
        **{"prompts": proxy["rows"], "too_long": proxy["too_long"]},
    }
    few = f"reward.gold.prompts asks for 40 prompts; split 'gold' has {counts['pairs gold']} with pairs"
    assert found["rewards"]["gold"] == {"split": "gold", "reason": few}
    assert "split 'selection' has no pairs" in found["rewards"]["selection"]["reason"]
    said = CliRunner().invoke(app, ["data", str(recipe)]).stdout
    told = said.partition("What each reward model would train on:\n")[2]
    assert told.startswith(f"  proxy: {proxy['rows']} rows of pairs of split 'proxy', {proxy['prompts']} prompts; too ")
    assert f"\n  gold: {few}\n" in told


def test_reward_models_that_are_not_trained_say_why(recipe: Path) -> None:
    ready = f'source = "openai/nothing"\nrevision = "{"0" * 40}"'
    recipe.write_text(recipe.read_text() + f'[reward.selection]\n{ready}\n[reward.gold]\ndata = "rankings"\n')
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]["rewards"]
    assert found["selection"] == {"reason": "it is ready-made, so nothing is trained"}
    views = "binary, pairs, prompts"
    assert found["gold"] == {"reason": f"a reward model needs rankings; dataset 'files' has {views}"}


def test_a_reward_model_on_a_base_of_its_own_is_told_by_the_tokenizer_of_that_base(recipe: Path, shelf: Path) -> None:
    bert(recipe.parent / "bert")
    text = recipe.read_text().replace("train = 1.0", "train = 0.4, proxy = 0.3, gold = 0.3")
    gold = '[reward.gold]\nbase = {source = "encoder", name = "./bert"}\nmax_prompt_tokens = 4\n'
    recipe.write_text(f"{text}[reward.proxy]\nmax_prompt_tokens = 4\n{gold}")
    rows = [{"prompt": f"{a} {b}", "chosen": a, "rejected": "fim"} for a in tiny.WORDS[:8] for b in tiny.WORDS[:8]]
    (recipe.parent / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]
    assert "none of" in found["rewards"]["proxy"]["reason"], "<s>, <user>, two words, </s> and <assistant> are six"
    own, there = found["rewards"]["gold"], found["rows"]["pairs gold"]
    assert own == {
        **{"split": "gold", "view": "pairs", "rows": there, "prompts": there, "too_long": 0, "base": "encoder"}
    }, "[CLS], two words and [SEP] are four"
    said = CliRunner().invoke(app, ["data", str(recipe)])
    assert (
        f"  gold: {there} rows of pairs of split 'gold', {there} prompts; too long for its base: 0 rows\n"
        in said.stdout
    )
    shorter = ["--set", "reward.gold.max_prompt_tokens=3"]
    own = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json", *shorter]).stdout)[0]["rewards"]["gold"]
    assert own["reason"].startswith(f"none of {there} rows of pairs fits max_prompt_tokens = 3")


def test_rows_of_a_base_without_a_tokenizer_are_told_to_be_those_before_long_ones_go(recipe: Path) -> None:
    text = recipe.read_text().replace("train = 1.0", "train = 0.5, gold = 0.5")
    recipe.write_text(text + '[reward.gold]\nbase = {source = "lab"}\n')
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]
    own = found["rewards"]["gold"]
    assert "too_long" not in own
    assert own["rows"] == found["rows"]["pairs gold"]
    said = CliRunner().invoke(app, ["data", str(recipe)]).stdout
    assert f"{own['prompts']} prompts, before rows that are too long for its base are left out: the lab's " in said


@pytest.fixture
def two(recipe: Path, shelf: Path) -> Path:
    """The recipe with a second model, whose template adds three words to each prompt."""
    template = "{{ bos_token }} fim fim fim{% for m in messages %} {{ m['content'] }}{% endfor %} <assistant>"
    other = f'[[model]]\nsource = "{shelf / tiny.START / "policy"}"\nlabel = "other"\ntemplate = "{template}"\n'
    recipe.write_text(recipe.read_text().replace("[[dataset]]", f"{other}[[dataset]]", 1))
    return recipe


def test_each_dataset_is_shown_with_each_model(two: Path) -> None:
    text = two.read_text()
    table = text[text.index("[[dataset]]") : text.index("[[start]]")]
    another = table.replace("\non_bad", '\nlabel = "b"\non_bad').replace("1.0", "0.5")
    two.write_text(text.replace(table, table + another))
    found = json.loads(CliRunner().invoke(app, ["data", str(two), "--json"]).stdout)
    pairs = [(one["dataset"], one["model"]) for one in found]
    assert pairs == [(data, model) for data in ("files", "b") for model in (found[0]["model"], "other")]
    first, other = found[:2]
    lengths = [one["tokens"]["train pairs: prompt"]["longest"] for one in (first, other)]
    assert lengths[0] != lengths[1]
    same = ("rows", "prompts", "overlap", "bad_rows", "columns", "conversions", "left_out", "near")
    assert {name: first[name] for name in same} == {name: other[name] for name in same}
    said = CliRunner().invoke(app, ["data", str(two)]).stdout
    assert [line for line in said.splitlines() if ", read as " in line] == [f"{a}, read as {b} does" for a, b in pairs]
    assert "fim fim fim" in said


def test_a_second_model_that_cannot_be_had_is_told(two: Path) -> None:
    broken = two.parent / "broken"
    broken.mkdir()
    for name, text in {"config.json": "{}", "tokenizer.json": "{", "model.safetensors": "x"}.items():
        (broken / name).write_text(text)
    lines = two.read_text().splitlines()
    place = lines.index('label = "other"')
    lines[place - 1], lines[place + 1] = 'source = "./broken"', ""
    two.write_text("\n".join(lines))
    said = CliRunner().invoke(app, ["data", str(two)]).stdout
    assert (
        "\nfiles, read for other, without a tokenizer, so lengths are not known: model folder 'broken' cannot" in said
    )
    found = json.loads(CliRunner().invoke(app, ["data", str(two), "--json"]).stdout)
    assert found[1]["no_tokenizer"].startswith("model folder 'broken' cannot be loaded")
    assert found[0]["no_tokenizer"] == ""


def test_what_is_wrong_with_a_dataset_is_told_once_for_all_models(two: Path) -> None:
    two.write_text(two.read_text().replace('on_bad = "drop"\n', ""))
    done = CliRunner().invoke(app, ["data", str(two)])
    assert str(done.exception).count("line 13") == 1


def test_splits_with_fewer_prompts_than_are_asked_for_are_told_and_none_is_left_out(recipe: Path) -> None:
    text = recipe.read_text().replace("train = 1.0", "train = 0.6, proxy = 0.0, test = 0.4")
    recipe.write_text(f"{text}[evaluation]\nprompts = 50\n[budget]\nprompts = 40\n[tune]\nprompts = 30\n")
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]
    rows = found["rows"]
    few = found["too_few"]
    assert f"evaluation.prompts asks for 50 prompts; split 'test' has {rows['prompts test']} with prompts" in few
    assert f"budget.prompts asks for 40 prompts; split 'train' has {rows['pairs train']} with pairs" in few
    assert any(one.startswith("split 'tune' has no prompts: ") for one in few)
    assert any(one.startswith("split 'gold' has no pairs: ") for one in few)
    said = CliRunner().invoke(app, ["data", str(recipe)]).stdout
    assert "\n\nToo few prompts for this recipe:\n  " in said
    for one in few:
        assert f"\n  {one}\n" in said
    head, *table = said[said.index("rows    ") :].partition("\n\n")[0].splitlines()
    assert head.split() == ["rows", "train", "proxy", "selection", "gold", "tune", "test", "ood", "heldout"]
    prompts = next(line for line in table if line.startswith("prompts")).split()[1:]
    assert prompts == [str(rows.get(f"prompts {split}", 0)) for split in head.split()[1:]]


def test_that_nothing_is_held_out_is_told(recipe: Path) -> None:
    few = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]["too_few"]
    assert "split 'heldout' has no pairs: its share is 0; give it one with splits = {...}" in few


def test_enough_prompts_are_no_matter(recipe: Path) -> None:
    rows = [{"prompt": f"{a} {b}", "chosen": a, "rejected": "fim"} for a in tiny.WORDS[:20] for b in tiny.WORDS[:20]]
    (recipe.parent / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shares = "train = 0.3, proxy = 0.1, selection = 0.1, gold = 0.1, tune = 0.1, heldout = 0.1, test = 0.1, ood = 0.1"
    text = recipe.read_text().replace("train = 1.0", shares)
    recipe.write_text(f"{text}[evaluation]\nprompts = 8\npairs = 8\nbest_of_prompts = 8\n[budget]\nprompts = 20\n")
    found = json.loads(CliRunner().invoke(app, ["data", str(recipe), "--json"]).stdout)[0]
    assert found["too_few"] == []
    assert "Too few" not in CliRunner().invoke(app, ["data", str(recipe)]).stdout

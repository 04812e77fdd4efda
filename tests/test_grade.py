from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small import (
    WORDS,
    BareData,
    SmallData,
    grade_stage,
    sample_stage,
    save_small_policy,
    save_small_reward,
    small_policy,
    train_stage,
)

from harness import registry
from harness.data import EmptySplit
from harness.errors import HarnessError
from harness.inference.rendering import prompt_hash, render_prompt
from harness.inference.scoring import RewardModel, score
from harness.inference.systems import write_samples
from harness.metrics._grade import grade

GREEDY = {"samples": 1, "temperature": 0.0}
COUNTS = {"sample": 36, "prompt": 12, "pair": 10, "judgment": 10, "corpus": 1}
POLICY, START = train_stage(), train_stage("replicate-1")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    """Folders by role: a policy with an emitted step, another start, reward models, and samples of the policy."""
    root = tmp_path_factory.mktemp("results")
    folders = {role: root / role for role in ("policy", "start", "gold", "proxy", "sample", "greedy")}
    save_small_policy(folders["policy"], seed=0)
    save_small_policy(folders["policy"], seed=2, name="policy-step-3")
    save_small_policy(folders["start"], seed=1)
    save_small_reward(folders["gold"], seed=3)
    save_small_reward(folders["proxy"], seed=4)
    for role, changed in (("sample", {}), ("greedy", GREEDY)):
        folders[role].mkdir()
        write(folders[role], folders["policy"], **changed)
    return folders


def write(out: Path, policy: Path, **changed):
    rows = SmallData().rows("prompts", "test")
    return write_samples(out, {"policy": policy}, rows, SmallData(), sample_stage(POLICY, **changed))


def samples(folder: Path) -> list[dict]:
    return pq.read_table(folder / "samples.parquet").to_pylist()


def graded(out: Path, inputs: dict[str, Path], dataset=None, start=START, sample=None, **changed):
    """Measurements by name, and the rows of `scores.parquet`."""
    stage = grade_stage(sample or sample_stage(POLICY), start, **changed)
    measured = grade(out, inputs, dataset or SmallData(), stage)
    return {m.metric: m for m in measured}, pq.read_table(out / "scores.parquet").to_pylist()


def values(rows: list[dict], metric: str, role: str) -> dict[tuple[str, int], float]:
    """One metric's values by prompt and k."""
    return {(r["prompt_id"], r["k"]): r["value"] for r in rows if (r["metric"], r["role"]) == (metric, role)}


def test_the_samples_table_holds_every_response_as_it_was_sampled(world):
    tokenizer = small_policy()[1]
    table = samples(world["sample"])
    rows = SmallData().rows("prompts", "test")
    assert [(line["prompt_id"], line["k"]) for line in table] == [(r["prompt_id"], k) for r in rows for k in range(3)]
    prompts = {row["prompt_id"]: row["prompt"] for row in rows}
    for line in table:
        columns = {"prompt_id", "k", "step", "prompt_hash", "response", "token_ids", "logps", "end", "spent_tokens"}
        assert set(line) == columns
        assert line["spent_tokens"] == len(line["token_ids"])
        assert line["step"] == -1
        assert line["prompt_hash"] == prompt_hash(render_prompt(tokenizer, prompts[line["prompt_id"]]))
        words = [tokenizer.convert_ids_to_tokens(i) for i in line["token_ids"]]
        assert line["response"].split() == [word for word in words if word in WORDS]
        assert len(line["logps"]) == len(line["token_ids"])
        assert line["end"] == ("eos" if line["token_ids"][-1] == tokenizer.eos_token_id else "length")


def test_the_summary_of_samples_is_that_of_the_table(world, tmp_path):
    measured = {m.metric: m for m in write(tmp_path, world["policy"])}
    table = samples(tmp_path)
    tokens = [len(line["token_ids"]) for line in table]
    assert measured["responses"].value == len(table) == 36
    assert measured["generated_tokens"].value == sum(tokens)
    assert measured["mean_length"].value == pytest.approx(sum(tokens) / 36)
    assert measured["truncated"].value == pytest.approx(sum(line["end"] == "length" for line in table) / 36)
    assert 0 < measured["truncated"].value < 1


def test_samples_are_reproducible_and_their_batch_changes_none(world, tmp_path):
    write(tmp_path, world["policy"], batch=5)
    assert [line["token_ids"] for line in samples(tmp_path)] == [line["token_ids"] for line in samples(world["sample"])]


def test_samples_of_a_step_come_from_the_policy_after_it(world, tmp_path):
    write(tmp_path, world["policy"], step=3)
    table = samples(tmp_path)
    assert {line["step"] for line in table} == {3}
    assert [line["token_ids"] for line in table] != [line["token_ids"] for line in samples(world["sample"])]


@pytest.mark.parametrize(
    ("procedure", "message"),
    [
        ({"name": "plane"}, "did you mean 'plain'"),
        ({"name": "plain", "n": 4}, "takes no options"),
        ({}, "known: plain"),
    ],
)
def test_an_unknown_procedure_is_refused(world, tmp_path, procedure, message):
    with pytest.raises(HarnessError, match=message):
        write(tmp_path, world["policy"], procedure=procedure)


def test_a_policy_that_is_not_finite_gives_no_samples(tmp_path):
    model, tokenizer = small_policy()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    with pytest.raises(FloatingPointError):
        write(tmp_path, tmp_path)
    assert not (tmp_path / "samples.parquet").exists()


def test_measurements_are_means_of_the_rows_that_are_written(world, tmp_path):
    measured, rows = graded(tmp_path, world)
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(f"{row['metric']}/{row['role']}" if row["role"] else row["metric"], []).append(row["value"])
    assert set(measured) == set(found)
    for name, values in found.items():
        assert measured[name].value == pytest.approx(sum(values) / len(values), abs=1e-12)
        assert measured[name].n == len(values) == COUNTS[registry.load("metrics", name.split("/")[0]).level]
        assert all(math.isfinite(value) for value in values)
    assert {"reward/gold", "reward/proxy", "reward/oracle", "reward/oracle.brief", "kl", "entropy"} <= set(measured)
    assert {"greedy/gold", "greedy/oracle", "hard_win_chosen/gold", "hard_win_chosen/oracle"} <= set(measured)
    assert not {"reward/selection", "greedy/proxy", "soft_win_chosen/oracle", "hard_win_chosen/proxy"} & set(measured)
    json.dumps([vars(m) for m in measured.values()], allow_nan=False)


def test_rows_name_their_sample_or_pair(world, tmp_path):
    _, rows = graded(tmp_path, world)
    sampled = {(line["prompt_id"], line["k"]) for line in samples(world["sample"])}
    places = {
        "sample": sampled,
        "prompt": {(prompt_id, -1) for prompt_id, _ in sampled},
        "pair": {(row["prompt_id"], -1) for row in SmallData().rows("pairs", "heldout")[:10]},
        "judgment": {(row["prompt_id"], -1) for row in SmallData().rows("judgments", "heldout")[:10]},
        "corpus": {("", -1)},
    }
    for metric, role in {(row["metric"], row["role"]) for row in rows}:
        own = [row for row in rows if (row["metric"], row["role"]) == (metric, role)]
        assert {(row["prompt_id"], row["k"]) for row in own} == places[own[0]["level"]]


def test_rewards_are_the_models_and_the_rules_scores_of_the_responses(world, tmp_path):
    _, rows = graded(tmp_path, world)
    prompts = {row["prompt_id"]: row["prompt"] for row in SmallData().rows("prompts", "test")}
    table = samples(world["sample"])
    texts = [(prompts[line["prompt_id"]], line["response"]) for line in table]
    expected = {role: score(world[role] / "reward", texts, 1) for role in ("gold", "proxy")}
    rules = [SmallData().score(*text) for text in texts]
    expected |= {"oracle": [rule["total"] for rule in rules], "oracle.brief": [rule["brief"] for rule in rules]}
    for role, scores in expected.items():
        found = [r["value"] for r in rows if (r["metric"], r["role"]) == ("reward", role)]
        assert found == pytest.approx(scores, abs=1e-4)


def test_greedy_and_chosen_responses_are_scored_by_what_judges(world, tmp_path):
    _, rows = graded(tmp_path, world)
    prompts = {row["prompt_id"]: row["prompt"] for row in SmallData().rows("prompts", "test")}
    greedy = samples(world["greedy"])
    assert len(greedy) == 12
    gold = score(world["gold"] / "reward", [(prompts[r["prompt_id"]], r["response"]) for r in greedy], 1)
    assert values(rows, "greedy", "gold") == pytest.approx(
        {(r["prompt_id"], -1): value for r, value in zip(greedy, gold, strict=True)}, abs=1e-4
    )
    lengths = {(r["prompt_id"], -1): len(r["token_ids"]) for r in greedy}
    assert values(rows, "greedy_length", "") == lengths
    pairs = [(row["prompt_id"], row["prompt"], row["chosen"]) for row in SmallData().rows("pairs", "test")]
    chosen = score(world["gold"] / "reward", [(prompt, text) for _, prompt, text in pairs], 1)
    own = values(rows, "reward", "gold")
    by_prompt = {prompt_id: value for (prompt_id, _, _), value in zip(pairs, chosen, strict=True)}
    soft = {(p, k): 1 / (1 + math.exp(by_prompt[p] - value)) for (p, k), value in own.items()}
    assert values(rows, "soft_win_chosen", "gold") == pytest.approx(soft, abs=1e-4)
    rules = {p: SmallData().score(prompt, text)["total"] for p, prompt, text in pairs}
    wins = {
        (p, k): 0.5 + 0.5 * ((v > rules[p]) - (v < rules[p])) for (p, k), v in values(rows, "reward", "oracle").items()
    }
    assert values(rows, "hard_win_chosen", "oracle") == wins
    assert {0.0, 0.5, 1.0} <= set(wins.values())


def test_a_reward_model_scores_each_text_once(world, tmp_path, monkeypatch):
    asked = []
    own = RewardModel.score_readable
    monkeypatch.setattr(
        RewardModel, "score_readable", lambda self, *given: asked.append(self.folder) or own(self, *given)
    )
    graded(tmp_path, world)
    assert asked == [world["gold"] / "reward", world["proxy"] / "reward"]


def test_responses_that_gold_cannot_read_are_counted_and_never_cut(world, tmp_path):
    short = tmp_path / "short"
    shutil.copytree(world["gold"], short)
    config = json.loads((short / "reward" / "config.json").read_text())
    (short / "reward" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 11}))
    _, whole = graded(tmp_path, world)
    expected = values(whole, "reward", "gold")
    for seen in ("a", "b"):
        (tmp_path / seen).mkdir()
    measured, rows = graded(tmp_path / "a", world | {"gold": short})
    found = values(rows, "reward", "gold")
    assert 0 < len(found) < len(expected)
    assert found == pytest.approx({place: expected[place] for place in found}, abs=1e-5), "what is left is unchanged"
    assert measured["unreadable/gold"].value == len(expected) - len(found)
    assert measured["reward/gold"].n == len(found)
    assert "unreadable/proxy" not in measured
    assert "unreadable/gold" not in graded(tmp_path / "b", world)[0]
    for metric in ("greedy", "hard_win_chosen"):
        assert len(values(rows, metric, "gold")) < len(values(whole, metric, "gold"))


def test_log_probabilities_before_and_after_make_the_change(world, tmp_path):
    _, rows = graded(tmp_path, world)
    for metric in ("chosen_logp", "rejected_logp"):
        change, before, after = (values(rows, metric, role) for role in ("", "before", "after"))
        assert change == pytest.approx({place: after[place] - before[place] for place in before})
        assert max(before.values()) < 0
        assert max(after.values()) < 0
    _, again = graded(tmp_path, world | {"policy": world["start"]}, metrics={"chosen_logp": 2})
    assert values(again, "chosen_logp", "after") == values(rows, "chosen_logp", "before")


def test_a_policy_that_is_its_start_has_moved_nowhere(world, tmp_path):
    measured, _ = graded(tmp_path, world | {"start": world["policy"]}, start=POLICY)
    assert measured["kl"].value == measured["kl_per_token"].value == 0.0
    assert measured["chosen_logp"].value == measured["rejected_logp"].value == 0.0
    assert measured["preference_accuracy"].value == 0.5
    assert measured["entropy"].value > 0.1


def test_a_policy_that_is_not_its_start_has_moved(world, tmp_path):
    measured, _ = graded(tmp_path, world)
    assert measured["kl"].value > 0.1
    assert measured["chosen_logp"].value != 0.0


def test_a_step_is_compared_with_the_whole_start(world, tmp_path):
    write(tmp_path, world["policy"], step=3)
    inputs = world | {"sample": tmp_path, "start": world["policy"]}
    measured, _ = graded(tmp_path, inputs, start=POLICY, sample=sample_stage(POLICY, step=3), step=3)
    assert measured["kl"].value > 0.1


def test_batch_and_order_of_samples_change_no_score(world, tmp_path):
    table = pq.read_table(world["sample"] / "samples.parquet")
    order = random.Random(0).sample(range(len(table)), len(table))
    pq.write_table(table.take(pa.array(order)), tmp_path / "samples.parquet")
    _, rows = graded(tmp_path, world)
    _, others = graded(tmp_path, world | {"sample": tmp_path}, batch=64)

    def named(found):
        return {(r["metric"], r["role"], r["prompt_id"], r["k"]): r["value"] for r in found}

    assert named(others) == pytest.approx(named(rows), abs=1e-3)


def test_empty_responses_are_graded_like_all_others(world, tmp_path):
    end = small_policy()[1].eos_token_id
    table = [line | {"response": "", "token_ids": [end], "end": "eos"} for line in samples(world["sample"])]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "samples.parquet")
    measured, rows = graded(tmp_path, world | {"sample": tmp_path})
    assert measured["empty"].value == 1.0
    assert measured["length"].value == 1.0
    assert measured["repetition"].value == measured["truncated"].value == 0.0
    assert len([row for row in rows if (row["metric"], row["role"]) == ("reward", "gold")]) == 36
    assert measured["self_bleu"].value == measured["self_bleu_across"].value == 100
    assert measured["distinct"].value == measured["distinct_across"].value == measured["bleu"].value == 0


def test_what_a_dataset_does_not_have_is_an_absent_row(world, tmp_path):
    measured, rows = graded(tmp_path, {role: world[role] for role in ("policy", "start", "sample")}, BareData())
    absent = {"reward", "preference_accuracy", "chosen_logp", "rejected_logp", "greedy", "greedy_length"}
    absent |= {"soft_win_chosen", "hard_win_chosen", "bleu", "rouge"}
    assert not absent & {row["metric"] for row in rows}
    assert not [name for name in measured if name.split("/")[0] in absent]
    assert {"kl", "length"} <= set(measured)


def test_without_pairs_for_the_evaluation_prompts_there_is_nothing_to_hold_responses_against(world, tmp_path):
    class Elsewhere(SmallData):
        def rows(self, view, split):
            if (view, split) == ("pairs", "test"):
                raise HarnessError("no pairs in split 'test'")
            return super().rows(view, split)

    measured, _ = graded(tmp_path, world, Elsewhere())
    assert not [name for name in measured if name.startswith(("bleu", "rouge", "soft_win_chosen", "hard_win_chosen"))]
    assert measured["preference_accuracy"].n == 10


def test_where_nothing_is_held_out_the_rest_is_measured(world, tmp_path):
    class NothingHeldOut(SmallData):
        def rows(self, view, split):
            if split == "heldout":
                raise EmptySplit(f"split 'heldout' has no {view}: its share is 0")
            return super().rows(view, split)

    measured, _ = graded(tmp_path, world, NothingHeldOut())
    whole, _ = graded(tmp_path, world)
    gone = {"preference_accuracy", "chosen_logp", "rejected_logp", "blame", "blame_threshold"}
    assert {name.split("/")[0] for name in whole.keys() - measured.keys()} == gone
    assert {name: measured[name] for name in measured} == {name: whole[name] for name in measured}


def test_another_rendering_than_that_of_the_samples_is_refused(world, tmp_path):
    table = [line | {"prompt_hash": "0" * 16} for line in samples(world["sample"])]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "samples.parquet")
    with pytest.raises(HarnessError, match="renders otherwise"):
        graded(tmp_path, world | {"sample": tmp_path})


def test_another_version_of_a_metric_is_refused(world, tmp_path):
    with pytest.raises(
        HarnessError, match="metric 'length' is version 1 in this code, but the stage asks for version 7"
    ):
        graded(tmp_path, world, metrics={"kl": 1, "length": 7})


def test_a_value_that_is_not_finite_is_an_error(world, tmp_path):
    class Broken(SmallData):
        def score(self, prompt, response):
            return {"total": float("nan"), "brief": 0.0}

    with pytest.raises(FloatingPointError, match="oracle is nan for prompt"):
        graded(tmp_path, world, Broken())
    assert not (tmp_path / "scores.parquet").exists()

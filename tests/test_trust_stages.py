"""Audit and Separation on small models: what is scored, what is written, what is shared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from small import SmallData, sample_stage, save_small_policy, save_small_reward, train_stage
from transformers import AutoModelForSequenceClassification

from harness.data import EmptySplit, Row
from harness.errors import HarnessError
from harness.inference.scoring import RewardModel
from harness.stages import Audit, Separation, Stage, trust
from harness.trust.probes import PROBES, SAME, corrupted, unchanged
from harness.trust.weights import fingerprints, shared


class Ranked(SmallData):
    """The small world with rankings, and prompts that tell the splits apart."""

    views = frozenset({"prompts", "pairs", "rankings"})

    def rows(self, view: str, split: str) -> list[Row]:
        if split == "tune":
            raise HarnessError("there is no split 'tune'")
        if view != "rankings":
            return super().rows(view, split)
        rows = super().rows("prompts", split)
        return [{**row, "responses": ["w1 w1", "w1", "w3", "w4", "w5", "w2", "w2 w2"][i % 4 :]}
                for i, row in enumerate(rows)]  # fmt: skip


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "open_dataset", lambda spec: Ranked())


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    rows = SmallData().rows("prompts", "test")
    texts = [(row["prompt_id"], k, f"w{k} w{k}") for row in rows for k in range(3)]
    folder = tmp_path / "sample"
    folder.mkdir()
    names = ("prompt_id", "k", "response")
    pq.write_table(pa.table({name: [text[i] for text in texts] for i, name in enumerate(names)}),
                   folder / "samples.parquet")  # fmt: skip
    return folder


def audit(out: Path, inputs: dict[str, Path], **given: Any) -> tuple[pd.DataFrame, dict[str, float]]:
    asked: dict[str, Stage] = {"sample": sample_stage(train_stage()), "reward": train_stage("gold")}
    settings = {"dataset": {"source": "small"}, "pairs": 10, "probed": 4, "batch": 8, "threads": 1}
    stage = Audit(asked, **(settings | given))
    out.mkdir()
    found = stage.run(out, inputs, 50)
    return pd.read_parquet(out / "scores.parquet"), {one.metric: one.value for one in found}


def test_every_text_is_scored_as_the_model_scores_it(tmp_path: Path, samples: Path) -> None:
    reward = save_small_reward(tmp_path / "gold")
    table, found = audit(tmp_path / "out", {"reward": reward, "sample": samples})
    counts = table.groupby("part").size().to_dict()
    assert counts["pairs"] == 20
    assert counts["rankings"] == 4 * 4
    assert counts["samples"] == 4 * 3, "the first so many prompts"
    assert set(table[table["part"] == "probes"]["item"]) == set(PROBES)
    assert set(table[table["part"] == "same"]["item"]) == set(SAME)
    assert found["moved/white space"] == pytest.approx(0, abs=1e-4), "its tokenizer reads no white space"
    rows = SmallData().rows("pairs", "heldout")[:10]
    model = RewardModel(reward / "reward")
    for side in ("chosen", "rejected"):
        own = table[(table["part"] == "pairs") & (table["item"] == side)].set_index("name")
        expected = model.score([(row["prompt"], row[side]) for row in rows], 1)
        assert own.loc[[row["id"] for row in rows], "score"].tolist() == pytest.approx(expected, abs=1e-5)
        assert own.loc[[row["id"] for row in rows], "tokens"].tolist() == [len(row[side].split()) for row in rows]
        oracle = [SmallData().score(row["prompt"], row[side])["total"] for row in rows]
        assert own.loc[[row["id"] for row in rows], "oracle"].tolist() == oracle
    own = table[table["part"] == "pairs"].pivot(index="name", columns="item", values="score")
    assert found["accuracy"] == (own["chosen"] > own["rejected"]).mean()
    assert found["unreadable"] == 0


def test_rankings_go_from_the_best_to_the_worst(tmp_path: Path, samples: Path) -> None:
    table, _ = audit(tmp_path / "out", {"sample": samples}, rule="total", probed=12)
    ranked = table[table["part"] == "rankings"].pivot(index="name", columns="item", values="oracle")
    assert set(ranked.columns) == {"0", "1", "2", "3"}
    assert (ranked["3"] == -2).all(), "whatever their number, the last is the worst"
    assert ranked["0"].max() == 2


def test_a_rule_is_audited_like_a_model(tmp_path: Path, samples: Path) -> None:
    table, found = audit(tmp_path / "out", {"sample": samples}, rule="total")
    assert table["score"].tolist() == table["oracle"].tolist()
    assert found["oracle_pairs"] == 1


def test_where_nothing_is_held_out_the_samples_are_scored(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NothingHeldOut(Ranked):
        def rows(self, view: str, split: str) -> list[Row]:
            if split == "heldout":
                raise EmptySplit(f"split 'heldout' has no {view}: its share is 0")
            return super().rows(view, split)

    monkeypatch.setattr(trust, "open_dataset", lambda spec: NothingHeldOut())
    table, found = audit(tmp_path / "out", {"sample": samples}, rule="total")
    assert set(table["part"]) == {"samples"}
    assert found["unreadable"] == 0
    assert "accuracy" not in found


def test_what_is_too_long_has_no_score_and_is_counted(tmp_path: Path, samples: Path) -> None:
    reward = save_small_reward(tmp_path / "gold")
    whole, _ = audit(tmp_path / "whole", {"reward": reward, "sample": samples})
    config = json.loads((reward / "reward" / "config.json").read_text())
    (reward / "reward" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 12}))
    cut, found = audit(tmp_path / "cut", {"reward": reward, "sample": samples})
    lost = cut["score"].isna()
    assert 0 < found["unreadable"] == lost.sum() < len(cut)
    assert cut["score"][~lost].tolist() == pytest.approx(whole["score"][~lost].tolist(), abs=1e-5), "none was cut"


def test_corruptions_by_hand() -> None:
    prompt, other = [{"role": "user", "content": "w1 w2"}], [{"role": "user", "content": "w3"}]
    found = corrupted(SmallData(), (prompt, "a b c d e"), other, "row")
    assert found["repeated"] == (prompt, "a b c d e a b c d e a b c d e")
    assert found["truncated"] == (prompt, "a b")
    assert found["empty"] == (prompt, "")
    assert found["swapped prompt"] == (other, "a b c d e")
    assert found["copied prompt"] == (prompt, "w1 w2")
    assert found["refusal"] == (prompt, SmallData.refusal)
    assert found["other language"] == (prompt, "gallia est omnis divisa in")
    assert len(corrupted(SmallData(), (prompt, "a " * 90), other, "row")["other language"][1].split()) == 90
    assert unchanged((prompt, "a b")) == {"white space": (prompt, " a b\n")}
    assert sorted(found["shuffled"][1].split()) == list("abcde")
    assert found["shuffled"][1] != "a b c d e"
    assert found == corrupted(SmallData(), (prompt, "a b c d e"), other, "row")
    assert "shuffled" not in corrupted(SmallData(), (prompt, "a"), other, "row"), "it would be the response itself"


def separate(out: Path, inputs: dict[str, Path], sets: dict[str, list[str]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    out.mkdir()
    stage = Separation({name: train_stage(name) for name in inputs}, dataset={"source": "small"}, sets=sets)
    stage.run(out, inputs, 50)
    return tuple(pd.read_parquet(out / f"{name}.parquet") for name in ("prompts", "weights"))  # type: ignore[return-value]  # two


def test_models_that_share_a_tensor_are_found(tmp_path: Path) -> None:
    gold, proxy = save_small_reward(tmp_path / "gold", 0), save_small_reward(tmp_path / "proxy", 1)
    start = save_small_policy(tmp_path / "start", 2)
    copied = tmp_path / "copied"
    shutil.copytree(gold, copied)
    model = AutoModelForSequenceClassification.from_pretrained(copied / "reward")
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if not name.endswith("layers.1.mlp.up_proj.weight"):
                weights.add_(torch.randn_like(weights) * 0.01)
    model.save_pretrained(copied / "reward")
    inputs = {"gold": gold, "selection": copied, "proxy-0": proxy, "start-0": start}
    _, weights = separate(tmp_path / "out", inputs, {"a": ["train"]})
    found = weights.set_index(["one", "other"])["shared"].to_dict()
    assert found.pop(("gold", "selection")) == 1
    assert set(found.values()) == {0}
    assert len(found) == 5
    example = weights.set_index(["one", "other"]).loc[("gold", "selection"), "example"]
    assert str(example).endswith("layers.1.mlp.up_proj.weight")


def test_equal_numbers_are_no_evidence_and_a_policy_inside_a_reward_model_is(tmp_path: Path) -> None:
    """Norms begin at one in every model; a reward model made of a policy's backbone holds all of its tensors."""
    gold, start = save_small_reward(tmp_path / "gold", 0), save_small_policy(tmp_path / "start", 0)
    other = save_small_reward(tmp_path / "other", 1)
    one, policy = fingerprints(gold / "reward"), fingerprints(start / "policy")
    assert not any("norm" in name for name in one.values())
    assert len(shared(one, policy)) == len(one) - 1, "all but the head"
    assert shared(one, fingerprints(other / "reward")) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vectors_that_rounding_left_as_they_were_are_no_evidence(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"norm.weight": torch.linspace(0.5, 1.5, 8, dtype=dtype), "matrix": torch.ones(2, 2, dtype=dtype).tril()}
    save_file(tensors, tmp_path / "model.safetensors")
    kept = {"matrix"} if dtype == torch.bfloat16 else {"matrix", "norm.weight"}
    assert set(fingerprints(tmp_path).values()) == kept


def test_a_model_without_weights_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"has no \*\.safetensors"):
        fingerprints(tmp_path)


def test_prompt_sets_that_share_are_found_and_a_missing_split_is_empty(tmp_path: Path) -> None:
    reward = save_small_reward(tmp_path / "gold")
    sets = {"policies": ["train"], "gold": ["gold"], "tune": ["tune"]}
    prompts, _ = separate(tmp_path / "out", {"gold": reward}, sets)
    found = prompts.set_index(["one", "other"])
    assert found.loc[("policies", "gold"), "equal"] == 12, "this world has the same prompts in all splits"
    assert not found.loc[("policies", "gold"), "apart"]
    assert found.loc[("policies", "tune"), ["equal", "of"]].tolist() == [0, 0]
    assert found.loc[("policies", "tune"), "apart"]

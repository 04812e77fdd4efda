"""From a job to a product: seeds, precision, adapters, refusals, and what is reported."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pandas as pd
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from harness import registry
from harness.algorithms import Needs
from harness.algorithms._pairs import PairAlgorithm
from harness.errors import HarnessError
from harness.inference.policy import BASE, load_policy
from harness.inference.scoring import score
from harness.job import Budget
from harness.training.pairs import PairBatch
from harness.training.reference import read_reference, write_reference
from harness.training.road import arguments
from harness.training.rows import order

SMALL = {"hidden": 16, "layers": 2, "heads": 2}


@pytest.mark.parametrize(
    ("name", "given", "fresh"), [("reward", {}, "score.weight"), ("dpo", {"lora_rank": 2}, "lora_A.weight")]
)
def test_a_seed_decides_what_begins_at_random(
    shelf: Path, tmp_path: Path, name: str, given: dict[str, Any], fresh: str
) -> None:
    product = registry.load("algorithms", name).product
    for seed in ("replicate-0", "replicate-1"):
        tiny.train(name, tmp_path / seed, shelf, {"learning_rate": 1e-30}, steps=1, seed=seed, **given)
    one, other = (tiny.weights(tmp_path / seed / product) for seed in ("replicate-0", "replicate-1"))
    differ = {key for key in one if not torch.equal(one[key], other[key])}
    assert differ == {key for key in one if key.endswith(fresh)}
    assert differ


@pytest.mark.parametrize(
    "name", ["sft", "dpo", "kto", "reward", "cut", "online_dpo", "grpo", "rloo", "reinforce", "ppo"]
)
def test_micro_batches_change_neither_loss_nor_gradient(shelf: Path, tmp_path: Path, name: str) -> None:
    for split in (1, 8):
        tiny.train(name, tmp_path / str(split), shelf, micro_batch=split, steps=3, max_response_tokens=12)
    one, eight = (pd.read_parquet(tmp_path / split / "curves.parquet") for split in ("1", "8"))
    # at step 1 the policy is its reference, and rounding alone says which reward is greater
    one, eight = (table[table["metric"] != "rewards/accuracies"] for table in (one, eight))
    assert list(one["metric"]) == list(eight["metric"])
    assert one["value"].to_numpy() == pytest.approx(eight["value"].to_numpy(), rel=1e-3, abs=1e-4)
    first = one["step"] == 1
    assert one[first]["value"].to_numpy() == pytest.approx(eight[first]["value"].to_numpy(), rel=1e-5, abs=1e-6)


def test_a_policy_is_a_plain_model_that_learnt_to_end(shelf: Path, tmp_path: Path) -> None:
    tiny.train("sft", tmp_path, shelf, steps=60, schedule="constant")
    row = tiny.Tiny().rows("demonstrations", "train")[0]
    chance = []
    for folder in (shelf / tiny.START / "policy", tmp_path / "policy"):
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        ids = torch.tensor([prompt + tokenizer(row["response"], add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            chance.append(float(model(ids).logits[0, -1].softmax(-1)[tokenizer.eos_token_id]))
    assert chance[1] > max(0.05, 2 * chance[0])


def test_curves_hold_what_people_know(shelf: Path, tmp_path: Path) -> None:
    sides = {f"{name}/{side}" for name in ("rewards", "logps", "logits") for side in ("chosen", "rejected")}
    always = {"loss", "grad_norm", "learning_rate", "tokens"}
    rewards = {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"}
    drawn, clipped = {"score", "kl", "ended", "length", "entropy"}, {"ratio", "advantage", "clip_fraction"}
    expected = {
        "sft": always | {"entropy", "token_accuracy"},
        "simpo": always | sides | rewards | {"entropy"},
        "dpo": always | sides | rewards | {"entropy", "logps/moved"},
        "kto": always | sides | {"rewards/margins", "entropy", "logps/moved", "kl"},
        "reward": always | rewards,
        "cut": always | {"entropy", "blamed", "marked", "logps/plain", "logps/judged"},
        "online_dpo": always | sides | rewards | drawn | {"logps/moved", "decided"},
        "reinforce": always | drawn | {"ratio", "advantage"},
        "rloo": always | drawn | clipped,
        "grpo": always | drawn | clipped,
        "ppo": always | drawn | clipped | {"value_loss", "explained_variance", "beta"},
    }
    for name, metrics in expected.items():
        tiny.train(name, tmp_path / name, shelf, steps=2, max_response_tokens=12)
        table = pd.read_parquet(tmp_path / name / "curves.parquet")
        assert set(table["metric"]) == metrics
        assert set(table["step"]) == {1, 2}
        assert all(map(math.isfinite, table["value"]))


def test_the_first_step_of_dpo_is_at_its_reference(shelf: Path, tmp_path: Path) -> None:
    tiny.train("dpo", tmp_path, shelf, steps=1)
    table = pd.read_parquet(tmp_path / "curves.parquet").set_index("metric")["value"]
    assert table["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert table["logps/moved"] == pytest.approx(0, abs=1e-5)


def test_kto_logs_means_of_each_class(shelf: Path, tmp_path: Path) -> None:
    rows = [row for row in tiny.Tiny().rows("binary", "train") if row["label"]]
    job = tiny.job(tmp_path / "out", "binary", shelf, steps=1, rows=rows)
    job.inputs["reference"] = tmp_path
    write_reference(tmp_path, shelf / tiny.START, {"binary": rows}, job.budget)
    registry.load("algorithms", "kto")().train(job)
    table = pd.read_parquet(tmp_path / "out" / "curves.parquet").set_index("metric")["value"]
    assert {"rewards/rejected", "rewards/margins"}.isdisjoint(table.index)
    texts = [(row["prompt_id"], row["response"]) for row in rows]
    reference = read_reference(tmp_path)
    logps = [reference(*text) for text in texts]
    assert min(logps) < table["logps/chosen"] < max(logps)


def test_what_was_spent_is_reported(shelf: Path, tmp_path: Path) -> None:
    found = {name: tiny.measured(tiny.train(name, tmp_path / name, shelf, steps=3)) for name in ("dpo", "kto", "sft")}
    pairs = tiny.Tiny().rows("pairs", "train")
    words = sum(len(row[side].split()) + 1 for row in pairs for side in ("chosen", "rejected"))
    assert found["dpo"]["steps"] == 3
    assert {name: found[name]["prompts"] for name in found} == {"dpo": 24, "kto": 24, "sft": 24}
    assert {name: found[name]["responses"] for name in found} == {"dpo": 48, "kto": 48, "sft": 24}
    assert {name: found[name]["labels"] for name in found} == {"dpo": 24, "kto": 48, "sft": 0}
    # three steps of eight prompts are one pass over all 24 pairs, which are the same texts as the binary rows
    assert found["dpo"]["trained_tokens"] == found["kto"]["trained_tokens"] == words
    prompts = sum(len(row["prompt"][0]["content"].split()) + 4 for row in pairs)  # begin, two roles, end
    assert found["dpo"]["forward_tokens"] == words + 2 * prompts
    assert found["dpo"]["loss_first"] > found["dpo"]["loss_last"]
    assert found["dpo"]["chosen_tokens"] == sum(len(row["chosen"].split()) + 1 for row in pairs)


def test_who_trains_on_chosen_responses_alone_reads_those_of_the_pairs(shelf: Path, tmp_path: Path) -> None:
    """So the records of both tell how long the chosen responses of a run were; two steps are not all pairs."""
    runs = ("dpo", "sft_chosen")
    found = {name: tiny.measured(tiny.train(name, tmp_path / name, shelf, steps=2)) for name in runs}
    assert found["dpo"]["chosen_tokens"] == found["sft_chosen"]["trained_tokens"]
    assert 2 * found["dpo"]["chosen_tokens"] != found["dpo"]["trained_tokens"]


def test_rows_left_out_are_counted(shelf: Path, tmp_path: Path) -> None:
    found = tiny.measured(tiny.train("sft", tmp_path, shelf, max_response_tokens=5))
    assert found["rows_left_out"] + found["rows_available"] == 24
    assert 0 < found["rows_left_out"] < 24


def test_an_adapter_loads_as_what_was_trained(shelf: Path, tmp_path: Path) -> None:
    results = Path(shutil.copytree(shelf, tmp_path / "results"))
    out = results / "train-adapter"
    tiny.train("dpo", out, results, {"learning_rate": 1e-2}, lora_rank=2, emit=(1,))
    assert json.loads((out / "policy" / BASE).read_text()) == {"base": f"{tiny.START}/policy"}
    assert not any(str(tmp_path) in path.read_text() for path in (out / "policy").glob("*.json"))
    moved = Path(shutil.move(results, tmp_path / "elsewhere"))
    start, tokenizer = load_policy(moved / tiny.START / "policy")
    model, _ = load_policy(moved / out.name / "policy")
    early, _ = load_policy(moved / out.name / "policy-step-1")
    kept = tiny.weights(moved / out.name / "policy")
    name = "model.layers.0.mlp.up_proj"
    up, down = (kept[f"base_model.model.{name}.lora_{side}.weight"] for side in ("B", "A"))
    expected = start.get_submodule(name).weight + 16.0 / 2 * up @ down
    assert torch.allclose(model.get_submodule(name).weight, expected, atol=1e-6)
    assert not torch.equal(expected, start.get_submodule(name).weight)
    assert not torch.equal(early.get_submodule(name).weight, expected)
    assert torch.equal(model.get_input_embeddings().weight, start.get_input_embeddings().weight)
    assert tokenizer.chat_template


def test_an_adapter_on_an_adapter(shelf: Path, tmp_path: Path) -> None:
    results = Path(shutil.copytree(shelf, tmp_path / "results"))
    tiny.train("sft", results / "train-first", results, {"learning_rate": 1e-2}, lora_rank=2)
    job = tiny.job(results / "train-second", "pairs", results, lora_rank=2)
    job.inputs["start"] = results / "train-first"
    registry.load("algorithms", "simpo")(learning_rate=1e-30).train(job)
    first, _ = load_policy(results / "train-first" / "policy")
    second, _ = load_policy(results / "train-second" / "policy")
    assert all(
        torch.allclose(one, two, atol=1e-6) for one, two in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_an_adapter_is_merged_into_a_quantised_base_as_plain_weights(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has run it on a GPU. Codes stand for weights here, and a sum of codes and an adapter would be neither."""
    results = Path(shutil.copytree(shelf, tmp_path / "results"))
    tiny.train("sft", results / "train-first", results, {"learning_rate": 1e-2}, lora_rank=2)
    plain, _ = load_policy(results / "train-first" / "policy")
    asked: list[torch.dtype] = []

    class Quantiser:
        def __init__(self, model: Any) -> None:
            self.weights = {name: weights.detach().clone() for name, weights in model.named_parameters()}

        def dequantize(self, model: Any, dtype: torch.dtype) -> Any:
            asked.append(dtype)
            model.load_state_dict(self.weights, strict=False)
            model.is_quantized = False
            return model

    own = AutoModelForCausalLM.from_pretrained

    def quantised(*args: Any, **given: Any) -> Any:
        model = own(*args, **given)
        model.hf_quantizer = Quantiser(model)
        model.is_quantized = model.is_loaded_in_4bit = True
        for weights in model.parameters():
            weights.data = weights.data.round()
        return model

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", quantised)
    base, _ = load_policy(results / tiny.START / "policy")
    assert base.is_quantized, "by itself it stays quantised"
    assert asked == []
    found, _ = load_policy(results / "train-first" / "policy")
    assert asked == [torch.float32]
    assert not vars(found).get("is_loaded_in_4bit")
    assert all(torch.equal(one, two) for one, two in zip(found.parameters(), plain.parameters(), strict=True))


def test_bfloat16_trains(shelf: Path, tmp_path: Path) -> None:
    tiny.train("dpo", tmp_path, shelf, {"learning_rate": 1e-2}, precision="bfloat16")
    own, start = tiny.weights(tmp_path / "policy"), tiny.weights(shelf / tiny.START / "policy")
    assert {value.dtype for value in own.values()} == {torch.bfloat16}
    assert not all(torch.equal(own[name], start[name].bfloat16()) for name in own)


def test_a_reference_equals_what_the_trainer_would_compute(shelf: Path, tmp_path: Path) -> None:
    look = read_reference(shelf / tiny.REFERENCE)
    folder = shelf / tiny.START / "policy"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for row in tiny.Tiny().rows("pairs", "train")[:5]:
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        response = [*tokenizer(row["rejected"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        logps = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1).detach()
        own = sum(float(logps[len(prompt) - 1 + i, token]) for i, token in enumerate(response))
        assert look(row["prompt_id"], row["rejected"]) == pytest.approx(own, abs=1e-5)
    with pytest.raises(HarnessError, match="no log-probability"):
        look("0" * 16, "bak")


def test_a_reference_does_not_depend_on_its_batches(shelf: Path, tmp_path: Path) -> None:
    rows = {"pairs": tiny.Tiny().rows("pairs", "train")}
    for batch in (1, 32):
        (tmp_path / str(batch)).mkdir()
        write_reference(tmp_path / str(batch), shelf / tiny.START, rows, Budget(micro_batch=batch))
    one, many = (pd.read_parquet(tmp_path / name / "reference.parquet") for name in ("1", "32"))
    assert list(one.columns) == ["prompt_id", "response_key", "logp", "tokens"]
    assert len(one) == 48 == len(one.drop_duplicates(["prompt_id", "response_key"]))
    assert one["logp"].to_numpy() == pytest.approx(many["logp"].to_numpy(), abs=1e-5)


def test_a_reward_model_scores_the_end_token(shelf: Path, tmp_path: Path) -> None:
    tiny.train("reward", tmp_path, shelf, {"learning_rate": 1e-2}, steps=40)
    rows = tiny.Tiny().rows("pairs", "train")
    chosen = score(tmp_path / "reward", [(row["prompt"], row["chosen"]) for row in rows], 7)
    rejected = score(tmp_path / "reward", [(row["prompt"], row["rejected"]) for row in rows], 7)
    assert sum(a > b for a, b in zip(chosen, rejected, strict=True)) > 20  # of 24, which it was trained on
    table = pd.read_parquet(tmp_path / "curves.parquet").set_index(["metric", "step"])["value"]
    gaps = [a - b for a, b in zip(chosen, rejected, strict=True)]
    assert min(gaps) < table["rewards/margins", 40] < max(gaps)


def test_a_reward_model_whose_padding_was_the_end_token(shelf: Path, tmp_path: Path) -> None:
    results = Path(shutil.copytree(shelf, tmp_path / "results"))
    tokenizer = AutoTokenizer.from_pretrained(results / tiny.START / "policy")
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(results / tiny.START / "policy")
    tiny.train("reward", tmp_path / "padded", results)
    tiny.train("reward", tmp_path / "plain", shelf)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "padded" / "reward")
    assert model.config.pad_token_id not in (None, tokenizer.eos_token_id)
    assert tiny.same(tmp_path / "padded" / "reward", tmp_path / "plain" / "reward")


def test_rows_come_in_the_order_of_the_replicate(shelf: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []
    totals: list[tuple[int, int]] = []

    @dataclass(frozen=True)
    class Watching(PairAlgorithm):
        learning_rate: float = 1e-3

        def losses(self, batch: PairBatch) -> torch.Tensor:
            seen.extend(zip(batch.chosen_tokens.tolist(), batch.rejected_tokens.tolist(), strict=True))
            totals.append((batch.step_rows, batch.step_chosen_tokens))
            return batch.rejected_logp - batch.chosen_logp

    job = tiny.job(tmp_path, "pairs", shelf, steps=5, micro_batch=4)
    Watching().train(job)
    lengths = [tuple(len(row[side].split()) + 1 for side in ("chosen", "rejected")) for row in job.rows]
    assert seen == [lengths[i] for i in order(24, 40, job.seed("order"))]
    steps = [seen[first : first + 8] for first in range(0, 40, 8)]
    # both micro-batches of a step are told the totals of the whole step
    assert totals == [(8, sum(chosen for chosen, _ in step)) for step in steps for _ in range(2)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.parquet", "policy"]
    assert not (tmp_path / "policy" / "README.md").exists()


@dataclass(frozen=True)
class _Steep(PairAlgorithm):
    """A loss of 0 with an infinite gradient, or one that is not a number."""

    needs: ClassVar[Needs] = Needs(data="pairs")
    learning_rate: float = 1e-3
    loss_itself: bool = False

    def losses(self, batch: PairBatch) -> torch.Tensor:
        gap = batch.chosen_logp - batch.chosen_logp.detach()
        return gap / gap if self.loss_itself else gap.abs().sqrt()


@pytest.mark.parametrize(("loss_itself", "said"), [(True, "the loss is nan"), (False, "norm of the gradient")])
def test_divergence_stops_at_once(shelf: Path, tmp_path: Path, loss_itself: bool, said: str) -> None:
    with pytest.raises(FloatingPointError, match=rf"{said}.* at step 1"):
        _Steep(loss_itself=loss_itself).train(tiny.job(tmp_path, "pairs", shelf))
    assert not (tmp_path / "policy").exists()


def test_dropout_is_off(shelf: Path, tmp_path: Path) -> None:
    results = Path(shutil.copytree(shelf, tmp_path / "results"))
    config = results / tiny.START / "policy" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "attention_dropout": 0.5}))
    tiny.train("dpo", tmp_path / "out", results, steps=1)
    table = pd.read_parquet(tmp_path / "out" / "curves.parquet").set_index("metric")["value"]
    assert table["loss"] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"micro_batch": 3}, r"micro_batch is 3, which does not divide budget.batch = 8"),
        ({"max_prompt_tokens": 500}, r"= 564; the model reads 512 tokens"),
    ],
)
@pytest.mark.parametrize("name", ["sft", "reward"])
def test_a_budget_that_cannot_be_is_refused(
    shelf: Path, tmp_path: Path, name: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(HarnessError, match=said):
        tiny.train(name, tmp_path, shelf, **given)


@pytest.mark.parametrize(
    ("world", "micro_batch", "shares"), [(1, 4, (4, 2)), (2, 4, (4, 1)), (2, 8, (4, 1)), (4, 4, (1, 2)), (2, 1, (1, 4))]
)
def test_processes_share_a_step(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: int, micro_batch: int, shares: tuple[int, int]
) -> None:
    """Its micro-batches, or the rows of each."""
    monkeypatch.setattr("accelerate.PartialState", lambda **_: SimpleNamespace(num_processes=world))
    given = arguments(tiny.job(tmp_path, "pairs", shelf, micro_batch=micro_batch), 1e-3, 1)
    assert (given["per_device_train_batch_size"], given["gradient_accumulation_steps"]) == shares


def test_processes_that_cannot_share_a_step_are_refused(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.PartialState", lambda **_: SimpleNamespace(num_processes=3))
    with pytest.raises(HarnessError, match=r"3 processes divide neither the 2 micro-batches .*micro_batch = 4"):
        arguments(tiny.job(tmp_path, "pairs", shelf, micro_batch=4), 1e-3, 1)


def test_texts_longer_than_the_model_are_left_out(shelf: Path, tmp_path: Path) -> None:
    rows = tiny.Tiny().rows("text", "train")
    rows[0]["messages"][0]["content"] = " ".join(tiny.WORDS * 13)
    assert tiny.measured(tiny.train("pretrain", tmp_path, shelf, SMALL, rows=rows))["rows_left_out"] == 1

"""A step's gradient is the same however its rows are ordered, padded and split; only responses are counted."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import registry
from harness.inference.policy import load_policy
from harness.inference.sampling import Sampled
from harness.training import forward
from harness.training.engine import Objective
from harness.training.forward import add_head, in_groups, token_scores
from harness.training.judgments import JudgedObjective, Several
from harness.training.on_policy import PolicyObjective, prompt_rows
from harness.training.online_pairs import OnlinePairObjective
from harness.training.pairs import PairObjective
from harness.training.rewards import RewardObjective
from harness.training.rollouts import Roller
from harness.training.rows import Encoder, with_partners
from harness.training.sequences import Likelihood
from harness.training.unpaired import UnpairedObjective
from harness.training.values import ValueModel

ON_POLICY: dict[str, tuple[str, dict[str, Any]]] = {
    "ppo": ("ppo", {}),
    "ppo reward": ("ppo", {"value": "reward"}),
    "grpo": ("grpo", {"samples": 2, "epochs": 2}),
    "grpo dapo": ("grpo", {"samples": 4, "epochs": 2, "normalise": "dapo", "kl_gradient": "plain"}),
    "grpo dr_grpo": ("grpo", {"samples": 2, "epochs": 2, "normalise": "dr_grpo", "scale": "batch"}),
    "rloo": ("rloo", {"samples": 2, "epochs": 2}),
    "reinforce": ("reinforce", {}),
}
PAIRED = ("dpo", "ipo", "cpo", "orpo", "simpo")
JUDGED = {"cut": {}, "cut released": {"form": "released"}}
REWARDS: dict[str, dict[str, Any]] = {
    "reward": {},
    "reward rankings": {"data": "rankings", "loss": "plackett_luce"},
    "reward dimensions": {"dimensions": "clear=1 kind=0.5"},
}
EACH = (*PAIRED, "kto", "sft", *REWARDS, *JUDGED, "forward prediction", "online_dpo", *ON_POLICY)


class Fixed(Roller):
    """A roller whose responses are those of the world's rankings; every third is cut by the limit."""

    def _draw(self, trainer: Any, name: str, places: list[tuple[dict[str, Any], int]]) -> list[Sampled]:
        encoder, found = Encoder(self.tokenizer), []
        ranked = {row["prompt_id"]: row["responses"] for row in tiny.Tiny().rows("rankings", "train")}
        for place, (row, k) in enumerate(places):
            ids = encoder.response(ranked[row["prompt_id"]][(place + k) % 4 if self.samples == 1 else k])
            cut = (len(ids) + k) % 3 == 0
            found.append(Sampled(ids[:-1] if cut else ids, [-3.0] * (len(ids) - cut), "length" if cut else "eos"))
        return found


def objective_and_rows(name: str, tokenizer: Any, shelf: Path, out: Path) -> tuple[Objective, list[dict[str, Any]]]:
    """Eight tokenised rows of unequal length, and the family's objective."""
    encoder, pad_id, data = Encoder(tokenizer), tokenizer.pad_token_id, tiny.Tiny()
    if name in ON_POLICY or name == "online_dpo":
        kind, knobs = ON_POLICY.get(name, (name, {}))
        algorithm = registry.load("algorithms", kind)(**knobs)
        job = tiny.job(out, "prompts", shelf, proxy="model" if name == "ppo reward" else "rule")
        prompts, _ = prompt_rows(tokenizer, job)
        roller = Fixed(job, prompts, tokenizer, samples=algorithm.samples, missing_end_penalty=0.5, reference=True)
        rows = [{"place": place} for place in range(8)]
        if name == "online_dpo":
            return OnlinePairObjective(algorithm, roller, pad_id), rows
        values = ValueModel(algorithm.value, job) if algorithm.value else None
        return PolicyObjective(algorithm, roller, list(range(8)), 8, pad_id, values), rows
    pairs = data.rows("pairs", "train")[:8]
    prompts = [encoder.prompt(row) for row in pairs]
    if name in JUDGED or name == "forward prediction":
        judged = [
            (row, encoder.prompt({"prompt_id": row["id"], "prompt": data.judged(row["prompt"], row["judgment"])}))
            for row in data.rows("judgments", "train")[:8]
        ]
        texts = [(encoder.prompt(row), other, encoder.response(row["response"]), row) for row, other in judged]
        if name == "forward prediction":
            return Several(pad_id), [
                {"sequences": [(plain, text), (other, text[:2])]} for plain, other, text, _ in texts
            ]
        rows = [
            {"prompt": plain, "judged_prompt": other, "response": text, "blamed": row["judgment"] is not None}
            for plain, other, text, row in texts
        ]
        return JudgedObjective(registry.load("algorithms", "cut")(**JUDGED[name]), pad_id), rows
    if name in REWARDS:
        ranked = zip(prompts, data.rows("rankings", "train"), strict=False)
        most = {"reward rankings": lambda i: 2 + i % 3}.get(name, lambda i: 2)
        rows = [
            {"prompt": prompt, "responses": [encoder.response(text) for text in row["responses"][: most(i)]]}
            | {"labels": [(1, -1)[i % 2], (1, 0, -1)[i % 3]]}
            for i, (prompt, row) in enumerate(ranked)
        ]
        return RewardObjective(registry.load("algorithms", "reward")(**REWARDS[name]), pad_id), rows
    if name == "sft":
        both = zip(prompts, pairs, strict=True)
        return Likelihood(pad_id), [{"prompt": p, "response": encoder.response(row["chosen"])} for p, row in both]
    if name == "kto":
        labelled = with_partners(data.rows("binary", "train")[:8])
        texts = [(row, encoder.response(row["response"]), encoder.response(row["partner"])) for row in labelled]
        rows = [
            {"prompt": encoder.prompt(row), "response": response, "partner": partner, "label": row["label"]}
            | {"reference": -3.0 * len(response), "reference_partner": -5.0 * len(partner)}
            for row, response, partner in texts
        ]
        return UnpairedObjective(registry.load("algorithms", "kto")(), pad_id), rows
    sides = [{side: encoder.response(row[side]) for side in ("chosen", "rejected")} for row in pairs]
    guess = {"reference_chosen": -20.0, "reference_rejected": -18.0}
    rows = [{"prompt": prompt, **side, **guess} for prompt, side in zip(prompts, sides, strict=True)]
    return PairObjective(registry.load("algorithms", name)(), pad_id), rows


def gradient(shelf: Path, out: Path, name: str, split: int, *, shuffle: bool = False, padding: int = 0) -> torch.Tensor:
    """The gradient of one optimiser step of eight rows in micro-batches of `split`.

    The policy has moved since its rollout, as in a second pass over it.
    """
    model, tokenizer = load_policy(shelf / tiny.START / "policy")
    add_head(model)
    objective, rows = objective_and_rows(name, tokenizer, shelf, out)
    rows = random.Random(3).sample(rows, 8) if shuffle else rows
    trainer = SimpleNamespace(
        model=model,
        forward=objective.forward,
        args=SimpleNamespace(device=torch.device("cpu")),
        state=SimpleNamespace(global_step=0),
        every_process=lambda items: items,
    )
    batches = [objective.collate(rows[first : first + split]) for first in range(0, 8, split)]
    batches = objective.prepare(batches, trainer)
    learnt = [*model.parameters(), *(objective.companion.parameters() if objective.companion else ())]
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in learnt:
            weight += 0.03 * torch.randn_like(weight)
    batches = [widen(batch, padding, tokenizer.pad_token_id) for batch in batches]
    totals = objective.totals(batches, trainer)
    for batch in batches:
        outputs = last_logits(model, batch) if name in REWARDS else objective.forward(model, batch)
        objective.loss(outputs, batch, totals)[0].backward()
    return torch.cat([weight.grad.flatten() for weight in learnt if weight.grad is not None])


def last_logits(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Two scores of each row, for want of heads: the first logits at its last token."""

    def scores(part: dict[str, Any]) -> list[torch.Tensor]:
        logits = model(input_ids=part["input_ids"], attention_mask=part["attention_mask"]).logits
        return [logits[range(len(logits)), part["attention_mask"].sum(1) - 1, :2]]

    return in_groups(batch, scores, torch.cat)[0]


def widen(batch: dict[str, Any], columns: int, pad_id: int) -> dict[str, Any]:
    """The batch with more padding on the right."""
    grid = ("advantages", "reference_logps", "old_logps", "old_values", "returns")
    fills = {"input_ids": pad_id, "attention_mask": 0, "labels": -100, **dict.fromkeys(grid, 0.0)}
    wide = {
        name: torch.nn.functional.pad(batch[name], (0, columns), value=fills[name]) for name in fills if name in batch
    }
    return {**batch, **wide}


def agree(one: torch.Tensor, other: torch.Tensor) -> None:
    assert one.norm() > 1e-3
    assert (one - other).norm() < 1e-6 * max(1.0, float(one.norm()))


@pytest.mark.parametrize("name", EACH)
def test_the_split_into_micro_batches_changes_no_gradient(shelf: Path, tmp_path: Path, name: str) -> None:
    whole = gradient(shelf, tmp_path, name, 8)
    for split in (1, 4):
        agree(whole, gradient(shelf, tmp_path, name, split))


@pytest.mark.parametrize("name", EACH)
def test_neither_order_nor_padding_changes_the_gradient(shelf: Path, tmp_path: Path, name: str) -> None:
    whole = gradient(shelf, tmp_path, name, 8)
    agree(whole, gradient(shelf, tmp_path, name, 8, shuffle=True))
    agree(whole, gradient(shelf, tmp_path, name, 4, padding=9))


def test_scores_are_those_of_the_responses_tokens_and_no_others(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shelf / tiny.START / "policy"
    plain, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model, _ = load_policy(folder)
    add_head(model)
    objective, rows = objective_and_rows("sft", tokenizer, shelf, tmp_path)
    monkeypatch.setattr(forward, "GROUP", 3)  # so that there are several groups, the last one short
    with torch.no_grad():
        scores = token_scores(model, objective.collate(rows))
    for i, row in enumerate(rows):
        with torch.no_grad():
            logits = plain(torch.tensor([row["prompt"] + row["response"]])).logits[0, :-1]
        logps = logits.log_softmax(-1)
        first, last = len(row["prompt"]) - 1, len(row["prompt"]) + len(row["response"]) - 1
        own = [float(logps[t, id]) for t, id in zip(range(first, last), row["response"], strict=True)]
        assert scores.log_probs[i, first:last].tolist() == pytest.approx(own, abs=1e-5)
        assert scores.entropy[i, first] == pytest.approx(float(-(logps[first].exp() * logps[first]).sum()), abs=1e-5)
        assert scores.mean_logits[i, first] == pytest.approx(float(logits[first].mean()), abs=1e-5)
        assert float(scores.log_probs[i].sum()) == pytest.approx(sum(own), abs=1e-4)  # 0 everywhere else
        assert int(scores.label_mask[i].sum()) == len(row["response"])
        assert row["response"][-1] == tokenizer.eos_token_id

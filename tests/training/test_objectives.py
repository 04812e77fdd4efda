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
from harness.algorithms.reward import Reward
from harness.models.policy import load_policy
from harness.training import forward
from harness.training.engine import Objective
from harness.training.forward import add_head, in_groups, token_scores
from harness.training.pairs import PairObjective
from harness.training.rewards import RewardObjective
from harness.training.rows import Encoder, with_partners
from harness.training.sequences import Likelihood
from harness.training.unpaired import UnpairedObjective

PAIRED = ("dpo", "ipo", "cpo", "orpo", "simpo")
EACH = (*PAIRED, "kto", "sft", "reward")


def objective_and_rows(name: str, tokenizer: Any) -> tuple[Objective, list[dict[str, Any]]]:
    """Eight tokenised rows of unequal length, and the family's objective."""
    encoder, pad_id = Encoder(tokenizer), tokenizer.pad_token_id
    pairs = tiny.Tiny().rows("pairs", "train")[:8]
    prompts = [encoder.prompt(row) for row in pairs]
    if name == "sft":
        both = zip(prompts, pairs, strict=True)
        return Likelihood(pad_id), [{"prompt": p, "response": encoder.response(row["chosen"])} for p, row in both]
    if name == "kto":
        labelled = with_partners(tiny.Tiny().rows("binary", "train")[:8])
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
    if name == "reward":
        return RewardObjective(Reward(), pad_id), rows
    return PairObjective(registry.load("algorithms", name)(), pad_id), rows


def gradient(shelf: Path, name: str, split: int, *, shuffle: bool = False, padding: int = 0) -> torch.Tensor:
    """The gradient of one optimiser step of eight rows in micro-batches of `split`."""
    model, tokenizer = load_policy(shelf / tiny.START / "policy")
    add_head(model)
    objective, rows = objective_and_rows(name, tokenizer)
    rows = random.Random(3).sample(rows, 8) if shuffle else rows
    batches = [objective.collate(rows[first : first + split]) for first in range(0, 8, split)]
    batches = [widen(batch, padding, tokenizer.pad_token_id) for batch in batches]
    trainer = SimpleNamespace(model=model, forward=token_scores, args=SimpleNamespace(device=torch.device("cpu")))
    totals = objective.totals(batches, trainer)
    for batch in batches:
        outputs = first_logit(model, batch) if name == "reward" else token_scores(model, batch)
        objective.loss(outputs, batch, totals)[0].backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def first_logit(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """A score of each row, for want of a head: the first logit at its last token."""

    def scores(part: dict[str, Any]) -> list[torch.Tensor]:
        logits = model(input_ids=part["input_ids"], attention_mask=part["attention_mask"]).logits[..., 0]
        return [logits.gather(1, part["attention_mask"].sum(1, keepdim=True) - 1)[:, 0]]

    return in_groups(batch, scores, torch.cat)[0]


def widen(batch: dict[str, Any], columns: int, pad_id: int) -> dict[str, Any]:
    """The batch with more padding on the right."""
    fills = {"input_ids": pad_id, "attention_mask": 0, "labels": -100}
    wide = {name: torch.nn.functional.pad(batch[name], (0, columns), value=fill) for name, fill in fills.items()}
    return {**batch, **wide}


@pytest.mark.parametrize("name", EACH)
def test_the_split_into_micro_batches_changes_no_gradient(shelf: Path, name: str) -> None:
    whole = gradient(shelf, name, 8)
    assert whole.norm() > 1e-3
    for split in (1, 4):
        assert (gradient(shelf, name, split) - whole).norm() < 1e-6 * max(1.0, float(whole.norm()))


@pytest.mark.parametrize("name", EACH)
def test_neither_order_nor_padding_changes_the_gradient(shelf: Path, name: str) -> None:
    whole = gradient(shelf, name, 8)
    assert (gradient(shelf, name, 8, shuffle=True) - whole).norm() < 1e-6 * max(1.0, float(whole.norm()))
    assert (gradient(shelf, name, 4, padding=9) - whole).norm() < 1e-6 * max(1.0, float(whole.norm()))


def test_scores_are_those_of_the_responses_tokens_and_no_others(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shelf / tiny.START / "policy"
    plain, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model, _ = load_policy(folder)
    add_head(model)
    objective, rows = objective_and_rows("sft", tokenizer)
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

"""Loss and gradient of one step along our road, and by TRL's own code, on the same model and rows.

TRL's batches are made here from token ids alone, so what our road counts as prompt, padding and end is tested too.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tiny
import torch
from checks import algorithm
from torch import Tensor

from harness.inference.policy import load_policy
from harness.training.forward import add_head, token_scores
from harness.training.pairs import PairObjective
from harness.training.rows import Encoder, with_partners
from harness.training.sequences import Likelihood
from harness.training.unpaired import UnpairedObjective

TOLERANCE = 1e-5


def policy(shelf: Path) -> tuple[Any, Any]:
    model, tokenizer = load_policy(shelf / tiny.START / "policy")
    add_head(model)
    return model.train(), tokenizer


def plain_ids(tokenizer: Any, row: dict[str, Any], name: str) -> tuple[list[int], list[int]]:
    """Prompt and response as the template and the tokenizer have them, without our road."""
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
    return prompt, [*(tokenizer.convert_tokens_to_ids(word) for word in row[name].split()), tokenizer.eos_token_id]


def padded(sequences: list[tuple[list[int], list[int]]], pad_id: int, prefix: str = "") -> dict[str, Tensor]:
    """Ids, attention and where the responses stand, as TRL's collators give them."""
    longest = max(len(prompt) + len(response) for prompt, response in sequences)
    ids = torch.full((len(sequences), longest), pad_id)
    attention, inside = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, (prompt, response) in enumerate(sequences):
        end = len(prompt) + len(response)
        ids[i, :end] = torch.tensor(prompt + response)
        attention[i, :end] = 1
        inside[i, len(prompt) : end] = 1
    return {f"{prefix}input_ids": ids, f"{prefix}attention_mask": attention, f"{prefix}completion_mask": inside}


def trainer(kind: Any, **given: Any) -> Any:
    """A trainer that was never set up: enough of it to ask for a loss."""
    own = object.__new__(kind)
    same = SimpleNamespace(device="cpu", gather=lambda value: value, gather_for_metrics=lambda value: value)
    known = {"accelerator": same, "aux_loss_enabled": False, "_metrics": defaultdict(lambda: defaultdict(list))}
    for name, value in {**known, "_total_train_tokens": 0, "_tp_size": 1, **given}.items():
        setattr(own, name, value)
    return own


def slopes(model: Any, loss: Tensor) -> Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def agree(model: Any, ours: Tensor, theirs: Tensor) -> None:
    """The same loss to 1e-5, and the same gradient to 1e-5 of its length."""
    assert abs(float(ours.detach()) - float(theirs.detach())) < TOLERANCE
    found, expected = slopes(model, ours), slopes(model, theirs)
    assert expected.norm() > 1e-3
    assert (found - expected).norm() < TOLERANCE * max(1.0, float(expected.norm()))


def pair_rows(tokenizer: Any, *, near: bool = False) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Eight pairs as data and as our road has them, with a made-up reference near the policy's size.

    `near` is for divergences, which take the ratio itself: there e^10 more or less would leave float32 no digits.
    """
    data = tiny.Tiny().rows("pairs", "train")[:8]
    encoder = Encoder(tokenizer)
    rows = [
        {"prompt": encoder.prompt(row)}
        | {side: encoder.response(row[side]) for side in ("chosen", "rejected")}
        | {"reference_chosen": -9.0 - i, "reference_rejected": -14.0 + 1.5 * i}
        for i, row in enumerate(data)
    ]
    if near:
        for i, row in enumerate(rows):
            row["reference_chosen"] = -3.7 * len(row["chosen"]) + 0.6 * (i - 3)
            row["reference_rejected"] = -3.7 * len(row["rejected"]) - 0.4 * (i - 4)
    return data, rows


def our_pairs(name: str, model: Any, tokenizer: Any, rows: list[dict[str, Any]], **knobs: Any) -> Tensor:
    objective = PairObjective(algorithm(name, **knobs), tokenizer.pad_token_id)
    batch = objective.collate(rows)
    loss: Tensor = objective.loss(token_scores(model, batch), batch, objective.totals([batch], None))[0]
    return loss


def dpo_trainer(shelf: Path, name: str, knobs: dict[str, Any], **config: Any) -> None:
    """Ours is TRL's DPOTrainer's."""
    from trl import DPOTrainer

    model, tokenizer = policy(shelf)
    data, rows = pair_rows(tokenizer, near="divergence" in knobs)
    sequences = [plain_ids(tokenizer, row, side) for side in ("chosen", "rejected") for row in data]
    batch = padded(sequences, tokenizer.pad_token_id)
    batch |= {
        f"ref_{side}_logps": torch.tensor([r[f"reference_{side}"] for r in rows]) for side in ("chosen", "rejected")
    }
    own = {"ld_alpha": None, "precompute_ref_logps": True, "f_divergence_type": "reverse_kl", "use_weighting": False}
    theirs = trainer(DPOTrainer, model=model, loss_weights=[1.0], **(own | config))
    agree(model, our_pairs(name, model, tokenizer, rows, **knobs), theirs._compute_loss(model, batch, False))


def cpo_trainer(shelf: Path, name: str, knobs: dict[str, Any], **config: Any) -> None:
    """Ours is TRL's experimental CPOTrainer's."""
    from trl.experimental.cpo import CPOTrainer

    model, tokenizer = policy(shelf)
    data, rows = pair_rows(tokenizer)
    own = {"is_encoder_decoder": False, "pad_token_id": tokenizer.pad_token_id, "alpha": 0.0, "label_smoothing": 0.0}
    theirs = trainer(CPOTrainer, **own, **config)
    loss = theirs.get_batch_loss_metrics(model, both_sides(tokenizer, data))[0]
    agree(model, our_pairs(name, model, tokenizer, rows, **knobs), loss)


def orpo_trainer(shelf: Path, weight: float) -> None:
    """Ours is TRL's experimental ORPOTrainer's, but for its NLL, which is over the prompt too."""
    from trl.experimental.orpo import ORPOTrainer

    model, tokenizer = policy(shelf)
    data, rows = pair_rows(tokenizer)
    theirs = trainer(ORPOTrainer, is_encoder_decoder=False, padding_value=tokenizer.pad_token_id, beta=weight)
    chosen, rejected, *_ = theirs.concatenated_forward(model, both_sides(tokenizer, data))
    loss = (-chosen - theirs.odds_ratio_loss(chosen, rejected)[0]).mean()
    agree(model, our_pairs("orpo", model, tokenizer, rows, odds_weight=weight), loss)


def both_sides(tokenizer: Any, data: list[dict[str, Any]]) -> dict[str, Tensor]:
    """A batch as the experimental trainers have it."""
    found = {}
    for side in ("chosen", "rejected"):
        part = padded([plain_ids(tokenizer, row, side) for row in data], tokenizer.pad_token_id, f"{side}_")
        inside = part.pop(f"{side}_completion_mask")
        found |= {**part, f"{side}_labels": part[f"{side}_input_ids"].masked_fill(inside == 0, -100)}
    return found


class Watched:
    """An algorithm for labelled rows that keeps the reference points that the road gave it, one per micro-batch."""

    def __init__(self, given: Any) -> None:
        self.rewards, self.own, self.z = given.rewards, given.losses, []

    def losses(self, batch: Any) -> Any:
        self.z.append(float(batch.kl_mismatched))
        return self.own(batch)


def kto_trainer(shelf: Path, knobs: dict[str, float], kl: float, **config: Any) -> None:
    """Ours is TRL's KTOTrainer's, where it is given our mismatched partners and the step is one micro-batch.

    `kl` is about the mean of the partners' log-ratios: above 0, or below.
    """
    from trl import KTOTrainer

    model, tokenizer = policy(shelf)
    data = with_partners(tiny.Tiny().rows("binary", "train")[:10])[:7]  # an odd number: classes of unequal size
    encoder = Encoder(tokenizer)
    matched, partners = ([plain_ids(tokenizer, row, name) for row in data] for name in ("response", "partner"))
    reference = [i - 3 - 3.8 * len(response) for i, (_, response) in enumerate(matched)]
    mismatched = [-3.8 * len(partner) - kl for _, partner in partners]
    rows = [
        {"prompt": encoder.prompt(row), "label": row["label"]}
        | {name: encoder.response(row[name]) for name in ("response", "partner")}
        | {"reference": reference[i], "reference_partner": mismatched[i]}
        for i, row in enumerate(data)
    ]
    watched: Any = Watched(algorithm("kto", **knobs))
    objective = UnpairedObjective(watched, tokenizer.pad_token_id)
    batch = objective.collate(rows)
    road = SimpleNamespace(model=model, forward=token_scores, args=SimpleNamespace(device=torch.device("cpu")))
    totals = objective.totals([batch], road)
    ours = objective.loss(token_scores(model, batch), batch, totals)[0]
    assert (watched.z[0] > 0) == (kl > 0)
    inputs = padded(matched, tokenizer.pad_token_id) | padded(partners, tokenizer.pad_token_id, "KL_")
    inputs["label"] = torch.tensor([row["label"] for row in data])
    inputs |= {"ref_logps": torch.tensor(reference), "ref_KL_logps": torch.tensor(mismatched)}
    own = {"calculate_KL": True, "precompute_ref_logps": True, "loss_type": "kto"}
    theirs = trainer(KTOTrainer, model=model, **own, **config)
    agree(model, ours, theirs._compute_loss(model, inputs, False))


def splits_agree(shelf: Path, name: str) -> None:
    """One step of eight rows has the gradient of eight steps of one, each told the totals of the whole."""
    model, tokenizer = policy(shelf)
    rows = pair_rows(tokenizer)[1]
    objective = PairObjective(algorithm(name), tokenizer.pad_token_id)

    def gradient(size: int) -> Tensor:
        batches = [objective.collate(rows[first : first + size]) for first in range(0, 8, size)]
        totals = objective.totals(batches, None)
        losses = [objective.loss(token_scores(model, batch), batch, totals)[0] for batch in batches]
        return slopes(model, torch.stack(losses).sum())

    whole = gradient(8)
    assert (gradient(1) - whole).norm() < 1e-6 * max(1.0, float(whole.norm()))


def sft_by_hand(shelf: Path) -> None:
    """Ours is the mean of −log p over all response tokens of the step, end tokens counted, in float64."""
    model, tokenizer = policy(shelf)
    data, rows = pair_rows(tokenizer)
    objective = Likelihood(tokenizer.pad_token_id)
    halves = [objective.collate([{**row, "response": row["chosen"]} for row in part]) for part in (rows[:3], rows[3:])]
    totals = objective.totals(halves, None)
    ours = torch.stack([objective.loss(token_scores(model, half), half, totals)[0] for half in halves]).sum()
    found = slopes(model, ours)
    model.double()
    logps = []
    for prompt, response in (plain_ids(tokenizer, row, "chosen") for row in data):
        logits = model(torch.tensor([prompt + response])).logits[0]
        logps += [logits[len(prompt) - 1 + t].log_softmax(0)[token] for t, token in enumerate(response)]
    expected = -torch.stack(logps).mean()
    assert abs(ours.item() - expected.item()) < TOLERANCE
    slope = slopes(model, expected)
    assert (found - slope).norm() < TOLERANCE * max(1.0, float(slope.norm()))

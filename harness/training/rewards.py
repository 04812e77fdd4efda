"""Train reward models: a scalar head on a copy of a policy."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import stdev
from typing import TYPE_CHECKING, Any

from harness import keys
from harness.errors import HarnessError
from harness.inference.policy import load_backbone
from harness.inference.quiet import quiet
from harness.inference.rendering import end_token
from harness.inference.scoring import RewardModel, pad
from harness.metrics import Measurement
from harness.training import checkpoints
from harness.training.engine import Objective, road
from harness.training.forward import in_groups
from harness.training.road import CHECKPOINTS, arguments, check_room, rows_dataset, run
from harness.training.rows import Encoder, fitting, order
from harness.training.sequences import ledger

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.algorithms.reward import Reward
    from harness.data import Row
    from harness.job import Budget, Job


class RewardObjective(Objective):
    """Scores of all responses to B prompts in one batch, each once."""

    def __init__(self, algorithm: Reward, pad_id: int) -> None:
        self.algorithm, self.pad_id = algorithm, pad_id
        self.weights = algorithm.weights()

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of `prompt` and `responses` token ids, best first, and `labels` by dimension."""
        import torch

        sequences = [(row["prompt"], response) for row in rows for response in row["responses"]]
        batch = pad(sequences, self.pad_id, torch.tensor)
        batch["counts"] = torch.tensor([len(row["responses"]) for row in rows])
        if self.weights:
            batch["by_dimension"] = torch.tensor([row["labels"] for row in rows], dtype=torch.float32)
        return batch

    def totals(self, batches: list[dict[str, Any]], trainer: Any) -> dict[str, Any]:
        """Prompts of the step."""
        return {"rows": sum(len(batch["counts"]) for batch in batches)}

    def forward(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Scores of each row (rows, heads); transformers reads them at the last token that is not padding."""
        import torch

        def scores(part: dict[str, Any]) -> list[torch.Tensor]:
            named = {name: part[name] for name in ("input_ids", "attention_mask")}
            return [model(**named, use_cache=False).logits]

        return in_groups(inputs, scores, torch.cat)[0]

    def loss(self, outputs: Any, batch: dict[str, Any], totals: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The algorithm's losses, summed and divided by the step's prompts."""
        rows, counts = totals["rows"], batch["counts"]
        scores = _by_prompt(outputs.float(), counts)  # (B, K, heads)
        if self.weights:
            return self._by_dimension(scores, batch, rows)
        values = scores[..., 0]
        logs = self._logs(values.detach(), counts, rows)
        return self.algorithm.losses(values, counts).sum() / rows, {**logs, "tokens": batch["attention_mask"].sum()}

    def _by_dimension(
        self, scores: torch.Tensor, batch: dict[str, Any], rows: int
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """A pair's loss is the mean over the dimensions that it has a label for."""
        import torch

        labels, counts = batch["by_dimension"], batch["counts"]  # (B, D): 1, -1, or 0 without a label
        known = (labels != 0).float()
        losses, logs = torch.zeros(len(counts), device=scores.device), {}
        for place, name in enumerate(self.weights):
            own = scores[:, :, place]
            turned = torch.where(labels[:, place, None] < 0, own.flip(1), own)
            losses = losses + self.algorithm.losses(turned, counts) * known[:, place]
            right = self.algorithm.accuracies(turned.detach(), counts)
            logs[f"right/{name}"] = (right * known[:, place]).sum() / rows
            logs[f"share/{name}"] = known[:, place].sum() / rows
        weighted = (scores.detach() * scores.new_tensor(list(self.weights.values()))).sum(-1)
        logs |= self._logs(weighted, counts, rows) | {"tokens": batch["attention_mask"].sum()}
        return (losses / known.sum(1).clamp(min=1)).sum() / rows, logs

    def _logs(self, scores: torch.Tensor, counts: torch.Tensor, rows: int) -> dict[str, Any]:
        """Of the best and the worst response to each prompt, and of all its pairs."""
        best, worst = scores[:, 0], scores.gather(1, counts[:, None] - 1)[:, 0]
        means = {
            "rewards/chosen": best,
            "rewards/rejected": worst,
            "rewards/margins": best - worst,
            "rewards/accuracies": self.algorithm.accuracies(scores, counts),
        }
        return {name: value.sum() / rows for name, value in means.items()}

    def summary(self, means: dict[str, float]) -> dict[str, float]:
        """Accuracies by dimension are over the pairs that have a label for it."""
        found = dict(means)
        for name in self.weights:
            share, right = found.pop(f"share/{name}"), found.pop(f"right/{name}")
            found |= {f"accuracies/{name}": right / share} if share else {}
        return found


def _by_prompt(flat: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Scores of all responses (N, heads), one prompt after the other, as (B, K, heads) padded with 0."""
    import torch

    there = torch.arange(int(counts.max()), device=flat.device)[None] < counts[:, None]  # (B, K)
    grid = flat.new_zeros(*there.shape, flat.shape[-1])
    grid[there] = flat
    return grid


def train_reward(algorithm: Reward, job: Job) -> list[Measurement]:
    """Train a reward model and write `reward/`, after a cross-validation where one is asked for."""
    folds = [_fold(algorithm, job, number) for number in range(algorithm.folds)]
    found = _train(algorithm, job)
    if not folds:
        return found
    pairs = sum(int(fold["pairs"]) for fold in folds)
    mean = sum(fold["right"] for fold in folds) / pairs
    spread = stdev(fold["right"] / fold["pairs"] for fold in folds)
    return [
        *found,
        Measurement("cv_accuracy", mean, pairs, "share", "higher"),
        Measurement("cv_accuracy_sd", spread, len(folds), "share", "lower"),
    ]


def _fold(algorithm: Reward, job: Job, number: int) -> dict[str, float]:
    """Train on the prompts of all other parts, and count the right pairs of this one.

    It works among the checkpoints, which the next attempt finds again, so a part that is finished is not made twice.
    """
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    folder = job.out / CHECKPOINTS / f"fold-{number}"
    result, worked = folder.with_suffix(".json"), folder.with_suffix(".worked")
    finished = result.exists()
    if finished:
        checkpoints.go_on_from(worked, job.out.name)
    state.wait_for_everyone()  # every process has looked before one can write
    if not finished:
        found = _validated(algorithm, job, number, folder)
        state.wait_for_everyone()  # every process has read the weights before they go
        if state.is_main_process:
            checkpoints.note_work(worked, job.out.name)
            _write_whole(result, found)
        state.wait_for_everyone()
    if state.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copy(result, job.out)
    kept: dict[str, float] = json.loads(result.read_text())
    return kept


def _validated(algorithm: Reward, job: Job, number: int, folder: Path) -> dict[str, float]:
    """Train for one part in its own folder, and count its right pairs.

    Raises:
        HarnessError: a part, or what remains without it, has no prompts.
    """
    from accelerate import PartialState

    held_out = [row for row in job.rows if _part(row, algorithm.folds) == number]
    others = [row for row in job.rows if _part(row, algorithm.folds) != number]
    if not held_out or not others:
        raise HarnessError(f"reward.folds is {algorithm.folds}, too many for the prompts that there are")
    folder.mkdir(parents=True, exist_ok=True)
    if not checkpoints.whole(folder):  # weights may be there by half
        _train(algorithm, replace(job, out=folder, rows=others, emit=()))
        if PartialState().is_main_process:
            checkpoints.seal(folder)
    return _right_pairs(algorithm, folder, held_out, job.budget)


def _write_whole(file: Path, found: dict[str, float]) -> None:
    draft = file.with_suffix(".draft")
    with draft.open("w") as opened:
        opened.write(json.dumps(found))
        opened.flush()
        os.fsync(opened.fileno())  # a loss of power would leave it empty, and the next attempt reads it
    draft.replace(file)


def _part(row: Row, folds: int) -> int:
    """The part that a row's prompt belongs to, by a hash: neither order nor other prompts matter."""
    return int(keys.key(["fold", row["prompt_id"]]), 16) % folds


def _right_pairs(algorithm: Reward, folder: Path, rows: list[Row], budget: Budget) -> dict[str, float]:
    """Right pairs, a tie counting a half, and all pairs of the rows that fit; responses are whole."""
    import torch

    model = RewardModel(folder / "reward", "cuda" if torch.cuda.is_available() else "cpu")
    kept, _ = fitting(Encoder(model.tokenizer), rows, algorithm.data, budget)
    rankings = [ranking(row) for row in kept]
    texts = [(row["prompt"], text) for row, own in zip(kept, rankings, strict=True) for text in own]
    scores = iter(model.score(texts, budget.micro_batch))
    right, pairs = 0.0, 0
    for own in rankings:
        values = [next(scores) for _ in own]
        for better in range(len(own)):
            for worse in range(better + 1, len(own)):
                right += float(values[better] > values[worse]) + 0.5 * float(values[better] == values[worse])
                pairs += 1
    return {"right": right, "pairs": pairs}


def ranking(row: Row) -> list[str]:
    """Responses, best first; a pair is a ranking of two.

    Raises:
        HarnessError: there are fewer than two.
    """
    found = list(row["responses"]) if "responses" in row else [row["chosen"], row["rejected"]]
    if len(found) < 2:
        raise HarnessError(f"row {row['id']} ranks {len(found)} responses; a ranking has two or more")
    return found


def _train(algorithm: Reward, job: Job) -> list[Measurement]:
    from transformers import Trainer, TrainingArguments, set_seed

    quiet(job.budget.threads)
    set_seed(job.seed("init"))
    objective = RewardObjective(algorithm, 0)
    model, tokenizer = _with_head(job.inputs["start"] / "policy", job.budget.precision, max(1, len(objective.weights)))
    objective.pad_id = int(tokenizer.pad_token_id or 0)
    check_room(job, model)
    rows, left_out = _rows(algorithm, job, tokenizer)
    trainer = road(Trainer)(
        model=model,
        args=TrainingArguments(**arguments(job, algorithm.learning_rate, 1)),
        train_dataset=rows_dataset(rows),
        processing_class=tokenizer,
        data_collator=objective.collate,
        objective=objective,
        indices=order(len(rows), job.budget.steps * job.budget.batch, job.seed("order")),
    )

    def save(folder: Path) -> None:
        found = trainer.accelerator.unwrap_model(trainer.model)
        _combined(found, objective.weights).save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    sizes = [len(row["responses"]) for row in rows]
    trained = [sum(map(len, row["responses"])) for row in rows]
    read = [n + k * len(row["prompt"]) for n, k, row in zip(trained, sizes, rows, strict=True)]
    labels = [_labels(row) if objective.weights else k * (k - 1) // 2 for k, row in zip(sizes, rows, strict=True)]
    return run(job, trainer, save, "reward") + ledger(job, trained, read, left_out, responses=sizes, labels=labels)


def _rows(algorithm: Reward, job: Job, tokenizer: PreTrainedTokenizerBase) -> tuple[list[dict[str, Any]], int]:
    """Tokenised rows, and how many were left out."""
    encoder = Encoder(tokenizer)
    kept, left_out = fitting(encoder, job.rows, algorithm.data, job.budget)
    names = list(algorithm.weights())
    _check_labelled(kept, names)
    found = []
    for row in kept:
        responses = [encoder.response(text) for text in ranking(row)]
        if algorithm.truncate:
            responses = truncated(responses, algorithm.truncate, job.seed("truncate"), str(row["id"]))
        labels = [_label(row, name) for name in names]
        found.append({"prompt": encoder.prompt(row), "responses": responses, "labels": labels})
    return found, left_out


def _label(row: Row, name: str) -> int:
    labels = row.get("preferred") or {}
    if name not in labels:
        known = ", ".join(labels) or "none at all"
        raise HarnessError(f"reward.dimensions asks for '{name}'; row {row['id']} has labels for {known}")
    if labels[name] not in (-1, 0, 1):
        raise HarnessError(f"row {row['id']} prefers {labels[name]!r} in '{name}'; it must be 1, -1, or 0 for no label")
    return int(labels[name])


def _labels(row: dict[str, Any]) -> int:
    """Dimensions that a tokenised row has a label for."""
    return sum(map(abs, row["labels"]))


def _check_labelled(rows: list[Row], names: list[str]) -> None:
    """A head without any label would stay at random, and its weight would put that into the product."""
    for name in names:
        if not any(_label(row, name) for row in rows):
            raise HarnessError(f"reward.dimensions asks for '{name}', for which no row has a label other than 0")


def truncated(responses: list[list[int]], share: float, seed: int, name: str) -> list[list[int]]:
    """Responses (token ids, the end token last) cut at a random token where the row is one of the share.

    What is kept is decided by a hash of the row's name, so neither order nor batch matters.
    """
    import random

    chance = random.Random(f"{seed} {name}")
    if chance.random() >= share:
        return responses
    return [[*ids[: chance.randint(1, max(1, len(ids) - 1))], ids[-1]] if len(ids) > 1 else ids for ids in responses]


def _with_head(policy: Path, precision: str, heads: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The policy's backbone under fresh scalar heads."""
    from transformers import AutoModelForSequenceClassification

    source, tokenizer = load_backbone(policy, precision)
    if tokenizer.pad_token_id in (None, end_token(tokenizer)):
        # transformers finds the last real token by the padding token, so it has to differ from the end token
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.bos_token
    if tokenizer.pad_token_id in (None, end_token(tokenizer)):
        raise HarnessError("the tokenizer has no token but the end token to pad with, so no reward could be read there")
    config = source.config
    config.num_labels, config.pad_token_id = heads, tokenizer.pad_token_id
    model = AutoModelForSequenceClassification.from_config(config, dtype=source.dtype)
    model.base_model.load_state_dict(source.state_dict())
    if heads > 1 and not hasattr(model, "score"):
        raise HarnessError("reward.dimensions needs a base that writes text; an encoder has one head here")
    return model, tokenizer


def _combined(model: PreTrainedModel, weights: dict[str, float]) -> PreTrainedModel:
    """A model with one head, the weighted sum of the heads; the model itself where there is one."""
    import copy

    import torch

    if not weights:
        return model
    found = copy.deepcopy(model)
    head = found.score.weight.data
    found.config.num_labels = found.num_labels = 1
    found.score = torch.nn.Linear(head.shape[1], 1, bias=False, dtype=head.dtype, device=head.device)
    found.score.weight.data = head.new_tensor([list(weights.values())]) @ head
    return found

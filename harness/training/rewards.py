"""Train reward models: a scalar head on a copy of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.metrics import Measurement
from harness.models.policy import load_policy
from harness.models.quiet import quiet
from harness.models.rendering import end_token
from harness.models.scoring import pad
from harness.training.engine import Objective, road
from harness.training.forward import in_groups
from harness.training.road import arguments, check_room, rows_dataset, run
from harness.training.rows import Encoder, fitting, order
from harness.training.sequences import ledger

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.algorithms.reward import Reward
    from harness.job import Job


class RewardObjective(Objective):
    """Scores of chosen and rejected from one batch of 2B rows, chosen first."""

    def __init__(self, algorithm: Reward, pad_id: int) -> None:
        self.algorithm, self.pad_id = algorithm, pad_id

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of `prompt`, `chosen`, `rejected` token ids."""
        import torch

        sequences = [(row["prompt"], row[side]) for side in ("chosen", "rejected") for row in rows]
        return pad(sequences, self.pad_id, torch.tensor)

    def totals(self, batches: list[dict[str, Any]], trainer: Any) -> dict[str, Any]:
        """Pairs of the step."""
        return {"rows": sum(len(batch["labels"]) // 2 for batch in batches)}

    def loss(self, outputs: Any, batch: dict[str, Any], totals: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The algorithm's losses, summed and divided by the step's pairs."""
        chosen, rejected = outputs.float().chunk(2)
        right = (chosen > rejected).float() + 0.5 * (chosen == rejected).float()
        means = {
            "rewards/chosen": chosen.detach(),
            "rewards/rejected": rejected.detach(),
            "rewards/margins": (chosen - rejected).detach(),
            "rewards/accuracies": right,
        }
        logs = {name: value.sum() / totals["rows"] for name, value in means.items()}
        logs["tokens"] = batch["attention_mask"].sum()
        return self.algorithm.losses(chosen, rejected).sum() / totals["rows"], logs


def train_reward(algorithm: Reward, job: Job) -> list[Measurement]:
    """Train a reward model and write `reward/`."""
    from transformers import Trainer, TrainingArguments, set_seed

    quiet(job.budget.threads)
    set_seed(job.seed("init"))
    model, tokenizer = _with_head(job.inputs["start"] / "policy", job.budget.precision)
    check_room(job, model)
    encoder = Encoder(tokenizer)
    kept, left_out = fitting(encoder, job.rows, "pairs", job.budget)
    sides = ("chosen", "rejected")
    rows = [{"prompt": encoder.prompt(row), **{s: encoder.response(row[s]) for s in sides}} for row in kept]
    needed = job.budget.steps * job.budget.batch
    trainer = _scoring(road(Trainer))(
        model=model,
        args=TrainingArguments(**arguments(job, algorithm.learning_rate, 1)),
        train_dataset=rows_dataset(rows),
        processing_class=tokenizer,
        data_collator=(objective := RewardObjective(algorithm, tokenizer.pad_token_id)).collate,
        objective=objective,
        indices=order(len(rows), needed, job.seed("order")),
    )

    def save(folder: Path) -> None:
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    trained = [len(row["chosen"]) + len(row["rejected"]) for row in rows]
    read = [n + 2 * len(row["prompt"]) for n, row in zip(trained, rows, strict=True)]
    return run(job, trainer, save, "reward") + ledger(job, trained, read, left_out, responses=2, labels=1)


def _with_head(policy: Path, precision: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The policy's backbone under a fresh scalar head."""
    from transformers import AutoModelForSequenceClassification

    source, tokenizer = load_policy(policy, precision)
    if tokenizer.pad_token_id in (None, end_token(tokenizer)):
        # transformers finds the last real token by the padding token, so it has to differ from the end token
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.bos_token
    if tokenizer.pad_token_id in (None, end_token(tokenizer)):
        raise HarnessError("the tokenizer has no token but the end token to pad with, so no reward could be read there")
    config = source.config
    config.num_labels, config.pad_token_id = 1, tokenizer.pad_token_id
    model = AutoModelForSequenceClassification.from_config(config, dtype=source.dtype)
    model.base_model.load_state_dict(source.base_model.state_dict())
    return model, tokenizer


def _scoring(base: type[Any]) -> type[Any]:
    class Scoring(base):  # type: ignore[misc]  # the base is chosen at run time
        def forward(self, model: Any, inputs: dict[str, Any]) -> Any:
            """One score per row (rows,); transformers reads it at the last token that is not padding."""
            import torch

            def scores(part: dict[str, Any]) -> list[torch.Tensor]:
                named = {name: part[name] for name in ("input_ids", "attention_mask")}
                return [model(**named, use_cache=False).logits.squeeze(-1)]

            return in_groups(inputs, scores, torch.cat)[0]

    return Scoring

"""The road that every gradient-based algorithm takes: load, train, checkpoint, resume, save, log.

The engine is TRL's SFTTrainer on rows that are tokenised here; what differs between families is an `Objective`:
how rows become a batch, and the loss. The loss of an optimiser step is a sum over rows divided by a total of the
whole step, so it does not depend on padding, on the order within the step, or on the split into micro-batches.
"""

from __future__ import annotations

import math
import shutil
from abc import ABC, abstractmethod
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.metrics import Measurement
from harness.models.policy import load_policy, save_policy
from harness.models.quiet import quiet
from harness.training import checkpoints
from harness.training.rows import order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

    from harness.job import Job

POINTS = 60
"""About so many points has a training curve."""


class Objective(ABC):
    """What a family of algorithms adds to the road."""

    @abstractmethod
    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows to tensors: `input_ids`, `attention_mask`, `labels` (rows, T), and whatever `loss` reads."""

    @abstractmethod
    def totals(self, batches: list[dict[str, Any]], trainer: Any) -> dict[str, Any]:
        """Numbers of a whole optimiser step, before its first gradient; each micro-batch is given them."""

    @abstractmethod
    def loss(self, outputs: Any, batch: dict[str, Any], totals: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """This micro-batch's part of the step's loss, and what to log (sums over rows divided by the step's rows)."""


def train(
    job: Job,
    rows: list[dict[str, Any]],
    objective: Objective,
    *,
    learning_rate: float,
    rows_per_prompt: int = 1,
    model: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> list[Measurement]:
    """Train a policy along the road and write `policy/`, `policy-step-<n>/` and `curves.parquet` into `job.out`.

    Args:
        job: what to train from and where to write.
        rows: tokenised rows, as the objective's `collate` reads them.
        objective: the family's part.
        learning_rate: peak of the schedule.
        rows_per_prompt: rows that one prompt of the budget stands for.
        model: a model to train instead of the job's start, with `tokenizer`.
        tokenizer: see `model`.

    Raises:
        FloatingPointError: the loss or the final weights are not finite.
    """
    from transformers import set_seed

    quiet(job.budget.threads)
    set_seed(job.seed("init"))
    if model is None or tokenizer is None:
        model, tokenizer = load_policy(job.inputs["start"] / "policy", job.budget.precision)
    trainer = _trainer(job, rows, objective, model, tokenizer, learning_rate, rows_per_prompt)
    return run(job, trainer, lambda folder: _save(job, trainer, tokenizer, folder), "policy")


def run(job: Job, trainer: Any, save: Callable[[Path], None], product: str) -> list[Measurement]:
    """Run a trainer from its newest whole checkpoint to the end, and keep its product and curves."""
    import torch
    from transformers import PrinterCallback

    folder = job.out / "checkpoints"
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_callback(job, save))
    resume = checkpoints.newest(folder)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if not all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters()):
        raise FloatingPointError(f"a weight is no longer finite after step {trainer.state.global_step}")
    save(job.out / product)
    for kept in folder.glob(f"{product}-step-*"):
        shutil.rmtree(job.out / kept.name, ignore_errors=True)
        kept.rename(job.out / kept.name)
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    _write_curves(history, job.out / "curves.parquet")
    shutil.rmtree(folder)
    ends = [("loss_first", history[0]), ("loss_last", history[-1])] if history else []
    losses = [Measurement(name, float(entry["loss"]), 1, "nats", "lower") for name, entry in ends]
    return [Measurement("steps", trainer.state.global_step, 1, "steps"), *losses]


def arguments(job: Job, learning_rate: float, rows_per_prompt: int) -> dict[str, Any]:
    """A budget in transformers' words."""
    import torch

    budget = job.budget
    every = log_every(budget.steps)
    constant = budget.schedule == "constant" and budget.warmup > 0
    return {
        "output_dir": str(job.out / "checkpoints"),
        "max_steps": budget.steps,
        "per_device_train_batch_size": budget.micro_batch * rows_per_prompt,
        "gradient_accumulation_steps": budget.batch // budget.micro_batch,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if constant else budget.schedule,
        "warmup_steps": math.ceil(budget.warmup * budget.steps),
        "weight_decay": budget.weight_decay,
        "max_grad_norm": budget.max_grad_norm,
        "seed": job.seed("dropout"),
        "data_seed": job.seed("order"),
        "logging_steps": every,
        # a checkpoint falls on a logged step, so that a resumed run logs what an undisturbed one would have
        "save_steps": max(1, job.checkpoint_every // every) * every,
        "save_strategy": "steps",
        "save_total_limit": 2,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,  # the weights themselves have the budget's precision
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def log_every(steps: int) -> int:
    """Steps between two points of a curve."""
    return max(1, steps // POINTS)


def road(base: type[Any]) -> type[Any]:
    """A trainer class that takes its loss from an `Objective` and its order from `order`."""

    class Road(base):  # type: ignore[misc]  # the base is chosen at run time
        loss_is_scaled_for_ga = True  # the objective divides by the whole step's total

        def __init__(self, *args: Any, objective: Objective, indices: list[int], **kwargs: Any) -> None:
            self.objective, self.indices = objective, indices
            self.window: dict[str, list[Any]] = defaultdict(list)
            super().__init__(*args, **kwargs)

        def _get_train_sampler(self, *_: Any) -> list[int]:
            return self.indices

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """None is wanted: the record says what was trained."""

        def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> Any:
            """Give each micro-batch the totals of its optimiser step."""
            batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
            totals = self.objective.totals(batches, self)
            return [{**batch, "totals": totals} for batch in batches], None

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """The objective's loss on one forward pass."""
            totals = inputs["totals"]
            outputs = self.forward(model, inputs)
            loss, logs = self.objective.loss(outputs, inputs, totals)
            if not bool(loss.isfinite()):
                raise FloatingPointError(f"the loss is {loss.item()} at step {self.state.global_step + 1}")
            for name, value in logs.items():
                self.window[name].append(value)
            # gradients are averaged over processes, so each scales its part of the sum
            return loss * self.accelerator.num_processes

        def forward(self, model: Any, inputs: dict[str, Any]) -> Any:
            """Per-token log-probabilities without the full logits in memory."""
            names = ("input_ids", "attention_mask", "labels")
            return model(**{name: inputs[name] for name in names}, fused_lm_head=True, use_cache=False)

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            """Add the means over the steps since the last point."""
            import torch

            steps = log_every(self.args.max_steps)
            for name, values in self.window.items():
                logs[name] = float(torch.stack([torch.as_tensor(value).float() for value in values]).sum()) / steps
            self.window.clear()
            super().log(logs, start_time)

    return Road


def _trainer(
    job: Job,
    rows: list[dict[str, Any]],
    objective: Objective,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    learning_rate: float,
    rows_per_prompt: int,
) -> Any:
    from trl import SFTConfig, SFTTrainer

    args = SFTConfig(
        **arguments(job, learning_rate, rows_per_prompt),
        activation_checkpointing=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    needed = job.budget.steps * job.budget.batch * rows_per_prompt
    return road(SFTTrainer)(
        model=model,
        args=args,
        train_dataset=rows_dataset(rows),
        processing_class=tokenizer,
        data_collator=objective.collate,
        peft_config=_lora(job),
        objective=objective,
        indices=order(len(rows), needed, job.seed("order")),
    )


def rows_dataset(rows: list[dict[str, Any]]) -> Any:
    """Tokenised rows as a `datasets.Dataset`, which is what TRL's trainers take."""
    from datasets import Dataset

    return Dataset.from_list(rows)


def _lora(job: Job) -> Any:
    if not job.budget.lora_rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=job.budget.lora_rank, lora_alpha=job.budget.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _save(job: Job, trainer: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    base = job.inputs["start"] / "policy" if job.budget.lora_rank else None
    save_policy(trainer.accelerator.unwrap_model(trainer.model), tokenizer, folder, base)


def _callback(job: Job, save: Callable[[Path], None]) -> TrainerCallback:
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):  # type: ignore[misc]  # transformers ships no types that mypy reads here
        """Seals checkpoints, and keeps the policies of the steps that the job asks for."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step in job.emit:
                kept = Path(args.output_dir) / f"policy-step-{state.global_step}"
                draft = kept.with_name(f"draft-{state.global_step}")
                shutil.rmtree(draft, ignore_errors=True)
                shutil.rmtree(kept, ignore_errors=True)
                save(draft)
                draft.rename(kept)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            checkpoints.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    return Keeper()


def _write_curves(history: list[dict[str, Any]], path: Path) -> None:
    """`step`, `metric`, `value`: one row per logged number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    points = [
        {"step": int(entry["step"]), "metric": name, "value": float(value)}
        for entry in history
        for name, value in sorted(entry.items())
        if name not in ("step", "epoch") and math.isfinite(value)
    ]
    schema = pa.schema([("step", pa.int64()), ("metric", pa.string()), ("value", pa.float64())])
    pq.write_table(pa.Table.from_pylist(points, schema=schema), path)

"""The road that every gradient-based algorithm takes: load, train, checkpoint, resume, save, log.

The engine is TRL's SFTTrainer on rows that are tokenised here; what differs between families is an `Objective`:
how rows become a batch, and the loss. The loss of an optimiser step is a sum over rows divided by a total of the
whole step, so it does not depend on padding, on the order within the step, or on the split into micro-batches.
"""

from __future__ import annotations

import math
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.inference.policy import load_policy, save_policy
from harness.inference.quiet import quiet
from harness.metrics import Measurement
from harness.training import checkpoints
from harness.training.curves import log_every, write_curves
from harness.training.engine import Objective, road
from harness.training.forward import add_head
from harness.training.pace import Pace
from harness.training.rows import grouped, order
from harness.training.trackers import tracked

CHECKPOINTS = "checkpoints"

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

    from harness.job import Job


def train(
    job: Job,
    rows: list[dict[str, Any]],
    objective: Objective,
    *,
    learning_rate: float,
    rows_per_prompt: int = 1,
    model: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    lengths: list[int] | None = None,
    indices: list[int] | None = None,
    aligned: int = 1,
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
        lengths: tokens of each row, to batch rows of like length; None keeps the seeded order.
        indices: rows in the order in which they are used; None for a fresh seeded permutation for each pass.
        aligned: steps that belong together, so that a checkpoint falls on no other than a multiple of them.

    Raises:
        FloatingPointError: the loss, the gradient or the final weights are not finite.
        HarnessError: the budget's micro-batch or lengths do not suit the batch or the model.
    """
    quiet(job.budget.threads)
    if model is None or tokenizer is None:
        model, tokenizer = load_policy(job.inputs["start"] / "policy", job.budget.precision)
    check_room(job, model)
    if indices is None:
        indices = order(len(rows), job.budget.steps * job.budget.batch * rows_per_prompt, job.seed("order"))
    if lengths is not None:
        indices = grouped(indices, lengths, job.budget.batch * rows_per_prompt, job.seed("order"))
    given = arguments(job, learning_rate, rows_per_prompt, aligned)
    trainer = _trainer(job, rows, indices, objective, model, tokenizer, given)
    return run(job, trainer, lambda folder: _save(job, trainer, tokenizer, folder), "policy", aligned)


def run(job: Job, trainer: Any, save: Callable[[Path], None], product: str, aligned: int = 1) -> list[Measurement]:
    """Run a trainer from its newest whole checkpoint to where the job ends, and keep its product and curves."""
    import torch
    from transformers import PrinterCallback

    folder, every = job.out / CHECKPOINTS, _every(job, aligned)
    last = max(1, job.until // every) * every if job.until else 0
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_callback(job, save, product, trainer, every, last))
    with trainer.accelerator.main_process_first():  # it removes what is not whole
        resume = checkpoints.newest(folder, below=last) or _begun(job, folder)
    if resume:
        print(f"goes on from {resume.name}", flush=True)
        checkpoints.go_on_from(resume / checkpoints.WORKED, job.out.name)
        trainer.objective.load(resume)
    alone = trainer.accelerator.num_processes == 1
    with tracked(job, trainer), checkpoints.soon.heard() if alone else nullcontext():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if not all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters()):
        raise FloatingPointError(f"a weight is no longer finite after step {trainer.state.global_step}")
    if trainer.is_world_process_zero():
        save(job.out / product)
        for kept in folder.glob(f"{product}-step-*"):
            shutil.rmtree(job.out / kept.name, ignore_errors=True)
            shutil.copytree(kept, job.out / kept.name)  # a run that is killed here finds it again beside its checkpoint
        write_curves(_history(trainer), job.out / "curves.parquet")
        if not job.until:
            shutil.rmtree(folder.rename(job.out / "draft-checkpoints"))  # all of them go at once, or none
    trainer.accelerator.wait_for_everyone()
    return _results(trainer)


def _begun(job: Job, folder: Path) -> Path | None:
    """The checkpoint that an earlier part of this training has stopped at, copied here; None where there is no such.

    Raises:
        HarnessError: the earlier part has left no whole checkpoint.
    """
    if "begun" not in job.inputs:
        return None
    begun = checkpoints.newest(job.inputs["begun"] / CHECKPOINTS)
    if begun is None:
        raise HarnessError(f"{job.inputs['begun']} holds no whole checkpoint to go on from")
    own, draft = folder / begun.name, folder / f"draft-{begun.name}"
    if not own.exists():
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(begun, draft)
        draft.rename(own)
    return own


def _history(trainer: Any) -> list[dict[str, Any]]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def _results(trainer: Any) -> list[Measurement]:
    history = _history(trainer)
    ends = [("loss_first", history[0]), ("loss_last", history[-1])] if history else []
    losses = [Measurement(name, float(entry["loss"]), 1, "nats", "lower") for name, entry in ends]
    return [Measurement("steps", trainer.state.global_step, 1, "steps"), *losses]


def arguments(job: Job, learning_rate: float, rows_per_prompt: int, aligned: int = 1) -> dict[str, Any]:
    """A budget in transformers' words. Several processes share a step: its micro-batches, or each one's rows.

    Raises:
        HarnessError: the micro-batch does not divide the batch, or the processes do not divide either.
    """
    import torch
    from accelerate import PartialState

    budget = job.budget
    if budget.batch % budget.micro_batch:
        raise HarnessError(
            f"budget.micro_batch is {budget.micro_batch}, which does not divide budget.batch = {budget.batch}"
        )
    parts, rows = budget.batch // budget.micro_batch, budget.micro_batch
    world = PartialState(cpu=not torch.cuda.is_available()).num_processes
    if parts % world == 0:
        parts //= world
    elif rows % world == 0:
        rows //= world
    else:
        raise HarnessError(
            f"{world} processes divide neither the {parts} micro-batches of a step nor budget.micro_batch = {rows}"
        )
    every = _every(job, aligned)
    constant = budget.schedule == "constant" and budget.warmup > 0
    return {
        "output_dir": str(job.out / CHECKPOINTS),
        "max_steps": budget.steps,
        "per_device_train_batch_size": rows * rows_per_prompt,
        "gradient_accumulation_steps": parts,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if constant else budget.schedule,
        "warmup_steps": math.ceil(budget.warmup * budget.steps),
        "weight_decay": budget.weight_decay,
        "max_grad_norm": budget.max_grad_norm,
        "seed": job.seed("init"),  # of an adapter; the order of rows is given
        "logging_steps": log_every(budget.steps),
        # a checkpoint falls on a logged step, so that a resumed run logs what an undisturbed one would have
        "save_steps": max(1, job.checkpoint_every // every) * every,
        "save_strategy": "steps",
        "save_total_limit": 2,
        "use_cpu": not torch.cuda.is_available(),
        # a micro-batch is several forward passes, and not as many in every process
        "ddp_find_unused_parameters": False,
        "ddp_broadcast_buffers": False,
        "bf16": False,  # the weights themselves have the budget's precision
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def _every(job: Job, aligned: int) -> int:
    """Steps between two places where a checkpoint can fall: a logged step at which no rollout is half used."""
    return math.lcm(log_every(job.budget.steps), aligned)


def check_room(job: Job, model: PreTrainedModel) -> None:
    """Refuse lengths that the model cannot read.

    Raises:
        HarnessError: prompt and response together may have more tokens than the model has positions.
    """
    longest, positions = job.budget.max_prompt_tokens + job.budget.max_response_tokens, positions_of(model)
    if longest > positions:
        raise HarnessError(
            f"budget.max_prompt_tokens + budget.max_response_tokens = {longest}; the model reads {positions} tokens"
        )


def positions_of(model: PreTrainedModel) -> int:
    """Tokens that a model can read at once."""
    return int(model.config.get_text_config().max_position_embeddings)


def _trainer(
    job: Job,
    rows: list[dict[str, Any]],
    indices: list[int],
    objective: Objective,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    given: dict[str, Any],
) -> Any:
    from trl import SFTConfig, SFTTrainer

    args = SFTConfig(
        **given,
        activation_checkpointing=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = road(SFTTrainer)(
        model=model,
        args=args,
        train_dataset=rows_dataset(rows),
        processing_class=tokenizer,
        data_collator=objective.collate,
        peft_config=_lora(job),
        objective=objective,
        indices=indices,
    )
    add_head(model)  # after TRL's own, which gives no mean logits
    return trainer


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


def _callback(
    job: Job, save: Callable[[Path], None], product: str, trainer: Any, every: int, last: int
) -> TrainerCallback:
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):  # type: ignore[misc]  # transformers ships no types that mypy reads here
        """Seals checkpoints, keeps the policies of the steps that the job asks for, and stops where it does."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._pace = Pace(state.global_step, last or state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if state.is_world_process_zero and logs and "loss" in logs and (text := self._pace.told(state.global_step)):
                print(f"{text}; loss {float(logs['loss']):.4g}", flush=True)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step in job.emit and state.is_world_process_zero:
                kept = Path(args.output_dir) / f"{product}-step-{state.global_step}"
                draft = kept.with_name(f"draft-{state.global_step}")
                shutil.rmtree(draft, ignore_errors=True)
                shutil.rmtree(kept, ignore_errors=True)
                save(draft)
                draft.rename(kept)
            if checkpoints.soon.asked and state.global_step % every == 0:
                control.should_save = True
            if state.global_step == last:
                control.should_save = control.should_training_stop = True
            if state.global_step == state.max_steps:
                control.should_save = False  # the product itself follows at once

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            trainer.accelerator.wait_for_everyone()  # each process writes its random state
            if state.is_world_process_zero:
                checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                trainer.objective.save(checkpoint)
                checkpoints.note_work(checkpoint / checkpoints.WORKED, job.out.name)
                checkpoints.seal(checkpoint)
                checkpoints.soon.saved()

    return Keeper()

"""One cell as a person would train it with TRL alone: a process of its own, both threads, TRL's own trainer.

    python benchmarks/trl_cell.py <results> <recipe> <contestant> <replicate> <out>

The SFT start is the harness's (it is counted once on both sides), and so is the evaluation code.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

THREADS = 2
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}


def trainer(name: str, policy: Path, rows: dict[str, Any], knobs: dict[str, Any], budget: Any, out: str) -> Any:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    common: dict[str, Any] = {
        "output_dir": out,
        "max_steps": budget.steps,
        "per_device_train_batch_size": budget.batch,
        "learning_rate": knobs["learning_rate"],
        "lr_scheduler_type": "linear",
        "warmup_steps": 6,
        "max_length": 256,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    tokenizer = AutoTokenizer.from_pretrained(policy)
    if name in ("dpo", "ipo"):
        from trl import DPOConfig, DPOTrainer

        loss, beta = ("ipo", knobs["tau"]) if name == "ipo" else ("sigmoid", knobs["beta"])
        args = DPOConfig(loss_type=[loss], beta=beta, **common)
        return DPOTrainer(
            str(policy), args=args, train_dataset=Dataset.from_list(rows["pairs"]), processing_class=tokenizer
        )
    if name == "kto":
        from trl import KTOConfig, KTOTrainer

        common["per_device_train_batch_size"] *= 2
        data = Dataset.from_list(rows["binary"]).shuffle(seed=0)
        return KTOTrainer(str(policy), args=KTOConfig(**common), train_dataset=data, processing_class=tokenizer)
    model = AutoModelForCausalLM.from_pretrained(policy)
    data = Dataset.from_list(rows["pairs"])
    if name == "orpo":
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        return ORPOTrainer(model, args=ORPOConfig(**common), train_dataset=data, processing_class=tokenizer)
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    own = {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0} if name == "simpo" else {}
    return CPOTrainer(model, args=CPOConfig(**own, **common), train_dataset=data, processing_class=tokenizer)


def turns(row: dict[str, Any]) -> dict[str, Any]:
    """A row in TRL's conversational form."""
    words = {"chosen": "chosen", "rejected": "rejected", "response": "completion"}
    said = {words[k]: [{"role": "assistant", "content": row[k]}] for k in words if k in row}
    return {"prompt": row["prompt"], **said, **({"label": row["label"]} if "label" in row else {})}


def main() -> None:
    results, recipe, contestant, replicate, out = sys.argv[1:]
    import torch

    torch.set_num_threads(THREADS)
    from harness.inference.systems import write_samples
    from harness.metrics._grade import grade
    from harness.plan import make_plan
    from harness.recipe import read_recipe
    from harness.stages import open_dataset, training_rows

    plan = make_plan(read_recipe(Path(recipe)))
    cell = next(c for c in plan.cells if c.contestant == contestant and c.replicate == int(replicate))
    home, dataset = Path(out), open_dataset(cell.policy.dataset)
    home.mkdir(parents=True)
    if cell.is_start:
        (home / "policy").symlink_to((Path(results) / cell.policy.name / "policy").resolve())
    else:
        train(cell, dataset, Path(results), home)
    sample, judged = cell.samples[None], cell.grades[None]
    prompts = training_rows(dataset, "prompts", sample.split, sample.prompts)
    for stage in (sample, judged):
        object.__setattr__(stage, "threads", THREADS)
    write_samples(home, {"policy": home}, prompts, dataset, sample)
    inputs = {role: Path(results) / stage.name for role, stage in judged.inputs.items()}
    grade(home, {**inputs, "sample": home, "policy": home}, dataset, judged)


def train(cell: Any, dataset: Any, results: Path, home: Path) -> None:
    """Train a cell's policy from its start."""
    from harness.job import Budget
    from harness.stages import training_rows

    budget, start = Budget(**cell.policy.budget), results / cell.policy.inputs["start"].name
    rows = {
        view: [turns(row) for row in training_rows(dataset, view, "train", budget.prompts)]
        for view in ("pairs", "binary")
    }
    with tempfile.TemporaryDirectory() as folder:
        trained = trainer(cell.algorithm, start / "policy", rows, cell.policy.algorithm["knobs"], budget, folder)
        trained.train()
    trained.model.save_pretrained(home / "policy")
    trained.processing_class.save_pretrained(home / "policy")


if __name__ == "__main__":
    main()

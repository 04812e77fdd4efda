"""Peak memory of training as `harness plan` estimates it, against what is measured.

    python benchmarks/memory.py [--model '10m, LoRA'] [--only 'dpo;kto']

Each algorithm trains for two optimiser steps in a process of its own, on rows that fill the budget's lengths, as the
estimate supposes. What is measured is the peak of the process's resident memory above what it held when all imports
were made and a first, tiny training was over. SmolLM2 is trained with LoRA, the others in full.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from steps_per_second import SIZES, machine

from harness.data import Dataset
from harness.training.rows import TEXTS

KNOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("sft", {}),
    "reward": ("reward", {}),
    "dpo": ("dpo", {}),
    "simpo": ("simpo", {}),
    "kto": ("kto", {}),
    "cut": ("cut", {}),
    "forward_prediction": ("forward_prediction", {}),
    "rloo": ("rloo", {}),
    "online_dpo": ("online_dpo", {}),
    "ppo, value head": ("ppo", {}),
    "ppo, value network": ("ppo", {"value": "reward"}),
}
TINY = (16, 1, 1)
BUDGETS: dict[str, dict[str, Any]] = {
    "tiny": {"batch": 4, "micro_batch": 4},
    "lab": {"batch": 32, "micro_batch": 32},
    "lab, LoRA": {"batch": 32, "micro_batch": 32, "lora_rank": 8},
    "10m": {"batch": 16, "micro_batch": 16},
    "10m, bfloat16": {"batch": 16, "micro_batch": 16, "precision": "bfloat16"},
    "lab, bfloat16": {"batch": 32, "micro_batch": 32, "precision": "bfloat16"},
    "10m, bfloat16, LoRA": {"batch": 16, "micro_batch": 16, "precision": "bfloat16", "lora_rank": 16},
    "10m, LoRA": {"batch": 16, "micro_batch": 16, "lora_rank": 16},
    "smollm2": {"batch": 4, "micro_batch": 4, "lora_rank": 16},
}
PROMPTS, TOKENS = 64, 64


@dataclass(frozen=True)
class Full(Dataset):
    """Prompts and responses that have exactly `TOKENS` tokens, of words that are one token each."""

    version: ClassVar[int] = 1
    views: ClassVar[frozenset[str]] = frozenset({*TEXTS, "prompts"})

    words: tuple[str, ...] = ()
    opening: int = 0

    def rows(self, view: str, split: str) -> list[dict[str, Any]]:
        """The same responses in each view; no two are alike, and all are blamed where there are judgments."""
        found = []
        for i in range(PROMPTS):
            prompt = [{"role": "user", "content": self._text(TOKENS - self.opening, i)}]
            texts = [self._text(TOKENS - 1, PROMPTS * (k + 1) + i) for k in range(2)]
            row = {"id": str(i), "prompt_id": str(i), "prompt": prompt, "response": texts[0], "label": i % 2 == 0}
            row |= {"chosen": texts[0], "rejected": texts[1], "responses": texts, "judgment": self.words[0]}
            found.append(row)
        return found

    def score(self, prompt: Any, response: str) -> dict[str, float]:
        """A rule that tells responses apart."""
        return {"total": float(len(response))}

    def _text(self, tokens: int, i: int) -> str:
        return " ".join(self.words[(i * 7 + k) % len(self.words)] for k in range(tokens))


def write_start(model: str, folder: Path) -> None:
    """The start's policy, and a reward model of its size."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from harness.data.lab import Lab
    from harness.inference.loading import load_chat
    from harness.inference.policy import save_policy
    from harness.training.scratch import new_model, new_tokenizer

    if model == "smollm2":
        policy, tokenizer = load_chat("smollm2-135m", "", "chatml", False, "float32")
    else:
        tokenizer = new_tokenizer(Lab())
        policy = new_model(tokenizer, *SIZES.get(model.split(",")[0], TINY), seed=0, precision="float32")
    save_policy(policy, tokenizer, folder / "policy")
    config = policy.config.to_dict() | {"num_labels": 1, "pad_token_id": tokenizer.pad_token_id}
    scorer = AutoModelForSequenceClassification.from_config(type(policy.config)(**config), dtype=torch.float32)
    scorer.save_pretrained(folder / "reward")
    tokenizer.save_pretrained(folder / "reward")


def filled(folder: Path) -> Full:
    """The dataset in a policy's tokens."""
    from transformers import AutoTokenizer

    from harness.inference.rendering import render_prompt

    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and word.islower())
    words = [w for w in words if len(tokenizer(f"the {w} {w}", add_special_tokens=False)["input_ids"]) == 3][:400]
    opening = len(render_prompt(tokenizer, [{"role": "user", "content": words[0]}])) - 1
    return Full(tuple(words), opening)


def budget_of(model: str) -> Any:
    """Two steps of a model's budget."""
    from harness.job import Budget

    return Budget(steps=2, max_prompt_tokens=TOKENS, max_response_tokens=TOKENS, **BUDGETS[model])


def trained(name: str, model: str, folder: Path) -> Callable[[], object]:
    """The training that is measured, with what is computed beforehand done."""
    from harness import registry
    from harness.job import Job
    from harness.training.reference import write_reference

    data, (kind, knobs) = filled(folder), KNOBS[name]
    algorithm = registry.load("algorithms", kind)(**knobs)
    needs = algorithm.requires()
    rows = data.rows(needs.data, "train")
    budget = budget_of(model)
    if needs.reference and not (folder / needs.data).exists():
        (folder / needs.data).mkdir()
        write_reference(folder / needs.data, folder, {needs.data: rows}, budget)
    out = Path(tempfile.mkdtemp(dir=folder))
    inputs = {"start": folder, "reference": folder / needs.data, "reward": folder}
    job = Job(out, rows, data, budget, "benchmark", inputs, checkpoint_every=9)
    return lambda: algorithm.train(job)


def peak(work: Callable[[], object]) -> int:
    """Bytes of resident memory at most while something is done, above those before."""
    from harness.provenance import _memory

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    work()
    return _memory("VmHWM") - before


def measure(name: str, model: str, folder: Path) -> int:
    """The peak of a training in this process, after a tiny one that makes all imports."""
    from harness.inference.quiet import quiet

    quiet(1)
    for size in ("tiny", model):
        if not (folder / size).exists():
            write_start(size, folder / size)
    trained(name, "tiny", folder / "tiny")()
    return peak(trained(name, model, folder / model))


def estimate(name: str, model: str) -> int:
    """What `harness plan` tells."""
    from harness import registry
    from harness.data.lab import Lab
    from harness.inference.loading import SMOLLM2_CONFIG
    from harness.memory import shape, training_bytes
    from harness.training.scratch import configuration

    found = shape(SMOLLM2_CONFIG if model == "smollm2" else configuration(Lab(), *SIZES[model.split(",")[0]]))
    assert found is not None
    kind, knobs = KNOBS[name]
    return training_bytes(found, registry.load("algorithms", kind)(**knobs), budget_of(model))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=[name for name in BUDGETS if name != "tiny"], default="lab")
    parser.add_argument("--only", default=";".join(KNOBS), help="algorithms, with semicolons between them")
    parser.add_argument("--folder", help="of the process that measures")
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if given.folder:
        print(measure(given.only, given.model, Path(given.folder)))
        return
    print(f"{machine(1)}\n\n{given.model}, {BUDGETS[given.model]}, {TOKENS} + {TOKENS} tokens\n")
    print("| algorithm | estimated, MB | measured, MB | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.only.split(";"):
            words = [sys.executable, __file__, "--model", given.model, "--only", name, "--folder", folder]
            said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            told, found = estimate(name, given.model), int(said.splitlines()[-1])
            print(f"| {name} | {told / 1e6:.0f} | {found / 1e6:.0f} | {told / found:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""Jobs on the tiny world, one after the other: `torchrun --nproc_per_node 2 two_processes.py <shelf> <out>`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

FAST = {"learning_rate": 3e-3}
WIDE = {"batch": 24, "micro_batch": 24}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sft": ("sft", FAST, {"micro_batch": 4}),
    "dpo": ("dpo", FAST, WIDE),
    "dpo lora": ("dpo", FAST, {"lora_rank": 2, "micro_batch": 4}),
    "kto": ("kto", FAST, {"micro_batch": 4}),
    "reward": ("reward", FAST, {}),
    "cut": ("cut", FAST, {"batch": 20, "micro_batch": 20}),
    "grpo": ("grpo", {"samples": 4, **FAST}, {"proxy": "model"}),
    "ppo": ("ppo", {"kl_target": 1.0, **FAST}, WIDE),
    "ppo reward": ("ppo", {"value": "reward", **FAST}, {"proxy": "model", "micro_batch": 4}),
    "online_dpo": ("online_dpo", FAST, {}),
}
"""Algorithm, knobs, and what the job is given.

Where the micro-batch is a part of the batch, two processes share a step's micro-batches; else the rows of its only one.
`WIDE` ones have more rows than go through the model together, so that there are several forward passes to a backward;
with 20 rows of `cut` the processes differ in their number.
"""

ROUNDED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "dpo bfloat16": ("dpo", FAST, {"micro_batch": 4, "precision": "bfloat16"}),
}
"""The same, where sums in another order are rounded to other numbers."""

COMMON: dict[str, Any] = {"steps": 6, "max_response_tokens": 12, "emit": (2,), "checkpoint_every": 2}
RESUMED = "ppo reward"
FOLDS = ("reward", {"folds": 2, **FAST}, {})


def run(shelf: Path, out: Path, name: str) -> dict[str, float]:
    """Train one case; what it reports."""
    import tiny

    algorithm, knobs, given = (CASES | ROUNDED).get(name, FOLDS)
    return tiny.measured(tiny.train(algorithm, out / name.replace(" ", "-"), shelf, knobs, **(COMMON | given)))


def main(shelf: Path, out: Path) -> None:
    """Each process writes into a folder of its own, which shows who writes what; what reads it again into a common."""
    import tiny

    from harness.training import checkpoints

    own = out / f"process-{os.environ['RANK']}"
    found = {name: run(shelf, own, name) for name in (*CASES, *ROUNDED)}
    found["folds"] = run(shelf, out / "common", "folds")
    (own / "measured.json").write_text(json.dumps(found))
    with tiny.killed_within(6):
        run(shelf, out / "common", RESUMED)
    manifest = out / "common" / RESUMED.replace(" ", "-") / "checkpoints" / "checkpoint-4" / checkpoints.MANIFEST
    assert json.loads(manifest.read_text()).keys() >= {"rng_state_0.pth", "rng_state_1.pth"}, "each process's state"
    run(shelf, out / "common", RESUMED)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

"""`drive.py <results> <partition> [detach | every=<steps>]`: makes every stage of a folder, or leaves them to Slurm."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.commands.detach import submit_all
from harness.dispatch import run
from harness.executors._slurm_leave import Left
from harness.executors.slurm import Slurm
from harness.store import Store

if __name__ == "__main__":
    every = [int(word.removeprefix("every=")) for word in sys.argv[3:] if word.startswith("every=")]
    store, resources = Store(Path(sys.argv[1])), {"partition": sys.argv[2]}
    if every:  # a training, which holds torch
        executor = Slurm(timeout_min=5, resources={**resources, "memory_gb": 1.9}, checkpoint_every=every[0])
    else:
        executor = Slurm(timeout_min=5, resources=resources)
    targets = [store.load(spec.parent.name) for spec in sorted(store.root.glob("*/spec.json"))]
    if sys.argv[3:] == ["detach"]:
        submit_all(targets, store, executor, Left())
        sys.exit()
    summary = run(targets, store, executor)
    sys.exit(1 if summary.failed or summary.blocked else 0)

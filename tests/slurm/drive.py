"""`python drive.py <results> <partition>`: makes every stage of a results folder on Slurm."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.dispatch import run
from harness.executors.slurm import Slurm
from harness.store import Store

if __name__ == "__main__":
    store = Store(Path(sys.argv[1]))
    targets = [store.load(spec.parent.name) for spec in sorted(store.root.glob("*/spec.json"))]
    summary = run(targets, store, Slurm(timeout_min=5, resources={"partition": sys.argv[2]}))
    sys.exit(1 if summary.failed or summary.blocked else 0)

"""`python drive.py <results> <partition> [detach]`: makes, or leaves to Slurm, every stage of a results folder."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.commands.detach import submit_all
from harness.dispatch import run
from harness.executors._slurm_leave import Left
from harness.executors.slurm import Slurm
from harness.store import Store

if __name__ == "__main__":
    store, executor = Store(Path(sys.argv[1])), Slurm(timeout_min=5, resources={"partition": sys.argv[2]})
    targets = [store.load(spec.parent.name) for spec in sorted(store.root.glob("*/spec.json"))]
    if sys.argv[3:] == ["detach"]:
        submit_all(targets, store, executor, Left())
        sys.exit()
    summary = run(targets, store, executor)
    sys.exit(1 if summary.failed or summary.blocked else 0)

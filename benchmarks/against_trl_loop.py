"""The cells of six_methods.toml as a loop of one process per cell that uses TRL directly, against the harness.

    python benchmarks/against_trl_loop.py <results folder of a finished compare_all> [replicates]

What both sides share (pretraining, SFT, reward models and their audits) is taken from that folder and costs neither
anything. Then the same cells run twice in this call: by the harness with two workers of one thread, its references and the
report counted; and as one process after the other with two threads each. The starts are sampled and graded by both.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.plan import make_plan
from harness.recipe import read_recipe

HERE = Path(__file__).parent
RECIPE = HERE / "six_methods.toml"
SHARED = ("pretrain", "sft", "reward")
CHECKS = ("audit", "separation")


def shared(results: Path, folder: Path) -> None:
    """Link what both sides share: pretraining, SFT, reward models and what is checked of them."""
    for stage in make_plan(read_recipe(RECIPE)).stages():
        if stage.spec.get("algorithm", {}).get("name") in SHARED or stage.kind in CHECKS:
            (folder / stage.name).symlink_to((results / stage.name).resolve())


def main() -> None:
    results, replicates = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
    plan = make_plan(read_recipe(RECIPE))
    cells = [c for c in plan.cells if c.replicate < replicates]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "results"
        folder.mkdir()
        shared(results, folder)
        began = time.perf_counter()
        command = [sys.executable, "-m", "harness.cli", "run", str(RECIPE), "--set", f"replicates={replicates}"]
        own = [*command, "--set", "launch.workers=2", "--results", str(folder), "--reports", f"{name}/reports"]
        subprocess.run(own, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        harness = time.perf_counter() - began
        print(f"the harness took {harness:.0f} s", flush=True)
        began = time.perf_counter()
        each: dict[str, float] = {}
        for cell in cells:
            first = time.perf_counter()
            words = [
                str(results),
                str(RECIPE),
                cell.contestant,
                str(cell.replicate),
                f"{name}/{cell.contestant}-{cell.replicate}",
            ]
            subprocess.run([sys.executable, str(HERE / "trl_cell.py"), *words], check=True, stdout=subprocess.DEVNULL)
            each[f"{cell.contestant} r{cell.replicate}"] = round(time.perf_counter() - first, 1)
        loop = time.perf_counter() - began
    print(json.dumps(each, indent=1))
    print(f"{len(cells)} cells: harness {harness:.0f} s, loop {loop:.0f} s, ratio {harness / loop:.2f}")


if __name__ == "__main__":
    main()

"""The figures of docs/lab.md, from a finished compare_all.

python benchmarks/lab_figures.py [results]
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean, pstdev

import pyarrow.parquet as pq

from harness.inference.quiet import quiet
from harness.inference.scoring import score
from harness.plan import make_plan
from harness.recipe import read_recipe
from harness.stages import open_dataset
from harness.store import Store

RECIPE = Path(__file__).parents[1] / "recipes" / "compare_all.toml"


def oracle(store: Store, grade: str) -> list[float]:
    """The oracle's total of every response of a grade."""
    table = pq.read_table(
        store.folder(grade) / "scores.parquet", filters=[("metric", "=", "reward"), ("role", "=", "oracle")]
    )
    return [float(value) for value in table["value"].to_pylist()]


def main() -> None:
    quiet(1)
    store = Store(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
    plan = make_plan(read_recipe(RECIPE))
    dataset = open_dataset(plan.cells[0].policy.dataset)
    pairs = dataset.rows("pairs", "heldout")
    truth = {
        side: [dataset.score(row["prompt"], row[side])["total"] for row in pairs] for side in ("chosen", "rejected")
    }
    start = [value for cell in plan.cells if cell.is_start for value in oracle(store, cell.grades[None].name)]
    sd = pstdev(start)
    rows = {"start (sft)": start, **truth}
    for name in dict.fromkeys(cell.contestant for cell in plan.cells if not cell.is_start):
        own = [cell.grades[None].name for cell in plan.cells if cell.contestant == name]
        rows[name] = [value for grade in own for value in oracle(store, grade)]
    print("| | oracle total | above the start, in its sd |\n|---|---|---|")
    for name, values in rows.items():
        print(
            f"| {name} | {fmean(values):.2f} (sd {pstdev(values):.2f}) | {(fmean(values) - fmean(start)) / sd:+.2f} |"
        )
    print("\n| reward model | accuracy on held-out pairs |\n|---|---|")
    exact = fmean(a > b for a, b in zip(truth["chosen"], truth["rejected"], strict=True))
    print(f"| the oracle itself | {exact:.3f} |")
    for replicate in range(plan.recipe.replicates):
        for role, stage in plan.rewards["lab", "lab", replicate].items():
            if role != "proxy" and replicate:
                continue
            folder = store.folder(stage.name) / "reward"
            found = {
                side: score(folder, [(r["prompt"], r[side]) for r in pairs], 32) for side in ("chosen", "rejected")
            }
            accuracy = fmean(a > b for a, b in zip(found["chosen"], found["rejected"], strict=True))
            print(f"| {role}{f' {replicate}' if role == 'proxy' else ''} | {accuracy:.3f} |")


if __name__ == "__main__":
    main()

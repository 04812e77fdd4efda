"""Are the tokens that CUT marks the planted errors? Precision and recall over λ, and the control.

    python benchmarks/cut_marks.py <results>

Trains what recipes/cut_marks.toml needs for it where it is not there yet (about twelve minutes on one core). The control gives
each response the judgment of another one: marks that stay right then come from what the policy knows about wrong words
and not from the judgment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import dispatch
from harness.executors.inline import Inline
from harness.plan import Cell, make_plan
from harness.recipe import read_recipe
from harness.stages import open_dataset
from harness.store import Store

RECIPE = Path(__file__).parents[1] / "recipes" / "cut_marks.toml"
LAMBDAS = (1.0, 1.1, 1.2, 1.5)


@dataclass(frozen=True)
class Marks:
    """How marked tokens agree with planted errors.

    Attributes:
        precision: share of marked tokens that lie in an error's span.
        recall: share of the errors' tokens that are marked.
        found: share of error spans with a marked token.
    """

    precision: float
    recall: float
    found: float


def agreement(rows: Sequence[dict[str, Any]], marks: Sequence[Sequence[bool]]) -> Marks:
    """Marks of all rows' tokens against their `error_spans`, pooled."""
    right = marked = wrong = 0
    spans = []
    for row, own in zip(rows, marks, strict=True):
        planted = {place for first, last in row["error_spans"] for place in range(first, last)}
        right += sum(mark and place in planted for place, mark in enumerate(own))
        marked += sum(own)
        wrong += len(planted)
        spans += [any(own[first:last]) for first, last in row["error_spans"]]
    return Marks(right / max(1, marked), right / max(1, wrong), sum(spans) / max(1, len(spans)))


def trained(results: Path) -> Iterator[tuple[str, Cell]]:
    """The start and the policy that CUT has trained, made where they are missing."""
    plan = make_plan(read_recipe(RECIPE))
    cells = {"start" if cell.is_start else "cut": cell for cell in plan.cells}
    store = Store(results)
    summary = dispatch.run([cell.policy for cell in cells.values()], store, Inline())
    if summary.failed:
        raise SystemExit(f"failed: {summary.failed}")
    yield from cells.items()


def measured(results: Path) -> Iterator[tuple[str, float, Marks, Marks]]:
    """Policy, λ, marks with each response's own judgment, and with another's."""
    import torch

    from harness.inference.policy import load_policy
    from harness.training.forward import add_head
    from harness.training.judgments import marked

    torch.set_num_threads(1)
    for name, cell in trained(results):
        dataset = open_dataset(cell.policy.dataset)
        rows = [row for row in dataset.rows("judgments", "heldout") if row["judgment"] and row["error_spans"]]
        others = [{**row, "judgment": rows[place - 1]["judgment"]} for place, row in enumerate(rows)]
        model, tokenizer = load_policy(Store(results).folder(cell.policy.name) / "policy")
        add_head(model)
        for threshold in LAMBDAS:
            own, other = (marked(model, tokenizer, dataset, some, threshold) for some in (rows, others))
            yield name, threshold, agreement(rows, own), agreement(rows, other)


def main() -> None:
    """Print the table."""
    print("| policy | λ | precision | recall of tokens | errors found | the same with another's judgment |")
    print("|---|---|---|---|---|---|")
    for name, threshold, own, other in measured(Path(sys.argv[1])):
        told = f"{other.precision:.2f}, {other.recall:.2f}, {other.found:.2f}"
        print(
            f"| {name} | {threshold} | {own.precision:.2f} | {own.recall:.2f} | {own.found:.2f} | {told} |", flush=True
        )


if __name__ == "__main__":
    main()

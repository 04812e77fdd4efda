"""A comparison that has something in every part of the report: for tests of the page as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from synthetic import World, benched, fail, fill, make_cells, make_plan
from test_trust_gate import world
from test_trust_report import audited

from harness.plan import Plan
from harness.recipe import Benchmark
from harness.store import Store

HOSTILE = "<script>document.title = 'taken'</script>"
LONG = "dpo learning_rate=0.000001 beta=0.3"
GAINS = {
    LONG: 1.0, "kto": 0.3, "simpo": 1.0, "cpo": -0.5,
    **{f"dpo learning_rate=0.00000{i} beta=0.0{i}": 0.1 * i for i in range(1, 6)},
}  # fmt: skip
WAY = {0: (0.0, 2.0, 9.0), 20: (0.5, 0.5, 1.0)}


def ample(root: Path, seeds: int = 3) -> tuple[Plan, Store]:
    """Ten contestants, many of long names: a failure, graded steps, best of n, benchmarks, audited rewards."""
    cells = make_cells(list(GAINS), seeds, steps=(20,))
    fill(root, cells, World(GAINS, response=HOSTILE, way=WAY, more=True, distinct=True), skip={("kto", 2)})
    fail(root, next(c for c in cells if (c.contestant, c.replicate) == ("kto", 2)).policy, "divergence")
    done = [cell for cell in cells if (cell.contestant, cell.replicate) != ("kto", 2)]
    kept = {cell.contestant: np.arange(50) < 40 + 5 * GAINS.get(cell.contestant, 0) for cell in done}
    plan = make_plan(
        [cell if cell not in done else benched(root, cell, kept[cell.contestant]) for cell in cells], seeds
    )
    recipe = replace(plan.recipe, benchmarks=(Benchmark(tasks=("t",), margin=0.05),))
    return audited(root, replace(plan, recipe=recipe), "lab", world(0.5, n=300)), Store(root)

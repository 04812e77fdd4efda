"""What the harness itself costs: help, a plan of 10,000 cells, and a run with nothing left to do.

python benchmarks/overhead.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import keys
from harness.plan import make_plan
from harness.recipe import read_recipe

GRID = 'name = "many"\nreplicates = 5\n[[algorithm]]\nname = "dpo"\ngrid.beta = [{}]\n'


def median(work: Callable[[], object], runs: int = 5) -> float:
    """Median wall seconds of a call, after one that is not counted."""
    work()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def grid(folder: Path, points: int) -> Path:
    path = folder / f"grid{points}.toml"
    path.write_text(GRID.format(", ".join(str(0.001 * (i + 1)) for i in range(points))))
    return path


def finish(recipe: Path, results: Path) -> int:
    """Write a record for every stage of a recipe, as a finished comparison has them."""
    stages = make_plan(read_recipe(recipe)).stages()
    for stage in stages:
        folder = results / stage.name
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(keys.canonical(stage.spec))
        (folder / "record.json").write_text(json.dumps({"name": stage.name, "files": {}, "measurements": []}))
    return len(stages)


def main() -> None:
    python = sys.executable
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many = grid(folder, 2000)
        rows = [("python -c pass", median(lambda: subprocess.run([python, "-c", "pass"], check=True)))]
        helped = [python, "-m", "harness.cli", "--help"]
        rows.append(("harness --help", median(lambda: subprocess.run(helped, check=True, stdout=subprocess.DEVNULL))))
        cells = len(make_plan(read_recipe(many)).cells)
        rows.append((f"plan of {cells} cells, stages named", median(lambda: make_plan(read_recipe(many)).stages(), 3)))
        some, results = grid(folder, 66), folder / "results"
        count = finish(some, results)
        code = (
            "import sys; from pathlib import Path; from harness import dispatch;"
            "from harness.commands.run import open_executor;"
            "from harness.plan import make_plan; from harness.recipe import read_recipe;"
            "from harness.store import Store;"
            "recipe = read_recipe(Path(sys.argv[1])); plan = make_plan(recipe);"
            "dispatch.run(plan.targets, Store(Path(sys.argv[2])), open_executor(recipe.launch, recipe))"
        )
        nothing = [python, "-c", code, str(some), str(results)]
        seconds = median(lambda: subprocess.run(nothing, check=True))
        rows.append((f"run with nothing to do, {count} finished stages", seconds))
    for what, seconds in rows:
        print(f"{what:55} {seconds:6.2f} s")


if __name__ == "__main__":
    main()

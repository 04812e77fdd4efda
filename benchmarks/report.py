"""How long a report takes, how much memory, how large the page: on synthetic records, against the number of runs.

    python benchmarks/report.py                 100, 400 and 1,000 runs of 500 prompts x 8 samples, one process each
    python benchmarks/report.py --one 100       one of them, in this process
    python benchmarks/report.py --recipe recipes/compare_all.toml --results results

The records are written through the store as real ones are: every metric of a default evaluation for each sample, the
log-probabilities of 256 labelled pairs, a curve, samples with their texts. Every run has values of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

CONTESTANTS = ["dpo", "ipo", "cpo", "kto", "orpo", "simpo", "rloo", "grpo", "ppo"]
PROMPTS, SAMPLES, PAIRS = 500, 8, 256
ROLES = ("gold", "selection", "proxy", "oracle")
PLAIN = ("length", "kl", "kl_per_token", "entropy", "repetition", "truncated", "empty")


def scores(rng, gain: float, is_start: bool):
    """One run's score table, its text columns as the grader writes them."""
    import numpy as np
    import pyarrow as pa

    n = PROMPTS * SAMPLES
    prompt = np.repeat(np.arange(PROMPTS), SAMPLES)
    shared = np.random.default_rng(0).normal(0, 1, PROMPTS)[prompt]
    gold = gain + rng.normal(0, 0.1) + shared + rng.normal(0, 1, n)
    values = [gold, *(gold + rng.normal(0, 0.7, n) for _ in ROLES[1:])]
    values += [rng.integers(5, 60, n).astype(float), np.zeros(n) if is_start else rng.gamma(2, 1, n)]
    values += [rng.gamma(2, 0.1, n), rng.gamma(2, 1, n), rng.beta(1, 20, n)]
    values += [(rng.random(n) < 0.01).astype(float), np.zeros(n)]
    names = [("reward", role) for role in ROLES] + [(metric, "") for metric in PLAIN]
    pairs = [("chosen_logp", "after"), ("rejected_logp", "after"), ("preference_accuracy", "")]
    columns = {
        "metric": [m for m, _ in names for _ in range(n)] + [m for m, _ in pairs for _ in range(PAIRS)],
        "role": [r for _, r in names for _ in range(n)] + [r for _, r in pairs for _ in range(PAIRS)],
        "level": ["sample"] * (n * len(names)) + ["pair"] * (PAIRS * len(pairs)),
        "prompt_id": [f"prompt-{p}" for p in prompt] * len(names) + [f"pair-{i}" for i in range(PAIRS)] * len(pairs),
    }
    table = {name: pa.array(column).dictionary_encode() for name, column in columns.items()}
    each = np.tile(np.arange(SAMPLES, dtype=np.int32), PROMPTS * len(names))
    table["k"] = pa.array(np.concatenate([each, np.full(PAIRS * len(pairs), -1, np.int32)]))
    table["value"] = pa.array(np.concatenate([*values, *(rng.normal(-9, 1, PAIRS) for _ in pairs)]))
    return pa.table(table)


def samples(rng):
    import pyarrow as pa

    n = PROMPTS * SAMPLES
    words = rng.integers(0, 9, n)
    return pa.table({
        "prompt_id": [f"prompt-{i // SAMPLES}" for i in range(n)], "k": [i % SAMPLES for i in range(n)],
        "response": [f"this response is number {w} of nine that there are, and no more" for w in words],
        "token_ids": [[1, 2, 3]] * n, "end": ["eos"] * n,
    })  # fmt: skip


def make(root: Path, runs: int):
    """A plan of so many runs, and their records."""
    import numpy as np
    from synthetic import World, make_cells, make_plan, record

    from harness.stages import walk

    seeds = runs // (len(CONTESTANTS) + 1)
    cells = make_cells(CONTESTANTS, seeds, best_of=0)
    curves = World({}).curves()
    for place, cell in enumerate(cells):
        rng = np.random.default_rng(place + 1)
        for stage in walk([cell.grades[None]]):
            if not (root / stage.name / "record.json").exists():
                record(root, stage)
        gain = 0.1 * CONTESTANTS.index(cell.contestant) if not cell.is_start else 0.0
        record(root, cell.samples[None], samples=samples(rng))
        record(root, cell.grades[None], scores=scores(rng, gain, cell.is_start))
        record(root, cell.policy, seconds=3.0, curves=curves)
    return make_plan(cells, seeds)


def measure(plan, results: Path, out: Path) -> dict[str, float]:
    """Seconds of wall and of CPU, the peak of resident memory, both of the second process too, and the page's size."""
    from harness.report import build, painter
    from harness.store import Store

    wall, cpu = time.perf_counter(), time.process_time()
    answer = build(plan, Store(results), out)
    spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**spent, "peak_gb": peak, **second(painter.pid()), "page_mb": answer.path.stat().st_size / 1e6}


def second(pid: int) -> dict[str, float]:
    """What the process that draws has spent and held, which lives on."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]  # of the user and of the kernel
    return {"second_cpu_seconds": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), "second_peak_gb": peak / 2**20}


def one(runs: int, root: Path) -> dict[str, float]:
    """Records in a process of their own, so that making them leaves nothing in the peak."""
    pid = os.fork()
    if pid == 0:
        make(root / "results", runs)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("the records could not be made")
    from synthetic import make_cells, make_plan

    seeds = runs // (len(CONTESTANTS) + 1)
    plan = make_plan(make_cells(CONTESTANTS, seeds, best_of=0), seeds)
    return {"runs": runs, **measure(plan, root / "results", root / "out")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", type=int)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 400, 1000])
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.recipe:
            from harness.recipe import read_recipe
            from harness.search.chosen import planned
            from harness.store import Store

            plan = planned(read_recipe(asked.recipe, []), Store(asked.results))
            print(json.dumps(measure(plan, asked.results, Path(folder))))
        elif asked.one:
            print(json.dumps(one(asked.one, Path(folder))))
        else:
            found = [json.loads(subprocess.run([sys.executable, __file__, "--one", str(runs)], check=True,
                                               capture_output=True, text=True).stdout) for runs in asked.runs]  # fmt: skip
            for row in found:
                print({name: round(value, 2) for name, value in row.items()})
            for a, b in pairwise(found):
                more = (b["cpu_seconds"] - a["cpu_seconds"]) / (b["runs"] - a["runs"])
                print(f"from {a['runs']} to {b['runs']} runs: {1000 * more:.1f} ms of CPU for each more")


if __name__ == "__main__":
    main()

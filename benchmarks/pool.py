"""The gold scores of many finished runs in one table, which studies of the statistics draw from.

    python benchmarks/pool.py <results folder of a finished benchmarks/pool.toml>

writes benchmarks/pool.parquet: a row for each contestant and seed with the seed's mean score of each prompt, on the
start's scale, and the mean device-seconds of a run of that contestant.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
TABLE = HERE / "pool.parquet"
Pool = dict[str, np.ndarray]
"""Gold by contestant, the start first: (seeds, prompts) in sd of the start."""


def load() -> tuple[Pool, dict[str, float]]:
    """Scores and device-seconds of a run, by contestant; the start's seconds hold what its seed shares."""
    table = pq.read_table(TABLE).to_pandas()
    pool = {str(name): np.stack(rows["gold"].to_list()) for name, rows in table.groupby("contestant", sort=False)}
    return pool, {str(name): float(s) for name, s in table.groupby("contestant", sort=False)["seconds"].first().items()}


def write(results: Path) -> None:
    """Read the records of the pool, and write the table."""
    from harness.plan import make_plan
    from harness.recipe import read_recipe
    from harness.records import read
    from harness.report.cubes import cubes
    from harness.store import Store

    plan = make_plan(read_recipe(HERE / "pool.toml"))
    tables = read(plan, Store(results))
    gold = cubes(tables.blocks.of(None, "reward", "gold", "sample"), tables.blocks.prompts)
    start = next(cell.contestant for cell in plan.cells if cell.is_start)
    base = gold.by_contestant[start].values
    own = tables.spent[tables.spent["part"].isin(["own", "evaluation"])]
    seconds = own.groupby(["contestant", "part"])["device_seconds"].mean().groupby("contestant").sum()
    seconds[start] += tables.costs[tables.costs["kind"] == "reference"]["device_seconds"].mean()
    rows = [
        {"contestant": name, "replicate": seed, "seconds": float(seconds[name]), "gold": row}
        for name, cube in sorted(gold.by_contestant.items(), key=lambda item: item[0] != start)
        for seed, row in zip(cube.replicates, (cube.prompts - base.mean()) / base.std(), strict=True)
    ]
    columns = [("contestant", pa.string()), ("replicate", pa.int32()), ("seconds", pa.float64())]
    schema = pa.schema([*columns, ("gold", pa.list_(pa.float32()))])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), TABLE, compression="zstd")
    print(f"{len(rows)} runs of {len(gold.by_contestant)} contestants, {TABLE.stat().st_size / 1e3:.0f} kB: {TABLE}")


if __name__ == "__main__":
    write(Path(sys.argv[1]))

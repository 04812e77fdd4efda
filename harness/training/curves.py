"""Training curves: how often a point is logged, and the table they are kept in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

POINTS = 60
"""About so many points has a training curve."""


def log_every(steps: int) -> int:
    """Steps between two points of a curve."""
    return max(1, steps // POINTS)


def write_curves(history: list[dict[str, Any]], path: Path) -> None:
    """`step`, `metric`, `value`: one row per logged number.

    Args:
        history: the trainer's log, one dict per point.
        path: a parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    points = [
        {"step": int(entry["step"]), "metric": name, "value": float(value)}
        for entry in history
        for name, value in sorted(entry.items())
        if name not in ("step", "epoch") and math.isfinite(value)
    ]
    schema = pa.schema([("step", pa.int64()), ("metric", pa.string()), ("value", pa.float64())])
    pq.write_table(pa.Table.from_pylist(points, schema=schema), path)

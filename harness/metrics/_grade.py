"""The work of a Grade: all its metrics, every value, and their means."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, cast

from harness import registry
from harness.errors import HarnessError
from harness.metrics import Measurement, Metric, Value
from harness.metrics._bench import GradeBench

if TYPE_CHECKING:
    from harness.data import Dataset
    from harness.stages import Grade


def grade(out: Path, inputs: dict[str, Path], dataset: Dataset, stage: Grade) -> list[Measurement]:
    """Compute a stage's metrics, write every value to `scores.parquet`, and return their means.

    A metric that has nothing to measure, for example a reward role without a model, gives no row and no measurement.

    Raises:
        HarnessError: this code has another version of a metric than the stage.
        FloatingPointError: a value is not finite.
    """
    from harness.inference.quiet import quiet

    metrics = {name: _metric(name, version) for name, version in sorted(stage.metrics.items())}
    quiet(stage.threads)
    bench = GradeBench(inputs, dataset, stage)
    rows: list[tuple[str, str, Value]] = []
    measured: list[Measurement] = []
    for name, metric in metrics.items():
        by_role: dict[str, list[Value]] = {}
        for value in metric.values(bench):
            by_role.setdefault(value.role, []).append(value)
        for role, values in by_role.items():
            label = f"{name}/{role}" if role else name
            measured.append(Measurement(label, _mean(label, values), len(values), metric.unit, metric.better))
            rows += [(name, metric.level, value) for value in values]
    write_scores(out / "scores.parquet", rows)
    lost = bench.unreadable if "reward" in metrics else {}
    return [*measured, *(Measurement(f"unreadable/{role}", n, 1, "responses", "lower") for role, n in lost.items())]


def _metric(name: str, version: int) -> Metric:
    kind = registry.load("metrics", name)
    if kind.version != version:
        raise HarnessError(
            f"metric '{name}' is version {kind.version} in this code, but the stage asks for version {version}; "
            "run the recipe again to make stages of the present version"
        )
    return cast(Metric, kind())


def _mean(label: str, values: list[Value]) -> float:
    wrong = next((value for value in values if not math.isfinite(value.value)), None)
    if wrong is not None:
        raise FloatingPointError(f"{label} is {wrong.value} for prompt {wrong.prompt_id}, k = {wrong.k}")
    return math.fsum(value.value for value in values) / len(values)


def write_scores(path: Path, values: list[tuple[str, str, Value]]) -> None:
    """Write values, each with its metric and level: one row per value, as all score tables have them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"metric": metric, "role": value.role, "level": level, "prompt_id": value.prompt_id, "k": value.k,
         "value": value.value}
        for metric, level, value in values
    ]  # fmt: skip
    text = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        [("metric", text), ("role", text), ("level", text), ("prompt_id", pa.string()), ("k", pa.int64()),
         ("value", pa.float64())]
    )  # fmt: skip
    repeated = ["metric", "role", "level", "prompt_id"]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=schema),
        path,
        compression="zstd",
        use_byte_stream_split=["value"],
        use_dictionary=repeated,
    )

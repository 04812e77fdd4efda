"""Tables of what was run: metrics of every run, gaps with their causes, and costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import harness.registry as registry
from harness.causes import same
from harness.records import FINAL
from harness.report.sheet import GAP, Row, Sheet, Shown, make_frame, mebibytes, number, rows
from harness.report.sheets import ID_MEANINGS, IDS

if TYPE_CHECKING:
    import pandas as pd

    from harness.records import Tables
    from harness.report.compare import Comparison

CHANGES = ("chosen_logp", "rejected_logp")
"""Metrics whose plain value is a change from the start's."""
RUN_IDS = {**IDS, "replicate": "Int64"}
RUN_MEANINGS = {**ID_MEANINGS, "replicate": "the seed that start, data order and sampling noise derive from"}
STEP = "optimiser step of the policy; -1 for the finished one"

_METRIC = {
    **IDS,
    **{"metric": "string", "role": "string", "level": "string", "value": "Float64", "runs": "Int64"},
    "unit": "string",
    "better": "string",
}
_METRIC_MEANINGS = {
    **ID_MEANINGS,
    **{"metric": "the metric's file", "role": "which reward: gold, selection, proxy, oracle; empty for other metrics"},
    **{"level": "sample: measured on sampled responses; pair: on labelled pairs that no policy trains on"},
    **{"value": "mean over prompts, samples and finished runs, in the metric's own unit", "runs": "finished runs"},
    **{"unit": "the metric's unit", "better": "higher, lower, or empty where neither is better"},
}


def metrics_sheet(comparisons: list[Comparison]) -> Sheet:
    """Every metric of the finished policies: a mean over runs, in the metric's own unit."""
    found = [row for comparison in comparisons for row in _metric_rows(comparison)]
    shown = [
        Shown("metric", lambda row: f"{row['metric']} {row['role']}".strip(), kind="word"),
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("mean", lambda row: number(row["value"], 4)),
        Shown("unit", lambda row: row["unit"], kind="word"),
        Shown("better", lambda row: row["better"], kind="word"),
        Shown("runs", lambda row: str(row["runs"])),
    ]
    caption = "Every metric of the finished policies, mean over finished runs, in its own unit."
    return Sheet("metrics", caption, make_frame(found, _METRIC), _METRIC_MEANINGS, shown, folded=True)


def _metric_rows(comparison: Comparison) -> list[dict[str, Any]]:
    means = comparison.run_means[comparison.run_means["step"] == FINAL]
    by = ["metric", "role", "level", "contestant"]
    grouped = means.groupby(by, observed=True)["value"].agg(["mean", "size"]).reset_index()
    order = {name: i for i, name in enumerate(comparison.contestants)}
    signs = {str(metric): _sign(str(metric)) for metric in grouped["metric"].unique()}
    found = []
    for row in rows(grouped):
        names = {name: str(row[name]) for name in by}
        numbers = {"value": row["mean"], "runs": int(row["size"])}
        found.append({"setting": comparison.name, **names, **numbers, **signs[names["metric"]]})
    return sorted(found, key=lambda row: (row["metric"], row["role"], order.get(row["contestant"], len(order))))


def _sign(metric: str) -> dict[str, str]:
    """Unit and direction of a metric, where this code still has it."""
    if metric not in registry.names("metrics"):
        return {"unit": "", "better": ""}
    kind = registry.load("metrics", metric)
    return {"unit": kind.unit, "better": kind.better}


def preference_sheet(comparison: Comparison, part: str) -> Sheet:
    """What the policies themselves think of labelled pairs: a row per contestant, a column per metric."""
    found = [
        row for row in _metric_rows(comparison) if row["level"] == "pair" and row["contestant"] in comparison.plain
    ]
    metrics = list(dict.fromkeys(f"{row['metric']} {row['role']}".strip() for row in found))
    by_contestant: dict[str, dict[str, Any]] = {}
    for row in found:
        label = f"{row['metric']} {row['role']}".strip()
        by_contestant.setdefault(row["contestant"], {"contestant": row["contestant"]})[label] = row["value"]
    frame = make_frame(list(by_contestant.values()), {"contestant": "string", **dict.fromkeys(metrics, "Float64")})
    units = {f"{row['metric']} {row['role']}".strip(): row["unit"] for row in found}
    shown = [
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        *(_metric(name, units[name]) for name in metrics),
    ]
    caption = (
        "The same pairs and the same reference (the start) for all; means over pairs and finished runs. A contestant "
        "that is not used by its plain prompt is left out: this is about policies."
    )
    return Sheet("preference", caption, frame, {}, shown, view_of="metrics", part=part)


def _metric(name: str, unit: str) -> Shown:
    title = name.replace("_", " ").replace("/", ", ").replace("logp", "log-probability")
    if name in CHANGES:
        title = f"change of {title}"
    return Shown(f"{title} ({unit})" if unit else title, lambda row: number(row[name], 3))


_GAP = {
    **RUN_IDS,
    "step": "Int64",
    "lacks": "string",
    **dict.fromkeys(("status", "stage", "cause", "error", "hint"), "string"),
}
_GAP_MEANINGS = {
    **RUN_MEANINGS,
    **{"step": STEP, "lacks": "scores, what a judge says, or a benchmark"},
    **{"status": "failed, blocked (something that it rests on failed), waiting, cut (it cannot run)"},
    **{"stage": "the stage that failed, or that it waits for", "cause": "class of the failure", "error": "its message"},
    "hint": "what may help",
}


def gaps_sheet(tables: Tables) -> Sheet:
    """Every cell without scores, judgments or benchmarks, and why; equal reasons stand together, in full once."""
    found = [{**row, "lacks": "scores"} for row in rows(tables.gaps)]
    found += [{**row, "step": FINAL, "lacks": what} for what, row in unasked(tables)]
    by_reason: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found:
        by_reason.setdefault(_reason(row), []).append(row)
    heads = {_gap_id(own[0]) for own in by_reason.values()}
    found = [row for own in by_reason.values() for row in own]
    shown = [
        Shown("setting", lambda row: row["setting"], kind="word"),
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("seed", lambda row: str(row["replicate"])),
        Shown("step", lambda row: "final" if row["step"] == FINAL else str(row["step"])),
        Shown("lacks", lambda row: row["lacks"], kind="word"),
        Shown("status", lambda row: row["status"], kind="word"),
        Shown("cause", lambda row: row["cause"], kind="word"),
        Shown("what happened", lambda row: _what(row, _gap_id(row) in heads), kind="prose"),
        Shown("hint", lambda row: row["hint"] if _gap_id(row) in heads else "", kind="prose"),
        Shown("stage", lambda row: row["stage"], kind="word"),
    ]
    return Sheet("gaps", "Runs without scores, and why.", make_frame(found, _GAP), _GAP_MEANINGS, shown)


SAME = "the same"
"""Stands for the message of the row above."""


def _reason(row: Row) -> tuple[str, str]:
    """Equal for gaps of one cause and message; what only waits has no more reason than that."""
    return same(row["cause"], "" if row["status"] == "waiting" else row["error"], row["stage"])


def _what(row: Row, first: bool) -> str:
    """The message in full, in the first row of its reason."""
    return _shorten(row["error"]) if first or row["status"] == "waiting" else SAME


def _gap_id(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in (*RUN_IDS, "step", "lacks"))


def unasked(tables: Tables) -> list[tuple[str, Row]]:
    """What runs with scores lack beside them: judgments and benchmarks, and their fates."""
    done = tables.cells[tables.cells["status"] == "done"]
    scored = set(zip(done["setting"], done["contestant"], done["replicate"], strict=True))
    named = [(f"judge {row['judge']}", row) for row in rows(tables.no_judgments)]
    named += [(f"benchmark {row['task']}", row) for row in rows(tables.no_benchmarks)]
    return [(what, row) for what, row in named if (row["setting"], row["contestant"], row["replicate"]) in scored]


def _shorten(text: str, most: int = 1000) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


_COST = {
    **dict.fromkeys(("stage", "kind", "label", "replicate", "status", "device"), "string"),
    "used_by": "Int64",
    **dict.fromkeys(
        ("device_seconds", "cpu_seconds", "seconds", "peak_memory_bytes", "loaded_memory_bytes"), "Float64"
    ),
}
_COST_MEANINGS = {
    **{"stage": "the stage's folder", "kind": "train, reference, sample, grade", "label": "kind and algorithm"},
    **{"replicate": "what it is replicated by", "status": "done or failed", "device": "what it ran on"},
    **{"used_by": "cells of this comparison that rest on it; its cost is counted once in totals"},
    **{"device_seconds": "seconds × devices", "cpu_seconds": "user and system time", "seconds": "wall time"},
    **{
        "peak_memory_bytes": "largest resident memory (the device's, on a GPU)",
        "loaded_memory_bytes": "resident before it began",
    },
}


def costs_sheet(tables: Tables) -> Sheet:
    """One row per stage that has run: the ledger behind the totals; only in the files."""
    return Sheet("costs", "Stages that have run.", make_frame(rows(tables.costs), _COST), _COST_MEANINGS)


_TOTAL = {
    "work": "string",
    **dict.fromkeys(("stages", "failed", "shared"), "Int64"),
    "device_seconds": "Float64",
    "peak_memory_bytes": "Float64",
}
_TOTAL_MEANINGS = {
    **{"work": "kind of stage and algorithm", "stages": "stages that have run", "failed": "failed attempts"},
    **{"shared": "of these, used by more than one cell", "device_seconds": "their sum, each stage counted once"},
    "peak_memory_bytes": "the largest peak among them",
}


def totals_sheet(tables: Tables) -> Sheet:
    """Cost by kind of work, shared stages counted once, with the sum last."""
    found = [_total(str(label), group) for label, group in tables.costs.groupby("label", sort=False)]
    if found:
        found.append(_total("all", tables.costs))
    shown = [
        Shown("work", lambda row: row["work"], kind="word"),
        Shown("stages", _stages),
        Shown("shared by several cells", lambda row: str(row["shared"])),
        Shown("device-seconds", lambda row: number(row["device_seconds"], 1)),
        Shown("peak memory", lambda row: mebibytes(row["peak_memory_bytes"])),
    ]
    caption = "Device-seconds by kind of work; a stage that several cells share is counted once."
    return Sheet("totals", caption, make_frame(found, _TOTAL), _TOTAL_MEANINGS, shown)


def _stages(row: Row) -> str:
    return f"{row['stages']}" + (f" ({row['failed']} failed)" if row["failed"] else "")


def _total(label: str, costs: pd.DataFrame) -> dict[str, Any]:
    counts = {
        "stages": int(costs["stage"].nunique()),
        "failed": int((costs["status"] == "failed").sum()),
        "shared": int(costs[costs["used_by"] > 1]["stage"].nunique()),
    }
    sums = {
        "device_seconds": float(costs["device_seconds"].sum()),
        "peak_memory_bytes": float(costs["peak_memory_bytes"].max()),
    }
    return {"work": label, **counts, **sums}


_RUN = {
    **RUN_IDS,
    **dict.fromkeys(("algorithm", "knobs", "status"), "string"),
    "gold": "Float64",
    "own_device_seconds": "Float64",
    "policy": "string",
    "grade": "string",
}
_RUN_COLUMN_MEANINGS = {
    **RUN_MEANINGS,
    **{"algorithm": "name of the algorithm's file", "knobs": "the knobs that the recipe sets, as JSON"},
    **{
        "status": "done, failed, blocked, waiting or cut",
        "gold": "mean gold reward on the start's scale (start = 0, sd 1)",
    },
    **{
        "own_device_seconds": "device-seconds of training this policy",
        "policy": "its stage's folder",
        "grade": "the folder of its scores",
    },
}


def runs_sheet(tables: Tables, comparisons: list[Comparison]) -> Sheet:
    """The ledger of all runs, planned ones too."""
    gold = {
        (c.name, name, r): z for c in comparisons for name, seeds in c.gold_by_seed.items() for r, z in seeds.items()
    }
    own = tables.spent[tables.spent["part"] == "own"]
    seconds = dict(
        zip(zip(own["setting"], own["contestant"], own["replicate"], strict=True), own["device_seconds"], strict=True)
    )
    found = []
    for cell in rows(tables.cells):
        run = (cell["setting"], cell["contestant"], cell["replicate"])
        found.append({**cell, "gold": gold.get(run), "own_device_seconds": seconds.get(run)})
    shown = [
        Shown("setting", lambda row: row["setting"], kind="word"),
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("seed", lambda row: str(row["replicate"])),
        Shown("status", lambda row: row["status"], kind="word"),
        Shown("gold, start-sd", lambda row: number(row["gold"], sign=True)),
        Shown("device-s", lambda row: number(row["own_device_seconds"], 1)),
        Shown("policy", lambda row: row["policy"] or GAP, kind="word"),
        Shown("scores", lambda row: row["grade"] or GAP, kind="word"),
    ]
    return Sheet("runs", "All runs of the plan.", make_frame(found, _RUN), _RUN_COLUMN_MEANINGS, shown, folded=True)

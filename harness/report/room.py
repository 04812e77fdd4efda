"""What training was estimated to take in memory, beside what it took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.memory import estimated_bytes
from harness.report.sheet import Sheet, Shown, make_frame, mebibytes, number, rows
from harness.stages import Train

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.plan import Plan
    from harness.store import Store

_COLUMNS = {
    "work": "string",
    "stages": "Int64",
    **dict.fromkeys(("estimated_bytes", "measured_bytes", "ratio"), "Float64"),
}
_MEANINGS = {
    **{"work": "the algorithm, and of reward models the split", "stages": "trainings that have finished"},
    "estimated_bytes": "what harness plan tells: the peak beyond the loaded process, for rows that fill the budget",
    "measured_bytes": "the largest peak among them beyond what was resident when its stage began",
    "ratio": "estimated over measured",
}


def room_sheet(plan: Plan, store: Store) -> Sheet:
    """A row per algorithm that has been trained here without a GPU, whose peak is another number."""
    peaks: dict[str, list[tuple[int, float]]] = {}
    for work, estimated, measured in _compared(plan, store):
        peaks.setdefault(work, []).append((estimated, measured))
    found = [_row(work, seen) for work, seen in peaks.items()]
    shown = [
        Shown("work", lambda row: row["work"], kind="word"),
        Shown("stages", lambda row: str(row["stages"])),
        Shown("estimated", lambda row: mebibytes(row["estimated_bytes"])),
        Shown("measured", lambda row: mebibytes(row["measured_bytes"])),
        Shown("estimated / measured", lambda row: number(row["ratio"])),
    ]
    caption = (
        "Memory of training beyond the process as it was before. A worker's first stage loads the libraries too, and "
        "is measured too large; it holds on to what an earlier stage took, so that a later one may be measured too "
        "small."
    )
    return Sheet("room", caption, make_frame(found, _COLUMNS), _MEANINGS, shown)


def _compared(plan: Plan, store: Store) -> Iterator[tuple[str, int, float]]:
    """Of each finished training its work, its estimate and its peak, both beyond the loaded process."""
    for stage in plan.stages():
        if isinstance(stage, Train) and stage.dataset:
            cost = (store.record(stage.name) or {}).get("cost", {})
            known = {"peak_memory_bytes", "loaded_memory_bytes"} <= set(cost) and "peak_device_memory_bytes" not in cost
            estimated = estimated_bytes(stage, store) if known else None
            if estimated:
                role = f" ({stage.split})" if stage.seed == stage.split else ""
                took = float(cost["peak_memory_bytes"] - cost["loaded_memory_bytes"])
                yield f"{stage.algorithm['name']}{role}", estimated, took


def _row(work: str, seen: list[tuple[int, float]]) -> dict[str, Any]:
    estimated, measured = float(max(one for one, _ in seen)), max(other for _, other in seen)
    ratio = estimated / measured if measured > 0 else None
    return {"work": work, "stages": len(seen), "estimated_bytes": estimated, "measured_bytes": measured, "ratio": ratio}


def room_sentence(sheet: Sheet) -> str:
    """How far the estimates are off at most, in either direction."""
    ratios = {str(row["work"]): float(row["ratio"]) for row in rows(sheet.frame) if row["ratio"] is not None}
    if not ratios:
        return ""
    work = max(ratios, key=lambda name: max(ratios[name], 1 / ratios[name]))
    ratio, told = ratios[work], f"Of the estimates of memory that of {work} is furthest from what was measured"
    if ratio < 1:
        return f"{told}: {number(1 / ratio)} times too small; a worker's first stage loads the libraries too."
    return f"{told}: {number(ratio)} times as large; where a worker reuses memory, less is measured."

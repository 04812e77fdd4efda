"""Rows of the tables that come from records alone, and the columns and types of all tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from harness import keys
from harness.recipe import STARTS
from harness.records.shelf import FINAL, Shelf, asked, cell_id, judged, steps, trainings
from harness.stages import Train, walk

if TYPE_CHECKING:
    import pandas as pd

    from harness.plan import Cell
    from harness.stages import Stage

Row = dict[str, Any]

_TEXT, _INT, _FLOAT, _BOOL = "str", "int64", "float64", "bool"
_ID_COLUMNS = {"setting": _TEXT, "contestant": _TEXT, "replicate": _INT}
CELLS = {
    **{"setting": _TEXT, "model": _TEXT, "dataset": _TEXT, "start": _TEXT, "contestant": _TEXT, "algorithm": _TEXT},
    **{"knobs": _TEXT, "is_start": _BOOL, "replicate": _INT, "status": _TEXT},
    **{"policy": _TEXT, "sample": _TEXT, "grade": _TEXT, "weights": _TEXT, "steps": _INT, "begins_from": _TEXT},
}
GAPS = {
    **_ID_COLUMNS,
    **{"step": _INT, "status": _TEXT, "stage": _TEXT, "cause": _TEXT, "error": _TEXT, "hint": _TEXT},
}
MEASUREMENTS = {
    **_ID_COLUMNS,
    **{"step": _INT, "kind": _TEXT, "stage": _TEXT, "metric": _TEXT, "value": _FLOAT},
    **{"n": _INT, "unit": _TEXT, "better": _TEXT},
}
SCORES = {
    **_ID_COLUMNS,
    **{"step": _INT, "metric": _TEXT, "role": _TEXT, "level": _TEXT, "prompt_id": _TEXT, "k": _INT, "value": _FLOAT},
}
NO_POOL = {**_ID_COLUMNS, "error": _TEXT}
_FATE = {"status": _TEXT, "stage": _TEXT, "cause": _TEXT, "error": _TEXT, "hint": _TEXT}
NO_BENCHMARKS = {**_ID_COLUMNS, "task": _TEXT, **_FATE}
NO_JUDGMENTS = {**_ID_COLUMNS, "judge": _TEXT, **_FATE}
CURVES = {**_ID_COLUMNS, "step": _INT, "metric": _TEXT, "value": _FLOAT}
_COST_FIELDS = ("device_seconds", "cpu_seconds", "peak_memory_bytes", "loaded_memory_bytes")
COSTS = {
    **{"stage": _TEXT, "kind": _TEXT, "label": _TEXT, "replicate": _TEXT, "used_by": _INT, "status": _TEXT},
    **{"device": _TEXT, "on_gpu": _BOOL, "seconds": _FLOAT},
    **dict.fromkeys(_COST_FIELDS, _FLOAT),
}
SPENT = {
    **_ID_COLUMNS,
    **{"part": _TEXT, "device_seconds": _FLOAT, "worked_seconds": _FLOAT},
    **{"needed_memory_bytes": _FLOAT, "peak_device_memory_bytes": _FLOAT},
}
MADE_BY = {
    **{"stage": _TEXT, "commit": _TEXT, "dirty": _BOOL, "harness": _TEXT, "python": _TEXT, "host": _TEXT},
    **{"device": _TEXT, "packages": _TEXT, "date": _TEXT},
}


def frame(rows: Iterable[Row], columns: dict[str, str]) -> pd.DataFrame:
    """A frame with these columns and types, also where there are no rows."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns)).astype(cast(Any, columns))


def cells(shelf: Shelf) -> Iterator[Row]:
    """One row per cell."""
    for cell in shelf.plan.cells:
        yield _cell(cell, shelf)


def _cell(cell: Cell, shelf: Shelf) -> dict[str, Any]:
    names, weights = {"policy": "", "sample": "", "grade": ""}, ""
    if not cell.reason:
        final = (cell.policy, cell.samples[None], cell.grades[None])
        names = {role: stage.name for role, stage in zip(names, final, strict=True)}
        weights = _weights(shelf.record(cell.policy) or {})
    return {
        **cell_id(cell),
        **{"model": cell.model, "dataset": cell.dataset, "start": cell.start, "algorithm": cell.algorithm},
        **{"knobs": keys.canonical(keys.plain(dict(cell.knobs))), "is_start": cell.is_start},
        **{"status": shelf.fate(cell, None).status, "weights": weights},
        "steps": sum(int(stage.budget.get("steps", 0)) for stage in trainings(cell)),
        "begins_from": "" if cell.reason else _begins_from(cell),
        **names,
    }


def _begins_from(cell: Cell) -> str:
    """The start that training begins from, or that is used as it is: base, sft, sft_chosen."""
    stage, own = cell.policy, {stage.name for stage in cell.own}
    while stage.name in own and isinstance(before := stage.inputs.get("start"), Train):
        stage = before
    name = str(stage.algorithm["name"])
    return name if name in STARTS else STARTS[0]


def _weights(record: dict[str, Any]) -> str:
    """What tells two policies apart: the checksums of their weights; nothing where the record holds none."""
    files: dict[str, dict[str, str]] = record.get("files") or {}
    own = {name: file["sha256"] for name, file in files.items() if name.startswith("policy/") and "safetensors" in name}
    return keys.key(own) if own else ""


def gaps(shelf: Shelf) -> Iterator[Row]:
    """One row per cell and step without scores."""
    for cell in shelf.plan.cells:
        for step in steps(cell) or (None,):
            fate = shelf.fate(cell, step)
            if fate.status != "done":
                where = {"step": FINAL if step is None else step, "status": fate.status, "stage": fate.stage}
                yield {**cell_id(cell), **where, "cause": fate.cause, "error": fate.error, "hint": fate.hint}


def no_judgments(shelf: Shelf) -> Iterator[Row]:
    """One row per finished policy and judge without judgments."""
    for cell in shelf.plan.cells:
        for label, stage in cell.judges.items():
            fate = shelf.fate_of(stage, (stage,))
            if fate.status != "done":
                yield {**cell_id(cell), "judge": label, **vars(fate)}


def measurements(shelf: Shelf) -> Iterator[Row]:
    """The numbers of the records of each cell's own stages."""
    for cell in shelf.plan.cells:
        for step in steps(cell):
            stages: list[Stage] = [cell.samples[step], cell.grades[step]]
            for stage in [*cell.own, *stages] if step is None else stages:
                where = {"step": FINAL if step is None else step, "kind": _kind(stage), "stage": stage.name}
                for item in (shelf.record(stage) or {}).get("measurements", []):
                    values = {name: item[name] for name in ("metric", "value", "n")}
                    signs = {"unit": item.get("unit", ""), "better": item.get("better", "")}
                    yield {**cell_id(cell), **where, **values, **signs}


def _kind(stage: Stage) -> str:
    """The stage's kind; `reward` for the training of a reward model, whose labels are not its contestant's."""
    return "reward" if stage.spec.get("algorithm", {}).get("name") == "reward" else stage.kind


def costs(shelf: Shelf) -> Iterator[Row]:
    """What each stage cost, once, whoever shares it."""
    users: dict[str, int] = {}
    for cell in shelf.plan.cells:
        for stage in walk([*(cell.grades[step] for step in steps(cell)), *asked(cell)]):
            users[stage.name] = users.get(stage.name, 0) + 1
    for stage in shelf.plan.stages():
        seen = {"stage": stage.name, "kind": stage.kind, **_label(stage), "used_by": users.get(stage.name, 0)}
        record = shelf.store.record(stage.name)
        if record:
            yield {**seen, "status": "done", **_spent_on(record["cost"], record["seconds"])}
            lost = float(record.get("failed_device_seconds") or 0.0)
            if lost > 0:
                yield {**seen, "status": "failed", **_spent_on({"device_seconds": lost}, lost)}
        elif failure := shelf.failure(stage):
            yield {**seen, "status": "failed", **_spent_on(failure.get("cost") or {}, failure.get("seconds") or 0.0)}


def _spent_on(cost: Row, seconds: float) -> Row:
    numbers = {name: float(cost.get(name) or 0.0) for name in _COST_FIELDS}
    on_gpu = "peak_device_memory_bytes" in cost
    return {"device": str(cost.get("device", "")), "on_gpu": on_gpu, "seconds": float(seconds), **numbers}


def _label(stage: Stage) -> dict[str, str]:
    """What a stage is in words, and what it is replicated by."""
    spec = stage.spec
    algorithm = spec["algorithm"]["name"] if "algorithm" in spec else ""
    role = f" ({spec['split']})" if algorithm and spec["split"] in ("proxy", "selection", "gold") else ""
    start = stage.inputs.get("start") or stage.inputs.get("policy")
    seed = str(spec.get("seed", ""))
    return {
        "label": f"{stage.kind} {algorithm}".strip() + role,
        "replicate": seed or (_label(start)["replicate"] if start else ""),
    }


def spent(shelf: Shelf) -> Iterator[Row]:
    """What each cell cost, alone and with what it rests on; of judges and benchmarks also what failed attempts cost."""
    for cell in shelf.plan.cells:
        graded = [stage for step in steps(cell) for stage in judged(cell, step)]
        if cell.reason:
            continue
        shared = list(walk(list(cell.samples[None].inputs.values())))  # best-of-n rests on the proxy too
        model = _model(cell)
        base = {stage.name for stage in model}
        parts: dict[str, list[Stage]] = {
            "own": list(cell.own),
            "with shared": shared,
            "base model": model,
            "beyond the base": [stage for stage in shared if stage.name not in base],
            "evaluation": graded,
        }
        for part, stages in parts.items():
            costs = [(shelf.record(stage) or {}).get("cost") for stage in stages]
            known = [cost for cost in costs if cost]
            if len(known) == len(costs):
                extra = [_cost(shelf, stage) for stage in asked(cell)] if part == "evaluation" else []
                seconds = sum(_device_seconds(cost) for cost in known) + sum(extra)
                worked = sum(_worked(cost) for cost in known) + sum(extra)
                peaks = {"needed_memory_bytes": _needed(shelf, stages), "peak_device_memory_bytes": _peak(known)}
                yield {**cell_id(cell), "part": part, "device_seconds": seconds, "worked_seconds": worked, **peaks}


def _model(cell: Cell) -> list[Stage]:
    """What the model that all begin from rests on, its pretraining or its load; none where the cell trains it."""
    stage = cell.policy
    while isinstance(before := stage.inputs.get("start"), Train):
        stage = before
    return [] if stage in cell.own else list(walk([stage]))


def _worked(cost: Row) -> float:
    """Of the device-seconds those in which a CPU worked; of a GPU all, since it is held for no one else."""
    on_cpu = "peak_device_memory_bytes" not in cost
    worked = cost.get("cpu_seconds") if on_cpu else None
    return float(worked) + float(cost.get("kept_cpu_seconds") or 0.0) if worked else _device_seconds(cost)


def _device_seconds(cost: Row) -> float:
    """Those of the attempt that ended, and of earlier ones up to the checkpoint from which it went on."""
    return float(cost["device_seconds"]) + float(cost.get("kept_device_seconds") or 0.0)


def _needed(shelf: Shelf, stages: list[Stage]) -> float:
    """The most memory that a stage needed; unknown where it is of a training, 0 where there are none."""
    found = [shelf.needed(stage) for stage in stages]
    if any(one is None and isinstance(stage, Train) for stage, one in zip(stages, found, strict=True)):
        return math.nan
    return max((one for one in found if one is not None), default=0.0)


def _peak(costs: list[Row]) -> float:
    return max((float(cost.get("peak_device_memory_bytes") or 0) for cost in costs), default=0.0)


def _cost(shelf: Shelf, stage: Stage) -> float:
    """Device-seconds of a stage: of its success and of the failures before, or of the failures alone."""
    record, failure = shelf.record(stage) or {}, shelf.failure(stage) or {}
    lost = float(record.get("failed_device_seconds") or 0.0)
    return lost + float(((record or failure).get("cost") or {}).get("device_seconds") or 0.0)


def made_by(shelf: Shelf) -> Iterator[Row]:
    """Which code and machine made each record."""
    for stage in shelf.plan.stages():
        found = shelf.record(stage)
        made_by = (found or {}).get("made_by")
        if found and made_by:
            texts = {name: str(made_by.get(name) or "") for name in ("commit", "harness", "python", "host")}
            packages = keys.canonical(made_by.get("packages") or {})
            device = str((found.get("cost") or {}).get("device", ""))
            yield {
                "stage": stage.name,
                **texts,
                "dirty": bool(made_by.get("dirty")),
                "device": device,
                "packages": packages,
                "date": str(found.get("started", ""))[:10],
            }

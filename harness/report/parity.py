"""What was alike for all contestants of a setting, and what differed: read from the stages, not from the recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import keys
from harness.records import setting_of
from harness.report.page import Section
from harness.report.sheet import Sheet, Shown, count, listed, make_frame, named
from harness.stages import Train

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.plan import Cell, Plan
    from harness.stages import Stage

_MEANINGS = {
    "setting": "model · dataset · start",
    "part": "knobs: the algorithm's own; training: budget and data, alike by design; sampling and grading: evaluation",
    "property": "a value of the stages' settings, or the input that they begin from",
    "alike": "true: the same for all contestants that have it",
    "value": "its value; where it differs, each value with the contestants that have it",
    "contestants": "how many contestants have it",
}
_SKIPPED = ("kind", "inputs", "version", "seed")


def parity_section(plan: Plan) -> Section:
    """What was alike and what differed, setting by setting."""
    sheet = parity_sheet(plan)
    return Section("parity", "What was alike, what differed", _sentence(sheet), sheets=[sheet])


def _sentence(sheet: Sheet) -> str:
    frame = sheet.frame
    if frame.empty:
        return "No contestant can run, so that there is nothing to compare."
    design = frame[frame["part"] != "knobs"]
    odd = design[~design["alike"]]
    own = frame.loc[frame["part"] == "knobs", "alike"].astype(bool)
    told = "all are alike" if odd.empty else f"{_differ(len(odd))} ({named(list(dict.fromkeys(odd['property'])))})"
    return (
        f"Of {count(len(design), 'property', 'properties')} of training, sampling and grading {told}; "
        f"of {count(len(own), 'knob')} of the algorithms' own {_differ(int((~own).sum()))}."
    )


def _differ(many: int) -> str:
    return f"{many} differs" if many == 1 else f"{many} differ"


def parity_sheet(plan: Plan) -> Sheet:
    """A row per property; what differs first."""
    settings: dict[str, list[Cell]] = {}
    for cell in plan.cells:
        if not cell.reason:
            settings.setdefault(setting_of(cell), []).append(cell)
    found = [row for name, cells in settings.items() for row in _rows(name, cells)]
    shown = [
        Shown("part", lambda row: row["part"], kind="word"),
        Shown("property", lambda row: row["property"], kind="word"),
        Shown("alike", lambda row: "✓ alike" if row["alike"] else "≠ differs", kind="word"),
        Shown("value", lambda row: row["value"], kind="prose"),
        Shown("contestants", lambda row: str(row["contestants"])),
    ]
    columns = {**dict.fromkeys(("setting", "part", "property", "value"), "string"), "alike": "boolean"}
    frame = make_frame(found, {**columns, "contestants": "Int64"})[list(_MEANINGS)]
    caption = "Settings of the stages as they ran, what differs first; the start's own training is not among them."
    return Sheet("parity", caption, frame, _MEANINGS, shown, folded=True)


def _rows(setting: str, cells: list[Cell]) -> list[dict[str, Any]]:
    """The properties of a setting's contestants, over all of their seeds."""
    values: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
    for cell in cells:
        for part, name, value in _properties(cell):
            values.setdefault((part, name), {}).setdefault(value, {})[cell.contestant] = None
    found = []
    for (part, name), by_value in values.items():
        holders = dict.fromkeys(one for own in by_value.values() for one in own)
        if part == "knobs" and len(holders) < 2:
            continue
        alike = len(by_value) == 1
        text = "; ".join(f"{value}: {listed(list(own))}" for value, own in by_value.items())
        row = {"setting": setting, "part": part, "property": name, "alike": alike, "contestants": len(holders)}
        found.append({**row, "value": next(iter(by_value)) if alike else text})
    order = ("training", "sampling", "grading", "knobs")
    return sorted(found, key=lambda row: (row["alike"], order.index(row["part"])))


def _properties(cell: Cell) -> Iterator[tuple[str, str, str]]:
    """Part, name and value of what a contestant's stages say: of its last round of training, with the steps of all."""
    trained = [stage for stage in cell.own if isinstance(stage, Train) and stage.algorithm["name"] != "reward"]
    if trained and not cell.is_start:
        last = trained[-1]
        budget = {**last.budget, "steps": sum(int(stage.budget.get("steps", 0)) for stage in trained)}
        yield from _flat("training", {**_settings(last, ("algorithm",)), "budget": budget})
        yield "training", "start", f"alike for each seed: {cell.start}"
        yield from _flat("knobs", last.algorithm["knobs"])
    yield from _flat("sampling", _settings(cell.samples[None], ("dataset",)))
    yield from _flat("grading", _settings(cell.grades[None], ("dataset",)))


def _settings(stage: Stage, skipped: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in stage.spec.items() if name not in (*_SKIPPED, *skipped)}


def _flat(part: str, values: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    for name, value in values.items():
        where = f"{path}{name}"
        if isinstance(value, dict) and value:
            yield from _flat(part, value, f"{where}.")
        else:
            yield part, where, value if isinstance(value, str) else keys.canonical(keys.plain(value))

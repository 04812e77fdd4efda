"""Fewer seeds for what is already decided: contestants leave the comparison at looks that the recipe declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import harness.records as records
from harness.plan import Cell, Plan, make_plan
from harness.search.chosen import with_chosen

if TYPE_CHECKING:
    from harness.recipe import Recipe
    from harness.store import Store

Who = tuple[str, str]
"""A setting and a contestant of it."""
Stop = tuple[int, str]
"""The seeds at which a verdict was decided, and the verdict."""


def plan_so_far(recipe: Recipe, store: Store) -> tuple[Plan, bool]:
    """The plan, with what tuning has chosen and what the looks have decided.

    A look at n seeds is taken when every run of them has ended. Contestants whose verdict against the start is
    decided there, at a level that Bonferroni divides by the number of looks, have no further seeds: their cells are
    cut, with the reason. It all follows from the records, so that it is the same whenever it is asked.

    Returns:
        The plan, and whether a later look will ask for more seeds once this plan's stages have run.
    """
    recipe = with_chosen(recipe, store)
    full = make_plan(recipe)
    stopped: dict[Who, Stop] = {}
    for look in recipe.looks[:-1]:
        now = _cut(full, make_plan(recipe, range(look)), stopped)
        tables = records.read(now, store)
        if (tables.cells["status"] == "waiting").any():
            return now, True
        stopped |= {who: (look, verdict) for who, verdict in _decided(now, tables).items() if who not in stopped}
        if _everybody(full) <= set(stopped):
            return _cut(full, make_plan(recipe, range(look)), stopped), False
    return (_cut(full, full, stopped) if stopped else full), False


def _decided(plan: Plan, tables: records.Tables) -> dict[Who, str]:
    """The verdicts against the start that are no longer open, by contestant."""
    from harness.report.standings import compare

    return {
        (comparison.name, pair.a): pair.verdict
        for comparison in compare(plan, tables)
        for pair in comparison.pairs
        if pair.family == "start" and pair.verdict not in ("", "cannot separate")
    }


def _everybody(plan: Plan) -> set[Who]:
    return {_who(cell) for cell in plan.cells if not cell.is_start and not cell.reason}


def _who(cell: Cell) -> Who:
    return records.setting_of(cell), cell.contestant


def _cut(full: Plan, now: Plan, stopped: Mapping[Who, Stop]) -> Plan:
    """All cells of the full plan: those of `now` that go on as they are, the others without stages."""
    live = {(*_who(cell), cell.replicate): cell for cell in now.cells}
    going = {setting for setting, _ in _everybody(full) - set(stopped)}
    last = {setting: look for (setting, _), (look, _) in sorted(stopped.items(), key=lambda item: item[1])}
    cells = []
    for cell in full.cells:
        setting, own = records.setting_of(cell), live.get((*_who(cell), cell.replicate))
        look, verdict = stopped.get(_who(cell), (cell.replicate + 1, ""))
        why = cell.reason
        if not why and cell.replicate >= look:
            why = f"decided at {look} seeds: {verdict}"
        elif not why and cell.is_start and setting not in going and cell.replicate >= last.get(setting, look):
            why = "no verdict is open any more"
        elif not why and own is None:
            why = "waits for the next look"
        cells.append(_without_stages(cell, why) if why else own or cell)
    return replace(now, cells=tuple(cells))


def _without_stages(cell: Cell, reason: str) -> Cell:
    return replace(cell, trained=None, own=(), samples={}, grades={}, pool=None, judges={}, benches=(), reason=reason)

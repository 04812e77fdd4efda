"""What a search has asked for and has not been told yet, for whoever shows how far it is. Pure but for one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.plan import Cell, make_plan, told_apart
from harness.search.chosen import read_studies
from harness.search.rungs import halves
from harness.search.trials import Problem, problems, trial_cells, tune_of

if TYPE_CHECKING:
    from harness.recipe import Recipe
    from harness.store import Store


def open_trials(recipe: Recipe, store: Store) -> list[tuple[str, Cell]]:
    """The trials that are under way, and the start that each study's are compared with; each with what to call it."""
    studies = {study["key"]: study for study in read_studies(store, recipe) if not study["finished"]}
    step, found = tune_of(recipe).prune_at, list[tuple[str, Cell]]()
    for problem in problems(recipe, make_plan(recipe)) if studies else []:
        trials = [one for one in studies.get(problem.key, {}).get("trials", []) if one["status"] == "open"]
        if not trials:
            continue
        start, _, *cells = trial_cells(recipe, problem, [trial["knobs"] for trial in trials])
        called = trial_label(recipe, problem, "")
        found.append((f"{start.contestant} of {called}", start))
        for trial, cell in zip(trials, cells, strict=True):
            parts = halves(cell, step) if step else None
            found.append((trial_label(recipe, problem, f"trial {trial['number']}"), parts.rest if parts else cell))
    return found


def trial_label(recipe: Recipe, problem: Problem, which: str) -> str:
    """What a study's contestant is called in `which` of its trials, and where, if there are several settings."""
    who = f"{problem.contestant.label} {which}".rstrip()
    return " · ".join(filter(None, [who, told_apart(recipe, [problem.setting])]))


def labels_of(called: str, cell: Cell) -> dict[str, str]:
    """What to call the stages of a trial, by name."""
    own = (*cell.own, cell.samples[None], cell.grades[None])
    return {stage.name: f"{stage.kind} {called}" for stage in own}

"""`harness clean`: free weights, keep records and samples."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.plan import make_plan
from harness.recipe import Recipe, read_recipe
from harness.search.chosen import planned, read_studies
from harness.search.trials import problems, trial_cells, tune_of
from harness.stages import Stage, walk
from harness.store import Store

WEIGHTS = ("policy", "reward", "checkpoints")


def clean_recipe(path: Path, assignments: list[str], results: Path, yes: bool) -> None:
    """Show, or with `yes` remove, the weights that nothing unfinished of a recipe needs."""
    store = Store(results)
    recipe = read_recipe(path, assignments)
    studies = read_studies(store, replace(recipe, tune=tune_of(recipe)))
    stages = list(walk([*planned(recipe, store).targets, *_trials(studies, store)]))
    found = removable(stages, store, _to_be_read(recipe, studies))
    total = sum(size for _, size in found)
    for folder, size in found:
        print(f"{size / 1e6:10.1f} MB  {folder}")
        if yes:
            shutil.rmtree(folder)
    verb = "freed" if yes else "could be freed (nothing was removed; --yes removes)"
    print(f"{total / 1e6:10.1f} MB  {verb}")


def _trials(studies: list[dict[str, Any]], store: Store) -> list[Stage]:
    """The grades of the trials that chose the recipe's knobs."""
    trials = [trial for study in studies for trial in study["trials"]]
    names = dict.fromkeys(trial["stages"]["grade"] for trial in trials if trial["stages"])
    return [store.load(name) for name in names if (store.root / name).is_dir()]


def _to_be_read(recipe: Recipe, studies: list[dict[str, Any]]) -> set[str]:
    """Stages that open trials rest on, and those that a study which goes on has yet to ask for."""
    known = {study["key"]: study for study in studies}
    never = {"finished": recipe.tune is None, "trials": []}
    found: set[str] = set()
    for problem in problems(recipe, make_plan(recipe)):
        study = known.get(problem.key, never)
        if study["finished"]:
            continue
        asked = [trial["knobs"] for trial in study["trials"] if trial["status"] == "open"]
        start, first, *trials = trial_cells(recipe, problem, asked)
        found |= {stage.name for stage in walk(list(first.grades.values()))} - {stage.name for stage in first.own}
        found |= {stage.name for cell in (start, *trials) for stage in walk(list(cell.grades.values()))}
    return found


def removable(stages: list[Stage], store: Store, kept: set[str]) -> list[tuple[Path, int]]:
    """Folders of weights of finished stages that no unfinished stage reads and that are not kept, with their bytes."""
    needed = _needed(stages, store) | kept
    found = []
    for stage in stages:
        home = store.root / stage.name
        if stage.name in needed or not store.done(stage.name) or not home.is_dir():
            continue
        for folder in sorted(home.iterdir()):
            if folder.is_dir() and folder.name.startswith(WEIGHTS):
                found.append((folder, sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())))
    return found


def _needed(stages: list[Stage], store: Store) -> set[str]:
    """Inputs of unfinished stages; an adapter needs the base that it names too, so whatever they rest on is kept."""
    needed: set[str] = set()
    for stage in reversed(stages):  # readers before what they read
        if not store.done(stage.name) or stage.name in needed:
            needed |= {source.name for source in stage.inputs.values()}
    return needed

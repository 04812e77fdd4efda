"""What a search has chosen, and the recipe that compares it: every contestant as it was, and as it was tuned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.plan import Plan, make_plan
from harness.recipe import TUNED, Contestant, Place, Recipe
from harness.search.trials import Problem, problems

if TYPE_CHECKING:
    from harness.knobs import Value
    from harness.store import Store

FOLDER, TRIALS = "tuning", "trials.json"
SCHEMA = 1


def folder_of(store: Store, recipe: Recipe) -> Path:
    """Where the journal and the trials of a recipe are."""
    return store.root / FOLDER / recipe.name


def trials_file(store: Store, recipe: Recipe) -> Path:
    """All trials as JSON: those of a search here, else those that were published with the recipe's comparison."""
    own = folder_of(store, recipe) / TRIALS
    return own if own.exists() else store.root / "published" / recipe.name / TRIALS


def setting_name(setting: tuple[str, str, str]) -> str:
    """What a setting is called in tables."""
    return " · ".join(setting)


def choose(trials: list[dict[str, Any]]) -> int | None:
    """The place of the best trial that keeps all limits, the earlier of equals; None where none does."""
    kept = [trial for trial in trials if trial["feasible"]]
    best = max(kept, key=lambda trial: (trial["score"], -trial["trial"]), default=None)
    return None if best is None else int(best["trial"])


def above_limits(trials: list[dict[str, Any]]) -> int:
    """How many trials have finished above a limit."""
    return sum(trial["status"] == "done" and not trial["feasible"] for trial in trials)


def read_studies(store: Store, recipe: Recipe) -> list[dict[str, Any]]:
    """The recipe's studies as far as they have come, those of an earlier form of the recipe left out.

    Raises:
        HarnessError: the file cannot be read.
    """
    found = all_studies(trials_file(store, recipe)) if recipe.tune is not None else []
    known = {problem.key for problem in problems(recipe, make_plan(recipe))} if found else set()
    return [study for study in found if study["key"] in known]


def all_studies(file: Path) -> list[dict[str, Any]]:
    """What a file of trials holds: studies of every recipe of a name, and of earlier forms of them.

    Raises:
        HarnessError: the file cannot be read.
    """
    try:
        found = json.loads(file.read_text())["studies"]
        return [study for study in found if study["key"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarnessError(
            f"{file}: cannot be read ({error}); `harness tune` writes it again from the journal"
        ) from error


def as_text(recipe: Recipe, studies: list[dict[str, Any]]) -> str:
    """What a file of trials says."""
    return json.dumps({"schema": SCHEMA, "recipe": recipe.name, "studies": studies}, indent=1, allow_nan=False)


def with_chosen(recipe: Recipe, store: Store) -> Recipe:
    """The recipe with one more contestant for each that was tuned: `dpo` and `dpo tuned`.

    A recipe without [tune], or whose studies have not finished, stays as it is. Where the recipe's own knobs won, or no
    trial finished within the limits, the tuned contestant would be the same, and `plan` says so.
    """
    studies = {study["key"]: study for study in read_studies(store, recipe) if study["finished"]}
    if recipe.tune is None or not studies:
        return recipe
    by_contestant: dict[str, list[Problem]] = {}
    for problem in problems(recipe, make_plan(recipe)):
        by_contestant.setdefault(problem.contestant.label, []).append(problem)
    added = []
    for contestant in recipe.contestants:
        own = by_contestant.get(contestant.label, [])
        if own and all(problem.key in studies for problem in own):
            added.append(_tuned(contestant, own, studies, recipe.replicates))
    return replace(recipe, contestants=(*recipe.contestants, *added))


def planned(recipe: Recipe, store: Store) -> Plan:
    """The plan of a recipe, with what a search has chosen so far."""
    return make_plan(with_chosen(recipe, store))


def _tuned(
    contestant: Contestant, own: list[Problem], studies: Mapping[str, dict[str, Any]], replicates: int
) -> Contestant:
    chosen: list[tuple[Place, dict[str, Value]]] = []
    count = 1 + max(problem.number for problem in own)
    for problem in own:
        study = studies[problem.key]
        if study["chosen"] is None:
            continue
        values = study["trials"][study["chosen"]]["knobs"]
        for replicate in range(problem.number, replicates, count):
            chosen.append(((*problem.setting, replicate), {**contestant.knobs, **values}))
    return replace(contestant, label=f"{contestant.label} {TUNED}", tuned=tuple(chosen))

"""Whether a dataset has the prompts that a recipe asks for: looked at before anything is trained."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from harness.data import EmptySplit
from harness.data._tables import Tables
from harness.errors import HarnessError
from harness.plan import Plan
from harness.recipe import Recipe
from harness.stages import Sample, Stage, Train
from harness.stages.specs import TooFew, asked_by, open_algorithm, open_dataset, training_rows
from harness.stages.train import DATA
from harness.store import Store


def check_prompts(plan: Plan, store: Store) -> None:
    """Count the prompts of files and of the hub's tables; those of 256 MB and more are left to the stages.

    Anything else that is wrong with them is told by the stage that meets it, so that the others go on.

    Raises:
        HarnessError: a split has no rows or fewer prompts than are asked for; every one of which that is so.
    """
    wanted = {
        json.dumps(asked[:4], sort_keys=True): asked
        for stage in plan.stages()
        if (asked := _asked(plan.recipe, stage)) and not store.done(stage.name)
    }
    found = []
    for spec, view, split, prompts, knob in wanted.values():
        with contextlib.suppress(HarnessError):
            data = open_dataset(spec)
            if not isinstance(data, Tables) or any(data.large(source) for source in data.own().values()):
                continue
            try:
                training_rows(data, view, split, prompts, knob)
            except (TooFew, EmptySplit) as error:
                found.append(f"{plan.recipe.path}: {error}")
    if found:
        raise HarnessError("\n".join(dict.fromkeys(found)))


def _asked(recipe: Recipe, stage: Stage) -> tuple[dict[str, Any], str, str, int, str] | None:
    """The dataset, view, split and prompts that a stage reads, and the recipe's knob that says how many."""
    if isinstance(stage, Sample):
        knob = asked_by(stage.split)
        if stage.split == recipe.evaluation.split and stage.prompts != recipe.evaluation.prompts:
            knob = "evaluation.best_of_prompts"
        return stage.dataset, "prompts", stage.split, stage.prompts, knob
    if isinstance(stage, Train) and stage.dataset and not any(role.startswith(DATA) for role in stage.inputs):
        view, prompts = open_algorithm(stage.algorithm).requires().data, stage.budget["prompts"]
        return stage.dataset, view, stage.split, prompts, _budgeted(recipe, stage)
    return None


def _budgeted(recipe: Recipe, stage: Train) -> str:
    """The knob that says how many prompts a training run has."""
    if stage.algorithm["name"] == "reward":
        roles = [role for role, part in recipe.rewards.items() if part.split == stage.split]
        return f"reward.{roles[0]}.prompts" if roles else "budget.prompts"
    return "budget.prompts" if stage.budget["prompts"] == recipe.budget.prompts else "start.prompts"

"""Whether a dataset has the prompts that a recipe asks for, and rows that are short enough; before any training."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from typing import Any

from harness.data import Dataset, EmptySplit, Row
from harness.data._tables import Tables
from harness.errors import HarnessError
from harness.job import Budget
from harness.plan import Plan
from harness.recipe import Recipe
from harness.search.trials import problems, trial_cells
from harness.stages import Sample, Stage, Train, walk
from harness.stages.specs import TooFew, asked_by, dataset_spec, open_algorithm, open_dataset, training_rows
from harness.stages.train import DATA
from harness.store import Store
from harness.training.rows import NoneFits


@dataclass(frozen=True)
class Asked:
    """What a stage reads: the rows, the knob that says how many prompts, and how a training run reads them.

    `reads` has what the tokenizer is found by, and the longest prompt and response; None where that is not known yet.
    """

    spec: dict[str, Any]
    view: str
    split: str
    prompts: int
    knob: str
    reads: tuple[dict[str, Any], int, int] | None = None

    def same(self) -> str:
        """Equal for stages that would find the same."""
        return json.dumps([self.spec, self.view, self.split, self.prompts, self.reads], sort_keys=True)


def check_prompts(plan: Plan, store: Store, *, tables: bool = True) -> None:
    """Count the prompts of the comparison, and of the search before it; large tables are left to the stages.

    Anything else that is wrong with them is told by the stage that meets it, so that the others go on.

    Args:
        plan: what is to run.
        store: has what is done, and needs no prompts.
        tables: whether files and the hub's tables are read too, which can take a minute; else data that are made alone.

    Where some of several datasets are too small, that is told, and the cells of the others go on.

    Raises:
        HarnessError: a split has no rows, fewer prompts than are asked for, or none that is short enough for the model
            that is to train on it; every one of which that is so. No dataset of the recipe is large enough.
    """
    stages = walk([*plan.targets, *trials_of(plan)])
    asked = (asked_of(plan.recipe, stage) for stage in stages if not store.done(stage.name))
    found: dict[str, str] = {}
    for one in {one.same(): one for one in asked if one}.values():
        with contextlib.suppress(Exception):  # whatever it is, the stage that meets it tells it
            data = open_dataset(one.spec)
            try:
                if not isinstance(data, Tables):
                    _count(data, one)
                elif tables and not any(data.large(source) for source in data.own().values()):
                    _read(data, one)
            except (TooFew, EmptySplit, NoneFits) as error:
                whose = _whose(plan.recipe, one.spec)
                found[f"{plan.recipe.path}: {whose}{error}"] = whose
    if len(set(found.values())) == len(plan.recipe.datasets):
        raise HarnessError("\n".join(found))
    for text in found:
        print(f"{text}; what rests on that will fail, and all else goes on", file=sys.stderr)


def _whose(recipe: Recipe, spec: dict[str, Any]) -> str:
    """Which dataset it is, where there are several."""
    own = [part.label for part in recipe.datasets if dataset_spec(part.name, dict(part.knobs)) == spec]
    return f"dataset '{own[0]}': " if own and len(recipe.datasets) > 1 else ""


def trials_of(plan: Plan) -> list[Stage]:
    """What the trials of each study are graded by: all of them read the same prompts."""
    asked = problems(plan.recipe, plan) if plan.recipe.tune else []
    cells = [cell for problem in asked for cell in trial_cells(plan.recipe, problem, [])]
    return [grade for cell in cells for grade in cell.grades.values()]


def _count(data: Dataset, asked: Asked) -> None:
    """Count prompts alone, which are made quickly; other views have those of their split at most."""
    if asked.prompts and asked.view != "text":
        training_rows(data, "prompts", asked.split, asked.prompts, asked.knob)


def _read(data: Dataset, asked: Asked) -> None:
    rows = training_rows(data, asked.view, asked.split, asked.prompts, asked.knob)
    if asked.reads:
        _check_lengths(asked, asked.reads, rows)


def _check_lengths(asked: Asked, reads: tuple[dict[str, Any], int, int], rows: list[Row]) -> None:
    from harness.inference.loading import tokenizer_of
    from harness.inference.quiet import quiet
    from harness.training.rows import Encoder, check_fit

    quiet(1)
    model, prompt, response = reads
    encoder = Encoder(tokenizer_of(**model))
    try:
        check_fit(encoder, rows, asked.view, Budget(max_prompt_tokens=prompt, max_response_tokens=response))
    except NoneFits as error:
        raise NoneFits(f"split '{asked.split}': {error} ({asked.knob.rpartition('.')[0]})") from error


def asked_of(recipe: Recipe, stage: Stage) -> Asked | None:
    """What a stage reads of the dataset."""
    if isinstance(stage, Sample):
        knob = asked_by(stage.split)
        if stage.split == recipe.evaluation.split and stage.prompts != recipe.evaluation.prompts:
            knob = "evaluation.best_of_prompts"
        return Asked(stage.dataset, "prompts", stage.split, stage.prompts, knob)
    if isinstance(stage, Train) and stage.dataset and not any(role.startswith(DATA) for role in stage.inputs):
        view, prompts = open_algorithm(stage.algorithm).requires().data, stage.budget["prompts"]
        return Asked(stage.dataset, view, stage.split, prompts, _budgeted(recipe, stage), _reads(stage))
    return None


def _reads(stage: Train) -> tuple[dict[str, Any], int, int] | None:
    """How a training run reads its rows; of a model made here, and of an encoder, it is told by the stage itself."""
    base: Stage = stage
    while "start" in base.inputs:
        base = base.inputs["start"]
    if not isinstance(base, Train) or base.algorithm["name"] != "pretrained":
        return None
    knobs = base.algorithm["knobs"]
    if knobs.get("kind") == "encoder":
        return None
    model = {"name": knobs["name"], "revision": knobs.get("revision", ""), "template": knobs.get("template", "")}
    limits = (stage.budget["max_prompt_tokens"], stage.budget["max_response_tokens"])
    return {**model, "remote_code": bool(knobs.get("remote_code", False))}, *limits


def _budgeted(recipe: Recipe, stage: Train) -> str:
    """The knob that says how many prompts a training run has."""
    if stage.algorithm["name"] == "reward":
        roles = [role for role, part in recipe.rewards.items() if part.split == stage.split]
        return f"reward.{roles[0]}.prompts" if roles else "budget.prompts"
    return "budget.prompts" if stage.budget["prompts"] == recipe.budget.prompts else "start.prompts"

"""Whether a dataset has the prompts that a recipe asks for, and rows that are short enough; before any training."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from typing import Any, TypeGuard

from harness import registry
from harness.data import Dataset, EmptySplit, Row
from harness.data._shelf import find_folder
from harness.data._splits import shares_of
from harness.data._tables import Tables
from harness.errors import HarnessError
from harness.inference.systems import TooLong, check_lengths
from harness.job import Budget
from harness.plan import Plan
from harness.recipe import Recipe
from harness.search.trials import problems, trial_cells
from harness.stages import Audit, Grade, Sample, Stage, Train, walk
from harness.stages.specs import TooFew, asked_by, dataset_spec, open_algorithm, open_dataset, training_rows
from harness.stages.train import DATA
from harness.store import Store
from harness.training.rows import NoneFits


@dataclass(frozen=True)
class Asked:
    """What a stage reads: the rows, the knob that says how many prompts, and how its model reads them.

    `reads` has what the model is found by, and the longest prompt and response; None where that is not known yet. Where
    prompts are answered and not trained on, no prompt is left out, and the longest is None.
    """

    spec: dict[str, Any]
    view: str
    split: str
    prompts: int
    knob: str
    reads: tuple[dict[str, Any], int | None, int] | None = None

    def same(self) -> str:
        """Equal for stages that would find the same."""
        return json.dumps([self.spec, self.view, self.split, self.prompts, self.reads], sort_keys=True)


def check_prompts(plan: Plan, store: Store, *, tables: bool = True) -> None:
    """Count the prompts of the comparison, and of the search before it; large tables are left to the stages.

    Anything else that is wrong with them is told by the stage that meets it, so that the others go on. Where some of
    several datasets are too small, or some of several models cannot read the prompts, that is told, and the cells of
    the others go on. That no pairs are held out to measure on is told as well.

    Args:
        plan: what is to run.
        store: has what is done, and needs no prompts.
        tables: whether files and the hub's tables are read too, which can take a minute; else data that are made alone.

    Raises:
        HarnessError: a split has no rows, fewer prompts than are asked for, none that is short enough for the model
            that is to train on it, or one to answer that is too long; every one of which that is so. No dataset of the
            recipe will do.
    """
    stages = [stage for stage in walk([*plan.targets, *trials_of(plan)]) if not store.done(stage.name)]
    asked = (asked_of(plan.recipe, stage) for stage in stages)
    found, whole = dict[str, None](), set[str]()
    unread: dict[str, set[str]] = {}  # models that cannot read the prompts, by dataset
    for one in {one.same(): one for one in asked if one}.values():
        with contextlib.suppress(Exception):  # whatever it is, the stage that meets it tells it
            data, whose = open_dataset(one.spec), _whose(plan.recipe, one.spec)
            try:
                if not isinstance(data, Tables):
                    _count(data, one)
                elif tables and not _large(data):
                    _read(data, one)
            except (TooFew, EmptySplit, NoneFits, TooLong) as error:
                found[f"{plan.recipe.path}: {whose}{error}{_cause(data, error)}"] = None
                if isinstance(error, TooLong) and one.reads:
                    unread.setdefault(whose, set()).add(json.dumps(one.reads[0]))
                if not isinstance(error, TooLong) or len(unread[whose]) == len(plan.recipe.models):
                    whole.add(whose)
    if len(whole) == len(plan.recipe.datasets):
        raise HarnessError("\n".join(found))
    for text in found:
        print(f"{text}; what rests on that will fail, and all else goes on", file=sys.stderr)
    for text in _unmeasured(plan.recipe, stages, tables):
        print(text, file=sys.stderr)


def _large(data: Tables) -> bool:
    return any(data.large(source) for source in data.own().values())


def _cause(data: Dataset, error: HarnessError) -> str:
    """What a split may be too small by, beside its share."""
    alike = data.alike() if isinstance(error, TooFew) and isinstance(data, Tables) else ""
    return f"; {alike}" if alike else ""


def _unmeasured(recipe: Recipe, stages: list[Stage], tables: bool) -> list[str]:
    """What is said of datasets of which no pairs are held out, though something is to be measured on them."""
    found = []
    for spec in {json.dumps(stage.dataset): stage.dataset for stage in stages if reads_held_out(stage)}.values():
        with contextlib.suppress(Exception):  # the stages tell what else is wrong
            data = open_dataset(spec)
            if not isinstance(data, Tables) or "pairs" not in data.offers():
                continue
            try:
                if (tables and not _large(data)) or not shares_of(data.splits).get("heldout"):
                    data.first("pairs", "heldout", 1)
            except EmptySplit as error:
                what = "the accuracy of reward models and what policies make of labelled pairs are not measured"
                found.append(f"{recipe.path}: {_whose(recipe, spec)}{error}; {what}")
    return found


def reads_held_out(stage: Stage) -> TypeGuard[Grade | Audit]:
    """Whether a stage measures something on held-out pairs, where there are any."""
    if isinstance(stage, Grade):
        return any(registry.load("metrics", name).level == "pair" for name in stage.metrics)
    return isinstance(stage, Audit)


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


def _check_lengths(asked: Asked, reads: tuple[dict[str, Any], int | None, int], rows: list[Row]) -> None:
    from harness.inference.loading import tokenizer_of
    from harness.inference.quiet import quiet
    from harness.training.rows import Encoder, check_fit

    quiet(1)
    model, prompt, response = reads
    encoder = Encoder(tokenizer_of(**model))
    try:
        if prompt is None:
            check_lengths([len(encoder.prompt(row)) for row in rows], response, _positions(model), _called(model))
        else:
            check_fit(encoder, rows, asked.view, Budget(max_prompt_tokens=prompt, max_response_tokens=response))
    except NoneFits as error:
        raise NoneFits(f"split '{asked.split}': {error} ({asked.knob.rpartition('.')[0]})") from error
    except TooLong as error:
        raise TooLong(f"split '{asked.split}': {error}") from error


def _positions(model: dict[str, Any]) -> int | None:
    """Tokens that a model reads, as far as this machine knows it before the weights are loaded."""
    from transformers import AutoConfig

    from harness.inference.loading import configuration

    given = configuration(model["name"], model["revision"]) or {}
    if "model_type" not in given:
        return None
    found: int | None = getattr(AutoConfig.for_model(**given).get_text_config(), "max_position_embeddings", None)
    return found


def _called(model: dict[str, Any]) -> str:
    """What a model is called: a folder by its name, which its key hides."""
    return f"'{find_folder(model['revision']).name if model['name'] == 'folder' else model['name']}'"


def asked_of(recipe: Recipe, stage: Stage) -> Asked | None:
    """What a stage reads of the dataset."""
    if isinstance(stage, Sample):
        knob = asked_by(stage.split)
        if stage.split == recipe.evaluation.split and stage.prompts != recipe.evaluation.prompts:
            knob = "evaluation.best_of_prompts"
        model = _model(stage.inputs["policy"])
        reads = (model, None, stage.max_response_tokens) if model else None
        return Asked(stage.dataset, "prompts", stage.split, stage.prompts, knob, reads)
    if isinstance(stage, Train) and stage.dataset and not any(role.startswith(DATA) for role in stage.inputs):
        view, prompts = open_algorithm(stage.algorithm).requires().data, stage.budget["prompts"]
        return Asked(stage.dataset, view, stage.split, prompts, _budgeted(recipe, stage), _reads(stage))
    return None


def _reads(stage: Train) -> tuple[dict[str, Any], int, int] | None:
    """How a training run reads its rows."""
    model = _model(stage)
    return (model, stage.budget["max_prompt_tokens"], stage.budget["max_response_tokens"]) if model else None


def _model(stage: Stage) -> dict[str, Any] | None:
    """What a stage's model is found by; of one made here, and of an encoder, the stage itself tells what is wrong."""
    base = stage
    while "start" in base.inputs:
        base = base.inputs["start"]
    if not isinstance(base, Train) or base.algorithm["name"] != "pretrained":
        return None
    knobs = base.algorithm["knobs"]
    if knobs.get("kind") == "encoder":
        return None
    model = {"name": knobs["name"], "revision": knobs.get("revision", ""), "template": knobs.get("template", "")}
    return {**model, "remote_code": bool(knobs.get("remote_code", False))}


def _budgeted(recipe: Recipe, stage: Train) -> str:
    """The knob that says how many prompts a training run has."""
    if stage.algorithm["name"] == "reward":
        roles = [role for role, part in recipe.rewards.items() if part.split == stage.split]
        return f"reward.{roles[0]}.prompts" if roles else "budget.prompts"
    return "budget.prompts" if stage.budget["prompts"] == recipe.budget.prompts else "start.prompts"

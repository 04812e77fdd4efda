"""Studies and trials as values: who is tuned where, over what, and the stages that a trial is made of. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness import keys, registry
from harness.knobs import Range, Value, knobs, ranges
from harness.plan import Cell, Plan, make_plan
from harness.recipe import Contestant, Part, Recipe, Tune

SEEDS = 1_000_000
"""Studies have the replicates from here on, so that no seed of the comparison was chosen on."""
VERSION = 1
"""Raise it when the same [tune] would propose other trials."""


@dataclass(frozen=True)
class Problem:
    """What one study searches.

    Attributes:
        contestant: who; its own knobs are those of the first trial, and stay where they are fixed.
        space: ranges by knob.
        model, dataset, start: the setting.
        number: 0, 1, ... of the recipe's studies; it has seeds of its own.
        key: a hash of everything that decides what the trials are.
    """

    contestant: Contestant
    space: Mapping[str, Range]
    model: Part
    dataset: Part
    start: Part
    number: int
    key: str

    @property
    def name(self) -> str:
        """Unique in a storage, and readable."""
        return f"{self.contestant.label} study {self.number} {self.key}"

    @property
    def setting(self) -> tuple[str, str, str]:
        """Labels of model, dataset and start."""
        return self.model.label, self.dataset.label, self.start.label

    @property
    def first(self) -> dict[str, Value]:
        """The knobs of the first trial: the defaults, where the recipe leaves them open."""
        declared = knobs(registry.load("algorithms", self.contestant.algorithm))
        return {name: declared[name].default for name in self.space}


def tune_of(recipe: Recipe) -> Tune:
    """How a recipe tunes; with the defaults where it does not say."""
    return recipe.tune or Tune()


def trial_recipe(recipe: Recipe) -> Recipe:
    """The recipe as trials see it: `tune` prompts, few metrics, and no gold reward model."""
    tune = tune_of(recipe)
    metrics = dict.fromkeys((tune.metric.partition("/")[0], *tune.limits))
    evaluation = replace(
        recipe.evaluation,
        split="tune",
        prompts=tune.prompts,
        samples=tune.samples,
        at=(),
        metrics=tuple(metrics),
        best_of=0,
    )
    rewards = {role: part for role, part in recipe.rewards.items() if role != "gold"}
    return replace(recipe, evaluation=evaluation, rewards=rewards)


def problems(recipe: Recipe, plan: Plan) -> list[Problem]:
    """Every study of a recipe: each contestant that can run and has something to search, in each setting."""
    runs = {(c.model, c.dataset, c.start, c.contestant) for c in plan.cells if not c.reason and not c.is_start}
    found = []
    for model in recipe.models:
        for dataset in recipe.datasets:
            for start in recipe.starts:
                labels = (model.label, dataset.label, start.label)
                for contestant in recipe.contestants:
                    if contestant.tuned is None and (*labels, contestant.label) in runs:
                        found += _studies(recipe, contestant, model, dataset, start)
    return found


def _studies(recipe: Recipe, contestant: Contestant, model: Part, dataset: Part, start: Part) -> list[Problem]:
    tune = tune_of(recipe)
    owner = registry.load("algorithms", contestant.algorithm)
    space = ranges(owner, contestant.knobs, tune.search.get(contestant.algorithm))
    if not space:
        return []
    found = []
    for number in range(tune.studies):
        problem = Problem(contestant, space, model, dataset, start, number, "")
        made = (grade for cell in trial_cells(recipe, problem, []) for grade in cell.grades.values())
        what = {
            **{"version": VERSION, "space": {name: repr(range_) for name, range_ in space.items()}},
            **{"stages": [grade.name for grade in made], "number": number, "random": tune.random},
            **{"sampler": tune.sampler, "metric": tune.metric, "limits": dict(tune.limits)},
            **({"prune_at": tune.prune_at} if tune.prune_at else {}),
        }
        found.append(replace(problem, key=keys.key(keys.plain(what))))
    return found


def trial_cells(recipe: Recipe, problem: Problem, asked: list[dict[str, Value]]) -> list[Cell]:
    """The start's cell, the cell of the contestant with its own knobs, then one for each trial."""
    own = problem.contestant
    trials = [
        replace(own, label=f"{own.label} trial {place}", knobs={**own.knobs, **values})
        for place, values in enumerate(asked)
    ]
    setting = replace(trial_recipe(recipe), models=(problem.model,), datasets=(problem.dataset,))
    plan = make_plan(replace(setting, contestants=(own, *trials)), replicates=[SEEDS + problem.number])
    return [cell for cell in plan.cells if cell.start == problem.start.label]

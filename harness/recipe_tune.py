"""Reads [tune]: budgets of the search, what is maximised, and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from harness import registry
from harness.knobs import NUMBERS
from harness.recipe import Recipe, Tune
from harness.recipe_metrics import roles_of, unknown, wrong_role
from harness.recipe_search import SearchReader

if TYPE_CHECKING:
    from harness.locate import Step
    from harness.recipe_reader import Reader

SPLIT = "tune"
UNSEEN = ("gold", "oracle")
"""Reward roles that judge the comparison, so that nothing may be chosen by them."""
UNUSED = (*UNSEEN, "before")
"""Roles by which nothing is chosen; what the start has is alike for all trials."""
ELSEWHERE = ("split", "limits", "search")
"""Keys of the table that are no knobs."""
AT_ONE = ("kl", "kl_per_token", "entropy")
"""Metrics that are measured of samples at temperature 1 alone."""
VIEWS = {
    **dict.fromkeys(("bleu", "rouge", "chosen_logp", "rejected_logp", "preference_accuracy"), "pairs"),
    **dict.fromkeys(("blame", "blame_threshold"), "judgments"),
}
"""What a dataset must have so that a metric can be measured on it."""
SEVERAL = ("compression", "distinct", "self_bleu")
"""Metrics that compare the samples of a prompt."""


class TuneReader:
    """Reads the table for the recipe's reader, and collects every problem with its means."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.located, self.problems = reader, reader.located, reader.problems

    def read(self, recipe: Recipe) -> Tune | None:
        """The table; None where there is none. `recipe` is all else that the file says."""
        if "tune" not in self.located.values:
            return None
        given = self.reader.table(self.located.values["tune"], "tune")
        split, limits, search = given.pop("split", SPLIT), given.pop("limits", None), given.pop("search", {})
        tune = replace(Tune(), **self.reader.coerce(Tune, "tune", given, "tune", also=ELSEWHERE))
        tune = replace(tune, search=SearchReader(self.reader).read(search, recipe.contestants))
        if limits is not None:
            tune = replace(tune, limits=self._limits(limits, tune, recipe))
        self._separate(split, recipe)
        if wrong := _unfit(tune.metric) or _unmeasured(tune.metric, tune, recipe):
            self._add(f"tune.metric is '{tune.metric}': {wrong}", "metric")
        self._budget(tune, recipe)
        return tune

    def _add(self, text: str, *path: Step) -> None:
        self.problems.add(self.located.where("tune", *path), text)

    def _separate(self, split: object, recipe: Recipe) -> None:
        """What chooses must not also judge."""
        if split != SPLIT:
            self._add(f"tune.split is {split!r}; knobs are chosen on split 'tune' and told on another", "split")
        for role, part in recipe.rewards.items():
            if part.split == SPLIT and not part.rule:
                self._add(f"reward.{role} trains on split 'tune', on which knobs are chosen")
        for text in recipe.shared_rewards:
            self._add(f"{text}; knobs would be chosen by what judges them, so [tune] needs a model for each role")

    def _budget(self, tune: Tune, recipe: Recipe) -> None:
        if tune.prune_at >= recipe.budget.steps:
            text = f"tune.prune_at is {tune.prune_at}; it must be below budget.steps = {recipe.budget.steps}"
            self._add(text, "prune_at")
        if tune.random >= tune.trials and tune.trials > 1:
            self._add(f"tune.random is {tune.random} of {tune.trials} trials, the first of which has the recipe's own; "
                      f"it can be {tune.trials - 1} at most", "random")  # fmt: skip
        if tune.studies not in (1, recipe.replicates):
            self._add(f"tune.studies is {tune.studies}; it must be 1, or {recipe.replicates}, one for each replicate: "
                      "a study is then a replicate, and its luck is in the intervals", "studies")  # fmt: skip

    def _limits(self, given: object, tune: Tune, recipe: Recipe) -> Mapping[str, float]:
        if not isinstance(given, dict):
            self._add(f"tune.limits is {given!r}; it must be a table of metrics and the most they may be", "limits")
            return {}
        for name, value in given.items():
            if wrong := _unlimited(name, value) or _unmeasured(name, tune, recipe):
                self._add(f"tune.limits.{name}: {wrong}", "limits", name)
        return {name: float(value) for name, value in given.items() if value in NUMBERS}


def _unfit(metric: str) -> str:
    """Why nothing can be chosen by a metric, and by what it can; or nothing."""
    name, _, role = metric.partition("/")
    if text := unknown(name):
        return text
    roles = roles_of(name)
    usable = None if roles is None else tuple(one for one in roles if one not in UNUSED)
    if role.split(".")[0] in UNSEEN or usable == ():
        return f"{role or ' or '.join(UNSEEN)} judges the comparison; use reward/selection"
    if registry.load("metrics", name).better != "higher":
        return f"{name} is not better when higher; limit it in tune.limits, and choose by reward/selection"
    return wrong_role(name, role, usable)


def _unlimited(name: str, value: object) -> str:
    """Why a metric cannot be held to a value, or nothing."""
    if text := unknown(name):
        return text
    if "" not in (roles_of(name) or ("",)):
        return f"{name} has values by role alone, which limits do not hold; limit another metric, such as kl"
    return "" if value in NUMBERS else f"{value!r} is no finite number; where there is to be no limit, leave it out"


def _unmeasured(metric: str, tune: Tune, recipe: Recipe) -> str:
    """Why the trials of a recipe do not measure a metric, or nothing."""
    name, _, role = metric.partition("/")
    if registry.load("metrics", name).greedy and not recipe.evaluation.greedy:
        return "it is of greedy responses; set evaluation.greedy = true"
    if name in AT_ONE and recipe.evaluation.temperature != 1:
        return f"it is measured at evaluation.temperature = 1 alone, and that is {recipe.evaluation.temperature:g}"
    if name in SEVERAL and tune.samples < 2:
        return f"it compares samples of a prompt; set tune.samples to 2 or more, it is {tune.samples}"
    view = _trained_on(role, recipe) if name == "reward" else VIEWS.get(name)
    for dataset in recipe.datasets:
        offers = registry.load("data", dataset.name)(**dataset.knobs).offers()
        if view and offers and view not in offers:
            return f"it needs {view}; dataset '{dataset.label}' has {', '.join(sorted(offers))}"
    return ""


def _trained_on(role: str, recipe: Recipe) -> str | None:
    """The view that a reward model trains on; None where none is trained."""
    part = recipe.rewards[role]
    if part.rule or part.ready:
        return None
    return str(registry.load("algorithms", "reward")(**part.knobs).requires().data)

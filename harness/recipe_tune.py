"""Reads [tune]: budgets of the search, what is maximised, limits, and ranges of the recipe's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness import registry
from harness.errors import HarnessError, Problems, nearest
from harness.knobs import Choice, Range, Uniform, coerce, inside, knobs, ranges
from harness.locate import Located, Step
from harness.recipe import Contestant, RewardPart, Tune

SPLIT = "tune"
UNSEEN = ("gold", "oracle")
"""Reward roles that judge the comparison, so that nothing may be chosen by them."""


class TuneReader:
    """Reads the table and adds every problem in it to those of the recipe."""

    def __init__(self, located: Located, problems: Problems, steps: int) -> None:
        self.located, self.problems, self.steps = located, problems, steps

    def read(
        self,
        contestants: tuple[Contestant, ...],
        rewards: Mapping[str, RewardPart],
        replicates: int,
        shared: tuple[str, ...] = (),
    ) -> Tune | None:
        """The table; None where the recipe has none. `shared` says which reward models fill two roles."""
        if "tune" not in self.located.values:
            return None
        given = self.located.values["tune"]
        if not isinstance(given, dict):
            self._add(f"tune must be a table, not {given!r}")
            return None
        given = dict(given)
        split, limits, search = given.pop("split", SPLIT), given.pop("limits", None), given.pop("search", {})
        values: dict[str, Any] = {}
        for name, value in given.items():
            values |= coerce(Tune, "tune", {name: value}, self.located.where("tune", name), self.problems)
        tune = replace(Tune(), **values)
        tune = replace(tune, limits=self._limits(limits, tune.limits), search=self._search(search, contestants))
        self._separate(tune, split, rewards)
        for text in shared:
            self._add(f"{text}; knobs would be chosen by what judges them, so [tune] needs a model for each role")
        self._budget(tune, replicates)
        for contestant in contestants:
            self._ranges(tune, contestant)
        return tune

    def _add(self, text: str, *path: Step) -> None:
        self.problems.add(self.located.where("tune", *path), text)

    def _separate(self, tune: Tune, split: object, rewards: Mapping[str, RewardPart]) -> None:
        """What chooses must not also judge."""
        if split != SPLIT:
            self._add(f"tune.split is {split!r}; knobs are chosen on split 'tune' and told on another", "split")
        for role, part in rewards.items():
            if part.split == SPLIT and not part.rule:
                self._add(f"reward.{role} trains on split 'tune', on which knobs are chosen")
        name, _, role = tune.metric.partition("/")
        if name not in registry.names("metrics"):
            self._no_metric("metric", name)
        elif role.split(".")[0] in UNSEEN:
            self._add(f"tune.metric is '{tune.metric}': {role} judges the comparison; use reward/selection", "metric")
        elif name == "reward" and role not in ("selection", "proxy"):
            self._add(f"tune.metric is '{tune.metric}'; the reward to choose by is reward/selection", "metric")
        elif registry.load("metrics", name).better == "lower":
            self._add(f"tune.metric '{tune.metric}' is better when lower; set a limit on it instead", "metric")

    def _no_metric(self, where: str, name: str) -> None:
        known = registry.names("metrics")
        self._add(f"there is no metric '{name}'{nearest(name, known)} (known: {', '.join(known)})", where)

    def _budget(self, tune: Tune, replicates: int) -> None:
        if tune.prune_at >= self.steps:
            self._add(f"tune.prune_at is {tune.prune_at}; it must be below budget.steps = {self.steps}", "prune_at")
        if tune.random >= tune.trials and tune.trials > 1:
            self._add(f"tune.random is {tune.random} of {tune.trials} trials, the first of which has the recipe's own; "
                      f"it can be {tune.trials - 1} at most", "random")  # fmt: skip
        if tune.studies not in (1, replicates):
            self._add(f"tune.studies is {tune.studies}; it must be 1, or {replicates}, one for each replicate: "
                      "a study is then a replicate, and its luck is in the intervals", "studies")  # fmt: skip

    def _limits(self, given: object, default: Mapping[str, float]) -> Mapping[str, float]:
        if given is None:
            return default
        if not isinstance(given, dict):
            self._add(f"tune.limits is {given!r}; it must be a table of metrics and the most they may be", "limits")
            return {}
        found = {}
        for name, value in given.items():
            if name not in registry.names("metrics") or name == "reward":
                self._no_metric("limits", name)
            elif isinstance(value, bool) or not isinstance(value, int | float):
                self._add(f"tune.limits.{name} is {value!r}; it must be a number", "limits", name)
            else:
                found[name] = float(value)
        return found

    def _search(self, given: object, contestants: tuple[Contestant, ...]) -> dict[str, dict[str, Range]]:
        if not isinstance(given, dict):
            self._add(f"tune.search is {given!r}; it must be a table for each algorithm", "search")
            return {}
        found: dict[str, dict[str, Range]] = {}
        names = {contestant.algorithm for contestant in contestants}
        for algorithm, table in given.items():
            if algorithm not in names or not isinstance(table, dict):
                hint = nearest(algorithm, names)
                self._add(
                    f"tune.search.{algorithm}: no [[algorithm]] of the recipe has that name{hint}", "search", algorithm
                )
                continue
            owner = registry.load("algorithms", algorithm)
            own = {name: self._range(owner, algorithm, name, value) for name, value in table.items()}
            found[algorithm] = {name: range_ for name, range_ in own.items() if range_ is not None}
        return found

    def _range(self, owner: type, algorithm: str, name: str, given: object) -> Range | None:
        path: tuple[Step, ...] = ("search", algorithm, name)
        label = f"tune.search.{algorithm}.{name}"
        declared = knobs(owner)
        if name not in declared:
            self._add(
                f"{algorithm} has no knob '{name}'{nearest(name, declared)} (knobs: {', '.join(declared)})", *path
            )
            return None
        shape = "{ low = 0.01, high = 1.0, log = true } or { choice = [0.1, 0.3] }"
        if not isinstance(given, dict) or not (
            set(given) == {"choice"} or {"low", "high"} <= set(given) <= {"low", "high", "log"}
        ):
            self._add(f"{label} is {given!r}; it must be {shape}", *path)
            return None
        where = self.located.where("tune", *path)
        values = given["choice"] if "choice" in given else [given["low"], given["high"]]
        if not isinstance(values, list) or not values:
            self._add(f"{label}.choice is {values!r}; it must be a list of at least one value", *path)
            return None
        right = [coerce(owner, algorithm, {name: value}, where, self.problems).get(name) for value in values]
        if None in right:
            return None
        if "choice" in given:
            return Choice(tuple(value for value in right if value is not None))
        low, high, log = float(given["low"]), float(given["high"]), bool(given.get("log", False))
        if declared[name].type not in (int, float) or not low < high or (log and low <= 0):
            self._add(
                f"{label} goes from {low:g} to {high:g}; low must be below high, and above 0 on a log scale", *path
            )
            return None
        return Uniform(low, high, log)

    def _ranges(self, tune: Tune, contestant: Contestant) -> None:
        """Every range holds the knobs of the first trial."""
        owner, own = registry.load("algorithms", contestant.algorithm), tune.search.get(contestant.algorithm, {})
        try:
            space = ranges(owner, contestant.knobs, own)
        except HarnessError as error:
            self.problems.add(contestant.where, f"{contestant.label}: {error} (tune.search.{contestant.algorithm})")
            return
        for name, range_ in space.items():
            value = knobs(owner)[name].default
            if not inside(range_, value):
                label = f"tune.search.{contestant.algorithm}.{name}"
                self._add(
                    f"{label} is {range_}; it must hold the first trial's value, the default {value}",
                    "search",
                    contestant.algorithm,
                    name,
                )

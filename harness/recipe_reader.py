"""From located TOML to a recipe, or every problem in it at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import data, keys, models, registry
from harness.algorithms import Algorithm
from harness.errors import HarnessError, Problems, nearest
from harness.job import Budget
from harness.knobs import Between, Value, coerce, keyed
from harness.launch import on_one_line
from harness.locate import Located, Step
from harness.public import called
from harness.recipe import STARTS, Evaluation, Part, Recipe
from harness.recipe_benchmarks import BenchmarkReader
from harness.recipe_contestants import ContestantReader
from harness.recipe_hypotheses import read_hypotheses
from harness.recipe_judges import read_judges
from harness.recipe_launch import LaunchReader
from harness.recipe_metrics import unknown
from harness.recipe_rewards import RewardReader
from harness.recipe_tune import TuneReader

KINDS_OF_SOURCE = {"dataset": data.named, "model": models.named}
"""What a source is short for."""
COMPARED = "reward"
"""The metric that all verdicts are about."""
LONGEST = 100
"""Bytes of a recipe's name: file systems take 255 in a folder's, and it is not alone there."""
SPENDS = ("steps", "batch", "micro_batch", "prompts")
"""What a start may have other than the budget says."""
NOT_YET = {
    "report": "there is nothing to set about the report yet",
}


class Reader:
    """Reads the tables of a recipe one by one, and collects every problem."""

    TABLES = (
        *("model", "dataset", "start", "budget", "evaluation", "reward", "algorithm", "tune", "judge", "benchmark"),
        *("hypothesis", "launch"),
    )
    PLAIN = ("name", "question", "replicates", "looks")

    def __init__(self, located: Located, path: Path) -> None:
        self.located, self.path, self.problems = located, path, Problems()
        self.values = located.values

    def read(self) -> Recipe:
        """The recipe.

        Raises:
            HarnessError: with all problems.
        """
        self._top_level()
        models = self._parts("model", "models")
        datasets = self._parts("dataset", "data")
        budget = self._budget()
        starts = self._starts(budget)
        self._quantised(models, budget)
        evaluation = self._evaluation(budget)
        rewards, shared = RewardReader(self, budget).read(evaluation)
        contestants = ContestantReader(self).read(starts)
        launch = LaunchReader(self).read()
        recipe = Recipe(
            str(self.values.get("name")), str(self.values.get("question", "")), self._replicates(), models, datasets,
            starts, budget, evaluation, rewards, contestants, launch, self.path, self.located.text,
            shared_rewards=shared, judges=read_judges(self), benchmarks=BenchmarkReader(self).read(),
            looks=self._looks(),
        )  # fmt: skip
        recipe = replace(recipe, tune=TuneReader(self).read(recipe))
        recipe = replace(recipe, hypotheses=read_hypotheses(self, recipe))
        self.problems.check()
        return recipe

    def _top_level(self) -> None:
        known = (*self.PLAIN, *self.TABLES, *NOT_YET)
        for name in self.values:
            if name in NOT_YET:
                self.problems.add(self.located.where(name), f"[{name}]: not yet: {NOT_YET[name]}")
            elif name not in known:
                allowed = ", ".join((*self.PLAIN, *self.TABLES))
                hint = nearest(name, known)
                self.problems.add(self.located.where(name), f"a recipe has no '{name}'{hint} (known: {allowed})")
        title = self.values.get("name")
        if not isinstance(title, str) or not title.replace("_", "").replace("-", "").isalnum():
            what = "is missing" if title is None else f"is {title!r}"
            wanted = "it must be letters, digits, '_' and '-', for it names the report's folder"
            self.problems.add(self.located.where("name"), f"name {what}; {wanted}")
        elif (size := len(title.encode())) > LONGEST:
            text = f"name has {size} bytes; it must have {LONGEST} at most, for it names folders"
            self.problems.add(self.located.where("name"), text)
        if not isinstance(self.values.get("question", ""), str):
            self.problems.add(self.located.where("question"), "question must be text")
        count = self.values.get("replicates", 5)
        if count not in Between(low=1) or count % 1:
            self.problems.add(
                self.located.where("replicates"), f"replicates is {count!r}; it must be a whole number from 1"
            )

    def _replicates(self) -> int:
        count = self.values.get("replicates", 5)
        return int(count) if count in Between(low=1) else 1

    def _looks(self) -> tuple[int, ...]:
        """Whole numbers of seeds that grow to the replicates."""
        given, last = self.values.get("looks", []), self._replicates()
        whole = isinstance(given, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in given)
        if not given and whole:
            return ()
        if not whole or given[0] < 2 or given != sorted(set(given)) or given[-1] != last:
            right = f"for example {sorted({max(2, last // 2), last})}" if last > 1 else "of which 1 has none"
            self.problems.add(
                self.located.where("looks"),
                f"looks is {given!r}; it must be growing whole numbers of seeds from 2 that end at replicates, {right}",
            )
            return ()
        return tuple(given)

    def table(self, value: object, *path: Step) -> dict[str, Any]:
        """A copy of a table; empty where it is none, which is noted."""
        if isinstance(value, dict):
            return dict(value)
        self.problems.add(
            self.located.where(*path),
            f"{'.'.join(step for step in path if isinstance(step, str))} must be a table, not {value!r}",
        )
        return {}

    def tables(self, name: str) -> list[dict[str, Any]]:
        """Copies of the tables that are written `[[name]]`."""
        value = self.values.get(name, [])
        if isinstance(value, dict) or not isinstance(value, list):
            self.problems.add(self.located.where(name), f"{name} must be written as [[{name}]]: it may repeat")
            return []
        return [self.table(item, name, place) for place, item in enumerate(value)]

    def coerce(
        self, owner: type, label: str, given: dict[str, Any], *path: Step, also: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Accepted values of knobs; each problem with its own place. `also` are keys of the table read elsewhere."""
        accepted: dict[str, Any] = {}
        for name, value in given.items():
            accepted |= coerce(owner, label, {name: value}, self.located.where(*path, name), self.problems, also)
        return accepted

    def label(self, given: object, usual: str, *path: Step) -> str:
        """What tables call something: a text on one line, or what they call it without one."""
        if given is None or given == "":
            return usual
        if isinstance(given, str) and given.strip() and on_one_line(given):
            return given
        where = self.located.where(*path, "label")
        self.problems.add(where, f'{path[0]}.label is {given!r}; it must be text on one line, such as "{usual} 2"')
        return usual

    def plugin(self, kind: str, name: object, where: str) -> type | None:
        """The class of a plug-in; None where there is none of that name."""
        if not isinstance(name, str):
            self.problems.add(
                where, f"a name is missing or no text: {name!r} (known: {', '.join(registry.names(kind))})"
            )
            return None
        try:
            return registry.load(kind, name)
        except HarnessError as error:
            self.problems.add(where, str(error))
            return None

    def _parts(self, table: str, kind: str) -> tuple[Part, ...]:
        found: list[Part] = []
        for place, given in enumerate(self.tables(table) or [{"source": "lab"}]):
            where = self.located.where(table, place, "source")
            source, label = given.pop("source", None), given.pop("label", None)
            part = self._part(table, kind, source, given, table, place)
            if part is not None:
                found.append(replace(part, label=self.label(label, part.label, table, place), where=where))
        return self._distinct(found, table, kind)

    def _part(self, table: str, kind: str, source: object, given: dict[str, Any], *path: Step) -> Part | None:
        """A model or dataset; what its source is short for is written out, and files are known by their content."""

        def problem(name: str, message: str) -> None:
            self.problems.add(self.located.where(*path, name), message)

        name, values = source, given
        if isinstance(source, str):
            name, values = KINDS_OF_SOURCE[table](source, given)
        if table == "model" and isinstance(name, str) and name not in registry.names(kind):
            problem("source", models.unknown(name))
            return None
        owner: Any = self.plugin(kind, name, self.located.where(*path, "source"))
        if owner is None:
            return None
        if path[0] == "model" and not owner.writes:
            problem("source", f"'{source}' writes no text; a reward model can rest on it: [reward.gold] base = {{...}}")
        values = owner.settle(values, self.path.parent, problem)
        also = ("source", "label") if path[0] == table else ("source",)
        own = self.coerce(owner, str(name), values, *path, also=also)
        return Part(str(name), called(str(source)), own)

    def _quantised(self, models: tuple[Part, ...], budget: Budget) -> None:
        for part in models:
            if part.knobs.get("bits") and not budget.lora_rank:
                text = f"model.bits is {part.knobs['bits']}: quantised weights are trained with an adapter alone"
                self.problems.add(part.where, f"{text}; set budget.lora_rank")

    def _distinct(self, parts: list[Part], table: str, kind: str) -> tuple[Part, ...]:
        """Parts of a kind of plug-in; one that is there twice, and one with the label of another, are noted."""
        labels: dict[str, Part] = {}
        contents: dict[str, Part] = {}
        for part in parts:
            twin = contents.setdefault(_content(part, kind), part)
            other = labels.setdefault(part.label, part) if twin is part else twin
            if other is not part:
                same = "is there twice" if twin.label == part.label else f"is the same as '{twin.label}'"
                why = 'needs a label of its own: label = "..."' if twin is part else same
                self.problems.add(part.where, f"[[{table}]] '{part.label}' {why} (the other: {other.where})")
        return tuple(parts)

    def spend(
        self, label: str, given: dict[str, Any], names: tuple[str, ...], budget: Budget, *path: Step
    ) -> dict[str, Value]:
        """Take the budget's own words out of a table; a batch that is set alone is one micro-batch in a plan."""
        own = {name: given.pop(name) for name in names if name in given}
        right = self.coerce(Budget, label, own, *path)
        whole = replace(budget, **right)
        if "micro_batch" in right and whole.batch % whole.micro_batch:
            where, text = self.located.where(*path, "micro_batch"), f"{label}.micro_batch is {whole.micro_batch}"
            self.problems.add(where, f"{text}; it must divide the batch, which is {whole.batch}")
        return right

    def _starts(self, budget: Budget) -> tuple[Part, ...]:
        found: list[Part] = []
        for place, given in enumerate(self.tables("start") or [{"name": "sft"}]):
            where = self.located.where("start", place, "name")
            name, label = given.pop("name", None), given.pop("label", None)
            if name not in STARTS:
                hint = nearest(str(name), STARTS)
                self.problems.add(where, f"there is no start '{name}'{hint} (known: {', '.join(STARTS)})")
                continue
            spend = self.spend(f"start {name}", given, SPENDS, budget, "start", place)
            if name == "base":
                for key in (*given, *spend):
                    self.problems.add(
                        self.located.where("start", place, key), f"start 'base' takes no '{key}': nothing is trained"
                    )
                values: dict[str, Value] = {}
            else:
                owner, also = registry.load("algorithms", str(name)), ("name", "label", *SPENDS)
                values = self.coerce(owner, str(name), given, "start", place, also=also)
            found.append(Part(str(name), self.label(label, str(name), "start", place), values, spend, where))
        return self._distinct(found, "start", "algorithms")

    def _budget(self) -> Budget:
        given = self.table(self.values.get("budget", {}), "budget")
        budget = replace(Budget(), **self.coerce(Budget, "budget", given, "budget"))
        if budget.batch % budget.micro_batch:
            if "micro_batch" in given or (budget.batch < budget.micro_batch and "batch" not in given):
                where, text = self.located.where("budget", "micro_batch"), f"budget.micro_batch is {budget.micro_batch}"
                self.problems.add(where, f"{text}; it must divide budget.batch = {budget.batch}")
            else:
                budget = replace(budget, micro_batch=budget.batch)
        return budget

    def _evaluation(self, budget: Budget) -> Evaluation:
        given = self.table(self.values.get("evaluation", {}), "evaluation")
        for name in ("lm_eval", "bench", "tasks"):
            if given.pop(name, None) is not None:
                text = f"evaluation has no '{name}'; lm-eval tasks are written as [[benchmark]] with tasks = [...]"
                self.problems.add(self.located.where("evaluation", name), text)
        at, metrics = given.pop("at", []), given.pop("metrics", None)
        values = self.coerce(Evaluation, "evaluation", given, "evaluation", also=("at", "metrics"))
        steps = self._steps(at, budget)
        return replace(Evaluation(), **values, at=steps, metrics=self._metrics(metrics))

    def _metrics(self, given: object) -> tuple[str, ...]:
        """Names of metrics; the usual ones where the recipe names none."""
        if given is None:
            return tuple(name for name, kind in registry.loaded("metrics").items() if kind.usual)
        where = self.located.where("evaluation", "metrics")
        if not isinstance(given, list) or not given:
            self.problems.add(where, f"evaluation.metrics is {given!r}; it must be a list of names")
            return ()
        chosen = tuple(dict.fromkeys(str(name) for name in given))
        strange = [text for name in chosen if (text := unknown(name))]
        lacking = f"evaluation.metrics lacks '{COMPARED}', by which contestants are compared: no verdict without it"
        for text in strange or ([] if COMPARED in chosen else [lacking]):
            self.problems.add(where, text)
        for name in [] if strange else chosen:  # a file that is wrong is told here
            self.plugin("metrics", name, where)
        return chosen

    def _steps(self, at: object, budget: Budget) -> tuple[int, ...]:
        where = self.located.where("evaluation", "at")
        if not isinstance(at, list) or not all(isinstance(step, int) and not isinstance(step, bool) for step in at):
            self.problems.add(where, f"evaluation.at is {at!r}; it must be a list of optimiser steps")
            return ()
        for step in at:
            if not 1 <= step < budget.steps:
                self.problems.add(
                    where,
                    f"evaluation.at has {step}; steps go from 1 to {budget.steps - 1}; the last is always evaluated",
                )
        return tuple(sorted(set(at)))

    def together(self, owner: type[Algorithm], name: str, sets: list[dict[str, Any]], *path: Step) -> None:
        """Note what knobs that are right one by one contradict together, each contradiction once."""
        for wrong in dict.fromkeys(owner(**knobs).contradiction() for knobs in sets):
            if wrong:
                self.problems.add(self.located.where(*path), f"{name}: {wrong}")


def _content(part: Part, kind: str) -> str:
    """Equal for parts that make the same stages."""
    knobs = keyed(registry.load(kind, part.name)(**part.knobs))
    return keys.canonical(keys.plain([part.name, knobs, dict(part.spend)]))

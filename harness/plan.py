"""Recipe to plan: cells, and the stages that they rest on. Pure: no clock, no disk, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from harness import registry
from harness.algorithms import Algorithm
from harness.errors import HarnessError
from harness.job import Budget
from harness.knobs import Value
from harness.models import ModelSource
from harness.recipe import Contestant, Part, Recipe
from harness.stages import Grade, Reference, Sample, Stage, Train, algorithm_spec, dataset_spec, walk


@dataclass(frozen=True)
class Cell:
    """One contestant in one setting and one replicate.

    Attributes:
        contestant: unique within its setting.
        algorithm: its name.
        knobs: those that the recipe sets.
        model: the model's label.
        dataset: the dataset's label.
        start: the label of the setting's start, with which all its contestants are compared.
        replicate: 0, 1, ...
        is_start: whether it is the start itself.
        trained: what is trained; None where the cell cannot run. See `policy`.
        samples: by the step whose policy is sampled; None is the final one.
        grades: the same for grades.
        reason: why it cannot run, or empty.
    """

    contestant: str
    algorithm: str
    knobs: Mapping[str, Value]
    model: str
    dataset: str
    start: str
    replicate: int
    is_start: bool
    trained: Train | None
    samples: Mapping[int | None, Sample]
    grades: Mapping[int | None, Grade]
    reason: str = ""

    @property
    def policy(self) -> Train:
        """What is trained.

        Raises:
            LookupError: the cell cannot run.
        """
        if self.trained is None:
            raise LookupError(f"{self.contestant} cannot run: {self.reason}")
        return self.trained


@dataclass(frozen=True)
class Plan:
    """All cells of a recipe.

    Attributes:
        rewards: reward models by role, for each (model, dataset, replicate).
    """

    recipe: Recipe
    cells: tuple[Cell, ...]
    rewards: Mapping[tuple[str, str, int], Mapping[str, Train]]

    @cached_property
    def targets(self) -> list[Stage]:
        """What the report reads: every grade."""
        return [grade for cell in self.cells for grade in cell.grades.values()]

    @cached_property
    def _stages(self) -> list[Stage]:
        return list(walk(self.targets))

    def stages(self) -> list[Stage]:
        """Every stage once, inputs before what reads them."""
        return list(self._stages)


def make_plan(recipe: Recipe) -> Plan:
    """Expand a recipe.

    Raises:
        HarnessError: no cell can run; the message says why for each algorithm.
    """
    cells: list[Cell] = []
    rewards: dict[tuple[str, str, int], Mapping[str, Train]] = {}
    for model in recipe.models:
        for dataset in recipe.datasets:
            world = _World(recipe, model, dataset)
            for replicate in range(recipe.replicates):
                rewards[model.label, dataset.label, replicate] = world.rewards(replicate)
                for start in recipe.starts:
                    cells += world.cells(start, replicate)
    plan = Plan(recipe, tuple(cells), rewards)
    if not any(cell.trained for cell in cells if not cell.is_start):
        reasons = dict.fromkeys(f"{cell.contestant}: {cell.reason}" for cell in cells if cell.reason)
        raise HarnessError(f"{recipe.path}: no algorithm can run\n" + "\n".join(f"  {reason}" for reason in reasons))
    _check_gold(plan)
    return plan


def _check_gold(plan: Plan) -> None:
    """Prove on the graph that the gold reward models are read by Grade stages alone."""
    gold = {found["gold"].name for found in plan.rewards.values() if "gold" in found}
    for stage in plan.stages():
        readers = {needed.name for needed in stage.inputs.values()} & gold
        if readers and not isinstance(stage, Grade):
            raise AssertionError(f"{stage.name} reads a gold reward model, which only a Grade may")


class _World:
    """The stages of one model and one dataset."""

    def __init__(self, recipe: Recipe, model: Part, dataset: Part) -> None:
        self.recipe, self.model, self.dataset = recipe, model, dataset
        self.spec = dataset_spec(dataset.name, dict(dataset.knobs))
        self.views: frozenset[str] = registry.load("data", dataset.name).views
        self._once: dict[Any, Any] = {}

    def base(self, number: int) -> Train:
        """The base model from one pretraining seed."""
        if ("base", number) not in self._once:
            source: ModelSource = registry.load("models", self.model.name)(**self.model.knobs)
            origin = source.origin()
            self._once["base", number] = Train(
                {},
                algorithm=algorithm_spec(origin.algorithm, origin.knobs),
                dataset=self.spec,
                split=origin.split,
                budget=asdict(Budget(**origin.budget)),
                seed=f"pretrain-{number}",
            )
        found: Train = self._once["base", number]
        return found

    def budget(self, spend: Mapping[str, Value], **fixed: Value) -> dict[str, Any]:
        """The recipe's budget with a part's own values; micro-batches follow a batch that is set alone."""
        own: dict[str, Any] = {**spend, **fixed}
        if "batch" in own and "micro_batch" not in own:
            own["micro_batch"] = own["batch"]
        key = ("budget", tuple(sorted(own.items())))
        if key not in self._once:
            self._once[key] = asdict(replace(self.recipe.budget, **own))
        found: dict[str, Any] = self._once[key]
        return found

    def rewards(self, replicate: int) -> dict[str, Train]:
        """Reward models by role: proxy once per replicate, selection and gold once in all; a rule needs none."""
        if "pairs" not in self.views:
            return {}
        found = {}
        for role, part in self.recipe.rewards.items():
            if part.rule:
                continue
            seed = f"replicate-{replicate}" if role == "proxy" else role
            if ("reward", role, seed) not in self._once:
                self._once["reward", role, seed] = Train(
                    {"start": self.base(part.pretrain)},
                    algorithm=algorithm_spec("reward", dict(part.knobs)),
                    dataset=self.spec,
                    split=part.split,
                    budget=self.budget(part.spend, lora_rank=0),
                    seed=seed,
                )
            found[role] = self._once["reward", role, seed]
        return found

    def start(self, name: str, replicate: int) -> Train:
        """The policy that contestants start from, spending what the recipe's [[start]] of that name says."""
        if name == "base":
            return self.base(0)
        if ("start", name, replicate) not in self._once:
            part = next((part for part in self.recipe.starts if part.name == name), Part(name, name))
            self._once["start", name, replicate] = self.trained(name, part.knobs, part.spend, "base", replicate)
        found: Train = self._once["start", name, replicate]
        return found

    def trained(
        self, algorithm: str, knobs: Mapping[str, Value], spend: Mapping[str, Value], start: str, replicate: int,
        emit: tuple[int, ...] = (),
    ) -> Train:  # fmt: skip
        """A policy from a start, with the reference where the algorithm needs it."""
        kind: type[Algorithm] = registry.load("algorithms", algorithm)
        inputs: dict[str, Stage] = {"start": self.start(start, replicate)}
        if kind.needs.reference:
            inputs["reference"] = self.reference(start, replicate)
        return Train(
            inputs,
            algorithm=algorithm_spec(algorithm, dict(knobs)),
            dataset=self.spec,
            split="train",
            budget=self.budget(spend),
            seed=f"replicate-{replicate}",
            emit=list(emit) or None,
        )

    def reference(self, start: str, replicate: int) -> Reference:
        """Log-probabilities under a start. Only what matters to them is in its key, so steps may change."""
        if ("reference", start, replicate) not in self._once:
            names = ("prompts", "max_prompt_tokens", "max_response_tokens", "precision", "threads", "micro_batch")
            budget = {name: value for name, value in self.budget({}).items() if name in names}
            inputs: dict[str, Stage] = {"start": self.start(start, replicate)}
            self._once["reference", start, replicate] = Reference(
                inputs, dataset=self.spec, split="train", budget=budget
            )
        found: Reference = self._once["reference", start, replicate]
        return found

    def cells(self, start: Part, replicate: int) -> Iterator[Cell]:
        """The start itself, then every contestant."""
        baseline = self.start(start.name, replicate)
        where: dict[str, Any] = {
            "model": self.model.label,
            "dataset": self.dataset.label,
            "start": start.label,
            "replicate": replicate,
        }
        judged = self._judged(baseline, baseline, replicate, ())
        yield Cell(start.label, start.name, dict(start.knobs), is_start=True, trained=baseline, **judged, **where)
        for contestant in self.recipe.contestants:
            own = contestant.start or start.name
            common = {
                "contestant": contestant.label,
                "algorithm": contestant.algorithm,
                "knobs": contestant.knobs,
                **where,
            }
            reason = self._missing(contestant, own)
            if reason:
                yield Cell(**common, is_start=False, trained=None, samples={}, grades={}, reason=reason)
                continue
            at = self.recipe.evaluation.at
            policy = self.trained(contestant.algorithm, contestant.knobs, {}, own, replicate, at)
            judged = self._judged(policy, baseline, replicate, at)
            yield Cell(**common, is_start=False, trained=policy, **judged)

    def _missing(self, contestant: Contestant, start: str) -> str:
        """Why a contestant cannot run on this dataset, or nothing."""
        for algorithm in (contestant.algorithm, *([] if start == "base" else [start])):
            view = registry.load("algorithms", algorithm).needs.data
            if view not in self.views:
                views = ", ".join(sorted(self.views))
                return f"{algorithm} needs {view}; dataset '{self.dataset.label}' has {views}"
        return ""

    def _judged(self, policy: Train, baseline: Train, replicate: int, at: tuple[int, ...]) -> dict[str, Any]:
        """Samples and grades of a policy, final and at the steps that are asked for."""
        steps: tuple[int | None, ...] = (None, *at)
        samples = {step: self._sample(policy, replicate, step) for step in steps}
        grades = {step: self._grade(samples[step], policy, baseline, replicate, step) for step in steps}
        return {"samples": samples, "grades": grades}

    def _sample(self, policy: Train, replicate: int, step: int | None) -> Sample:
        asked = self.recipe.evaluation
        return Sample(
            {"policy": policy},
            dataset=self.spec,
            split=asked.split,
            prompts=asked.prompts,
            samples=asked.samples,
            temperature=asked.temperature,
            max_response_tokens=self.recipe.budget.max_response_tokens,
            procedure={"name": "plain"},
            seed=f"replicate-{replicate}",
            batch=asked.batch,
            threads=asked.threads,
            step=step,
        )

    def _grade(self, sample: Sample, policy: Train, baseline: Train, replicate: int, step: int | None) -> Grade:
        asked = self.recipe.evaluation
        if "metrics" not in self._once:
            self._once["metrics"] = {name: registry.load("metrics", name).version for name in asked.metrics}
        return Grade(
            {"sample": sample, "policy": policy, "start": baseline, **self.rewards(replicate)},
            dataset=self.spec,
            metrics=self._once["metrics"],
            pairs=asked.pairs,
            batch=asked.score_batch,
            threads=asked.threads,
            step=step,
            rules={role: part.rule for role, part in self.recipe.rewards.items() if part.rule} or None,
        )

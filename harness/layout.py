"""The stages of one model and one dataset, as a plan lays them out. Pure, like the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from harness import registry
from harness.algorithms import Algorithm, Round
from harness.job import Budget
from harness.judging import Judging
from harness.knobs import Value, knobs
from harness.models import ModelSource
from harness.recipe import Contestant, Part, Recipe
from harness.stages import (
    Collect,
    Ready,
    Reference,
    Stage,
    Train,
    algorithm_spec,
    dataset_spec,
)

Policies = Mapping[int | None, tuple[Train, int | None]]
"""The policy's stage and its own step, by the step that a table shows: counted over all rounds, None for the last."""

FROM_PAIRS = {
    "demonstrations": '[[start]] name = "sft_chosen" or "base", or demonstrations = "from pairs"',
    "binary": 'binary = "from pairs"',
}
"""What a recipe can say for a view that pairs can be made into."""


@dataclass(frozen=True)
class Made:
    """What a contestant is made of.

    Attributes:
        policies: those that are judged.
        own: its own stages, in order.
    """

    policies: Policies
    own: tuple[Stage, ...]


class Layout:
    """The stages of one model and one dataset."""

    def __init__(self, recipe: Recipe, model: Part, dataset: Part) -> None:
        self.recipe, self.model, self.dataset = recipe, model, dataset
        self.spec = dataset_spec(dataset.name, dict(dataset.knobs))
        self.kind: Any = registry.load("data", dataset.name)(**dataset.knobs)
        self.views: frozenset[str] = self.kind.offers()
        self.judging = Judging(self)
        self._once: dict[Any, Any] = {}
        self.baseless = ""
        """Why there is no base model on this dataset, or nothing."""
        if self.base(0).split and "text" not in self.views:
            self.baseless = (
                f"the {model.label} model is pretrained on the dataset's text, and '{dataset.label}' has none: name a "
                "[[model]] for your own data"
            )

    def base(self, number: int, other: Part | None = None) -> Train:
        """The base model from one pretraining seed, or another model than the recipe's."""
        part = other or self.model
        key = ("base", number, part.name, tuple(sorted(part.knobs.items())))
        if key not in self._once:
            source: ModelSource = registry.load("models", part.name)(**part.knobs)
            origin = source.origin()
            self._once[key] = Train(
                {},
                algorithm=algorithm_spec(origin.algorithm, origin.knobs),
                dataset=self.spec if origin.split else None,
                split=origin.split,
                budget=asdict(Budget(**origin.budget)),
                seed=f"pretrain-{number}" if origin.split else "pretrained",
            )
        found: Train = self._once[key]
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

    def algorithm(self, name: str, knobs: Mapping[str, Value]) -> Algorithm:
        """An algorithm with its knobs."""
        key = ("algorithm", name, tuple(sorted(knobs.items())))
        if key not in self._once:
            self._once[key] = registry.load("algorithms", name)(**knobs)
        return cast(Algorithm, self._once[key])

    def rewards(self, replicate: int) -> dict[str, Stage]:
        """Reward models by role: proxy once per replicate, selection and gold once in all; a rule needs none."""
        found: dict[str, Stage] = {}
        for role, part in self.recipe.rewards.items() if not self.baseless else ():
            if part.ready:
                found[role] = Ready({}, **part.ready)
                continue
            if part.rule or self.algorithm("reward", part.knobs).requires().data not in self.views:
                continue
            seed = f"replicate-{replicate}" if role == "proxy" else role
            if ("reward", role, seed) not in self._once:
                self._once["reward", role, seed] = self._reward(role, seed, {})
            found[role] = self._once["reward", role, seed]
        return found

    def _reward(self, role: str, seed: str, data: Mapping[str, Stage]) -> Train:
        """A reward model of a role, with collected rows after the dataset's own."""
        part = self.recipe.rewards[role]
        return Train(
            {"start": self.base(part.pretrain, _whole(part.base or self.model)), **data},
            algorithm=algorithm_spec("reward", dict(part.knobs)),
            dataset=self.spec,
            split=part.split,
            budget=self.budget(part.spend, lora_rank=0),
            seed=seed,
            joined=True if data else None,
        )

    def proxy(self, replicate: int) -> tuple[dict[str, Stage], str | None]:
        """The proxy as an input of a stage, or as a rule."""
        rule = self.recipe.rewards["proxy"].rule or None
        return ({} if rule else {"reward": self.rewards(replicate)["proxy"]}), rule

    def part(self, name: str) -> Part:
        """The recipe's first [[start]] of a name; one of which nothing is set where it has none."""
        return next((part for part in self.recipe.starts if part.name == name), Part(name, name))

    def start(self, part: Part, replicate: int) -> Train:
        """The policy that contestants start from, spending what its part says."""
        if part.name == "base":
            return self.base(0)
        key = ("start", part.name, part.label, replicate)
        if key not in self._once:
            self._once[key] = Train(
                {"start": self.base(0)},
                algorithm=algorithm_spec(part.name, dict(part.knobs)),
                dataset=self.spec,
                split="train",
                budget=self.budget(part.spend),
                seed=f"replicate-{replicate}",
            )
        found: Train = self._once[key]
        return found

    def reference(self, start: Train, data: Collect | None) -> Reference:
        """Log-probabilities under a start. Only what matters to them is in its key, so steps may change."""
        key = ("reference", start.name, data.name if data else "")
        if key not in self._once:
            names = ("prompts", "max_prompt_tokens", "max_response_tokens", "precision", "threads", "micro_batch")
            budget = {name: value for name, value in self.budget({}).items() if name in names}
            inputs: dict[str, Stage] = {"start": start, **({"data": data} if data else {})}
            self._once[key] = Reference(inputs, dataset=self.spec, split="train", budget=budget)
        found: Reference = self._once[key]
        return found

    def missing(self, algorithm: Algorithm, name: str, start: str) -> str:
        """Why a contestant cannot run on this dataset, or nothing."""
        needs = algorithm.requires()
        wanted = {name: needs.data}
        if start != "base":
            wanted[start] = self.algorithm(start, {}).requires().data
        for who, view in wanted.items():
            if view not in self.views:
                views = ", ".join(sorted(self.views))
                known = view in FROM_PAIRS and view in knobs(type(self.kind)) and "pairs" in self.views
                hint = f"; with pairs alone, say {FROM_PAIRS[view]}" if known else ""
                return f"{who} needs {view}; dataset '{self.dataset.label}' has {views}{hint}"
        if self.baseless:
            return self.baseless
        proxy = self.recipe.rewards["proxy"]
        if needs.reward and not proxy.rule and "proxy" not in self.rewards(0):
            return f"{name} needs a proxy reward; dataset '{self.dataset.label}' has no data to train one"
        lacks = {
            "a judge": needs.judge and not self.kind.judges,
            "annotators": needs.annotators and not self.kind.annotates,
            "a rule reward 'total'": "oracle" in {one.labeller for one in algorithm.rounds()}
            and "total" not in self.kind.rewards,
        }
        found = (f"{name} needs {what}; dataset '{self.dataset.label}' has none" for what in lacks if lacks[what])
        return next(found, "") or self._unsuited(algorithm, name) or self._impossible(algorithm.rounds(), name)

    def _unsuited(self, algorithm: Algorithm, name: str) -> str:
        """Why an algorithm, or what trains its rounds, does not go with the recipe's settings, or nothing."""
        if algorithm.procedure()["name"] == "best_of_n" and self.recipe.evaluation.temperature == 0:
            return (
                f"{name} chooses among responses that are all the same at evaluation.temperature = 0; set a "
                "temperature above 0"
            )
        rule = self.recipe.rewards["proxy"].rule
        for one in (algorithm, *(self.algorithm(part.train, part.knobs) for part in algorithm.rounds())):
            if wrong := one.unsuited(self.recipe.budget):
                return f"{name} {wrong}"
            if one.footprint().value and rule:
                what = f"begins its value model as the proxy, which is the dataset's rule '{rule}'"
                return f"{name} {what}: use value = 'head'"
        return ""

    def _impossible(self, rounds: tuple[Round, ...], name: str) -> str:
        """Why rounds do not go with the recipe's budget or proxy, or nothing."""
        proxy, steps = self.recipe.rewards["proxy"], self.recipe.budget.steps
        if steps < len(rounds):
            return f"{name} has {len(rounds)} rounds; budget.steps = {steps} leaves one without a step"
        if steps < 2 * len(rounds) and self.recipe.budget.warmup > 0:
            return (
                f"{name} has {len(rounds)} rounds; budget.steps = {steps} leaves one with a single step, which warm-up "
                "makes at a learning rate of 0"
            )
        if not any(one.relabel for one in rounds):
            return ""
        if proxy.rule:
            return f"{name} trains its reward model anew; here the proxy is the dataset's rule '{proxy.rule}'"
        if proxy.ready:
            return f"{name} trains its reward model anew; here the proxy is ready-made"
        if proxy.knobs.get("dimensions"):
            return f"{name} trains its reward model on new labels too, which are not by dimension as reward.proxy's are"
        return ""

    def made(self, algorithm: Algorithm, contestant: Contestant, start: Part, replicate: int) -> Made:
        """The stages of a contestant."""
        at = self.recipe.evaluation.at
        begun = self.start(start, replicate)
        if not algorithm.trains:
            return Made({None: (begun, None)}, ())
        rounds = algorithm.rounds()
        if rounds:
            return self._rounds(rounds, begun, replicate)
        policy = self._train(contestant.algorithm, contestant.knobs, begun, replicate, at)
        return Made({None: (policy, None), **{step: (policy, step) for step in at}}, (policy,))

    def _train(
        self, name: str, knobs: Mapping[str, Value], start: Train, replicate: int, emit: tuple[int, ...],
        spend: Mapping[str, Value] | None = None, seed: str = "", data: Collect | None = None,
        **inputs: Stage,
    ) -> Train:  # fmt: skip
        """A policy trained from another, with what the algorithm needs."""
        needs = self.algorithm(name, knobs).requires()
        given: dict[str, Stage] = {"start": start, **({"data": data} if data else {})}
        rule = None
        if needs.reference:
            given["reference"] = self.reference(start, data)
        if needs.reward:
            proxy, rule = self.proxy(replicate)
            given |= proxy
        return Train(
            {**given, **inputs},
            algorithm=algorithm_spec(name, dict(knobs)),
            dataset=self.spec,
            split="train",
            budget=self.budget(spend or {}),
            seed=seed or f"replicate-{replicate}",
            emit=list(emit) or None,
            rule=rule,
        )

    def _rounds(self, rounds: tuple[Round, ...], begun: Train, replicate: int) -> Made:
        """Round after round, each from the policy of the last; the steps are shared out among them."""
        steps, at = self.recipe.budget.steps, self.recipe.evaluation.at
        ends = [steps * (number + 1) // len(rounds) for number in range(len(rounds))]
        policies: dict[int | None, tuple[Train, int | None]] = {}
        own: list[Stage] = []
        labels: list[Collect] = []
        asked = self.algorithm("reward", self.recipe.rewards["proxy"].knobs).requires().data
        policy, done = begun, 0
        for number, (one, end) in enumerate(zip(rounds, ends, strict=True)):
            seed = f"replicate-{replicate}" + (f" round-{number}" if number else "")
            inputs: dict[str, Stage] = {"anchor": begun} if number else {}
            if one.view:
                view = asked if one.relabel else one.view  # labels that join the reward model's are like them
                labels.append(self._collect(replace(one, view=view), policy, replicate, seed, done, end))
                own.append(labels[-1])
            if one.relabel:
                data = {f"data-{place}": stage for place, stage in enumerate(labels)}
                inputs["reward"] = self._reward("proxy", seed, data)
                own.append(inputs["reward"])
            emit = tuple(step - done for step in at if done < step < end)
            data_stage = labels[-1] if one.view and not one.relabel else None
            spend: dict[str, Value] = {"steps": end - done}
            policy = self._train(one.train, one.knobs, policy, replicate, emit, spend, seed, data_stage, **inputs)
            if data_stage and "reference" in policy.inputs:
                own.append(policy.inputs["reference"])
            own.append(policy)
            policies |= {done + step: (policy, step) for step in emit}
            policies[end] = (policy, None)
            done = end
        del policies[done]
        return Made({None: (policy, None), **policies}, tuple(own))

    def _collect(self, one: Round, policy: Train, replicate: int, seed: str, done: int, end: int) -> Collect:
        """New data for the optimiser steps from `done` to `end`, a prompt for each of the budget's."""
        asked, budget = self.recipe.evaluation, self.recipe.budget
        proxy, rule = self.proxy(replicate) if one.labeller == "reward" else ({}, None)
        own = one.view == "refinements"  # of the judged responses that there are, as many as the budget has prompts
        first, needed = (0, budget.prompts) if own else (done * budget.batch, (end - done) * budget.batch)
        if budget.prompts:  # a round's prompts are among the budget's, whether or not they are fresh
            needed = min(needed, budget.prompts)
            first = min(first % budget.prompts, budget.prompts - needed)
        return Collect(
            {"policy": policy, **proxy},
            dataset=self.spec,
            split="train",
            prompts=needed,
            samples=one.samples,
            temperature=1.0,
            max_prompt_tokens=budget.max_prompt_tokens,
            max_response_tokens=budget.max_response_tokens,
            labeller=one.labeller,
            view=one.view,
            seed=seed,
            batch=asked.batch,
            threads=budget.threads,
            skip=first or None,
            rule=rule,
        )


def _whole(model: Part) -> Part:
    """A model for all whose weights are trained: as it is, not quantised."""
    return replace(model, knobs={name: value for name, value in model.knobs.items() if name != "bits"})

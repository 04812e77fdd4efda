"""Recipe to plan: cells, and the stages that they rest on. Pure: no clock, no disk, no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from harness import registry
from harness.errors import HarnessError
from harness.held_out import READERS, Audits, audits
from harness.knobs import Value
from harness.knobs import knobs as declared
from harness.layout import Layout
from harness.recipe import Contestant, Part, Place, Recipe
from harness.stages import Bench, Grade, Judge, Sample, Stage, Train, walk

INTO_PAIRS = {"graded": "", "rankings": "", "binary": " (prompts with both labels give them)"}
"""What pairs can be made from where a recipe says so, and of what alone."""


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
        trained: the policy that is judged; None where the cell cannot run. See `policy`.
        own: stages made for this contestant, in order: rounds are several, and what trains nothing has none.
        samples: by the optimiser step whose policy is sampled, counted over all rounds; None is the final one.
        grades: the same for grades.
        reason: why it cannot run, or empty.
        pool: of the start alone: scores of many responses to each of a few prompts, for its best-of-n curve.
        judges: each judge's choice between its final samples and the start's, by the judge's label; none of the start.
        benches: lm-eval tasks of the final policy; none where it is used in another way than asked plainly.
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
    own: tuple[Stage, ...]
    samples: Mapping[int | None, Sample]
    grades: Mapping[int | None, Grade]
    reason: str = ""
    pool: Grade | None = None
    judges: Mapping[str, Judge] = field(default_factory=dict)
    benches: tuple[Bench, ...] = ()

    @property
    def policy(self) -> Train:
        """The policy that is judged.

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
        audits: what shows whether they can be trusted, for each (model, dataset).
        bases: lm-eval tasks of the base, for each (model, dataset).
    """

    recipe: Recipe
    cells: tuple[Cell, ...]
    rewards: Mapping[tuple[str, str, int], Mapping[str, Stage]]
    audits: Mapping[tuple[str, str], Audits] = field(default_factory=dict)
    bases: Mapping[tuple[str, str], tuple[Bench, ...]] = field(default_factory=dict)

    @cached_property
    def targets(self) -> list[Stage]:
        """What the report reads: every grade, and the audits of the reward models."""
        grades: list[Stage] = [grade for cell in self.cells for grade in cell.grades.values()]
        pools = [cell.pool for cell in self.cells if cell.pool]
        judges = [judge for cell in self.cells for judge in cell.judges.values()]
        benches = [bench for cell in self.cells for bench in cell.benches]
        benches += [bench for found in self.bases.values() for bench in found]
        audits = [stage for found in self.audits.values() for stage in found.stages]
        return [*grades, *pools, *judges, *audits, *benches]

    @cached_property
    def _stages(self) -> list[Stage]:
        return list(walk(self.targets))

    def stages(self) -> list[Stage]:
        """Every stage once, inputs before what reads them."""
        return list(self._stages)


def make_plan(recipe: Recipe, replicates: Iterable[int] | None = None) -> Plan:
    """Expand a recipe; arguments as of `expanded`.

    Raises:
        HarnessError: no cell can run; the message says why for each algorithm.
    """
    plan = expanded(recipe, replicates)
    if not any(cell.trained for cell in plan.cells if not cell.is_start):
        reasons = dict.fromkeys(f"{cell.contestant}: {cell.reason}" for cell in plan.cells if cell.reason)
        raise HarnessError(f"{recipe.path}: no algorithm can run\n" + "\n".join(f"  {reason}" for reason in reasons))
    _check_gold(plan)
    return plan


def expanded(recipe: Recipe, replicates: Iterable[int] | None = None) -> Plan:
    """All cells of a recipe, whether or not one of them can run.

    Args:
        recipe: what was asked.
        replicates: other ones than the recipe's 0, 1, ...
    """
    cells: list[Cell] = []
    rewards: dict[tuple[str, str, int], Mapping[str, Stage]] = {}
    audited: dict[tuple[str, str], Audits] = {}
    asked = tuple(range(recipe.replicates) if replicates is None else replicates)
    bases: dict[tuple[str, str], tuple[Bench, ...]] = {}
    for model in recipe.models:
        for dataset in recipe.datasets:
            layout = Layout(recipe, model, dataset)
            for replicate in asked:
                rewards[model.label, dataset.label, replicate] = layout.rewards(replicate)
                for start in recipe.starts:
                    cells += _cells(layout, start, replicate)
            own = [cell for cell in cells if (cell.model, cell.dataset) == (model.label, dataset.label)]
            starts = [cell.samples[None] for cell in own if cell.is_start and not cell.reason]
            models = [rewards[model.label, dataset.label, replicate] for replicate in asked]
            bases[model.label, dataset.label] = () if layout.baseless else layout.judging.benches(layout.base(0))
            audited[model.label, dataset.label] = audits(recipe, layout.spec, models, starts)
    return Plan(recipe, tuple(cells), rewards, audited, bases)


def told_apart(recipe: Recipe, settings: Collection[tuple[str, str, str]]) -> str:
    """The model, dataset and start that settings share, of those that the recipe has several of.

    Args:
        recipe: says what there are several of.
        settings: labels of model, dataset and start.

    Returns:
        Their labels, for example `small · hh.jsonl`; empty where none is shared, or there is one of each.
    """
    several = [len(parts) > 1 for parts in (recipe.models, recipe.datasets, recipe.starts)]
    shared = [set(own) for own in zip(*settings, strict=True)]
    return " · ".join(next(iter(own)) for many, own in zip(several, shared, strict=False) if many and len(own) == 1)


def without_gold(plan: Plan) -> list[str]:
    """Of each dataset on which contestants run and no gold reward can be trained: that, and what the recipe can say."""
    recipe, found = plan.recipe, list[str]()
    running = {(cell.model, cell.dataset) for cell in plan.cells if not cell.is_start and not cell.reason}
    graded = {(model, dataset) for (model, dataset, _), roles in plan.rewards.items() if "gold" in roles}
    for dataset in recipe.datasets:
        if any(label == dataset.label for _, label in running - graded):
            owner = registry.load("data", dataset.name)
            needed = registry.load("algorithms", "reward")(**recipe.rewards["gold"].knobs).requires().data
            views = ", ".join(sorted(owner(**dataset.knobs).offers()))
            made = [view for view in INTO_PAIRS if needed == "pairs" and dataset.knobs.get(view)]
            ways = [f'pairs = "from {view}" to the dataset{INTO_PAIRS[view]}' for view in made]
            add = f"add {(*ways, f'{needed} to the dataset')[0]}, or " if needed in declared(owner) else "add "
            found.append(
                f"no gold reward can be trained: it needs {needed}, and dataset '{dataset.label}' has {views}; no "
                f'verdicts will be possible: {add}a ready-made reward model: [reward.gold] source = "..."'
            )
    return found


def _check_gold(plan: Plan) -> None:
    """Prove on the graph that the gold reward models are read by what reports alone, unless the recipe shares them."""
    if plan.recipe.shared_rewards:
        return
    gold = {found["gold"].name for found in plan.rewards.values() if "gold" in found}
    for stage in plan.stages():
        readers = {needed.name for needed in stage.inputs.values()} & gold
        if readers and not isinstance(stage, READERS):
            raise AssertionError(f"{stage.name} reads a gold reward model, which only grades and audits may")


def _cells(layout: Layout, start: Part, replicate: int) -> Iterator[Cell]:
    """The start itself, then every contestant."""
    baseline = layout.start(start, replicate)
    where: dict[str, Any] = {
        "model": layout.model.label,
        "dataset": layout.dataset.label,
        "start": start.label,
        "replicate": replicate,
    }
    reason = layout.missing(layout.algorithm(start.name, start.knobs), start.name, start.name)
    own = (baseline,) if start.name != "base" else ()
    judged = layout.judging.judged({None: (baseline, None)}, baseline, replicate, {"name": "plain"})
    named = {"contestant": start.label, "algorithm": start.name, "knobs": dict(start.knobs), "is_start": True, **where}
    judged |= {"pool": layout.judging.pool(baseline, replicate), "benches": layout.judging.benches(baseline)}
    yield _cut(named, reason) if reason else Cell(**named, trained=baseline, own=own, **judged)
    for contestant in layout.recipe.contestants:
        yield _cell(layout, contestant, start, replicate, where, reason)


def _cut(named: dict[str, Any], reason: str) -> Cell:
    """A cell that cannot run."""
    return Cell(**named, trained=None, own=(), samples={}, grades={}, reason=reason)


def _cell(
    layout: Layout, contestant: Contestant, start: Part, replicate: int, where: dict[str, Any], no_start: str
) -> Cell:
    """A contestant; where the setting's start cannot be made, there is nothing to compare it with."""
    place = (layout.model.label, layout.dataset.label, start.label, replicate)
    knobs = contestant.knobs_at(place)
    named = {
        "contestant": contestant.label,
        "algorithm": contestant.algorithm,
        "knobs": knobs,
        "is_start": False,
        **where,
    }
    algorithm = layout.algorithm(contestant.algorithm, knobs)
    name = contestant.start or algorithm.start or start.name
    begun = start if name == start.name else layout.part(name)
    reason = layout.missing(algorithm, contestant.algorithm, name) or no_start
    baseline = layout.start(start, replicate)
    same = layout.start(begun, replicate) == baseline
    if not algorithm.trains and same and algorithm.is_plain:
        reason = "it is the start itself"
    if contestant.tuned is not None and _unchanged(layout, contestant, place):
        reason = _why_unchanged(contestant, place, layout.recipe)
    if reason:
        return _cut(named, reason)
    made = layout.made(algorithm, replace(contestant, knobs=knobs), begun, replicate)
    judged = layout.judging.judged(made.policies, baseline, replicate, algorithm.procedure())
    judges = layout.judging.verdicts(judged["samples"][None], baseline, replicate)
    policy = made.policies[None][0]
    benches = layout.judging.benches(policy) if algorithm.is_plain else ()
    return Cell(**named, trained=policy, own=made.own, judges=judges, benches=benches, **judged)


def _unchanged(layout: Layout, contestant: Contestant, place: Place) -> bool:
    """Whether tuning has left a contestant of this setting as the recipe has it, in every replicate."""
    own = layout.algorithm(contestant.algorithm, contestant.knobs)
    places = [(*place[:3], replicate) for replicate in range(layout.recipe.replicates)]
    return all(layout.algorithm(contestant.algorithm, contestant.knobs_at(at)) == own for at in places)


def _why_unchanged(contestant: Contestant, place: Place, recipe: Recipe) -> str:
    """Why tuning has left it so: its own knobs won each search of the setting, or there was no trial to choose."""
    won = sum(where[:3] == place[:3] for where, _ in contestant.tuned or ())
    own = "the knobs that it had before won the search"
    if won == recipe.replicates:
        return own
    none = nothing_kept(recipe.tune.limits if recipe.tune else {})
    return f"{none} in {recipe.replicates - won} of {recipe.replicates} searches; else {own}" if won else none


def nothing_kept(limits: Mapping[str, float]) -> str:
    """What is said of a search without a trial that can be chosen."""
    told = ", ".join(f"{name} = {most:g}" for name, most in limits.items())
    return "no trial finished within the limits " + told if told else "no trial has finished"

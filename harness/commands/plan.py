"""`harness plan`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from harness.commands.enough import check_prompts
from harness.commands.room import by_size, expected
from harness.dispatch import missing
from harness.executors.inline import Inline
from harness.plan import Plan, without_gold
from harness.recipe import read_recipe
from harness.report.looks import plan_so_far
from harness.search.chosen import read_studies
from harness.search.trials import problems
from harness.stages import Stage
from harness.stats.power import smallest_difference
from harness.store import Store


def show_plan(path: Path, assignments: list[str], results: Path, as_json: bool) -> None:
    """Print a plan."""
    store = Store(results)
    plan, _ = plan_so_far(read_recipe(path, assignments), store)
    check_prompts(plan, store, tables=False)
    described = describe(plan, store)
    print(json.dumps(described, indent=1) if as_json else _text(described))


def describe(plan: Plan, store: Store) -> dict[str, Any]:
    """A plan as JSON: cells, stages, what is shared, what cannot run, warnings, cost, what the seeds separate."""
    stages = plan.stages()
    names = [stage.name for stage in stages]
    done = {name for name in names if store.done(name)}
    again = [stage for stage in missing(plan.targets, store, Inline()) if stage.name in done]
    memory, narrow = expected(plan, store)
    return {
        "recipe": plan.recipe.name,
        "question": plan.recipe.question,
        "replicates": plan.recipe.replicates,
        "cells": [_cell(cell) for cell in plan.cells],
        "stages": dict(Counter(_what(stage) for stage in stages)),
        "total": len(stages),
        "done": len(done),
        "made_again": [stage.name for stage in again],
        "shared": _shared(plan),
        "cut": [f"{cell.contestant}: {cell.reason}" for cell in plan.cells if cell.reason and cell.replicate == 0],
        "warnings": _warnings(plan) + narrow,
        "tuning": _tuning(plan, store),
        "memory": memory,
        "device_seconds": _expected(stages, done - {stage.name for stage in again}, store),
        "separable": _separable(plan),
    }


def _cell(cell: Any) -> dict[str, Any]:
    names = ("contestant", "algorithm", "model", "dataset", "start", "replicate", "is_start", "reason")
    found = {name: getattr(cell, name) for name in names}
    stages = {} if cell.reason else {"policy": cell.policy.name, "grade": cell.grades[None].name}
    return {**found, "knobs": dict(cell.knobs), **stages}


def _what(stage: Stage) -> str:
    return f"{stage.kind} {stage.spec['algorithm']['name']}" if "algorithm" in stage.spec else stage.kind


def _shared(plan: Plan) -> dict[str, int]:
    """Stages that more than one cell rests on, and how many do."""
    stages = plan.stages()
    below: dict[str, frozenset[str]] = {}
    for stage in stages:  # inputs come first
        below[stage.name] = frozenset({stage.name}).union(*(below[needed.name] for needed in stage.inputs.values()))
    serves: Counter[str] = Counter()
    for cell in plan.cells:
        serves.update(frozenset().union(*(below[grade.name] for grade in cell.grades.values())))
    return {f"{_what(stage)} {stage.name}": serves[stage.name] for stage in stages if serves[stage.name] > 1}


def _tuning(plan: Plan, store: Store) -> dict[str, Any] | None:
    """What the search before the comparison takes, and how far it is; None where nothing is tuned."""
    tune = plan.recipe.tune
    if tune is None:
        return None
    found = read_studies(store, plan.recipe)
    finished = sum(trial["status"] != "open" for study in found for trial in study["trials"])
    asked = {"studies": len(problems(plan.recipe, plan)), "trials": tune.trials, "finished": finished}
    return {**asked, "metric": tune.metric, "prompts": tune.prompts}


def _warnings(plan: Plan) -> list[str]:
    found = without_gold(plan)
    if plan.recipe.looks:
        looks = ", ".join(str(look) for look in plan.recipe.looks)
        found.append(f"looks at {looks} seeds: this is the plan up to the next look; who is decided gets no more seeds")
    if plan.recipe.replicates < 5:
        found.append(f"{plan.recipe.replicates} replicate(s): intervals will be wide; 5 are the least that we advise")
    if plan.recipe.evaluation.temperature != 1:
        found.append(
            "evaluation.temperature is not 1: KL and entropy are not measured, and limits on them hold nothing back"
        )
    if plan.recipe.budget.steps == 1 and plan.recipe.budget.warmup > 0:
        found.append("budget.steps = 1: warm-up makes the only step at a learning rate of 0, so that nothing is learnt")
    found += _merged(plan)
    found += [f"{shared}: the report will wear it as a watermark" for shared in plan.recipe.shared_rewards]
    ready = [role for role, part in plan.recipe.rewards.items() if part.ready]
    if ready:
        what = f"what {' and '.join(ready)} trained on is not known, so the report cannot call gold held-out"
        found.append(f"{what}, and marks its verdicts")
    return found


def _merged(plan: Plan) -> list[str]:
    """Adapters that begin from another one."""
    budget, recipe = plan.recipe.budget, plan.recipe
    trained = any(start.name != "base" for start in recipe.starts)
    if budget.precision == "float32" or not budget.lora_rank or not trained:
        return []
    return [
        "budget.precision = 'bfloat16' with lora_rank: the start's adapter is merged into bfloat16 weights to train on "
        'from, which lose what it changed by less than their spacing; float32, or [[start]] name = "base", keeps it'
    ]


def _expected(stages: list[Stage], done: set[str], store: Store) -> dict[str, Any]:
    """Device-seconds of what is left, as finished stages of the same kind took; `unknown` where there are none."""
    known: dict[str, list[float]] = defaultdict(list)
    for stage in stages:
        record = store.record(stage.name)
        if record:
            cost = record["cost"]
            seconds = float(cost["device_seconds"]) + float(cost.get("kept_device_seconds") or 0.0)
            known[_what(stage)].append(seconds)
    left = Counter(_what(stage) for stage in stages if stage.name not in done)
    unknown = sorted(what for what in left if what not in known)
    low = sum(count * min(known[what]) for what, count in left.items() if what in known)
    high = sum(count * max(known[what]) for what, count in left.items() if what in known)
    return {"low": round(low, 1), "high": round(high, 1), "unknown": unknown, "left": sum(left.values())}


def _separable(plan: Plan) -> list[dict[str, Any]]:
    """The smallest difference that the seeds separate with power 0.8, in each family, in sd of a seed's difference."""
    contestants = {(cell.model, cell.dataset, cell.start, cell.contestant) for cell in plan.cells if not cell.reason}
    count = max(Counter(key[:3] for key in contestants).values())
    families = {"each against the start": count - 1, "all pairs": count * (count - 1) // 2}
    seeds, paired = plan.recipe.replicates, plan.recipe.evaluation.paired
    looks = len(plan.recipe.looks) or 1
    found = []
    for name, comparisons in families.items():
        least = smallest_difference(seeds, comparisons * looks, paired=paired) if comparisons and seeds > 1 else None
        found.append({"family": name, "comparisons": comparisons, "difference_in_seed_sd": least and round(least, 2)})
    return found


def _text(found: dict[str, Any]) -> str:
    runnable = [cell for cell in found["cells"] if not cell["reason"]]
    lines = [f"{found['recipe']}: {found['question']}".rstrip(": "), ""]
    lines.append(f"{len(runnable)} cells, {found['total']} stages, {found['done']} of them done")
    if found["made_again"]:
        many = len(found["made_again"])
        lines.append(f"  {many} done stage(s) that the rest reads have a record here and no weights: made again")
    lines += [f"  {count:5d}  {what}" for what, count in found["stages"].items()]
    settings = dict.fromkeys((c["model"], c["dataset"], c["start"]) for c in runnable)
    for setting in settings:
        own = dict.fromkeys(c["contestant"] for c in runnable if (c["model"], c["dataset"], c["start"]) == setting)
        lines += ["", f"{' · '.join(setting)}, {found['replicates']} replicates: {', '.join(own)}"]
    if found["tuning"]:
        lines += ["", _search(found["tuning"])]
    most = sorted(found["shared"].items(), key=lambda item: -item[1])[:5]
    lines += ["", "Shared most:", *[f"  {what} serves {count} cells" for what, count in most]]
    if found["cut"]:
        lines += ["", "Cannot run:", *[f"  {reason}" for reason in found["cut"]]]
    if found["warnings"]:
        lines += ["", "Warnings:", *[f"  {warning}" for warning in found["warnings"]]]
    return "\n".join([*lines, "", *_outlook(found)])


def _memory(found: list[dict[str, Any]]) -> list[str]:
    told = by_size([one for one in found if one["bytes"]])
    unknown = [one["algorithm"] for one in found if not one["bytes"]]
    lines = [f"Memory that training takes at its peak, estimated: {told}"] if told else []
    if unknown:
        lines.append(f"No estimate of memory before the model is on this machine: {', '.join(unknown)}")
    return lines


def _search(asked: dict[str, Any]) -> str:
    many = f"{asked['studies']} studies of {asked['trials']} trials, {asked['finished']} trials finished"
    return f"Tuned before that: {many}, by {asked['metric']} on {asked['prompts']} tune prompts"


def _outlook(found: dict[str, Any]) -> list[str]:
    cost = found["device_seconds"]
    lines = []
    if cost["left"] and cost["high"]:
        part = " but for what has no record yet" if cost["unknown"] else ""
        time = f"{cost['low']:.0f} to {cost['high']:.0f} device-seconds"
        lines.append(f"Expected: {time} for what is left{part}")
    if cost["left"] and cost["unknown"]:
        lines.append(f"No record yet to estimate the time from: {', '.join(cost['unknown'])}")
    lines += _memory(found["memory"])
    for family in found["separable"]:
        least = family["difference_in_seed_sd"]
        text = f"{least:g} sd of a seed's paired difference" if least else "none at all"
        what = f"{family['family']} ({family['comparisons']} comparisons)"
        lines.append(f"Smallest difference that {found['replicates']} seeds separate, {what}: {text}")
    return lines

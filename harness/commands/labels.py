"""What to call the stages of a plan: their kind, who they are for, and where, if there are several settings."""

from __future__ import annotations

from collections.abc import Iterator

from harness.plan import Cell, Plan, told_apart
from harness.stages import Stage, walk

AT = " · "
"""Stands between what a stage is and the setting that it belongs to."""


def labels(plan: Plan) -> dict[str, str]:
    """What to call each stage, by name: its kind, who it is for, and of several models, datasets and starts which."""
    found: dict[str, str] = {}
    for cell in plan.cells:
        for name, label in _of_cell(cell) if not cell.reason else ():
            found.setdefault(name, label)
    for (_, _, replicate), roles in plan.rewards.items():
        for role, reward in roles.items():
            found.setdefault(reward.name, f"reward {role}" + (f" r{replicate}" if role == "proxy" else ""))
    for audits in plan.audits.values():
        for role, audit in audits.cards.items():
            found.setdefault(audit.name, f"audit {role}")
    for stage in plan.stages():
        found.setdefault(stage.name, plain_label(stage))
    settings = _settings(plan)
    return {
        name: AT.join(filter(None, [label, told_apart(plan.recipe, settings.get(name, set()))]))
        for name, label in found.items()
    }


def _of_cell(cell: Cell) -> Iterator[tuple[str, str]]:
    """Stages that are made for a cell, and what each is."""
    who = f"{cell.contestant} r{cell.replicate}"
    for step in cell.grades:
        yield cell.samples[step].name, f"sample {who}"
        yield cell.grades[step].name, f"grade {who}"
        if "greedy" in cell.grades[step].inputs:
            yield cell.grades[step].inputs["greedy"].name, f"sample greedy {who}"
    if cell.pool:
        yield cell.pool.inputs["sample"].name, f"pool {who}"
        yield cell.pool.name, f"grade pool {who}"
    for stage in cell.own:
        yield stage.name, f"{stage.kind} {who}"
    for judge, stage in cell.judges.items():
        yield stage.name, f"judge {judge} {who}"
    for bench in cell.benches:
        yield bench.name, f"bench {'+'.join(bench.tasks)} {who}"


def _settings(plan: Plan) -> dict[str, set[tuple[str, str, str]]]:
    """Model, dataset and start of all that rest on a stage, by its name."""
    wanted: dict[tuple[str, str, str], list[Stage]] = {}
    for cell in plan.cells:
        own = (*cell.grades.values(), *cell.judges.values(), *cell.benches, *((cell.pool,) if cell.pool else ()))
        wanted.setdefault((cell.model, cell.dataset, cell.start), []).extend(own)
    for place, stages in wanted.items():
        audits = plan.audits.get(place[:2])
        stages += [*(audits.stages if audits else ()), *plan.bases.get(place[:2], ())]
    found: dict[str, set[tuple[str, str, str]]] = {}
    for place, stages in wanted.items():
        for stage in walk(stages):
            found.setdefault(stage.name, set()).add(place)
    return found


def plain_label(stage: Stage) -> str:
    """What to call a stage that is for nobody in particular."""
    spec = stage.spec
    algorithm = spec["algorithm"]["name"] if "algorithm" in spec else ""
    start = stage.inputs.get("start")
    seed = spec.get("seed") or (start.spec.get("seed", "") if start else "")
    return " ".join(dict.fromkeys(filter(None, [stage.kind, algorithm, str(seed)])))

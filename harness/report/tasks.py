"""lm-eval tasks as arrays, and the mean over them of what a contestant's policies differ from the start's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.records.scores import blocks_of
from harness.report.compare import Estimate, estimate
from harness.report.cubes import cubes

if TYPE_CHECKING:
    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.report.cubes import Cubes
    from harness.stats.runs import Runs

AFTER = ("sample-", "grade-")
"""Stages that need the policy: where they fail, it is there and may have been asked."""
MAIN = ("acc_norm", "acc", "exact_match", "em", "f1")
"""The metric that stands for a task in the mean is the first of these that it has: shares, of which more is better."""


def task_scores(setting: str, tables: Tables) -> dict[tuple[str, str], Cubes]:
    """By task and metric, in the order of their names, what each run got on each document."""
    scores = tables.benchmarks[tables.benchmarks["setting"] == setting]
    blocks = blocks_of(scores)
    asked = scores[["role", "metric"]].drop_duplicates().astype(str).sort_values(["role", "metric"])
    return {
        (task, metric): cubes(blocks.of(setting, metric, task, "document"), blocks.prompts)
        for task, metric in asked.itertuples(index=False)
    }


def lost_policies(setting: str, tables: Tables) -> dict[str, list[int]]:
    """Replicates of which some stage failed before there was a policy, by contestant."""
    gaps = tables.gaps[(tables.gaps["setting"] == setting) & (tables.gaps["status"] == "failed")]
    gaps = gaps[~gaps["stage"].astype(str).str.startswith(AFTER)]
    return {str(name): sorted({int(seed) for seed in own["replicate"]}) for name, own in gaps.groupby("contestant")}


def task_runs(one: Comparison, found: Cubes, failed: dict[str, list[int]]) -> dict[str, Runs]:
    """The contestants' runs on a task, failed ones with the start's scores; none where the start has no scores."""
    import numpy as np

    from harness.stats.runs import Runs, with_failures

    if one.start not in found.by_contestant:
        return {}
    nothing = Runs(np.zeros((0, len(found.prompts))), ())
    finished = {
        name: Runs(cube.prompts, cube.replicates) if (cube := found.by_contestant.get(name)) else nothing
        for name in one.contestants
        if name in found.by_contestant or name in failed
    }
    start = finished[one.start]
    return {
        name: with_failures(own, failed.get(name, []) if name != one.start else [], start)
        for name, own in finished.items()
    }


def over_all_tasks(one: Comparison, tables: Tables) -> dict[str, Estimate]:
    """Mean over tasks of the difference to the start, of the contestants that have every task the start has."""
    groups = _groups(one, tables)
    if not groups:
        return {}
    asked = [name for name in one.contestants if name != one.start and all(_has(name, group) for group in groups)]
    found = {name: known for name in asked if (known := _difference(name, one, groups))}
    return {one.start: Estimate(0.0), **found} if found else {}


def _groups(one: Comparison, tables: Tables) -> list[list[dict[str, Runs]]]:
    """The contestants' runs on the main metric of each task; tasks that ask the same documents are one group."""
    if tables.benchmarks.empty:
        return []
    scores, failed = task_scores(one.name, tables), lost_policies(one.name, tables)
    by_documents: dict[tuple[str, ...], list[dict[str, Runs]]] = {}
    for task, metric in _main_metrics(list(scores)).items():
        found = scores[task, metric]
        runs = task_runs(one, found, failed)
        if runs:
            by_documents.setdefault(found.prompts, []).append(runs)
    return list(by_documents.values())


def _main_metrics(asked: list[tuple[str, str]]) -> dict[str, str]:
    """The metric that stands for each task, without those that have none of `MAIN`; of several filters the first."""
    found: dict[str, str] = {}
    for kind in MAIN:
        for task, metric in asked:
            if metric.split(",")[0] == kind:
                found.setdefault(task, metric)
    return found


def _has(name: str, group: list[dict[str, Runs]]) -> bool:
    return all(name in runs and runs[name].replicates for runs in group)


def _difference(name: str, one: Comparison, groups: list[list[dict[str, Runs]]]) -> Estimate | None:
    """One contestant's mean over tasks, over the seeds that have all of them."""
    import numpy as np

    from harness.stats.tasks import over_tasks

    every = {who: [set(runs[who].replicates) for group in groups for runs in group] for who in (name, one.start)}
    seeds = {who: set.intersection(*own) for who, own in every.items()}
    if one.paired:
        seeds = dict.fromkeys(seeds, seeds[name] & seeds[one.start])
    if not all(seeds.values()):
        return None
    tasks = [
        tuple(np.mean([runs[who].at(sorted(seeds[who])) for runs in group], axis=0) for who in (name, one.start))
        for group in groups
    ]
    return estimate(over_tasks(tasks, [len(group) for group in groups], paired=one.paired), within=(-1.0, 1.0))

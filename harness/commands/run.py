"""`harness run` and `harness report`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.commands.enough import check_prompts
from harness.commands.labels import labels
from harness.commands.progress import Progress
from harness.executors._slurm_ends import write_deaths
from harness.executors._slurm_queue import Queue
from harness.launch import Launch
from harness.locate import override, read_toml
from harness.plan import make_plan, nothing_kept, without_gold
from harness.recipe import Recipe, read_recipe
from harness.recipe_reader import Reader
from harness.report.looks import plan_so_far
from harness.search.chosen import above_limits
from harness.store import Store
from harness.training.trackers import ASKED

PATIENCE_SECONDS = 10.0
"""So long squeue may take where nothing waits for its answer."""

if TYPE_CHECKING:
    from harness.dispatch import Summary
    from harness.executors import Executor
    from harness.plan import Plan


def run_recipe(path: Path, assignments: list[str], results: Path, reports: Path, as_json: bool) -> int:
    """Run what is missing, report, and print the answer. Returns the exit code."""
    from harness.commands.driver import refuse_beside

    recipe, store = read_recipe(path, assignments), Store(results)
    refuse_beside(store, recipe)
    plan, summary = finish(recipe, store)
    _report(plan, store, reports, as_json, summary)
    return 1 if summary.failed or summary.blocked else 0


def say_without_gold(plan: Plan) -> None:
    """Say, before anything costs, that no verdict will be possible where none will."""
    for text in without_gold(plan):
        print(f"{plan.recipe.path}: {text}", file=sys.stderr)


def finish(recipe: Recipe, store: Store) -> tuple[Plan, Summary]:
    """Tune where the recipe asks for it, and run what is missing, look after look; the last plan, and how it went."""
    from harness import dispatch

    plan, _ = plan_so_far(recipe, store)
    check_prompts(plan, store)
    say_without_gold(plan)
    progress = Progress()
    if recipe.tune is not None:
        search(recipe, store, progress)
    more = True
    while more:
        plan, more = plan_so_far(recipe, store)
        store.withdraw_changed(stage.name for stage in plan.targets)
        executor = open_executor(recipe.launch, recipe)
        progress.begin(labels(plan))
        summary = dispatch.run(plan.targets, store, executor, retries=recipe.launch.retries, on_event=progress)
        progress.close(summary)
    return plan, summary


def open_executor(launch: Launch, recipe: Recipe) -> Executor:
    """The executor that a recipe asks for; its workers and jobs inherit which trackers follow training."""
    if launch.trackers:
        os.environ[ASKED] = " ".join(launch.trackers)
    kind = registry.load("executors", launch.executor)
    threads = max(recipe.budget.threads, recipe.evaluation.threads)
    found: Executor = kind(
        workers=launch.workers,
        threads=threads,
        checkpoint_every=launch.checkpoint_every,
        timeout_min=launch.timeout_min,
        resources=launch.resources,
    )
    found.bundle, found.recipe, found.recipe_path = launch.bundle or sys.maxsize, recipe.name, path_of(recipe)
    return found


def path_of(recipe: Recipe) -> str:
    """A recipe's file, by which recipes of one name are told apart."""
    return str(recipe.path.resolve())


def tune_recipe(path: Path, assignments: list[str], results: Path, as_json: bool) -> None:
    """Finish every study of a recipe, and print what was chosen."""
    from harness.commands.driver import refuse_beside

    recipe, store = _tuned(path, assignments), Store(results)
    refuse_beside(store, recipe)
    check_prompts(make_plan(recipe), store)
    studies = search(recipe, store, Progress())
    print(json.dumps({"studies": studies}, indent=1) if as_json else "\n".join(_chosen(study) for study in studies))


def _tuned(path: Path, assignments: list[str]) -> Recipe:
    """A recipe as if [tune] stood in it, with all that is asked of one that has it."""
    located = override(read_toml(path), assignments)
    located.values.setdefault("tune", {})
    return Reader(located, path).read()


def search(recipe: Recipe, store: Store, progress: Progress) -> list[dict[str, Any]]:
    """Tune, telling how far it is."""
    from harness.search.run import tune

    try:
        return tune(recipe, store, lambda: open_executor(recipe.launch, recipe), progress, progress.say)
    finally:
        progress.flush()


def _chosen(study: dict[str, Any]) -> str:
    trials, whose = study["trials"], f"{study['setting']} {study['contestant']}"
    if not study["finished"]:
        return f"{whose}: {len(trials)} of {study['planned']} trials"
    failed, above = sum(trial["status"] == "failed" for trial in trials), above_limits(trials)
    seconds = sum(trial["device_seconds"] for trial in trials)
    spent = f"{len(trials)} trials ({failed} failed, {above} above a limit), {seconds:.0f} device-seconds"
    if study["chosen"] is None:
        none = nothing_kept(study["limits"] if above else {})
        return f"{whose}: {none}, so that it keeps its own knobs; {spent}"
    best = trials[study["chosen"]]
    knobs = ", ".join(f"{n} = {v:.3g}" if isinstance(v, float) else f"{n} = {v}" for n, v in best["knobs"].items())
    scores = [f"{one['score']:.3f}" if one["score"] is not None else "failed" for one in (trials[0], best)]
    return f"{whose}: {knobs}; {study['metric']} {scores[0]} to {scores[1]}; {spent}"


def report_recipe(path: Path, assignments: list[str], results: Path, reports: Path, as_json: bool) -> None:
    """Build the report from what is there."""
    store = Store(results)
    plan, _ = plan_so_far(read_recipe(path, assignments), store)
    write_deaths(store, [stage.name for stage in plan.stages()], Queue(PATIENCE_SECONDS))
    _report(plan, store, reports, as_json, None)


def _report(plan: Plan, store: Store, reports: Path, as_json: bool, summary: Summary | None) -> None:
    from harness.report import build

    answer = build(plan, store, reports / plan.recipe.name)
    if as_json:
        stages = vars(summary) if summary else {}
        print(json.dumps({"answer": answer.text.splitlines(), "report": str(answer.path), **stages}, indent=1))
    else:
        print(f"\n{answer.text}\n\nReport: {answer.path}")

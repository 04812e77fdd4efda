"""`harness run` and `harness report`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.commands.enough import check_prompts
from harness.executors._slurm_ends import write_deaths
from harness.executors._slurm_queue import Queue
from harness.launch import Launch
from harness.plan import make_plan
from harness.recipe import Recipe, read_recipe
from harness.report.looks import plan_so_far
from harness.search.trials import tune_of
from harness.store import Store
from harness.training.trackers import ASKED

PATIENCE_SECONDS = 10.0
"""So long squeue may take where nothing waits for its answer."""

if TYPE_CHECKING:
    from harness.dispatch import Event, Summary
    from harness.executors import Executor
    from harness.plan import Plan
    from harness.stages import Stage


def run_recipe(path: Path, assignments: list[str], results: Path, reports: Path, as_json: bool) -> int:
    """Run what is missing, report, and print the answer. Returns the exit code."""
    from harness.commands.driver import refuse_beside

    recipe, store = read_recipe(path, assignments), Store(results)
    refuse_beside(store, recipe)
    plan, summary = finish(recipe, store)
    _report(plan, store, reports, as_json, summary)
    return 1 if summary.failed or summary.blocked else 0


def finish(recipe: Recipe, store: Store) -> tuple[Plan, Summary]:
    """Tune where the recipe asks for it, and run what is missing, look after look; the last plan, and how it went."""
    from harness import dispatch

    check_prompts(plan_so_far(recipe, store)[0], store)
    if recipe.tune is not None:
        search(recipe, store)
    more = True
    while more:
        plan, more = plan_so_far(recipe, store)
        executor = open_executor(recipe.launch, recipe)
        progress = Progress(labels(plan))
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

    recipe, store = read_recipe(path, assignments), Store(results)
    refuse_beside(store, recipe)
    recipe = replace(recipe, tune=tune_of(recipe))
    check_prompts(make_plan(recipe), store)
    studies = search(recipe, store)
    print(json.dumps({"studies": studies}, indent=1) if as_json else "\n".join(_chosen(study) for study in studies))


def search(recipe: Recipe, store: Store) -> list[dict[str, Any]]:
    """Tune, telling how far it is."""
    from harness.search.run import tune

    progress = Progress({})
    return tune(recipe, store, lambda: open_executor(recipe.launch, recipe), progress, progress.say)


def _chosen(study: dict[str, Any]) -> str:
    trials = study["trials"]
    if study["chosen"] is None:
        return f"{study['setting']} {study['contestant']}: {len(trials)} of {study['planned']} trials"
    best = trials[study["chosen"]]
    knobs = ", ".join(f"{n} = {v:.3g}" if isinstance(v, float) else f"{n} = {v}" for n, v in best["knobs"].items())
    failed = sum(trial["status"] == "failed" for trial in trials)
    seconds = sum(trial["device_seconds"] for trial in trials)
    scores = [f"{one['score']:.3f}" if one["score"] is not None else "failed" for one in (trials[0], best)]
    spent = f"{len(trials)} trials ({failed} failed), {seconds:.0f} device-seconds"
    return f"{study['setting']} {study['contestant']}: {knobs}; {study['metric']} {scores[0]} to {scores[1]}; {spent}"


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


class Progress:
    """Tells what runs now, what is left, and roughly for how long: one line that is rewritten on a terminal."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.began = time.monotonic()
        self.first_done = -1
        self.labels = labels
        self.terminal = sys.stderr.isatty()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self.first_done < 0:
            self.first_done = event.done
        label = self.labels.get(event.stage.name, event.stage.name)
        if event.what in ("failed", "again"):
            self._line(f"{event.what}: {label} ({event.cause}): {event.error} [{event.stage.name}]")
        if event.what in ("started", "finished") or not self.terminal:
            self._now(event, label)

    def _now(self, event: Event, label: str) -> None:
        running = ", ".join(self.labels.get(name, name) for name in event.running)
        state = f"{event.done}/{event.total} stages done{self._left(event)}"
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r{f'{state}; now: {running}'[:width]:<{width}}")
            sys.stderr.flush()
        elif event.what in ("finished", "blocked", "elsewhere"):
            self._line(f"{state}; {event.what}: {label}")

    def _left(self, event: Event) -> str:
        made = event.done - self.first_done
        if made < max(3, event.total // 10):  # the first stages are the longest and would mislead
            return ""
        seconds = (time.monotonic() - self.began) / made * (event.total - event.done)
        return f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"

    def say(self, text: str, labels: Mapping[str, str]) -> None:
        """Begin a part of the work: what it is, and what to call its stages."""
        self.labels, self.first_done, self.began = labels, -1, time.monotonic()
        self._line(text)

    def _line(self, text: str) -> None:
        sys.stderr.write(("\r\033[K" if self.terminal else "") + text + "\n")

    def close(self, summary: Summary) -> None:
        """Say how it ended."""
        seconds = time.monotonic() - self.began
        parts = [f"{len(summary.ran)} stages ran", f"{summary.reused} were there"]
        parts += [
            f"{len(group)} {word}"
            for word, group in (("failed", summary.failed), ("blocked", summary.blocked))
            if group
        ]
        self._line(f"{', '.join(parts)}; {seconds:.0f} s")


def labels(plan: Plan) -> dict[str, str]:
    """What to call each stage: its kind and who it is for."""
    found: dict[str, str] = {}
    for cell in plan.cells:
        if cell.reason:
            continue
        who = f"{cell.contestant} r{cell.replicate}"
        for step in cell.grades:
            found.setdefault(cell.samples[step].name, f"sample {who}")
            found.setdefault(cell.grades[step].name, f"grade {who}")
            if "greedy" in cell.grades[step].inputs:
                found.setdefault(cell.grades[step].inputs["greedy"].name, f"sample greedy {who}")
        if cell.pool:
            found.setdefault(cell.pool.inputs["sample"].name, f"pool {who}")
            found.setdefault(cell.pool.name, f"grade pool {who}")
        for stage in cell.own:
            found.setdefault(stage.name, f"{stage.kind} {who}")
    for (_, _, replicate), roles in plan.rewards.items():
        for role, reward in roles.items():
            found.setdefault(reward.name, f"reward {role}" + (f" r{replicate}" if role == "proxy" else ""))
    for audits in plan.audits.values():
        for role, audit in audits.cards.items():
            found.setdefault(audit.name, f"audit {role}")
    for stage in plan.stages():
        found.setdefault(stage.name, plain_label(stage))
    return found


def plain_label(stage: Stage) -> str:
    """What to call a stage that is for nobody in particular."""
    spec = stage.spec
    algorithm = spec["algorithm"]["name"] if "algorithm" in spec else ""
    start = stage.inputs.get("start")
    seed = spec.get("seed") or (start.spec.get("seed", "") if start else "")
    return " ".join(filter(None, [stage.kind, algorithm, str(seed)]))

"""`harness run --detach`: all that is left of a comparison goes to Slurm, and nobody stays here."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

from harness import dispatch
from harness.commands.driver import leave_driver, name_of
from harness.commands.enough import check_prompts
from harness.commands.labels import labels
from harness.commands.run import open_executor, path_of, say_without_gold
from harness.errors import HarnessError
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_leave import Left, leave
from harness.executors.slurm import Slurm
from harness.lease import Watcher, free, identity, newest
from harness.plan import make_plan
from harness.recipe import Recipe, read_recipe
from harness.report.looks import plan_so_far
from harness.search.chosen import read_studies
from harness.search.trials import problems
from harness.stages import Stage, walk
from harness.store import Store


def detach(path: Path, assignments: list[str], results: Path, reports: Path, as_json: bool) -> None:
    """Submit what is left, with its dependencies, and say what was submitted and how to watch it.

    Where what comes next has to be decided on the way, by a search or by looks, the driver is submitted in its place.

    Raises:
        HarnessError: the recipe's stages do not go to Slurm, or sbatch refuses.
    """
    recipe, store = read_recipe(path, assignments), Store(results)
    executor = open_executor(recipe.launch, recipe)
    if not isinstance(executor, Slurm):
        given = recipe.launch.executor
        raise HarnessError(f"{path}: --detach leaves jobs to Slurm, but launch.executor is '{given}' and not 'slurm'")
    words = [str(path), *(part for one in assignments for part in ("--set", one)), "--results", str(results)]
    plan, more = plan_so_far(recipe, store)
    check_prompts(plan, store)
    say_without_gold(plan)
    left, driver = Left(), name_of(recipe)
    notes.lift_mark(store.root.resolve(), recipe.name, path_of(recipe))
    if needs_driver(recipe, store, more) or executor.held(store.root.resolve() / driver):
        job, new = leave_driver(recipe, path, assignments, store, reports, executor)
        (left.submitted if new else left.held)[driver] = job
        _tell(left, f"the driver is Slurm job {job}{'' if new else ' already'}; it submits the rest", words, as_json)
        return
    refused = True
    try:
        submit_all(plan.targets, store, executor, left)
        refused = False
    finally:  # what was submitted before sbatch refused is in the queue
        if not refused or left.submitted or left.held:
            _tell(left, _listed(left, labels(plan)), words, as_json)


def submit_all(targets: list[Stage], store: Store, executor: Slurm, left: Left) -> None:
    """Submit what is missing of targets.

    Args:
        targets: what is wanted.
        store: where.
        executor: what the jobs ask for.
        left: told what was submitted, as it goes.

    Raises:
        HarnessError: sbatch refuses.
    """
    executor.begin(store, [stage.name for stage in walk(targets)])
    waves = list(dispatch.waves(targets, store, executor))
    stages = [stage for wave in waves for bundle in wave for stage in bundle]
    store.prepare_all(stages)
    without_job = [stage.name for stage in stages if not executor.held(store.root.resolve() / stage.name)]
    leave(executor, store, waves, _at_work(store, without_job), left)


def needs_driver(recipe: Recipe, store: Store, more: bool) -> bool:
    """Whether what comes next has to be decided on the way, by a search or by later looks.

    Args:
        recipe: what is left to Slurm.
        store: where.
        more: whether later looks may ask for more seeds.
    """
    if more or recipe.tune is None:
        return more
    finished = [study for study in read_studies(store, recipe) if study["finished"]]
    return len(finished) < len(problems(recipe, make_plan(recipe)))


def _at_work(store: Store, names: list[str]) -> set[str]:
    """Stages that other runs work on; whether one on another host lives may take a minute to tell."""
    watcher, found = Watcher(), set[str]()
    first = {name: lease for name in names if not free(lease := newest(store.root / name)[1])}
    waiting, told = set(first), False
    while waiting:
        for name in sorted(waiting):
            lease = newest(store.root / name)[1]
            here = lease.get("machine") == identity()["machine"]
            if watcher.release_if_dead(store.root / name):
                waiting.discard(name)
            elif here or lease.get("beat") != first[name].get("beat"):
                waiting.discard(name)
                found.add(name)
        if waiting and not told:
            sys.stderr.write(f"looking for a minute whether the runs of {len(waiting)} stages elsewhere live\n")
            told = True
        time.sleep(1 if waiting else 0)
    return found


def _listed(left: Left, called: dict[str, str]) -> str:
    lines = [f"  {job}: {called.get(name, name)} [{name}]" for name, job in left.submitted.items()]
    parts = [f"{len(left.submitted)} stages submitted as {left.arrays} jobs and arrays"] if left.submitted else []
    parts += [f"{len(left.held)} were in the queue"] if left.held else []
    parts += [f"{len(left.out)} left out: another run works on them, or on what they read"] if left.out else []
    return "\n".join([*lines, "; ".join(parts) or "nothing is left to submit"])


def _tell(left: Left, text: str, words: list[str], as_json: bool) -> None:
    if as_json:
        found = {"submitted": left.submitted, "held": left.held, "elsewhere": sorted(left.out), "arrays": left.arrays}
        print(json.dumps(found, indent=1))
        return
    recipe = shlex.join(words)
    print(text)
    if left.submitted or left.held:
        print(f"watch it: harness watch {recipe}\nthen:     harness report {recipe}\nend it:   harness cancel {recipe}")
    else:
        print(f"the report: harness report {recipe}")

"""`harness run --detach`: all that is left of a comparison goes to Slurm, and nobody stays."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

from harness import dispatch
from harness.commands.enough import check_prompts
from harness.commands.run import labels, open_executor
from harness.errors import HarnessError
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


def detach(path: Path, assignments: list[str], results: Path, as_json: bool) -> None:
    """Submit what is left, with its dependencies, and say what was submitted and how to watch it.

    Raises:
        HarnessError: the recipe's stages do not go to Slurm, or have to be chosen on the way, or sbatch refuses.
    """
    recipe, store = read_recipe(path, assignments), Store(results)
    executor = open_executor(recipe.launch, recipe)
    if not isinstance(executor, Slurm):
        given = recipe.launch.executor
        raise HarnessError(f"{path}: --detach leaves jobs to Slurm, but launch.executor is '{given}' and not 'slurm'")
    words = [str(path), *(part for one in assignments for part in ("--set", one)), "--results", str(results)]
    _refuse_unfinished_search(recipe, store, words)
    plan, more = plan_so_far(recipe, store)
    check_prompts(plan, store)
    left = Left()
    try:
        submit_all(plan.targets, store, executor, left)
    finally:
        _tell(left, labels(plan), words, as_json, more)


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


def _refuse_unfinished_search(recipe: Recipe, store: Store, words: list[str]) -> None:
    if recipe.tune is None:
        return
    finished = [study for study in read_studies(store, recipe) if study["finished"]]
    if len(finished) == len(problems(recipe, make_plan(recipe))):
        return
    driver = shlex.join([sys.executable, "-m", "harness.cli", "run", *words])
    command = shlex.join(["sbatch", "--job-name=harness-driver", "--cpus-per-task=1", "--mem=2G", f"--wrap={driver}"])
    raise HarnessError(
        f"{words[0]}: each trial of [tune] depends on those before it, so that somebody has to stay until they are "
        f"done: run the driver as a small job of its own, with a time limit that is long enough:\n  {command}"
    )


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


def _tell(left: Left, called: dict[str, str], words: list[str], as_json: bool, more: bool) -> None:
    if as_json:
        found = {"submitted": left.submitted, "held": left.held, "elsewhere": sorted(left.out), "arrays": left.arrays}
        print(json.dumps(found, indent=1))
        return
    for name, job in left.submitted.items():
        print(f"  {job}: {called.get(name, name)} [{name}]")
    parts = [f"{len(left.submitted)} stages submitted as {left.arrays} jobs and arrays"] if left.submitted else []
    parts += [f"{len(left.held)} were in the queue"] if left.held else []
    parts += [f"{len(left.out)} left out: another run works on them, or on what they read"] if left.out else []
    print("; ".join(parts) or "nothing is left to submit")
    if more:
        print("later looks may ask for more: run this again when it is done")
    recipe = shlex.join(words)
    print(f"watch it: harness watch {recipe}\nthen:     harness report {recipe}\nend it:   harness cancel {recipe}")

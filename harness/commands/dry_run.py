"""`harness run --dry-run`: the sbatch files of a run, written and not submitted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from harness import dispatch
from harness.commands.run import labels, open_executor
from harness.errors import HarnessError
from harness.executors.slurm import Slurm
from harness.recipe import read_recipe
from harness.report.looks import plan_so_far
from harness.store import Store

DRY_RUN = "dry-run"
"""Below `<results>/.slurm/`; each dry run replaces the one before."""


def dry_run(path: Path, assignments: list[str], results: Path, as_json: bool) -> None:
    """Write the files and say where they are and what is in them.

    Raises:
        HarnessError: the recipe's stages do not go to Slurm.
    """
    recipe, store = read_recipe(path, assignments), Store(results)
    executor = open_executor(recipe.launch, recipe)
    if not isinstance(executor, Slurm):
        given = recipe.launch.executor
        raise HarnessError(f"{path}: --dry-run writes sbatch files, but launch.executor is '{given}' and not 'slurm'")
    if recipe.tune is not None:
        sys.stderr.write("[tune]: the trials, which come first, are not shown: each depends on those before it\n")
    plan, more = plan_so_far(recipe, store)
    files = _write(plan.targets, store, executor, labels(plan))
    if as_json:
        print(json.dumps({"files": files}, indent=1))
        return
    for file in files:
        print(f"{file['file']}: {len(file['jobs'])} jobs")
        for place, job in enumerate(file["jobs"]):
            print(f"  {place}: {', then '.join(job.values())}")
    print(f"{len(files)} sbatch files; nothing was submitted" + ("; later looks may ask for more" if more else ""))


def _write(targets: list[Any], store: Store, executor: Slurm, called: dict[str, str]) -> list[dict[str, Any]]:
    """One file for each array, numbered by wave; what each of its jobs runs, by stage and what to call it."""
    folder = store.root / ".slurm" / DRY_RUN
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found: list[dict[str, Any]] = []
    for number, bundles in enumerate(dispatch.waves(targets, store, executor), 1):
        previews = executor.preview(store.root, [bundle[0].spec for bundle in bundles])
        for part, preview in enumerate(previews, 1):
            file = folder / f"wave-{number:03d}-{part}.sh"
            file.write_text(preview.text)
            jobs = [
                {stage.name: called.get(stage.name, stage.name) for stage in bundles[place]} for place in preview.places
            ]
            found.append({"file": str(file), "jobs": jobs})
    return found

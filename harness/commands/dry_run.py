"""`harness run --dry-run`: the sbatch files of a run, written and not submitted."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from harness import dispatch
from harness.commands.detach import needs_driver
from harness.commands.driver import name_of
from harness.commands.labels import labels
from harness.commands.run import open_executor
from harness.errors import HarnessError
from harness.executors._slurm_leave import Left, leave
from harness.executors._slurm_notes import Note
from harness.executors._slurm_script import sbatch_file
from harness.executors.slurm import Slurm
from harness.launch import DRIVER, Resources, asked
from harness.recipe import Recipe, read_recipe
from harness.report.looks import plan_so_far
from harness.stages import Stage
from harness.store import Store

DRY_RUN = "dry-run"
"""Below `<results>/.slurm/`; each dry run replaces the one before."""


def dry_run(path: Path, assignments: list[str], results: Path, detach: bool, as_json: bool) -> None:
    """Write the files and say where they are and what is in them.

    Args:
        path: of the recipe.
        assignments: values of it that are set.
        results: the results folder.
        detach: the files are those of `--detach`.
        as_json: print for a program.

    Raises:
        HarnessError: the recipe's stages do not go to Slurm.
    """
    recipe, store = read_recipe(path, assignments), Store(results)
    executor = open_executor(recipe.launch, recipe)
    if not isinstance(executor, Slurm):
        given = recipe.launch.executor
        raise HarnessError(f"{path}: --dry-run writes sbatch files, but launch.executor is '{given}' and not 'slurm'")
    plan, more = plan_so_far(recipe, store)
    files = _Files(store, executor, labels(plan))
    if detach and needs_driver(recipe, store, more):
        files.driver(recipe)
    elif detach:
        leave(executor, store, dispatch.waves(plan.targets, store, executor), set(), Left(), files.put)
    else:
        if recipe.tune is not None:
            sys.stderr.write("[tune]: the trials, which come first, are not shown: each depends on those before it\n")
        files.waves(plan.targets)
    if as_json:
        print(json.dumps({"files": files.found}, indent=1))
        return
    for file in files.found:
        print(f"{file['file']}: {len(file['jobs'])} jobs")
        for place, job in enumerate(file["jobs"]):
            print(f"  {place}: {', then '.join(job.values())}")
    print(
        f"{len(files.found)} sbatch files; nothing was submitted" + ("; later looks may ask for more" if more else "")
    )


class _Files:
    """Writes files where a run would submit them."""

    def __init__(self, store: Store, executor: Slurm, called: Mapping[str, str]) -> None:
        self.root, self.store, self.executor, self.called = store.root.resolve(), store, executor, called
        self.folder = store.root / ".slurm" / DRY_RUN
        self.found: list[dict[str, Any]] = []
        """File by file, what each of its jobs runs: by stage, what to call it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def waves(self, targets: list[Stage]) -> None:
        """One file for each array, numbered by wave; what is in the queue has its place, and is not submitted again."""
        waves = dispatch.waves(targets, self.store, self.executor, self.executor.slots)
        for number, bundles in enumerate(waves, 1):
            groups: dict[Resources, list[list[Path]]] = {}
            for bundle in filter(None, map(self._new, bundles)):
                wishes = asked(self.executor.resources, bundle[0].spec)
                groups.setdefault(wishes, []).append([self.root / stage.name for stage in bundle])
            for part, (wishes, group) in enumerate(groups.items(), 1):
                self._write(f"wave-{number:03d}-{part}.sh", wishes, dict(enumerate(group)))

    def _new(self, bundle: list[Stage]) -> list[Stage]:
        """What of a bundle is not in the queue."""
        return list(takewhile(lambda stage: not self.executor.held(self.root / stage.name), bundle))

    def put(self, wishes: Resources, bundles: Mapping[int, Sequence[Path]], waits_for: str) -> dict[Path, Note]:
        """As `Slurm.put`; a file's number stands for that of its job where another waits for it."""
        number = len(self.found) + 1
        self._write(f"job-{number}.sh", wishes, bundles, waits_for)
        jobs = {index: f"{number}_{index}" if len(bundles) > 1 else str(number) for index in bundles}
        return {folder: Note(jobs[index], "") for index, bundle in bundles.items() for folder in bundle}

    def driver(self, recipe: Recipe) -> None:
        """The driver as a job."""
        self._write("driver.sh", asked(self.executor.resources, {"kind": DRIVER}), {0: [self.root / name_of(recipe)]})

    def _write(self, name: str, wishes: Resources, bundles: Mapping[int, Sequence[Path]], waits_for: str = "") -> None:
        file = self.folder / name
        file.write_text(sbatch_file(self.executor.array(wishes, bundles, waits_for)))
        jobs = [{one.name: self.called.get(one.name, one.name) for one in bundle} for bundle in bundles.values()]
        self.found.append({"file": str(file), "jobs": jobs})

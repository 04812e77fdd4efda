"""`harness publish`: keep a comparison beside the project, without its weights."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path

from harness import keys
from harness.errors import HarnessError
from harness.plan import Plan
from harness.public import public
from harness.recipe import Recipe, read_recipe
from harness.report.looks import plan_so_far
from harness.search.chosen import TRIALS, as_text, read_studies
from harness.stages import Stage
from harness.store import RECORD, SPEC, Store

TABLES = (
    "samples.parquet",
    "scores.parquet",
    "curves.parquet",
    "prompts.parquet",
    "weights.parquet",
    "answers.parquet",
)


def _conceal(stage: Stage, folder: Path) -> None:
    """Leave out of a published stage where something lay on this machine; its hash is what names it."""
    (folder / SPEC).write_text(keys.canonical(stage.public_spec), encoding="utf-8")
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    (folder / RECORD).write_text(json.dumps({**record, "spec": stage.public_spec}, indent=1, allow_nan=False))


def _public_text(recipe: Recipe, store: Store, plan: Plan) -> str:
    """A recipe's text without this machine's folders and secrets.

    Raises:
        HarnessError: without them it would not ask for the same stages.
    """
    text = public(recipe.text)
    if text == recipe.text:
        return text
    with contextlib.suppress(HarnessError):
        again, _ = plan_so_far(read_recipe(recipe.path, text=text), store)
        if [stage.name for stage in again.stages()] == [stage.name for stage in plan.stages()]:
            return text
    lines = zip(recipe.text.splitlines(), text.splitlines(), strict=False)
    numbers = [str(number) for number, (own, shown) in enumerate(lines, 1) if own != shown]
    raise HarnessError(
        f"{recipe.path}:{numbers[0]}: what only this machine has would be published (lines {', '.join(numbers)}); "
        "name files and folders from the recipe's folder or from $HARNESS_DATA, and leave out what is secret"
    )


def publish_recipe(path: Path, results: Path, unfinished: bool = False) -> None:
    """Copy specs, records and tables to `<results>/published/<name>/`, and the recipe as it was run.

    Args:
        path: the recipe.
        results: the folder of its stages.
        unfinished: keep what is finished of a comparison that is not; what is kept from before stays.

    Raises:
        HarnessError: the comparison is not finished, or its recipe is more than one file or rests on a private path.
    """
    recipe = read_recipe(path)
    store = Store(results)
    plan, more = plan_so_far(recipe, store)
    if re.search(r"^\s*extends\s*=", recipe.text, re.MULTILINE):
        raise HarnessError(f"{path} extends another recipe; a published comparison is one file, so write it in one")
    missing = {stage.name for stage in plan.stages() if not store.done(stage.name)}
    if (missing or more) and not unfinished:
        raise HarnessError(
            f"{recipe.name} is not finished: {len(missing)} stages have no record; harness run {path}, or publish "
            "what there is with --unfinished"
        )
    text = _public_text(recipe, store, plan)
    home = results / "published" / recipe.name
    draft = home.with_name(f"draft-{recipe.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    finished = [stage for stage in plan.stages() if stage.name not in missing]
    for stage in finished:
        source, target = store.folder(stage.name), draft / stage.name
        target.mkdir(parents=True)
        for name in (SPEC, RECORD, *TABLES):
            if (source / name).exists():
                shutil.copyfile(source / name, target / name)
        _conceal(stage, target)
    if studies := read_studies(store, recipe):
        (draft / TRIALS).write_text(as_text(recipe, studies), encoding="utf-8")
    (draft / "recipe.toml").write_text(text, encoding="utf-8")
    shutil.rmtree(home, ignore_errors=True)
    draft.rename(home)
    size = sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
    print(f"{len(finished)} of {len(plan.stages())} stages, {size / 1e6:.1f} MB: {home}")

"""Whether a dataset has the prompts that a recipe wants answered: asked before anything is trained."""

from __future__ import annotations

import contextlib
import json

from harness.data._tables import Tables
from harness.errors import HarnessError
from harness.plan import Plan
from harness.stages import Sample
from harness.stages.specs import TooFew, asked_by, open_dataset, training_rows
from harness.store import Store


def check_prompts(plan: Plan, store: Store) -> None:
    """Count the prompts of files and of the hub's tables; those of 256 MB and more are left to the stages.

    Anything else that is wrong with them is told by the stage that meets it, so that the others go on.

    Raises:
        HarnessError: a split has fewer prompts than are to be answered; every one that has.
    """
    wanted = {
        json.dumps([stage.dataset, stage.split, stage.prompts], sort_keys=True): stage
        for stage in plan.stages()
        if isinstance(stage, Sample) and not store.done(stage.name)
    }
    found = []
    for stage in wanted.values():
        with contextlib.suppress(HarnessError):
            data = open_dataset(stage.dataset)
            if not isinstance(data, Tables) or any(data.large(source) for source in data.own().values()):
                continue
            try:
                training_rows(data, "prompts", stage.split, stage.prompts, asked_by(stage.split))
            except TooFew as error:
                found.append(f"{plan.recipe.path}: {error}")
    if found:
        raise HarnessError("\n".join(dict.fromkeys(found)))

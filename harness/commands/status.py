"""`harness status`: the disk alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from harness.commands.run import labels
from harness.lease import free, newest
from harness.recipe import read_recipe
from harness.report.looks import plan_so_far
from harness.stages import walk
from harness.store import Store


def show_status(path: Path, assignments: list[str], results: Path, as_json: bool) -> None:
    """Print how far a comparison is."""
    store = Store(results)
    plan, _ = plan_so_far(read_recipe(path, assignments), store)
    stages, names = plan.stages(), labels(plan)
    state: dict[str, str] = {}
    failures = {}
    for stage in stages:
        if store.done(stage.name):
            state[stage.name] = "done"
        elif _held(store, stage.name):
            state[stage.name] = "running"
        elif (failure := store.failure(stage.name)) is not None:
            state[stage.name] = "failed"
            failures[stage.name] = failure
        else:
            state[stage.name] = "waiting"
    for stage in walk(plan.targets):
        above = [state[needed.name] for needed in stage.inputs.values()]
        if state[stage.name] == "waiting" and any(word in ("failed", "blocked") for word in above):
            state[stage.name] = "blocked"
    counts = Counter(state.values())
    running = [names[name] for name, word in state.items() if word == "running"]
    if as_json:
        keys = ("cause", "error", "hint", "attempt")
        failed = [{"stage": name, "label": names[name], **{k: f.get(k) for k in keys}} for name, f in failures.items()]
        found = {"recipe": plan.recipe.name, "total": len(stages), **counts, "now": running, "failures": failed}
        print(json.dumps(found, indent=1))
        return
    words = ("done", "running", "failed", "blocked", "waiting")
    print(f"{plan.recipe.name}: " + ", ".join(f"{counts[word]} {word}" for word in words if counts[word]))
    for label in running:
        print(f"  now: {label}")
    for name, failure in failures.items():
        print(f"  failed: {names[name]} ({failure['cause']}, attempt {failure['attempt']}): {failure['error']}")
        print(f"          {failure['hint']} [{store.folder(name)}]")


def _held(store: Store, name: str) -> bool:
    number, content = newest(store.root / name)
    return number > 0 and not free(content)

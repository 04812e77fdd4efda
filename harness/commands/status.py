"""`harness status` and `harness watch`: from the disk, and from squeue where there is one."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.causes import HINTS
from harness.commands.run import PATIENCE_SECONDS, labels
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_ends import death
from harness.executors._slurm_queue import UNKNOWN, Queue
from harness.lease import free, newest
from harness.plan import Plan
from harness.recipe import read_recipe
from harness.report.looks import plan_so_far
from harness.stages import walk
from harness.store import Store

WORDS = ("done", "running", "queued", "failed", "blocked", "waiting")
SILENT_MINUTES = 5.0
"""A lease is renewed every few seconds; clocks of hosts may differ by less than this."""
QUIET_SECONDS = 30.0
"""A driver submits what comes next sooner than this."""

_REQUEUED = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED")


@dataclass(frozen=True)
class State:
    """Where a stage is.

    Attributes:
        word: one of `WORDS`.
        job: the Slurm job that has it, or that had it last.
        sure: whether squeue says so too.
        silent_min: minutes since it has last said that it lives, if they are many.
        failure: why it failed, as in `failed.json`.
    """

    word: str
    job: str = ""
    sure: bool = True
    silent_min: float = 0.0
    failure: Mapping[str, Any] | None = None


def state_of(store: Store, name: str, queue: Queue) -> State:
    """Where a stage is by itself; whether it is blocked depends on others."""
    folder = store.root.resolve() / name
    if store.done(name):
        return State("done", job_of(folder))
    before, ended = store.failure(name), death(folder, queue)
    if ended:
        attempt = int((before or {}).get("attempt", 0)) + 1
        failure = {"cause": ended.cause, "error": ended.error, "hint": HINTS[ended.cause], "attempt": attempt}
        return State("failed", job_of(folder), failure=failure)
    number, lease = newest(folder)
    if number and not free(lease):
        job = lease.get("job", "")
        state = queue.state(job) if job else UNKNOWN
        if state in _REQUEUED:
            return State("queued", job)
        return State("running", job, silent_min=_silence(folder) if state == UNKNOWN else 0.0)
    note = notes.read(folder)
    if note and note.held(queue):
        state = queue.state(note.job)
        return State("running" if state == "RUNNING" else "queued", note.job, sure=state != UNKNOWN)
    return State("failed", job_of(folder), failure=before) if before else State("waiting")


def job_of(folder: Path) -> str:
    """The Slurm job that works on a stage, or did last, or is to."""
    note = notes.read(folder)
    return note.job if note else str(newest(folder)[1].get("job", ""))


def _silence(folder: Path) -> float:
    """Minutes without a sign of life, if they are more than clocks may differ."""
    try:
        minutes = (time.time() - max(file.stat().st_mtime for file in folder.glob("lease-0*.json"))) / 60
    except (OSError, ValueError):
        return 0.0
    return minutes if minutes > SILENT_MINUTES else 0.0


def states(plan: Plan, store: Store, queue: Queue) -> dict[str, State]:
    """Where every stage is, by name."""
    found = {stage.name: state_of(store, stage.name, queue) for stage in plan.stages()}
    for stage in walk(plan.targets):
        own, above = found[stage.name], [found[needed.name].word for needed in stage.inputs.values()]
        idle = own.word == "waiting" or (own.word == "queued" and not own.sure)
        if idle and any(word in ("failed", "blocked") for word in above):
            found[stage.name] = State("blocked")
    return found


def show_status(path: Path, assignments: list[str], results: Path, as_json: bool) -> None:
    """Print how far a comparison is."""
    store = Store(results)
    plan, _ = plan_so_far(read_recipe(path, assignments), store)
    found = states(plan, store, Queue(PATIENCE_SECONDS))
    print(_json(plan, found) if as_json else _text(plan, found, store))


def watch(path: Path, assignments: list[str], results: Path, every_seconds: float) -> int:
    """Show the status anew until nothing goes on any more. Returns the exit code."""
    recipe, store, shown, quiet_since = read_recipe(path, assignments), Store(results), "", 0.0
    while True:
        plan, _ = plan_so_far(recipe, store)
        found = states(plan, store, Queue(PATIENCE_SECONDS))
        text, counts = _text(plan, found, store), Counter(state.word for state in found.values())
        shown = _show(text, shown)
        active = counts["running"] + counts["queued"]
        quiet_since = 0.0 if active else quiet_since or time.monotonic()
        if not active and not counts["waiting"]:
            return 1 if counts["failed"] or counts["blocked"] else 0
        if not active and time.monotonic() - quiet_since > QUIET_SECONDS:
            print(f"nothing runs or is queued; {counts['waiting']} wait for somebody to run: harness run {path}")
            return 1
        time.sleep(every_seconds)


def _show(text: str, before: str) -> str:
    """Print a status, in the place of the one before on a terminal, else where it differs."""
    if sys.stdout.isatty() and before:
        sys.stdout.write(f"\033[{before.count(chr(10)) + 1}A\033[J")
    if sys.stdout.isatty() or text != before:
        print(text, flush=True)
    return text


def _json(plan: Plan, found: Mapping[str, State]) -> str:
    called = labels(plan)
    keys = ("cause", "error", "hint", "attempt")
    failures = [
        {"stage": name, "label": called[name], **{key: state.failure.get(key) for key in keys}}
        for name, state in found.items()
        if state.word == "failed" and state.failure
    ]
    counts = Counter(state.word for state in found.values())
    now = [called[name] for name, state in found.items() if state.word == "running"]
    jobs = {name: state.job for name, state in found.items() if state.job and state.word in ("running", "queued")}
    said = {"recipe": plan.recipe.name, "total": len(found), **counts, "now": now, "jobs": jobs, "failures": failures}
    return json.dumps(said, indent=1)


def _text(plan: Plan, found: Mapping[str, State], store: Store) -> str:
    called, counts = labels(plan), Counter(state.word for state in found.values())
    lines = [f"{plan.recipe.name}: " + ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])]
    for name, state in found.items():
        if state.word == "running":
            job = f" (Slurm job {state.job})" if state.job else ""
            silence = f"; no sign of life for {state.silent_min:.0f} minutes" if state.silent_min else ""
            lines.append(f"  now: {called[name]}{job}{silence}")
        if state.word == "failed" and state.failure:
            failure = state.failure
            what = f"{failure['cause']}, attempt {failure['attempt']}"
            lines.append(f"  failed: {called[name]} ({what}): {failure['error']}")
            lines.append(f"          {failure['hint']} [{store.folder(name)}]")
    if any(state.word == "queued" and not state.sure for state in found.values()):
        lines.append("  squeue does not answer here: what is queued may have ended since")
    return "\n".join(lines)

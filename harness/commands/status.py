"""`harness status` and `harness watch`: from the disk, and from squeue where there is one."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.causes import HINTS, alike, the_same
from harness.commands.driver import Driving
from harness.commands.driver import state as driver_state
from harness.commands.labels import labels, plain_label
from harness.commands.progress import NAMED
from harness.commands.run import PATIENCE_SECONDS
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_ends import death
from harness.executors._slurm_queue import UNKNOWN, Queue, requeues
from harness.lease import free, newest
from harness.recipe import Recipe, read_recipe
from harness.report.looks import plan_so_far
from harness.report.sheet import named
from harness.search.asked import labels_of, open_trials
from harness.search.chosen import read_studies
from harness.stages import Stage, walk
from harness.store import RECORD, Store

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
    if store.done(name) and not _made_again(folder):
        return State("done", job_of(folder))
    before, died = store.failure(name), death(folder, queue)
    if died:
        job, ended = died
        attempt = int((before or {}).get("attempt", 0)) + 1
        failure = {"cause": ended.cause, "error": ended.error, "hint": HINTS[ended.cause], "attempt": attempt}
        return State("failed", job, failure=failure)
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


def _made_again(folder: Path) -> bool:
    """Whether somebody makes a stage of which a record is published and nothing else is here."""
    return not (folder / RECORD).exists() and not free(newest(folder)[1])


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


def wanted(recipe: Recipe, store: Store) -> tuple[list[Stage], dict[str, str]]:
    """Every stage of the plan so far and of the trials that are open, inputs before what reads them; and their names.

    Returns:
        The stages, and what to call each, by its name.
    """
    plan, _ = plan_so_far(recipe, store)
    trials = open_trials(recipe, store)
    stages = list(walk([*plan.targets, *(cell.grades[None] for _, cell in trials)]))
    called = labels(plan)
    for label, cell in trials:
        called = {**labels_of(label, cell), **called}
    return stages, {stage.name: called.get(stage.name) or plain_label(stage) for stage in stages}


def states(stages: Sequence[Stage], store: Store, queue: Queue) -> dict[str, State]:
    """Where every stage is, by name; inputs come before what reads them."""
    found = {stage.name: state_of(store, stage.name, queue) for stage in stages}
    for stage in stages:
        own, above = found[stage.name], [found[needed.name].word for needed in stage.inputs.values()]
        idle = own.word == "waiting" or (own.word == "queued" and not own.sure)
        if idle and any(word in ("failed", "blocked") for word in above):
            found[stage.name] = State("blocked")
    return found


@dataclass(frozen=True)
class Status:
    """How far a comparison is.

    Attributes:
        recipe: its name.
        called: what to call each stage.
        found: where each is.
        driver: where its driver is, if that is a job.
        requeued: of stages whose job was requeued, how often.
        tuning: of each study that has not finished: whose it is, and how many trials have ended, of how many.
    """

    recipe: str
    called: Mapping[str, str]
    found: Mapping[str, State]
    driver: Driving | None
    requeued: Mapping[str, int]
    tuning: Sequence[tuple[str, int, int]]

    @property
    def counts(self) -> Counter[str]:
        """How many stages are where."""
        return Counter(state.word for state in self.found.values())

    @property
    def active(self) -> bool:
        """Whether anything of it runs, or waits in the queue."""
        driven = self.driver is not None and self.driver.word != "failed"
        return driven or bool(self.counts["running"] + self.counts["queued"])


def look(recipe: Recipe, store: Store) -> Status:
    """How far a comparison is now."""
    queue = Queue(PATIENCE_SECONDS)
    stages, called = wanted(recipe, store)
    studies = [study for study in read_studies(store, recipe) if not study["finished"]]
    tuning = [
        (study["contestant"], sum(trial["status"] != "open" for trial in study["trials"]), study["planned"])
        for study in studies
    ]
    driver = driver_state(store, recipe, queue)
    found = states(stages, store, queue)
    return Status(recipe.name, called, found, driver, _requeued(found), tuning)


def _requeued(found: Mapping[str, State]) -> dict[str, int]:
    jobs = {name: state.job for name, state in found.items() if state.job and state.word in ("running", "queued")}
    counts = requeues(PATIENCE_SECONDS) if jobs else {}
    return {name: counts[job] for name, job in jobs.items() if job in counts}


def show_status(path: Path, assignments: list[str], results: Path, as_json: bool) -> None:
    """Print how far a comparison is."""
    store = Store(results)
    status = look(read_recipe(path, assignments), store)
    print(_json(status) if as_json else _text(status, store))


def watch(path: Path, assignments: list[str], results: Path, every_seconds: float) -> int:
    """Show the status anew until nothing goes on any more. Returns the exit code."""
    recipe, store, shown, quiet_since = read_recipe(path, assignments), Store(results), "", 0.0
    while True:
        status = look(recipe, store)
        shown, counts = _show(_text(status, store), shown), status.counts
        quiet_since = 0.0 if status.active else quiet_since or time.monotonic()
        if not status.active and not counts["waiting"]:
            return 1 if counts["failed"] or counts["blocked"] else 0
        if not status.active and time.monotonic() - quiet_since > QUIET_SECONDS:
            sets = [part for one in assignments for part in ("--set", one)]
            again = shlex.join(["harness", "run", str(path), *sets, *_elsewhere(results)])
            print(f"nothing runs or is queued; {counts['waiting']} wait for somebody to run: {again}")
            return 1
        time.sleep(every_seconds)


def _elsewhere(results: Path) -> list[str]:
    return [] if results == Path("results") else ["--results", str(results)]


def _show(text: str, before: str) -> str:
    """Print a status, in the place of the one before on a terminal, else where it differs."""
    if sys.stdout.isatty() and before:
        sys.stdout.write(f"\033[{before.count(chr(10)) + 1}A\033[J")
    if sys.stdout.isatty() or text != before:
        print(text, flush=True)
    return text


def _json(status: Status) -> str:
    keys = ("cause", "error", "hint", "attempt")
    failures = [
        {"stage": name, "label": status.called[name], **{key: state.failure.get(key) for key in keys}}
        for name, state in status.found.items()
        if state.word == "failed" and state.failure
    ]
    now = [status.called[name] for name, state in status.found.items() if state.word == "running"]
    jobs = {
        name: state.job for name, state in status.found.items() if state.job and state.word in ("running", "queued")
    }
    said = {"recipe": status.recipe, "total": len(status.found), **status.counts, "now": now, "jobs": jobs}
    said["requeued"] = status.requeued
    driver = asdict(status.driver) if status.driver else None
    tuning = [dict(zip(("contestant", "ended", "planned"), one, strict=True)) for one in status.tuning]
    return json.dumps({**said, "failures": failures, "driver": driver, "tuning": tuning}, indent=1)


def _text(status: Status, store: Store) -> str:
    called, counts = status.called, status.counts
    lines = [f"{status.recipe}: " + ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])]
    if status.driver:
        told = f": {status.driver.error}; harness run goes on from what is finished" if status.driver.error else ""
        lines.append(f"  driver: {status.driver.word} (Slurm job {status.driver.job}){told}")
    lines += [f"  tuning: {ended} of {planned} trials of {who} have ended" for who, ended, planned in status.tuning]
    for name, state in status.found.items():
        if state.word == "running":
            again = f", requeued {status.requeued[name]} times" if name in status.requeued else ""
            job = f" (Slurm job {state.job}{again})" if state.job else ""
            silence = f"; no sign of life for {state.silent_min:.0f} minutes" if state.silent_min else ""
            lines.append(f"  now: {called[name]}{job}{silence}")
    lines += _failures(status, store)
    unsure = [state for state in (*status.found.values(), status.driver) if state and state.word == "queued"]
    if any(not state.sure for state in unsure):
        lines.append("  squeue does not answer here: what is queued may have ended since")
    return "\n".join(lines)


def _failures(status: Status, store: Store) -> list[str]:
    """What failed: each cause and message in full once, and how many other stages have the same."""
    found = {name: state.failure for name, state in status.found.items() if state.word == "failed" and state.failure}
    reasons = {name: (str(failure["cause"]), str(failure["error"])) for name, failure in found.items()}
    lines = []
    for first, *others in alike(reasons, status.called):
        failure = found[first]
        what = f"{failure['cause']}, attempt {failure['attempt']}"
        told, *more = f"  failed: {status.called[first]} ({what}): {failure['error']}".split("\n")
        hint = f"{failure['hint']} [{store.folder(first)}]"
        rest = the_same(len(others), named([status.called[name] for name in others], NAMED))
        lines += [told, *(f"{'':10}{line}" for line in (*more, hint, *([rest] if rest else [])))]
    return lines

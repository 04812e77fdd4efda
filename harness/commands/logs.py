"""`harness logs`: the end of the log that tells what happened to a stage."""

from __future__ import annotations

import difflib
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.commands.driver import note_of
from harness.commands.labels import AT
from harness.commands.run import PATIENCE_SECONDS
from harness.commands.status import State, job_of, state_of, wanted
from harness.errors import HarnessError
from harness.executors._slurm_ends import job_log
from harness.executors._slurm_queue import Queue, shown_as
from harness.launch import DRIVER
from harness.recipe import read_recipe
from harness.store import LOG, Store

LEAST_OF_A_KEY = 4
FOLLOW_SECONDS = 1.0
_URGENCY = ("failed", "running", "queued", "done", "waiting")
_JOB = re.compile(r"\d+(_\d+)?")


def show_logs(path: Path, which: str, assignments: list[str], results: Path, lines: int, follow: bool) -> None:
    """Print the end of a stage's log, and of its Slurm job's where the stage did not come to its own end.

    Raises:
        HarnessError: nothing in the recipe is called so, or several stages are.
    """
    recipe, store, queue = read_recipe(path, assignments), Store(results), Queue(PATIENCE_SECONDS)
    driver = note_of(store, recipe)
    if driver and which in (DRIVER, driver.job):
        file = job_log(store.root.resolve(), driver.job)
        _tail([file], lines)
        if follow:
            _follow(file, lambda: driver.held(queue))
        return
    _, called = wanted(recipe, store)
    if _JOB.fullmatch(which) and not _of_job(which, called, store):
        which = shown_as(which, PATIENCE_SECONDS)
    name, others = _choose(find(which, called, store), store, queue)
    state = state_of(store, name, queue)
    print(f"{called[name]}: {state.word}" + (f", Slurm job {state.job}" if state.job else "") + f" [{name}]")
    if others:
        print(f"also: {', '.join(f'{called[other]} [{other}]' for other in others)}")
    _tail(_files(store, name, state), lines)
    if follow:
        _follow(store.root / name / LOG, lambda: state_of(store, name, queue).word in ("running", "queued"))


def _tail(files: list[Path], lines: int) -> None:
    found = [file for file in files if file.exists()]
    for file in found:
        print(f"==> {file} <==")
        with file.open(errors="replace") as text:
            print("".join(deque(text, maxlen=lines)), end="", flush=True)
    if not found:
        print("it has no log yet")


def find(which: str, called: Mapping[str, str], store: Store) -> list[str]:
    """The stages that a person means by a name, a part of a key, a job's number, a label, or a contestant's cell.

    Args:
        which: what was asked for.
        called: what each stage is called.
        store: where they are.

    Raises:
        HarnessError: there is none.
    """
    by_key = [name for name in called if which in (name, name.partition("-")[2])]
    if len(which) >= LEAST_OF_A_KEY and not by_key:
        by_key = [name for name in called if name.startswith(which) or name.partition("-")[2].startswith(which)]
    by_job = _of_job(which, called, store) if _JOB.fullmatch(which) else []
    short = {name: label.partition(AT)[0] for name, label in called.items()}
    exact = [name for name, label in called.items() if which in (label, short[name])]
    cell = [name for name, label in called.items() if any(one.endswith(f" {which}") for one in (label, short[name]))]
    found = next(filter(None, (exact, by_job, cell, by_key)), [])
    if found:
        return found
    cells = {label.partition(" ")[2] for label in called.values()} - {""}
    near = difflib.get_close_matches(which, sorted({*called.values(), *cells}), n=5, cutoff=0.3)
    hint = f"; near: {', '.join(repr(one) for one in near)}" if near else ""
    raise HarnessError(
        f"nothing in this recipe is called {which!r}{hint}; give a cell such as 'dpo r0', a label of `harness status`, "
        "a stage's folder or the beginning of its key, or the number of a Slurm job"
    )


def _of_job(which: str, called: Mapping[str, str], store: Store) -> list[str]:
    """The stages of a job, or of the tasks of an array."""
    jobs = {name: job_of(store.root.resolve() / name) for name in called}
    return [name for name, job in jobs.items() if job and which in (job, job.partition("_")[0])]


def _choose(found: list[str], store: Store, queue: Queue) -> tuple[str, list[str]]:
    """Of several stages the one that a person wants to read: failed, else running, else the last that has a log."""
    words = {name: state_of(store, name, queue).word for name in found}

    def urgency(name: str) -> tuple[int, float]:
        log = store.root / name / LOG
        return _URGENCY.index(words[name]), -log.stat().st_mtime if log.exists() else 0.0

    first, *others = sorted(found, key=urgency)
    return first, others


def _files(store: Store, name: str, state: State) -> list[Path]:
    """A stage's own log, and its job's where that one says more."""
    folder = store.root.resolve() / name
    files = [folder / LOG]
    if state.job and (state.word != "done" or not files[0].exists()):
        files.append(job_log(folder.parent, state.job))
    return files


def _follow(log: Path, goes_on: Callable[[], bool]) -> None:
    """Print what is added to a log until nothing more is to come."""
    at, going = log.stat().st_size if log.exists() else 0, True
    while going:
        going = goes_on()
        if log.exists():
            with log.open(errors="replace") as text:
                text.seek(at)
                print(text.read(), end="", flush=True)
                at = text.tell()
        time.sleep(FOLLOW_SECONDS if going else 0)

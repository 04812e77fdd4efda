"""Run one stage's folder: what `harness exec` does, and every executor."""

from __future__ import annotations

import _thread
import contextlib
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from harness.causes import HINTS, classify
from harness.errors import HarnessError
from harness.inference.opened import close_policies
from harness.lease import BEAT_SECONDS, Busy, Lease, slurm_job
from harness.metrics import Measurement
from harness.provenance import Meter, made_by
from harness.public import public
from harness.registry import blame
from harness.stages import Stage
from harness.store import LOG, Store, write_whole


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        status: `done`; `failed`; `busy`, somebody else works on it; `waiting`, an input is not there any more.
        cause: of a failure.
        error: what happened, in one line.
    """

    name: str
    status: str
    cause: str = ""
    error: str = ""


def execute(
    folder: Path,
    checkpoint_every: int = 50,
    beat_seconds: float = BEAT_SECONDS,
    on_lost: Callable[[], None] = _thread.interrupt_main,
    on_begin: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run the stage of a folder, unless it is done or somebody else runs it.

    A finished stage whose files were pruned is made again.

    Args:
        folder: `<results>/<kind>-<key>`.
        checkpoint_every: steps between checkpoints.
        beat_seconds: how often the lease says that this process lives.
        on_lost: stops this process once another one has taken over; see `Lease`.
        on_begin: called when nothing but the work is left; processes that share it may begin.

    Raises:
        HarnessError: the folder holds no stage that this code knows by that name, or it is a published one.
    """
    folder = folder.resolve()
    if folder.parents[1].name == "published":
        raise HarnessError(f"{folder.name} is published and is only read; run its recipe to make it again")
    store = Store(folder.parent)
    stage = store.load(folder.name)
    if store.has_files(stage.name):
        return Outcome(stage.name, "done")
    folder.mkdir(exist_ok=True)
    try:
        with Lease(folder, beat_seconds, on_lost) as lease:
            if store.has_files(stage.name):  # finished while the lease was being taken
                return Outcome(stage.name, "done")
            store.withdraw(stage.name)
            return _attempt(store, stage, lease, checkpoint_every, on_begin)
    except Busy as busy:
        return Outcome(stage.name, "busy", error=str(busy))


def settle(
    folder: Path,
    checkpoint_every: int,
    on_lost: Callable[[], None] = _thread.interrupt_main,
    on_begin: Callable[[], None] = lambda: None,
) -> Outcome:
    """`execute` for executors: whatever goes wrong is that one stage's failure, and is written down."""
    try:
        return execute(folder, checkpoint_every, on_lost=on_lost, on_begin=on_begin)
    except Exception as error:
        return _note(Store(folder.parent), folder.name, error, traceback.format_exc(), {})


def follow(folder: Path, checkpoint_every: int) -> Outcome:
    """Work on a stage beside the process that holds it, which writes the record; this one writes a failure alone."""
    store = Store(folder.parent)
    try:
        stage = store.load(folder.name)
        inputs = {role: store.folder(needed.name) for role, needed in stage.inputs.items()}
        stage.run(folder, inputs, checkpoint_every)
        return Outcome(stage.name, "done")
    except Exception as error:
        print(public(traceback.format_exc()), file=sys.stderr)  # a job's own log, which nobody cleans
        return _note(store, folder.name, error, traceback.format_exc(), {})


def _lost_inputs(store: Store, stage: Stage) -> str:
    """What is wrong with what a stage reads; a damaged input loses its record, so that it is made again."""
    found = []
    waiting, seen = list(stage.inputs.values()), set[str]()
    while waiting:
        needed = waiting.pop(0)
        if needed.name in seen:
            continue
        seen.add(needed.name)
        wrong = store.verify(needed.name)
        if wrong:
            found.append(wrong)
            store.withdraw(needed.name)
        else:
            waiting += store.bases(needed)
    return "; ".join(found)


def _attempt(store: Store, stage: Stage, lease: Lease, checkpoint_every: int, on_begin: Callable[[], None]) -> Outcome:
    folder = store.root / stage.name
    store.clear(stage.name)
    inputs = {role: store.folder(needed.name) for role, needed in stage.inputs.items()}
    if not stage.reads_policies:
        close_policies()
    _clean(folder / LOG)  # of an attempt that was killed
    started, meter, job = datetime.now(UTC).isoformat(timespec="seconds"), Meter(), slurm_job()
    with _log_to(folder / LOG):
        print(" ".join(filter(None, ["---", stage.name, started, job and f"Slurm job {job}"])), flush=True)
        meter.start()
        try:
            lost = _lost_inputs(store, stage)
            if lost:
                return Outcome(stage.name, "waiting", error=lost)
            on_begin()
            meter.start()
            measurements = stage.run(folder, inputs, checkpoint_every)
            facts = _facts(store, stage, measurements)
            seconds, cost = meter.read()
            if lease.held():
                facts["failed_device_seconds"] += lease.owed()
                store.finish(stage.name, {**facts, "started": started, "seconds": seconds, "cost": cost})
                return Outcome(stage.name, "done")
        except (Exception, SystemExit) as error:
            close_policies()
            traceback.print_exc()
            seconds, cost = meter.read()
            if lease.held():
                cost["device_seconds"] += lease.owed()
                return _note(store, stage.name, error, traceback.format_exc(), {"seconds": seconds, "cost": cost})
    return Outcome(stage.name, "busy", error="another process took over: this one was silent for too long")


def _facts(store: Store, stage: Stage, measurements: list[Measurement]) -> dict[str, Any]:
    """A record without its times.

    Raises:
        FloatingPointError: a measurement is no number.
    """
    lost = [f"{found.metric} is {found.value}" for found in measurements if not math.isfinite(found.value)]
    if lost:
        raise FloatingPointError(", ".join(lost))
    before = store.failure(stage.name) or {}
    return {
        "spec": stage.public_spec,
        "status": "done",
        "measurements": [vars(measurement) for measurement in measurements],
        "made_by": made_by(),
        "files": store.outputs(stage.name),
        "attempt": int(before.get("attempt", 0)) + 1,
        "failed_device_seconds": float((before.get("cost") or {}).get("device_seconds") or 0.0),
    }


def _note(store: Store, name: str, error: BaseException, trace: str, cost: dict[str, Any]) -> Outcome:
    cause = classify(error)
    text = str(error) if cause == "bad data" else f"{type(error).__name__}: {error}"
    if cause == "bug" and (place := blame(error)):
        cause, text = "plug-in", f"{place}: {text}"
    return _fail(store, name, cause, text, {**cost, "traceback": public(trace)})


def note_death(store: Store, name: str, cause: str, error: str, seconds: float, devices: int = 1) -> Outcome:
    """Write down a failure whose process could not: it was killed, or ran out of time."""
    cost = {"device_seconds": seconds * devices, "devices": devices}
    _clean(store.root / name / LOG)
    return _fail(store, name, cause, error, {"seconds": seconds, "cost": cost, "traceback": ""})


def _fail(store: Store, name: str, cause: str, error: str, more: dict[str, Any]) -> Outcome:
    text = public(error)
    with contextlib.suppress(OSError):  # a full disk takes the note as well; the outcome still says it
        store.fail(name, {"cause": cause, "error": text, "hint": HINTS[cause], "made_by": made_by(), **more})
    return Outcome(name, "failed", cause, text)


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Everything that the process prints goes to a file: from Python, from C, and from its children.

    Folders and secrets are taken out at the end of the stage, or where its death is written down.
    """
    streams = [sys.stdout, sys.stderr, _through(1), _through(2)]
    _flush(streams)
    kept = [os.dup(1), os.dup(2)]
    try:
        with path.open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        with contextlib.redirect_stdout(streams[2]), contextlib.redirect_stderr(streams[3]):
            yield
    finally:
        _flush(streams)
        for saved, target in zip(kept, (1, 2), strict=True):
            os.dup2(saved, target)
            os.close(saved)
        _clean(path)


def _clean(log: Path) -> None:
    """Take folders and secrets out of a log."""
    with contextlib.suppress(OSError):
        text = log.read_text(encoding="utf-8", errors="replace")
        if public(text) != text:
            write_whole(log, public(text))


def _through(descriptor: int) -> TextIO:
    """Write wherever a descriptor leads at the time: who keeps this, as logging does, is right in later stages too."""
    return os.fdopen(descriptor, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)


def _flush(streams: list[TextIO]) -> None:
    for stream in streams:
        with contextlib.suppress(OSError):  # a full disk is the stage's failure, which is told otherwise
            stream.flush()


def check(folder: Path) -> None:
    """Refuse a path that is no stage's folder.

    Raises:
        HarnessError: there is no such folder.
    """
    if not folder.is_dir():
        raise HarnessError(f"{folder}: there is no such folder; a stage's folder is <results>/<kind>-<key>")

"""Run one stage's folder: what `harness exec` does, and every executor."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.causes import HINTS, classify
from harness.errors import HarnessError
from harness.lease import BEAT_SECONDS, Busy, Lease
from harness.provenance import Meter, made_by
from harness.store import LOG, Store


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


def execute(folder: Path, checkpoint_every: int = 50, beat_seconds: float = BEAT_SECONDS) -> Outcome:
    """Run the stage of a folder, unless it is done or somebody else runs it.

    Args:
        folder: `<results>/<kind>-<key>`.
        checkpoint_every: steps between checkpoints.
        beat_seconds: how often the lease says that this process lives.

    Raises:
        HarnessError: the folder holds no stage that this code knows by that name.
    """
    folder = folder.resolve()
    store = Store(folder.parent)
    stage = store.load(folder.name)
    if store.done(stage.name):
        return Outcome(stage.name, "done")
    try:
        with Lease(folder, beat_seconds) as lease:
            if store.done(stage.name):  # finished while the lease was being taken
                return Outcome(stage.name, "done")
            lost = _lost_inputs(store, [needed.name for needed in stage.inputs.values()])
            if lost:
                return Outcome(stage.name, "waiting", error=lost)
            return _attempt(store, stage, lease, checkpoint_every)
    except Busy as busy:
        return Outcome(stage.name, "busy", error=str(busy))


def _lost_inputs(store: Store, names: list[str]) -> str:
    """What is wrong with the inputs; a damaged one loses its record, so that it is made again."""
    found = []
    for name in dict.fromkeys(names):
        wrong = store.verify(name)
        if wrong:
            found.append(wrong)
            if store.done(name):
                store.withdraw(name)
    return "; ".join(found)


def _attempt(store: Store, stage: Any, lease: Lease, checkpoint_every: int) -> Outcome:
    folder = store.root / stage.name
    store.clear(stage.name)
    inputs = {role: store.folder(needed.name) for role, needed in stage.inputs.items()}
    started, meter = datetime.now(UTC).isoformat(timespec="seconds"), Meter()
    before = store.failure(stage.name) or {}
    with _log_to(folder / LOG):
        print(f"--- {stage.name} {started}", flush=True)
        meter.start()
        try:
            measurements = stage.run(folder, inputs, checkpoint_every)
        except Exception as error:
            return _failed(store, stage.name, lease, error, meter)
        seconds, cost = meter.read()
    if not lease.held():
        return Outcome(stage.name, "busy", error="another process took over: this one was silent for too long")
    store.finish(
        stage.name,
        {
            "spec": stage.spec,
            "status": "done",
            "measurements": [vars(measurement) for measurement in measurements],
            "started": started,
            "seconds": seconds,
            "cost": cost,
            "made_by": made_by(),
            "files": store.outputs(stage.name),
            "attempt": int(before.get("attempt", 0)) + 1,
            "failed_device_seconds": float((before.get("cost") or {}).get("device_seconds") or 0.0),
        },
    )
    return Outcome(stage.name, "done")


def _failed(store: Store, name: str, lease: Lease, error: Exception, meter: Meter) -> Outcome:
    seconds, cost = meter.read()
    cause = classify(error)
    text = f"{type(error).__name__}: {error}" if cause == "bug" else str(error)
    traceback.print_exc()
    if lease.held():
        details = {"seconds": seconds, "cost": cost, "traceback": _public(traceback.format_exc())}
        store.fail(
            name, {"cause": cause, "error": _public(text), "hint": HINTS[cause], "made_by": made_by(), **details}
        )
    return Outcome(name, "failed", cause, _public(text))


def note_death(store: Store, name: str, cause: str, error: str, seconds: float) -> Outcome:
    """Write down a failure whose process could not: it was killed, or ran out of time."""
    cost = {"device_seconds": seconds, "devices": 1}
    store.fail(name, {"cause": cause, "error": error, "hint": HINTS[cause], "seconds": seconds, "cost": cost,
                      "traceback": "", "made_by": made_by()})  # fmt: skip
    return Outcome(name, "failed", cause, error)


_FOLDERS = re.compile(r"(?<![\w.])/(?:[\w.@+-]+/)+(?=[\w.@+-]+/[\w.@+-]+)")
"""What comes before the last two parts of an absolute path."""


def _public(text: str) -> str:
    """A text without this machine's folders: of a path the last two parts are left."""
    for private in sorted({str(Path.cwd()), sys.prefix, str(Path.home())}, key=len, reverse=True):
        if len(private) > 1:
            text = text.replace(private + os.sep, "")
    return _FOLDERS.sub("", text)


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Everything that the process prints, from C too, goes to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    try:
        with path.open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for saved, target in zip(kept, (1, 2), strict=True):
            os.dup2(saved, target)
            os.close(saved)


def check(folder: Path) -> None:
    """Refuse a path that is no stage's folder.

    Raises:
        HarnessError: there is no such folder.
    """
    if not folder.is_dir():
        raise HarnessError(f"{folder}: there is no such folder; a stage's folder is <results>/<kind>-<key>")

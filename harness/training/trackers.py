"""Experiment trackers: transformers' own, told what a training run logs, and never able to end it."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import registry
from harness.job import Job
from harness.knobs import knobs

ASKED = "HARNESS_TRACKERS"
"""Names with a space between, set by the driver from `launch.trackers`: workers and jobs inherit it."""
FOLDER = ".trackers"
"""In the results folder; no stage's output, so that no record knows of it."""
TENSORBOARD = "TENSORBOARD_LOGGING_DIR"


@contextmanager
def tracked(job: Job, trainer: Any) -> Iterator[None]:
    """Have the trackers that were asked for follow a trainer."""
    asked, name = os.environ.get(ASKED, "").split(), run_name(job.out)
    if asked:
        from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

        trainer.args.run_name = name
    before = os.environ.get(TENSORBOARD)
    os.environ[TENSORBOARD] = str(Path(before or job.out.parent / FOLDER / "tensorboard") / name)
    try:
        for tracker in asked:
            follower = _made(tracker, INTEGRATION_TO_CALLBACK[tracker])
            if follower is not None:
                trainer.add_callback(follower)
        yield
    finally:
        del os.environ[TENSORBOARD]
        if before is not None:
            os.environ[TENSORBOARD] = before


def run_name(folder: Path) -> str:
    """A stage in words, with its key: `dpo beta=0.3 replicate-0 train-0123456789abcdef`."""
    try:
        spec = json.loads((folder / "spec.json").read_text())
        algorithm = spec["algorithm"]
        usual = {one.name: one.default for one in knobs(registry.load("algorithms", algorithm["name"])).values()}
    except (OSError, ValueError, KeyError):
        return folder.name
    own = [f"{name}={value}" for name, value in algorithm["knobs"].items() if value != usual.get(name)]
    return " ".join([algorithm["name"], *own, spec["seed"], folder.name]).replace("/", "-")


def _made(tracker: str, kind: type[Any]) -> Any:
    """A tracker's callback whose errors are told once and then end it; None where it cannot even begin."""
    from transformers import TrainerCallback

    try:
        inner = kind()
    except Exception as error:
        return _tell(tracker, error)
    failed: list[Exception] = []

    def guarded(event: str) -> Callable[..., None]:
        def call(_: Any, settings: Any, *args: Any, **given: Any) -> None:
            try:
                if not failed:
                    getattr(inner, event)(_shown(settings), *args, **given)
            except Exception as error:
                failed.append(error)
                _tell(tracker, error)

        return call

    events = [name for name in dir(TrainerCallback) if name.startswith("on_")]
    return type("Tracker", (TrainerCallback,), {event: guarded(event) for event in events})()


def _shown(settings: Any) -> Any:
    """What a tracker is told of a trainer's settings: of where its output lies no folder above the working one."""
    own, folder = copy.copy(settings), Path(settings.output_dir)
    own.output_dir = str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder.name)
    return own


def _tell(tracker: str, error: Exception) -> None:
    reason = str(error).strip().split("\n")[0]
    sys.stderr.write(f"tracker {tracker} is left out: {type(error).__name__}: {reason}\n")

"""Checkpoints that are resumed only when they are whole.

transformers writes weights, optimiser, scheduler and random state one after the other, and resumes in silence
from a checkpoint in which some are missing. A manifest of sizes and hashes, written last, says what is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import held

MANIFEST = "complete.json"
WORKED = "worked.json"


def seal(checkpoint: Path) -> None:
    """Write the manifest of a checkpoint, as the last thing."""
    draft = checkpoint / f"{MANIFEST}.draft"
    draft.write_text(json.dumps(_contents(checkpoint)))
    draft.replace(checkpoint / MANIFEST)


def note_work(file: Path, stage: str) -> None:
    """Write what the stage has worked until this checkpoint, so that who goes on from it costs that much too."""
    file.write_text(json.dumps({"stage": stage, **held.work.so_far()}))


def go_on_from(file: Path, stage: str) -> None:
    """Count what the stage had worked until this checkpoint; what another stage had is that one's."""
    try:
        worked = json.loads(file.read_text())
    except (OSError, ValueError):  # of an earlier version
        return
    if worked.pop("stage") == stage:
        held.work.go_on(worked)


def newest(folder: Path, below: int = 0) -> Path | None:
    """The newest whole checkpoint in a folder; every one that is not whole is removed.

    Args:
        folder: of checkpoints.
        below: a step that a training has yet to reach, so that it can stop there: those at it or beyond are removed
            too; 0 for no such step.
    """
    best: Path | None = None
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        if (below and _step(checkpoint) >= below) or not whole(checkpoint):
            shutil.rmtree(checkpoint)
        elif best is None:
            best = checkpoint
    return best


class Soon:
    """That whoever trains in this process saves at the next place where a checkpoint may fall, and what follows then.

    One process is asked at a time: several that train together would have to agree on the place.
    """

    def __init__(self) -> None:
        self._open, self._then = False, list[Callable[[], None]]()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """While a training runs, that listens."""
        self._open = True
        try:
            yield
        finally:
            self._open = False
            self._then.clear()

    def ask(self, then: Callable[[], None]) -> bool:
        """Ask for a checkpoint, after which `then` is called; whether anybody trains who will write it."""
        if self._open:
            self._then.append(then)
        return self._open

    @property
    def asked(self) -> bool:
        """Whether somebody waits for a checkpoint."""
        return bool(self._then)

    def saved(self) -> None:
        """Tell all who wait that one is whole."""
        waiting, self._then = self._then, []
        for then in waiting:
            then()


soon = Soon()


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdigit() else -1


def whole(checkpoint: Path) -> bool:
    """Whether a folder is as it was sealed."""
    try:
        promised = json.loads((checkpoint / MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return bool(promised == _contents(checkpoint))


def _contents(checkpoint: Path) -> dict[str, list[str | int]]:
    """Size and SHA-256 of each file but the manifest."""
    found: dict[str, list[str | int]] = {}
    for root, _, files in os.walk(checkpoint):
        for name in files:
            if not name.startswith(MANIFEST):
                path = Path(root) / name
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                found[str(path.relative_to(checkpoint))] = [path.stat().st_size, digest]
    return found

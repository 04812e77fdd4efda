"""A stage that a Slurm job has: how it ended, by the job's answer, or where there is none, by the queue."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.execute import note_death
from harness.executors import Ended
from harness.executors._slurm_ends import FINAL, how_a_stage_ended, seconds_spent
from harness.executors._slurm_notes import Note, failed_since
from harness.executors._slurm_queue import NEVER, cancel
from harness.lease import release
from harness.store import Store

if TYPE_CHECKING:
    from harness.executors.slurm import Slurm

LOOK_SECONDS = 0.5
SETTLE_SECONDS = 10.0
"""A job that has ended may be ahead of its files, which a shared file system shows late."""


class Submitted:
    """A stage that is in the queue, or about to be."""

    def __init__(self, executor: Slurm, folder: Path, before: Sequence[Submitted] = ()) -> None:
        self.executor, self.folder, self.before = executor, folder, tuple(before)
        self.note, self.job, self.result = Note("", ""), "", Path()
        self.looked = 0.0
        self.gone_since: float | None = None
        self.ended: Ended | None = None
        self.died = self.own = False

    def holds(self, note: Note) -> None:
        """It is in the queue now."""
        self.note, self.job, self.result = note, note.job, Path(note.result)
        self.executor.is_under_way = True

    def done(self) -> bool:
        """Look at the job's answer, and where there is none, at the queue; asks seldom, since files are far away."""
        self.executor.flush()
        if self.ended is None and time.monotonic() - self.looked > LOOK_SECONDS:
            self.looked = time.monotonic()
            self.ended = self._answer() or self._gone()
            if self.ended is not None:
                self.executor.forget(self)
        return self.ended is not None

    def outcome(self) -> Ended:
        """How it ended."""
        assert self.ended is not None, "asked before it was done"
        return self.ended

    def said(self) -> bool:
        """Whether the job has said how the stage ended."""
        if self.ended is None:
            self.ended = self._answer()
            if self.ended is not None:
                self.executor.forget(self)
        return self.ended is not None and not self.died

    def _answer(self) -> Ended | None:
        try:
            said = json.loads(self.result.read_text())
        except (OSError, ValueError):
            return None
        return Ended(said["status"], said["cause"], said["error"], said["seconds"])

    def _gone(self) -> Ended | None:
        state = self.executor.queue.state(self.job)
        if not self.executor.queue.over(state):
            self.gone_since = None
            return None
        self.gone_since = self.gone_since or time.monotonic()
        if state not in FINAL and time.monotonic() - self.gone_since < SETTLE_SECONDS:
            return None
        if Store(self.folder.parent).has_files(self.folder.name):
            return Ended("done")
        if state == NEVER:
            return Ended("unbegun", error="what its job waited for was not made")
        if state != "CANCELLED" and not all(one.said() for one in self.before):
            return Ended("unbegun", error="its job ended at a stage before it")
        failure = failed_since(self.folder, self.note)
        if failure and failure["cause"] != "killed":  # another run has read the job's answer, and put it away
            return Ended("failed", failure["cause"], failure["error"])
        cancel([self.job])  # should Slurm requeue it after all, it must not meet its successor
        status, cause, error = how_a_stage_ended(self.folder, self.job, state)
        self.died = True
        seconds = seconds_spent(self.folder, self.job, alone=self.executor.is_alone(self))
        noted = not release(self.folder, self.job)
        devices = self.executor.devices(self.folder)
        if status == "failed" and not noted:
            note_death(Store(self.folder.parent), self.folder.name, cause, error, seconds, devices)
        return Ended(status, cause, error, seconds, devices, noted)

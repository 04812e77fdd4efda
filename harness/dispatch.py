"""Run what is missing: submit what is ready, wait, go on. Safe to stop and to start again, and to run twice at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.execute import note_death
from harness.executors import Ended, Executor, Handle
from harness.lease import Watcher
from harness.stages import Stage, walk
from harness.store import Store

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        what: `started`, `finished`, `failed`, `blocked`, `again`, `elsewhere`.
        stage: which stage.
        cause: of a failure; or the stage that blocks.
        error: in one line.
        done: stages that are finished.
        total: stages that there are.
        running: names of those that run now.
    """

    what: str
    stage: Stage
    cause: str = ""
    error: str = ""
    done: int = 0
    total: int = 0
    running: tuple[str, ...] = ()


@dataclass
class Summary:
    """How a run ended: names of stages, and causes of failures."""

    ran: list[str] = field(default_factory=list)
    reused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)


def run(
    targets: list[Stage],
    store: Store,
    executor: Executor,
    *,
    retries: int = 1,
    on_event: Callable[[Event], None] = lambda event: None,
    watcher: Watcher | None = None,
) -> Summary:
    """Make every target, running only what is not done.

    A finished stage asks nothing of its inputs. A stage that is to run needs its inputs' files, so an input whose
    files were pruned runs again. A failed stage blocks only what rests on it; an attempt that was killed is repeated
    `retries` times. Stages that another live run holds are waited for.
    """
    return _Run(targets, store, executor, retries, on_event, watcher or Watcher()).to_the_end()


class _Run:
    def __init__(
        self,
        targets: list[Stage],
        store: Store,
        executor: Executor,
        retries: int,
        on_event: Callable[[Event], None],
        watcher: Watcher,
    ) -> None:
        self.targets, self.store, self.executor = targets, store, executor
        self.retries, self.on_event, self.watcher = retries, on_event, watcher
        self.summary = Summary()
        self.todo: dict[str, Stage] = {}
        self.finished: set[str] = set()
        self.running: dict[str, tuple[Stage, Handle]] = {}
        self.elsewhere: set[str] = set()
        self.deaths: dict[str, int] = {}
        for target in targets:
            self._require(target, files=False)
        self.total = sum(1 for _ in walk(targets))
        self.summary.reused = self.total - len(self.todo)
        self.rank = self._ranks()
        for stage in self.todo.values():
            store.prepare(stage)

    def _require(self, stage: Stage, *, files: bool) -> None:
        """Put a stage on the list unless it is done, and with it whatever it needs."""
        if stage.name in self.todo:
            return
        if self.store.done(stage.name):
            if not files or self.store.has_files(stage.name):
                self.finished.add(stage.name)
                return
            if self.store.folder(stage.name).parent == self.store.root:
                self.store.withdraw(stage.name)
        self.finished.discard(stage.name)
        self.todo[stage.name] = stage
        for needed in stage.inputs.values():
            self._require(needed, files=True)

    def _ranks(self) -> dict[str, int]:
        """How much work rests on each stage, itself included, along the longest way: the longest go first."""
        weights = {"train": 10, "reference": 3, "sample": 1, "grade": 1}
        rank: dict[str, int] = {}
        for stage in reversed(list(walk(self.targets))):
            rank[stage.name] = rank.get(stage.name, 0) + weights.get(stage.kind, 1)
            for needed in stage.inputs.values():
                rank[needed.name] = max(rank.get(needed.name, 0), rank[stage.name])
        return rank

    def to_the_end(self) -> Summary:
        """Loop until nothing can run any more."""
        try:
            while self.todo:
                moved = self._collect() | self._block() | self._submit()
                if not moved and self.todo:
                    time.sleep(POLL_SECONDS)
        finally:
            self.executor.close()
        return self.summary

    def _submit(self) -> bool:
        ready = [stage for stage in list(self.todo.values()) if self._ready(stage)]
        ready.sort(key=lambda stage: -self.rank.get(stage.name, 0))
        moved = False
        for stage in ready[: max(0, self.executor.slots - len(self.running))]:
            self.running[stage.name] = (stage, self.executor.submit(self.store.root / stage.name))
            self._tell("started", stage)
            moved = True
        return moved

    def _ready(self, stage: Stage) -> bool:
        if stage.name in self.running or any(needed.name not in self.finished for needed in stage.inputs.values()):
            return False
        if stage.name not in self.elsewhere:
            return True
        if self.store.done(stage.name):  # the other run has made it
            self._done(stage, ran=False)
            return False
        free = self.watcher.release_if_dead(self.store.root / stage.name)
        if free:
            self.elsewhere.discard(stage.name)
        return free

    def _collect(self) -> bool:
        ended = [(stage, handle) for stage, handle in self.running.values() if handle.done()]
        for stage, handle in ended:
            del self.running[stage.name]
            self._end(stage, handle.outcome())
        return bool(ended)

    def _end(self, stage: Stage, ended: Ended) -> None:
        if ended.status == "done":
            self._done(stage, ran=True)
        elif ended.status == "busy":
            self.elsewhere.add(stage.name)
            self._tell("elsewhere", stage, error=ended.error)
        elif ended.status == "waiting":
            self._tell("again", stage, cause="an input is damaged", error=ended.error)
            for needed in stage.inputs.values():
                self._require(needed, files=True)
                self.store.prepare(needed)
        elif ended.status == "lost":
            self._lost(stage, ended)
        else:
            self._failed(stage, ended.cause, ended.error)

    def _done(self, stage: Stage, *, ran: bool) -> None:
        del self.todo[stage.name]
        self.finished.add(stage.name)
        if ran:
            self.summary.ran.append(stage.name)
        self._tell("finished", stage)

    def _lost(self, stage: Stage, ended: Ended) -> None:
        note_death(self.store, stage.name, ended.cause, ended.error, ended.seconds)
        deaths = self.deaths[stage.name] = self.deaths.get(stage.name, 0) + 1
        if ended.cause == "killed" and deaths <= self.retries:
            self._tell("again", stage, cause=ended.cause, error=f"{ended.error}; attempt {deaths + 1}")
        else:
            self._failed(stage, ended.cause, ended.error)

    def _failed(self, stage: Stage, cause: str, error: str) -> None:
        del self.todo[stage.name]
        self.summary.failed[stage.name] = cause
        self._tell("failed", stage, cause=cause, error=error)

    def _block(self) -> bool:
        """Take off the list what rests on a failure."""
        bad = self.summary.failed | self.summary.blocked
        found = [
            (stage, next(needed.name for needed in stage.inputs.values() if needed.name in bad))
            for stage in self.todo.values()
            if any(needed.name in bad for needed in stage.inputs.values())
        ]
        for stage, reason in found:
            root = self.summary.blocked.get(reason, reason)
            del self.todo[stage.name]
            self.summary.blocked[stage.name] = root
            self._tell("blocked", stage, cause=root)
        return bool(found)

    def _tell(self, what: str, stage: Stage, cause: str = "", error: str = "") -> None:
        done = self.total - len(self.todo) - len(self.summary.failed) - len(self.summary.blocked)
        self.on_event(Event(what, stage, cause, error, done, self.total, tuple(self.running)))

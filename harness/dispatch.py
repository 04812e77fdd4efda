"""Run what is missing: submit what is ready, wait, go on. Safe to stop and to start again, and to run twice at once."""

from __future__ import annotations

import time
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from harness.causes import FATE
from harness.execute import note_death
from harness.executors import Ended, Executor, Handle
from harness.lease import Watcher, bury
from harness.stages import Stage, walk
from harness.store import Store

POLL_SECONDS = 0.05
MAX_WAITS = 3
"""A stage whose input is found damaged more often than this fails."""


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


def waves(
    targets: list[Stage], store: Store, executor: Executor, slots: int | None = None
) -> Iterator[list[list[Stage]]]:
    """What a run would submit, were all that it submits together to end together: bundles of stages, wave by wave.

    Writes nothing and starts nothing.

    Args:
        targets: what is wanted.
        store: where.
        executor: what can share a job.
        slots: how many bundles a wave has at most; None: all that are ready.
    """
    pretended = _Run(targets, store, executor, 0, lambda event: None, Watcher())
    while ready := pretended.queue()[:slots]:
        bundles = [pretended.bundle(stage, executor.bundle) for stage in ready]
        yield bundles
        for stage in (stage for bundle in bundles for stage in bundle):
            del pretended.todo[stage.name]
            pretended.finished.add(stage.name)


def missing(targets: list[Stage], store: Store, executor: Executor) -> list[Stage]:
    """What a run would make: what is not done, and what is done and has to be made again, since its files are gone.

    Writes nothing and starts nothing.
    """
    return list(_Run(targets, store, executor, 0, lambda event: None, Watcher()).todo.values())


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

    Args:
        targets: what is wanted.
        store: where.
        executor: who runs them; closed at the end.
        retries: how often an attempt that was killed is repeated.
        on_event: told of everything that happens.
        watcher: says when a run that went silent counts as dead.

    Returns:
        What ran, what was there, what failed or is blocked, and why.
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
        self.sources: dict[str, list[Stage]] = {}
        self.readers: dict[str, list[Stage]] = {}
        self.finished: set[str] = set()
        self.whole: set[str] = set()
        self.running: dict[str, tuple[Stage, Handle]] = {}
        self.elsewhere: dict[str, int] = {}
        self.heads: dict[str, str] = {}
        """Of what runs in a bundle: the stage that the bundle began with."""
        self.deaths: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.ready: list[Stage] | None = None
        for target in targets:
            self._require(target, files=False)
        self.total = sum(1 for _ in walk(targets))
        self.summary.reused = self.total - len(self.todo)
        self.rank = self._ranks()

    def _require(self, stage: Stage, *, files: bool) -> None:
        """Put a stage on the list unless it is done, and with it whatever it needs."""
        name = stage.name
        if name in self.todo or name in self.whole or self._root(name):
            return
        if self.store.done(name) and (not files or self.store.has_files(name)):
            self.finished.add(name)
            if files:
                self.whole.add(name)
            return
        self.finished.discard(name)
        self.todo[name] = stage
        self.sources[name] = []
        for needed in stage.inputs.values():
            self._source(stage, needed)

    def _source(self, reader: Stage, needed: Stage) -> None:
        """Note what a stage reads: an input, and the weights that it may be an adapter of."""
        self.sources[reader.name].append(needed)
        self.readers.setdefault(needed.name, []).append(reader)
        self._require(needed, files=True)
        if needed.name in self.finished:
            for base in self.store.bases(needed):
                self._source(reader, base)

    def _ranks(self) -> dict[str, int]:
        """How much work rests on each stage, itself included, along the longest way: the longest go first."""
        weights = {"train": 10, "reference": 3, "collect": 3, "sample": 1, "grade": 1}
        rank: dict[str, int] = {}
        for stage in reversed(list(walk(self.targets))):
            rank[stage.name] = rank.get(stage.name, 0) + weights.get(stage.kind, 1)
            for needed in stage.inputs.values():
                rank[needed.name] = max(rank.get(needed.name, 0), rank[stage.name])
        return rank

    def to_the_end(self) -> Summary:
        """Loop until nothing can run any more."""
        self.store.prepare_all(self.todo.values())
        try:
            self.executor.begin(self.store, list(self.todo))
            while self.todo:
                moved = self._collect() | self._look_elsewhere() | self._submit()
                if not moved and self.todo:
                    if not self.running and not self.elsewhere:
                        raise RuntimeError(f"no way to go on, a bug in harness: {', '.join(self.todo)}")
                    time.sleep(POLL_SECONDS)
        finally:
            self.executor.close()
            for name in self.running:
                with suppress(OSError):
                    bury(self.store.root / name, counted=False)
        return self.summary

    def _submit(self) -> bool:
        moved = False
        while len({self.heads[name] for name in self.running}) < self.executor.slots:
            if self.ready is None:
                self.ready = self.queue()[::-1]
            if not self.ready:
                break
            head = self.ready.pop()
            bundle = self.bundle(head, self.executor.bundle)
            for handle in self.executor.submit_bundle([self.store.root / stage.name for stage in bundle]):
                stage = self.todo[handle.folder.name]
                self._tell("started", stage, running=(*self.running, stage.name))
                self.running[stage.name], self.heads[stage.name] = (stage, handle), head.name
            moved = True
        return moved

    def bundle(self, head: Stage, most: int) -> list[Stage]:
        """A stage, and what can follow it at once: what reads nothing unfinished that is not in the bundle itself.

        Of several training runs that read the same stage none follows, for they belong to different cells.

        Args:
            head: is ready.
            most: how many there may be.
        """
        found, names = [head], {head.name}
        if most == 1:
            return found
        for stage in found:
            readers = [
                one for one in dict.fromkeys(self.readers.get(stage.name, [])) if self._can_follow(one, names, head)
            ]
            trained = sum(one.kind == "train" for one in readers)
            for reader in readers:
                if len(found) < most and not (reader.kind == "train" and trained > 1):
                    found.append(reader)
                    names.add(reader.name)
        return found

    def _can_follow(self, stage: Stage, names: set[str], head: Stage) -> bool:
        if stage.name not in self.todo or stage.name in names or not self.executor.alike(head.spec, stage.spec):
            return False
        if stage.name in self.running or stage.name in self.elsewhere:
            return False
        return all(needed.name in self.finished or needed.name in names for needed in self.sources[stage.name])

    def queue(self) -> list[Stage]:
        """What is ready, in the order in which it goes."""
        return sorted(filter(self.is_ready, self.todo.values()), key=self.rank_of, reverse=True)

    def rank_of(self, stage: Stage) -> int:
        """How much rests on it."""
        return self.rank.get(stage.name, 0)

    def is_ready(self, stage: Stage) -> bool:
        """Whether all that it reads is there, and nobody works on it."""
        if stage.name in self.running or stage.name in self.elsewhere:
            return False
        return all(needed.name in self.finished for needed in self.sources[stage.name])

    def _look_elsewhere(self) -> bool:
        """Go on where another run has finished a stage, failed, or died."""
        moved = False
        for name, attempts in list(self.elsewhere.items()):
            if name not in self.elsewhere:  # blocked by the failure of one before it
                continue
            stage = self.todo[name]
            if not self.store.has_files(name) and not self.watcher.release_if_dead(self.store.root / name):
                continue
            del self.elsewhere[name]
            self.ready, moved = None, True
            failure = self.store.failure(name)
            if self.store.has_files(name):
                self._done(stage, ran=False)
            elif failure and failure["attempt"] > attempts and failure["cause"] not in FATE:
                self._failed(stage, failure["cause"], failure["error"])
                self._block()
        return moved

    def _collect(self) -> bool:
        ended = [(stage, handle) for stage, handle in self.running.values() if handle.done()]
        for stage, handle in ended:
            del self.running[stage.name], self.heads[stage.name]
            self._end(stage, handle.outcome())
        return bool(ended)

    def _end(self, stage: Stage, ended: Ended) -> None:
        if ended.status == "done":
            self._done(stage, ran=True)
            return
        self.ready = None
        if ended.status == "busy":
            self.elsewhere[stage.name] = self._attempts(stage)
            self._tell("elsewhere", stage, error=ended.error)
        elif ended.status == "waiting":
            self._wait(stage, ended.error)
        elif ended.status == "lost":
            self._lost(stage, ended)
        elif ended.status != "unbegun":
            self._failed(stage, ended.cause, ended.error)
        self._block()

    def _attempts(self, stage: Stage) -> int:
        return int((self.store.failure(stage.name) or {}).get("attempt", 0))

    def _wait(self, stage: Stage, error: str) -> None:
        """An input has turned out to be damaged: make it again first."""
        self.waits[stage.name] += 1
        if self.waits[stage.name] > MAX_WAITS:
            self._failed(stage, "bad data", f"an input is damaged each time that it is made: {error}")
            return
        for needed in self.sources[stage.name]:
            self.whole.discard(needed.name)
        self.sources[stage.name] = []
        for needed in stage.inputs.values():
            self._source(stage, needed)
        self.store.prepare_all(self.todo.values())
        self._tell("again", stage, cause="an input is damaged", error=error)

    def _done(self, stage: Stage, *, ran: bool) -> None:
        del self.todo[stage.name]
        self.finished.add(stage.name)
        self.whole.add(stage.name)
        if ran:
            self.summary.ran.append(stage.name)
        for reader in dict.fromkeys(self.readers.get(stage.name, [])):  # each once, though it may read it twice
            if self.ready is not None and reader.name in self.todo and self.is_ready(reader):
                insort(self.ready, reader, key=self.rank_of)
        self._tell("finished", stage)

    def _lost(self, stage: Stage, ended: Ended) -> None:
        bury(self.store.root / stage.name, counted=True)
        if not ended.noted:
            note_death(self.store, stage.name, ended.cause, ended.error, ended.seconds, ended.devices)
        self.deaths[stage.name] += 1
        if ended.cause in FATE and self.deaths[stage.name] <= self.retries:
            attempt = f"attempt {self.deaths[stage.name] + 1}"
            self._tell("again", stage, cause=ended.cause, error=f"{ended.error}; {attempt}")
        else:
            self._failed(stage, ended.cause, ended.error)

    def _failed(self, stage: Stage, cause: str, error: str) -> None:
        del self.todo[stage.name]
        self.summary.failed[stage.name] = cause
        self._tell("failed", stage, cause=cause, error=error)

    def _root(self, name: str) -> str:
        """Which failure keeps a stage from being made, or an empty string."""
        return name if name in self.summary.failed else self.summary.blocked.get(name, "")

    def _block(self) -> None:
        """Take off the list what rests on a stage that cannot be made, however far.

        What runs may have read it in time; it comes back here unless it is done.
        """
        while found := [
            (stage, root)
            for stage in self.todo.values()
            if stage.name not in self.running
            and (root := next(filter(None, (self._root(needed.name) for needed in self.sources[stage.name])), ""))
        ]:
            for stage, root in found:
                del self.todo[stage.name]
                self.elsewhere.pop(stage.name, None)
                self.summary.blocked[stage.name] = root
                self._tell("blocked", stage, cause=root)

    def _tell(self, what: str, stage: Stage, cause: str = "", error: str = "", running: tuple[str, ...] = ()) -> None:
        done = self.total - len(self.todo) - len(self.summary.failed) - len(self.summary.blocked)
        self.on_event(Event(what, stage, cause, error, done, self.total, running or tuple(self.running)))

"""Dispatch with others about: time that runs out, other runs and hosts, folders that vanish, and a cheap loop."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bricks import PLUGINS, WAIT_SECONDS, alive, brick, children, driver, outputs, runs, until, wall

from harness.dispatch import Event, Summary, run
from harness.executors import Ended, Executor
from harness.executors.inline import Inline
from harness.executors.local import Local
from harness.lease import Lease, Watcher
from harness.stages import Stage, Train, walk
from harness.store import Store


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)


def go(results: Path, *targets: Stage, executor: Executor | None = None, **options: Any) -> Summary:
    return run(list(targets), Store(results), executor or Inline(), **options)


def behind(work: Callable[[], object]) -> threading.Thread:
    """Do something while a run goes on."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@dataclass
class Puppet:
    """A stage that ends when the test says so, and how."""

    folder: Path
    ended: Ended | None = None

    def done(self) -> bool:
        return self.ended is not None

    def outcome(self) -> Ended:
        assert self.ended is not None
        return self.ended


@dataclass
class Puppets(Executor):
    """An executor whose stages the test plays."""

    slots: int = 2
    given: list[Puppet] = field(default_factory=list)

    def submit(self, folder: Path) -> Puppet:
        self.given.append(Puppet(folder))
        return self.given[-1]

    def close(self) -> None:
        """Nothing runs."""

    def end(self, stage: Stage, *ended: str) -> None:
        """Wait for a stage to be submitted, and end it."""

        def find() -> list[Puppet]:
            return [given for given in self.given if given.folder.name == stage.name and not given.done()]

        until(find)
        find()[0].ended = Ended(*ended)


def test_a_stage_that_takes_too_long_is_ended_with_its_worker(tmp_path: Path) -> None:
    slow, quick = brick("slow", trouble="hang", once=True), brick("quick")
    executor = Local(workers=2, cold=True, timeout_min=0.03)
    workers: list[int] = []

    def look(event: Event) -> None:
        if event.what == "failed":
            workers.append(json.loads(next((tmp_path / slow.name).glob("lease-*.json")).read_text())["pid"])

    began = time.monotonic()
    summary = go(tmp_path, slow, quick, executor=executor, on_event=look)
    assert time.monotonic() - began < 30
    assert (summary.failed, summary.ran) == ({slow.name: "timeout"}, [quick.name])
    failed = json.loads((tmp_path / slow.name / "failed.json").read_text())
    assert failed["error"] == "it ran for more than launch.timeout_min = 0.03 minutes"
    assert "launch.timeout_min" in failed["hint"]
    assert failed["cost"]["device_seconds"] >= 1.8
    assert not alive(workers[0])
    assert go(tmp_path, slow).ran == [slow.name]


def test_two_drivers_share_the_work_and_do_nothing_twice(tmp_path: Path) -> None:
    both = [driver(tmp_path), driver(tmp_path)]
    try:
        until(lambda: all(len(children(process.pid)) == 2 for process in both))
        said = [process.communicate(timeout=WAIT_SECONDS)[1] for process in both]
    finally:
        for process in both:
            process.kill()
            process.communicate()
    assert [process.returncode for process in both] == [0, 0], said
    assert runs(tmp_path) == dict.fromkeys((stage.name for stage in walk(wall())), 1)
    assert len(outputs(tmp_path)) == len(runs(tmp_path))


def test_what_another_live_run_finishes_is_taken_as_done(tmp_path: Path) -> None:
    stage = brick("a", seconds=1.0)
    Store(tmp_path).prepare(stage)
    other = driver(tmp_path, 1, stage.name)
    try:
        until(lambda: runs(tmp_path)[stage.name])
        top = brick("top", stage)
        assert go(tmp_path, top).ran == [top.name]
        assert other.communicate(timeout=WAIT_SECONDS) == (None, b"")
    finally:
        other.kill()
        other.communicate()
    assert runs(tmp_path) == {stage.name: 1, top.name: 1}


@pytest.mark.parametrize("beats", [False, True])
def test_another_host_is_respected_while_it_beats_and_replaced_when_it_is_silent(tmp_path: Path, beats: bool) -> None:
    stage, stop, beating = brick("a"), threading.Event(), time.monotonic() + (1.5 if beats else 0)
    lease = Store(tmp_path).prepare(stage) / "lease-000001.json"
    content = {"host": "elsewhere", "machine": ["elsewhere", "", ""], "pid": 1, "started": "1", "beat": 0}
    lease.write_text(json.dumps(content))

    def beat() -> None:
        while time.monotonic() < beating and not stop.wait(0.02):
            content["beat"] = int(str(content["beat"])) + 1
            draft = tmp_path / "beat"
            draft.write_text(json.dumps(content))
            draft.replace(lease)

    heart, events = behind(beat), list[Event]()
    summary = go(tmp_path, stage, on_event=events.append, watcher=Watcher(stale_seconds=0.5))
    ended = time.monotonic()
    stop.set()
    heart.join()
    assert summary.ran == [stage.name]
    assert "elsewhere" in next(event.error for event in events if event.what == "elsewhere")
    assert ended >= beating + 0.4


def test_what_was_killed_while_its_input_was_lost_for_good_is_blocked(tmp_path: Path) -> None:
    below = brick("below")
    one, two, top = brick("one", below), brick("two", below), brick("top", brick("one", below))
    go(tmp_path, below)
    executor = Puppets()

    def play() -> None:
        until(lambda: len(executor.given) == 2)
        Store(tmp_path).withdraw(below.name)
        executor.end(two, "waiting")
        executor.end(below, "failed", "bug")
        until(lambda: two.name in blocked)
        executor.end(one, "lost", "killed")

    blocked = list[str]()

    def look(event: Event) -> None:
        if event.what == "blocked":
            blocked.append(event.stage.name)

    thread = behind(play)
    summary = go(tmp_path, two, top, executor=executor, on_event=look)
    thread.join()
    assert summary.failed == {below.name: "bug"}
    assert summary.blocked == dict.fromkeys((one.name, two.name, top.name), below.name)


@pytest.mark.parametrize("last", ["done", "waiting"])
def test_who_runs_while_its_input_is_lost_for_good_may_have_read_it_in_time(tmp_path: Path, last: str) -> None:
    below = brick("below")
    one, two = brick("one", below), brick("two", below)
    go(tmp_path, below)
    executor, events = Puppets(), list[Event]()

    def play() -> None:
        until(lambda: len(executor.given) == 2)
        Store(tmp_path).withdraw(below.name)
        executor.end(two, "waiting")
        executor.end(below, "failed", "bug")
        until(lambda: any(event.what == "blocked" for event in events))
        executor.end(one, last)

    thread = behind(play)
    summary = go(tmp_path, one, two, executor=executor, on_event=events.append)
    thread.join()
    assert summary.failed == {below.name: "bug"}
    assert summary.ran == ([one.name] if last == "done" else [])
    assert summary.blocked.keys() == {two.name} | ({one.name} if last == "waiting" else set())
    assert len(executor.given) == 3, "what failed is not tried again in the same run"


def test_a_results_folder_that_vanishes_ends_the_run_with_a_reason(tmp_path: Path) -> None:
    root = tmp_path / "r"
    stages = [brick("a", seconds=1.0), brick("b", seconds=1.0)]

    def vanish() -> None:
        until(lambda: len(runs(root)) == 2)
        root.rename(tmp_path / "gone")

    thread = behind(vanish)
    summary = go(root, *stages, executor=Local(workers=2, cold=True))
    thread.join()
    assert summary.failed.keys() == {stage.name for stage in stages}
    assert not root.exists()
    assert not outputs(tmp_path / "gone"), "what could not be written down is not done"
    shutil.rmtree(tmp_path / "gone")


def test_a_worker_whose_driver_died_before_it_had_started_does_nothing(tmp_path: Path) -> None:
    folder = Store(tmp_path).prepare(brick("a", seconds=5.0))
    code = (
        "import os, sys; from pathlib import Path; from harness.executors.local import Local\n"
        "worker = Local(workers=1, cold=True).submit(Path(sys.argv[1])).worker.process.pid\n"
        "print(worker, flush=True); os._exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], check=True, stdout=subprocess.PIPE, text=True, timeout=30
    )
    until(lambda: not alive(int(done.stdout)), 20)
    assert not runs(tmp_path)


def test_a_lease_held_by_this_very_process_is_waited_for(tmp_path: Path) -> None:
    stage, summaries = brick("a"), list[Summary]()
    with Lease(Store(tmp_path).prepare(stage)):
        thread = behind(lambda: summaries.append(go(tmp_path, stage)))
        thread.join(0.5)
        assert thread.is_alive()
        assert not runs(tmp_path)
    thread.join(WAIT_SECONDS)
    assert summaries[0].ran == [stage.name]


def test_a_record_counts_though_its_maker_still_holds_the_folder(tmp_path: Path) -> None:
    stage, summaries = brick("a"), list[Summary]()
    store = Store(tmp_path)
    with Lease(store.prepare(stage)):
        thread = behind(lambda: summaries.append(go(tmp_path, stage)))
        thread.join(0.2)
        store.finish(stage.name, {"files": {}})
        thread.join(WAIT_SECONDS)
        assert (summaries[0].ran, summaries[0].failed) == ([], {})


@dataclass
class Swift(Executor):
    """Every stage is done at once, by a record and nothing else."""

    slots: int = 2

    def submit(self, folder: Path) -> Puppet:
        (folder / "record.json").write_text('{"files": {}}')
        return Puppet(folder, Ended("done"))

    def close(self) -> None:
        """Nothing runs."""


def test_the_loop_looks_at_a_stage_a_few_times_however_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: names asked for, which is what each look at a stage costs."""

    def looks(width: int) -> float:
        base = brick("base")
        targets = [brick(f"top-{i}", brick(f"mid-{i}", base)) for i in range(width)]
        seen = [0]
        name = Train.name.func

        def counted(stage: Stage) -> str:
            seen[0] += 1
            return str(names.setdefault(id(stage), name(stage)))

        names: dict[int, str] = {}
        with monkeypatch.context() as patch:
            patch.setattr(Stage, "name", property(counted))
            assert len(go(tmp_path / str(width), *targets, executor=Swift()).ran) == 2 * width + 1
        return seen[0] / width

    assert looks(400) < 1.3 * looks(100)

"""What dispatch makes of damage, pruning, deaths and other runs, through both executors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bricks import PLUGINS, alive, brick, children, driver, outputs, record, runs, until, wall, weights

from harness.dispatch import Event, Summary, missing, run
from harness.executors import Executor
from harness.executors.inline import Inline
from harness.executors.local import Local
from harness.lease import Lease, Watcher, newest
from harness.stages import Stage, walk
from harness.store import Store

EXECUTORS: dict[str, Callable[[], Executor]] = {"inline": Inline, "local": lambda: Local(workers=2, cold=True)}


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Executor:
    return EXECUTORS[request.param]()


def names(*stages: Stage) -> set[str]:
    return {stage.name for stage in stages}


def go(results: Path, *targets: Stage, executor: Executor | None = None, **options: Any) -> Summary:
    return run(list(targets), Store(results), executor or Inline(), **options)


def test_every_stage_runs_once_after_its_inputs_and_only_once_ever(tmp_path: Path, executor: Executor) -> None:
    targets, events = wall(seconds=0), list[Event]()
    summary = go(tmp_path, *targets, executor=executor, on_event=events.append)
    order = list(walk(targets))
    assert runs(tmp_path) == dict.fromkeys((stage.name for stage in order), 1)
    assert (set(summary.ran), summary.reused) == (names(*order), 0)
    begun = (tmp_path / "diary.txt").read_text().split()
    place = {name: number for number, name in enumerate(begun)}
    assert all(place[below.name] < place[stage.name] for stage in order for below in stage.inputs.values())
    assert [event.done for event in events if event.what == "finished"] == list(range(1, len(order) + 1))
    assert {event.total for event in events} == {len(order)}
    assert all(event.stage.name in event.running for event in events if event.what == "started")
    again = go(tmp_path, *targets)
    assert (again.ran, again.reused) == ([], len(order))
    assert sum(runs(tmp_path).values()) == len(order)


def test_a_failure_blocks_only_what_rests_on_it_and_is_tried_again(tmp_path: Path, executor: Executor) -> None:
    bad, good = brick("bad", trouble="divergence", once=True), brick("good")
    above = brick("above", good, bad)
    top, side = brick("top", above), brick("side", good)
    events = list[Event]()
    summary = go(tmp_path, top, side, executor=executor, on_event=events.append)
    assert summary.failed == {bad.name: "divergence"}
    assert summary.blocked == {above.name: bad.name, top.name: bad.name}
    assert set(summary.ran) == names(good, side)
    assert {event.stage.name for event in events if event.what == "blocked"} == names(above, top)
    again = go(tmp_path, top, side)
    assert set(again.ran) == names(bad, above, top)
    assert (again.failed, again.blocked, again.reused) == ({}, {}, 2)


def test_a_folder_of_other_code_fails_alone(tmp_path: Path, executor: Executor) -> None:
    stage, other = brick("a"), brick("b")
    file = Store(tmp_path).prepare(stage) / "spec.json"
    file.write_text(file.read_text().replace('"brick"', '"prick"'))
    summary = go(tmp_path, stage, other, executor=executor)
    assert summary.failed == {stage.name: "bad data"}
    assert summary.ran == [other.name]


def test_a_worker_that_dies_takes_one_stage_down(tmp_path: Path) -> None:
    once, always = brick("once", trouble="kill", once=True), brick("always", trouble="kill")
    crash = brick("crash", trouble="segfault")
    others, events = [brick(f"other-{i}") for i in range(4)], list[Event]()
    executor = Local(workers=2, cold=True)
    summary = go(tmp_path, once, always, crash, *others, executor=executor, on_event=events.append)
    assert summary.failed == {always.name: "killed", crash.name: "killed"}
    assert set(summary.ran) == names(once, *others)
    assert runs(tmp_path) == {once.name: 2, always.name: 2, crash.name: 2, **{other.name: 1 for other in others}}
    again = [event for event in events if event.what == "again"]
    assert {event.stage.name for event in again} == names(once, always, crash)
    assert "signal 9; attempt 2" in next(event.error for event in again if event.stage == once)
    failed = json.loads((tmp_path / always.name / "failed.json").read_text())
    assert (failed["cause"], failed["attempt"]) == ("killed", 2)
    assert record(tmp_path, once)["attempt"] == 2
    assert "Segmentation fault" in (tmp_path / crash.name / "log.txt").read_text()


def test_a_finished_stage_asks_nothing_of_its_inputs(tmp_path: Path) -> None:
    below = brick("below")
    top = brick("top", below)
    go(tmp_path, top)
    shutil.rmtree(tmp_path / below.name)
    summary = go(tmp_path, top)
    assert summary.ran == []
    assert summary.failed == {}


@pytest.mark.parametrize("damage", ["", "x" * 64])
def test_a_damaged_or_pruned_input_is_made_again_first(tmp_path: Path, executor: Executor, damage: str) -> None:
    ground = brick("ground")
    below = brick("below", ground)
    go(tmp_path, below)
    before = outputs(tmp_path)
    weights(tmp_path, ground).unlink()  # and this one is needed again only because the other is
    if damage:
        weights(tmp_path, below).write_text(damage)
    else:
        weights(tmp_path, below).unlink()
    top = brick("top", below)
    summary = go(tmp_path, top, executor=executor)
    assert set(summary.ran) == names(ground, below, top)
    assert {name: made for name, made in outputs(tmp_path).items() if name != top.name} == before


def test_what_is_damaged_each_time_fails_in_the_end(tmp_path: Path) -> None:
    below = brick("below")
    top = brick("top", below)

    def gnaw(event: Event) -> None:
        if event.what == "finished" and event.stage == below:
            weights(tmp_path, below).write_text("x" * 64)

    summary = go(tmp_path, top, on_event=gnaw)
    assert summary.failed == {top.name: "bad data"}
    assert 2 <= runs(tmp_path)[below.name] <= 5


def test_the_base_of_an_adapter_is_made_again_with_it(tmp_path: Path, executor: Executor) -> None:
    base = brick("base")
    adapter = brick("adapter", base, trouble="adapter")
    go(tmp_path, adapter)
    weights(tmp_path, base).unlink()
    top = brick("top", adapter)
    assert set(go(tmp_path, top, executor=executor).ran) == names(base, top)


def test_published_weights_that_are_missing_are_made_under_results(tmp_path: Path, executor: Executor) -> None:
    start, other = brick("start"), brick("other")
    known = brick("known", start, other)
    go(tmp_path, known)
    before = outputs(tmp_path)
    home = tmp_path / "published" / "paper"
    home.mkdir(parents=True)
    for stage in (start, other, known):
        (tmp_path / stage.name).rename(home / stage.name)
        (home / stage.name / "policy" / "weights").unlink()
    assert go(tmp_path, known).ran == []
    new = brick("new", start)
    left = missing([known, new], Store(tmp_path), executor)
    assert {stage.name for stage in left} == names(start, new), "what a plan says of it"
    summary = go(tmp_path, known, new, executor=executor)
    assert set(summary.ran) == names(start, new)
    assert outputs(tmp_path)[start.name] == before[start.name]
    assert not (home / start.name / "policy" / "weights").exists()


def test_what_fails_in_another_run_is_not_tried_by_this_one_too(tmp_path: Path) -> None:
    stage = brick("a")
    top = brick("top", stage)
    folder = Store(tmp_path).prepare(stage)
    seen, summaries = threading.Event(), list[Summary]()

    def look(event: Event) -> None:
        if event.what == "elsewhere":
            seen.set()

    with Lease(folder):
        thread = threading.Thread(target=lambda: summaries.append(go(tmp_path, top, on_event=look)))
        thread.start()
        assert seen.wait(30)
        Store(tmp_path).fail(stage.name, {"cause": "divergence", "error": "the loss is nan"})
    thread.join(30)
    assert summaries[0].failed == {stage.name: "divergence"}
    assert summaries[0].blocked == {top.name: stage.name}
    assert not runs(tmp_path)


def test_a_worker_that_was_frozen_and_overtaken_stops(tmp_path: Path) -> None:
    stage = brick("a", trouble="hang", once=True)
    Store(tmp_path).prepare(stage)
    other = driver(tmp_path, 1, stage.name)
    worker = 0
    try:
        until(lambda: runs(tmp_path)[stage.name])
        worker = children(other.pid)[0]
        os.kill(worker, signal.SIGSTOP)
        assert go(tmp_path, stage, watcher=Watcher(stale_seconds=0.5)).ran == [stage.name]
        made = (tmp_path / stage.name / "record.json").read_bytes()
        os.kill(worker, signal.SIGCONT)
        assert other.communicate(timeout=40) == (None, b"")
        assert other.returncode == 0
    finally:
        other.kill()
        other.communicate()
    assert not alive(worker)
    assert (tmp_path / stage.name / "record.json").read_bytes() == made
    assert not (tmp_path / stage.name / "failed.json").exists()


def test_a_key_press_stops_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    process = driver(tmp_path)
    until(lambda: len(outputs(tmp_path)) >= 3)
    workers = children(process.pid)
    assert len(workers) == 2
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, said = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in said
    assert not any(alive(worker) for worker in workers)
    leases = [newest(folder) for folder in tmp_path.glob("train-*")]
    held = [content for number, content in leases if number and not content.get("released")]
    assert held == [], "other hosts need not wait for the leases of this run"
    done, before = set(outputs(tmp_path)), runs(tmp_path)
    go(tmp_path, *wall(), executor=Local(workers=2, cold=True))
    after = runs(tmp_path)
    assert {name: after[name] for name in done} == {name: before[name] for name in done}
    assert set(outputs(tmp_path)) == names(*walk(wall()))


def test_a_worker_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text("import sys\nsys.exit('no python today')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    stage = brick("a")
    events = list[Event]()
    summary = go(tmp_path, stage, executor=Local(workers=1, cold=True), on_event=events.append)
    assert summary.failed == {stage.name: "killed"}
    assert "no python today" in next(event.error for event in events if event.what == "failed")

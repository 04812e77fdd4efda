"""kill -9 at any moment: the next run completes, nothing finished is repeated, and the tables are the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bricks import PLUGINS, WAIT_SECONDS, alive, brick, children, driver, outputs, runs, until, wall

from harness.dispatch import run
from harness.executors.inline import Inline
from harness.stages import walk
from harness.store import Store

EVERY_STEP = """
import os, shutil, sys
from pathlib import Path
from bricks import brick, outputs, runs
from harness.execute import execute
from harness.provenance import made_by
from harness.store import Store

root = Path(sys.argv[1])
stage = brick("a", brick("below"))
below = stage.inputs["start"]
made_by()  # asks git once, which is not what is killed here

STEPS = ("open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.scandir")

def die_at(step):
    count = 0
    def hook(event, args):
        nonlocal count
        if event in STEPS and str(args[0]).startswith(str(root)):
            count += 1
            if count == step:
                os._exit(9)
    sys.addaudithook(hook)

def child(step):
    pid = os.fork()
    if pid == 0:
        if step:
            die_at(step)
        store = Store(root / "r")
        store.prepare(stage)
        done = [execute(root / "r" / one.name).status for one in (below, stage)] == ["done", "done"]
        os._exit(0 if done else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

assert child(0) == 0
right, step = outputs(root / "r"), 0
while True:
    step += 1
    shutil.rmtree(root / "r")
    (root / "r").mkdir()
    code = child(step)
    for one in (below, stage):
        store = Store(root / "r")
        assert not store.done(one.name) or store.verify(one.name) == "", step
    finished = set(outputs(root / "r"))
    before = runs(root / "r")
    if code == 0:
        break
    assert code == 9, (step, code)
    assert child(0) == 0, step
    assert outputs(root / "r") == right, step
    assert all(runs(root / "r")[name] == before[name] for name in finished), step
print(step - 1)
"""


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)


def test_killed_at_every_single_step_of_the_protocol(tmp_path: Path) -> None:
    """Each opening, linking, renaming, removing of a file is once the last thing that a process does."""
    own = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", EVERY_STEP, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=own, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def test_workers_die_with_their_driver_in_the_middle_of_a_stage(tmp_path: Path) -> None:
    stage = brick("a", trouble="hang", once=True)
    Store(tmp_path).prepare(stage)
    process = driver(tmp_path, 1, stage.name)
    try:
        until(lambda: runs(tmp_path)[stage.name])
        workers = children(process.pid)
    finally:
        process.kill()
        process.communicate()
    assert len(workers) == 1
    until(lambda: not alive(workers[0]), 5)
    assert run([stage], Store(tmp_path), Inline()).ran == [stage.name], "at once: the holder is known to be gone"


def kill_at_random(process: subprocess.Popen[bytes], results: Path, rng: random.Random, *, one_worker: bool) -> None:
    """Kill a driver, whose workers go with it, or one worker, which the driver reports before it ends by itself."""
    before = sum(runs(results).values())
    until(lambda: sum(runs(results).values()) > before or not alive(process.pid))
    time.sleep(rng.uniform(0, 0.25))
    workers = children(process.pid) if alive(process.pid) else []
    os.kill(rng.choice(workers) if one_worker and workers else process.pid, signal.SIGKILL)
    process.communicate(timeout=WAIT_SECONDS)
    until(lambda: not any(alive(worker) for worker in workers))


def test_killed_at_ten_random_points(tmp_path: Path) -> None:
    targets, rng = wall(), random.Random(0)
    run(wall(), Store(tmp_path / "calm"), Inline())
    stormy = tmp_path / "stormy"
    finished: dict[str, int] = {}
    for number in range(10):
        process = driver(stormy)
        try:
            kill_at_random(process, stormy, rng, one_worker=number % 3 == 0)
        finally:
            process.kill()
            process.communicate()
        begun = runs(stormy)
        assert {name: begun[name] for name in finished} == finished, "a finished stage is not repeated"
        finished = {name: begun[name] for name in outputs(stormy)}
        store = Store(stormy)
        assert [store.verify(name) for name in finished] == [""] * len(finished)
    last = driver(stormy)
    _, said = last.communicate(timeout=WAIT_SECONDS)
    assert last.returncode == 0, said
    assert {name: runs(stormy)[name] for name in finished} == finished
    assert outputs(stormy) == outputs(tmp_path / "calm")
    assert set(outputs(stormy)) == {stage.name for stage in walk(targets)}

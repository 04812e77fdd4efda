"""Dispatch on real processes: what fails blocks only what rests on it, what dies is resumed, what is done is done."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import fake
import pytest

from harness import dispatch
from harness.dispatch import Event, Summary
from harness.executors.inline import Inline
from harness.executors.local import Local
from harness.lease import Lease, Watcher
from harness.stages import Stage, walk
from harness.store import Store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fake.install(tmp_path / "plugins", monkeypatch)


def local(workers: int = 2, **given: float) -> Local:
    return Local(workers=workers, cold=True, **given)  # type: ignore[arg-type]  # numbers by name


def run(targets: list[Stage], results: Path, workers: int = 2, **given: float) -> Summary:
    return dispatch.run(targets, Store(results), local(workers, **given))


def test_inline_and_local_make_the_same(home: Path, tmp_path: Path) -> None:
    targets = fake.web()
    dispatch.run(targets, Store(tmp_path / "a"), Inline())
    run(targets, tmp_path / "b")
    assert [fake.value(tmp_path / "a", s) for s in walk(targets)] == [
        fake.value(tmp_path / "b", s) for s in walk(targets)
    ]
    assert set(Counter(fake.log(home)).values()) == {2}, "each stage ran once in each"


def test_a_second_run_repeats_nothing(home: Path, tmp_path: Path) -> None:
    targets = fake.web()
    first = run(targets, tmp_path / "r")
    again = run(targets, tmp_path / "r")
    assert (len(first.ran), again.ran, again.reused) == (fake.WEB, [], fake.WEB)


CAUSES = {
    "memory": "out of memory", "torch memory": "out of memory", "nan": "divergence", "data": "bad data", "bug": "bug",
}  # fmt: skip


def test_a_failure_blocks_only_what_rests_on_it_and_says_why(home: Path, tmp_path: Path) -> None:
    bad = {fate: fake.step(i, fate=fate) for i, fate in enumerate(CAUSES, 2)}
    above = {fate: fake.step(20 + i, stage) for i, (fate, stage) in enumerate(bad.items())}
    good = fake.step(99)
    events: list[Event] = []
    store = Store(tmp_path / "r")
    summary = dispatch.run([*above.values(), good], store, local(), on_event=events.append)
    assert summary.failed == {bad[fate].name: cause for fate, cause in CAUSES.items()}
    assert summary.blocked == {above[fate].name: bad[fate].name for fate in CAUSES}
    assert summary.ran == [good.name]
    assert Counter(event.what for event in events)["blocked"] == len(CAUSES)
    for fate, cause in CAUSES.items():
        failure = store.failure(bad[fate].name)
        assert failure is not None
        assert failure["cause"] == cause
        assert failure["hint"]
        assert str(tmp_path) not in json.dumps(failure), "no private path"


def test_the_next_run_tries_a_failure_again_and_counts_attempts(home: Path, tmp_path: Path) -> None:
    stage = fake.step(5, fate="once nan")
    assert run([stage], tmp_path / "r").failed == {stage.name: "divergence"}
    assert run([stage], tmp_path / "r").ran == [stage.name]
    record = Store(tmp_path / "r").record(stage.name)
    assert record is not None
    assert record["attempt"] == 2
    assert record["failed_device_seconds"] >= 0
    assert not (tmp_path / "r" / stage.name / "half").exists(), "the first attempt's half is gone"


def test_a_worker_that_dies_takes_one_stage_down_which_is_tried_once_more(home: Path, tmp_path: Path) -> None:
    once, always = fake.step(5, fate="once kill"), fake.step(6, fate="kill")
    others = [fake.step(10 + i, seconds=0.1) for i in range(4)]
    summary = run([once, always, *others], tmp_path / "r")
    assert summary.failed == {always.name: "killed"}
    assert set(summary.ran) == {once.name, *(stage.name for stage in others)}
    assert Counter(fake.log(home))["start 6"] == 2


def test_a_stage_that_takes_too_long_is_ended(home: Path, tmp_path: Path) -> None:
    slow, quick = fake.step(5, seconds=60.0), fake.step(6)
    began = time.monotonic()
    summary = run([slow, quick], tmp_path / "r", timeout_min=0.05)
    assert summary.failed == {slow.name: "timeout"}
    assert summary.ran == [quick.name]
    assert time.monotonic() - began < 40


def test_a_damaged_input_is_made_again(home: Path, tmp_path: Path) -> None:
    below = fake.step(1)
    run([below], tmp_path / "r")
    (tmp_path / "r" / below.name / "policy" / "value").write_text("7")
    above = fake.step(10, below)
    run([above], tmp_path / "r")
    assert fake.value(tmp_path / "r", above) == 11
    assert Counter(fake.log(home))["end 1"] == 2
    assert (tmp_path / "r" / below.name / "record.corrupt.json").exists()


def test_pruned_weights_are_made_again_only_where_somebody_needs_them(home: Path, tmp_path: Path) -> None:
    below = fake.step(1)
    above = fake.step(10, below)
    run([above], tmp_path / "r")
    (tmp_path / "r" / below.name / "policy" / "value").unlink()
    assert run([above], tmp_path / "r").ran == []
    other = fake.step(20, below)
    assert set(run([other], tmp_path / "r").ran) == {below.name, other.name}


def test_published_stages_count_as_done_and_are_not_written(home: Path, tmp_path: Path) -> None:
    stage = fake.step(1)
    run([stage], tmp_path / "r")
    published = tmp_path / "other" / "published" / "mine" / stage.name
    published.parent.mkdir(parents=True)
    (tmp_path / "r" / stage.name).rename(published)
    before = sorted(published.rglob("*"))
    above = fake.step(10, stage)
    assert run([above], tmp_path / "other").ran == [above.name]
    assert sorted(published.rglob("*")) == before
    assert not (tmp_path / "other" / stage.name).exists()


DRIVER = """
import sys; from pathlib import Path
sys.path.insert(0, sys.argv[1])
import fake
from harness import dispatch; from harness.executors.local import Local; from harness.store import Store
dispatch.run(fake.web(seconds=0.1), Store(Path(sys.argv[2])), Local(workers=2, cold=True))
"""


def driver(results: Path) -> subprocess.Popen[bytes]:
    here = str(Path(__file__).parent)
    return subprocess.Popen([sys.executable, "-c", DRIVER, here, str(results)], stderr=subprocess.DEVNULL)


def alive(results: Path) -> list[int]:
    """Processes that still hold a lease in a results folder."""
    contents = [json.loads(file.read_text()) for file in results.glob("*/lease-*.json")]
    return [c["pid"] for c in contents if not c.get("released") and Path(f"/proc/{c['pid']}").exists()]


def test_killed_at_ten_points_nothing_is_lost_or_repeated(home: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    results, targets = tmp_path / "r", fake.web(seconds=0.1)
    finished: set[str] = set()
    for _ in range(10):
        process = driver(results)
        time.sleep(rng.uniform(0.2, 1.0))
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
        deadline = time.monotonic() + 20
        while alive(results):
            assert time.monotonic() < deadline, "workers die with their driver"
            time.sleep(0.05)
        done = {file.parent.name for file in results.glob("*/record.json")}
        assert finished <= done
        finished = done
    run(targets, results)
    run(targets, tmp_path / "calm")
    for stage in walk(targets):
        assert fake.value(results, stage) == fake.value(tmp_path / "calm", stage)
    ends = Counter(line for line in fake.log(home) if line.startswith("end"))
    # a stage that was killed between its last line and its record has ended twice; a recorded one never again
    assert sum(ends.values()) - 2 * fake.WEB <= 10


def test_two_drivers_share_the_work_and_do_nothing_twice(home: Path, tmp_path: Path) -> None:
    results = tmp_path / "r"
    both = [driver(results), driver(results)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert len(list(results.glob("*/record.json"))) == fake.WEB
    assert set(Counter(fake.log(home)).values()) == {1}


def test_work_of_a_host_that_died_is_taken_over(home: Path, tmp_path: Path) -> None:
    stage, store = fake.step(1), Store(tmp_path / "r")
    folder = store.prepare(stage)
    other = {"host": "elsewhere", "boot": "x", "pid": 1, "started": "1", "beat": 3}
    (folder / "lease-000001.json").write_text(json.dumps(other))
    events: list[Event] = []
    summary = dispatch.run([stage], store, local(), on_event=events.append, watcher=Watcher(stale_seconds=0.5))
    assert summary.ran == [stage.name]
    assert "elsewhere" in {event.what for event in events}


def test_what_another_live_run_finishes_is_taken_as_done(home: Path, tmp_path: Path) -> None:
    stage, store = fake.step(1, seconds=1.0), Store(tmp_path / "r")
    store.prepare(stage)
    code = "import sys; from pathlib import Path; from harness.execute import execute; execute(Path(sys.argv[1]))"
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "r" / stage.name)])
    deadline = time.monotonic() + 20
    while not list((tmp_path / "r" / stage.name).glob("lease-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    summary = dispatch.run([stage], store, local())
    assert other.wait(timeout=20) == 0
    assert (summary.ran, summary.failed) == ([], {})
    assert Counter(fake.log(home))["end 1"] == 1


def test_a_slow_holder_gives_up_when_it_was_superseded(home: Path, tmp_path: Path) -> None:
    stage, store = fake.step(1), Store(tmp_path / "r")
    folder = store.prepare(stage)
    with Lease(folder) as lease:
        assert lease.held()
        (folder / "lease-000002.json").write_text(json.dumps({"released": True}))
        assert not lease.held()

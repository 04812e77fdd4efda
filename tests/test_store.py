"""The store: whole files, honest names, checksums; and leases that exactly one process can hold."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import fake
import pytest

from harness import lease as leases
from harness.errors import HarnessError
from harness.execute import execute
from harness.lease import Busy, Lease, Watcher, free, newest
from harness.store import Store, write_whole


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fake.install(tmp_path / "plugins", monkeypatch)


def test_a_folder_can_be_run_by_hand(home: Path, tmp_path: Path) -> None:
    below = fake.step(1)
    above = fake.step(10, below)
    store = Store(tmp_path / "r")
    folder = store.prepare(above)
    assert execute(folder).status == "waiting", "its input is not there yet"
    assert execute(tmp_path / "r" / below.name).status == "done"
    assert execute(folder).status == "done"
    record = store.record(above.name)
    assert record is not None
    assert record["measurements"] == [{"metric": "total", "value": 11, "n": 1, "unit": "", "better": ""}]
    assert list(record["files"]) == ["policy/value"]
    assert record["cost"]["peak_memory_bytes"] > 0
    assert record["made_by"]["python"]


def test_a_changed_spec_is_refused(home: Path, tmp_path: Path) -> None:
    stage = fake.step(1)
    folder = Store(tmp_path / "r").prepare(stage)
    text = (folder / "spec.json").read_text()
    (folder / "spec.json").write_text(text.replace('"number":1', '"number":2'))
    with pytest.raises(HarnessError, match="it describes train-"):
        execute(folder)
    (folder / "spec.json").write_text(text[:40])
    with pytest.raises(HarnessError, match="no stage can be read there"):
        Store(tmp_path / "r").load(stage.name)


def test_a_spec_of_another_version_is_refused(home: Path, tmp_path: Path) -> None:
    stage = fake.step(1)
    folder = Store(tmp_path / "r").prepare(stage)
    plugin = home / "algorithms" / "step.py"
    plugin.write_text(plugin.read_text().replace("number: int", "version: ClassVar[int] = 2\n    number: int"))
    code = f"from harness.execute import execute; from pathlib import Path; print(execute(Path({str(folder)!r})))"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert "is version 2 in this code, but the stage asks for version 1" in done.stdout + done.stderr


def test_what_is_wrong_with_files_is_named(home: Path, tmp_path: Path) -> None:
    stage, store = fake.step(1), Store(tmp_path / "r")
    execute(store.prepare(stage))
    path = tmp_path / "r" / stage.name / "policy" / "value"
    assert store.verify(stage.name) == ""
    path.write_text("2")
    assert "has changed since it was written (checksum)" in store.verify(stage.name)
    path.write_text("22")
    assert "has 2 bytes, not 1" in store.verify(stage.name)
    path.unlink()
    assert not store.has_files(stage.name)


def test_what_an_attempt_left_is_cleared_but_for_its_checkpoints(home: Path, tmp_path: Path) -> None:
    stage, store = fake.step(1), Store(tmp_path / "r")
    folder = store.prepare(stage)
    (folder / "policy").mkdir()
    (folder / "policy" / "half").write_text("x")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "one").write_text("x")
    assert execute(folder).status == "done"
    assert not (folder / "policy" / "half").exists()
    assert (folder / "checkpoints" / "one").exists()


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "x", "first")

    def fails(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "x", "second")
    assert (tmp_path / "x").read_text() == "first"


def _try(folder: str, hold: float, found: multiprocessing.Queue[int]) -> None:
    try:
        with Lease(Path(folder)):
            found.put(1)
            time.sleep(hold)
    except Busy:
        found.put(0)


def test_of_many_processes_one_gets_the_lease(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    found: multiprocessing.Queue[int] = context.Queue()
    many = [context.Process(target=_try, args=(str(tmp_path), 1.5, found)) for _ in range(12)]
    for process in many:
        process.start()
    got = [found.get(timeout=20) for _ in many]
    for process in many:
        process.join(timeout=20)
    assert sum(got) == 1
    assert not list(tmp_path.glob("draft-*")), "nothing is left lying about"


def test_a_lease_is_released_and_can_be_taken_again(tmp_path: Path) -> None:
    for generation in (1, 2, 3):
        with Lease(tmp_path) as lease:
            assert lease.generation == generation
            with pytest.raises(Busy), Lease(tmp_path):
                pass
    assert len(list(tmp_path.glob("lease-*"))) <= 2


def test_a_dead_holder_on_this_host_is_known_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    found: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=_try, args=(str(tmp_path), 60.0, found))
    process.start()
    assert found.get(timeout=20) == 1
    assert not free(newest(tmp_path)[1])
    process.kill()
    process.join(timeout=20)
    assert free(newest(tmp_path)[1])


def test_a_number_used_again_is_not_mistaken_for_the_holder(tmp_path: Path) -> None:
    with Lease(tmp_path):
        content = newest(tmp_path)[1]
        assert not free(content)
        assert free({**content, "started": "1"}), "the same pid, but another process"
        assert not free({**content, "machine": ["host", "boot", "pid"]}), (
            "another boot may be another host of that name"
        )


def test_a_holder_elsewhere_is_judged_by_its_beat_and_our_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    file = tmp_path / "lease-000001.json"

    def beat(number: int) -> None:
        file.write_text(json.dumps({"host": "elsewhere", "boot": "x", "pid": 1, "started": "1", "beat": number}))

    watcher = Watcher(stale_seconds=60)
    for seconds, number, taken in ((0, 1, False), (59, 1, False), (61, 2, False), (120, 2, False), (122, 2, True)):
        now[0] = float(seconds)
        beat(number)
        assert watcher.release_if_dead(tmp_path) is taken
    assert newest(tmp_path)[0] == 2, "superseded, not changed in place"

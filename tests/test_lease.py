"""Who holds a folder: one at a time, whatever dies."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bricks import until

from harness.lease import BEAT_SECONDS, Busy, Lease, Watcher, bury, free, identity, newest, outlast, release

HOLD = """
import sys, time
from pathlib import Path
from harness.lease import Lease
with Lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
CONTEND = """
import os, sys, time
from pathlib import Path
from harness.lease import Busy, Lease
folder, wanted = Path(sys.argv[1]), int(sys.argv[2])
got, end = 0, time.monotonic() + 60
while got < wanted and time.monotonic() < end:
    try:
        with Lease(folder):
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))  # fails where somebody else is inside
            time.sleep(0.001)
            os.unlink(folder / "inside")
            got += 1
    except Busy:
        time.sleep(0.0005)
print(got)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def forge(folder: Path, generation: int, **changes: Any) -> None:
    """A lease that this process would hold, but for some changes."""
    with Lease(folder / "forge"):
        content = newest(folder / "forge")[1]
    (folder / f"lease-{generation:06d}.json").write_text(json.dumps({**content, **changes}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "forge").mkdir()
    return tmp_path


def test_one_holder_at_a_time(folder: Path) -> None:
    with Lease(folder) as lease:
        assert lease.held()
        with pytest.raises(Busy, match=folder.name), Lease(folder):
            pass
        assert lease.held()
    with Lease(folder) as later:
        assert later.generation == lease.generation + 1, "a number is never used again"


def test_an_error_inside_releases(folder: Path) -> None:
    with pytest.raises(KeyError), Lease(folder):
        raise KeyError
    assert free(newest(folder)[1])


def test_many_processes_contend(folder: Path) -> None:
    command = [sys.executable, "-c", CONTEND, str(folder), "25"]
    crowd = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    said = [process.communicate(timeout=90) for process in crowd]
    assert [out.strip() for out, _ in said] == ["25"] * 6, said
    left = sorted(file.name for file in folder.glob("lease-*"))
    assert newest(folder)[0] >= 150
    assert len(left) <= 4, left


def test_a_live_process_is_not_free_and_a_killed_one_is_at_once(folder: Path) -> None:
    with holder(folder) as process:
        assert not free(newest(folder)[1])
        with pytest.raises(Busy), Lease(folder):
            pass
        process.kill()
        until(lambda: free(newest(folder)[1]), 5)  # a zombie until it is waited for, and free all the same
    with Lease(folder) as lease:
        assert lease.generation == 2


def test_a_process_number_used_again_is_not_mistaken_for_the_holder(folder: Path) -> None:
    with Lease(folder):
        content = newest(folder)[1]
    live = {key: value for key, value in content.items() if key != "released"}
    assert not free(live)
    assert free({**live, "started": "1"}), "this process lives, but began at another time"
    assert free({**live, "started": ""})


@pytest.mark.parametrize("machine", [["elsewhere", "x", "y"], None])
def test_processes_of_other_machines_and_containers_are_not_looked_up(folder: Path, machine: list[str] | None) -> None:
    forge(folder, 1, machine=machine, started="1")
    assert not free(newest(folder)[1])


def test_a_lease_that_cannot_be_read_is_not_free_until_it_is_stale(folder: Path) -> None:
    (folder / "lease-000001.json").write_text("")
    with pytest.raises(Busy), Lease(folder):
        pass
    watcher = Watcher(stale_seconds=0.05)
    until(lambda: watcher.release_if_dead(folder), 5)


def test_a_silent_holder_elsewhere_is_dead_after_the_stated_time(folder: Path) -> None:
    forge(folder, 1, machine=["elsewhere", "", ""], beat=7)
    watcher, began = Watcher(stale_seconds=0.4), time.monotonic()
    assert not watcher.release_if_dead(folder)
    until(lambda: watcher.release_if_dead(folder), 5)
    assert time.monotonic() - began >= 0.4
    with Lease(folder) as lease:
        assert lease.generation == 3


def test_a_beat_keeps_a_holder_alive(folder: Path) -> None:
    watcher = Watcher(stale_seconds=0.6)
    with Lease(folder, beat_seconds=0.02) as lease:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert not watcher.release_if_dead(folder)
            time.sleep(0.02)
        assert lease.held()


def test_one_of_many_watchers_takes_over(folder: Path) -> None:
    forge(folder, 1, machine=["elsewhere", "", ""], beat=7)
    start = threading.Barrier(8)

    def take(_: int) -> bool:
        watcher = Watcher(stale_seconds=0.05)
        watcher.release_if_dead(folder)
        time.sleep(0.1)
        start.wait(10)
        watcher.release_if_dead(folder)
        try:
            with Lease(folder):
                time.sleep(0.3)
                return True
        except Busy:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 1


def test_a_holder_that_was_overtaken_is_told_and_leaves_the_new_lease_alone(folder: Path) -> None:
    lost = threading.Event()
    with Lease(folder, beat_seconds=0.02, on_lost=lost.set) as lease:
        forge(folder, 2, beat=3)
        assert lost.wait(10)
        assert not lease.held()
    number, content = newest(folder)
    assert (number, content["beat"], "released" in content) == (2, 3, False)


def test_the_dead_are_buried_for_other_hosts_and_the_living_are_not(folder: Path) -> None:
    with holder(folder) as process:
        bury(folder, counted=True)
        assert newest(folder)[0] == 1
        process.kill()
        process.wait(10)
        bury(folder, counted=True)
        assert newest(folder)[1]["released"]
        assert newest(folder)[0] == 2


def test_the_dead_keep_the_number_of_their_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By which their log is found; not that of the job which saw it."""
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    forge(folder, 1, machine=["elsewhere"], job="7", devices=4)
    assert release(folder, "7")
    assert (newest(folder)[1]["job"], "devices" in newest(folder)[1]) == ("7", False)


@contextmanager
def elsewhere(folder: Path, **changes: object) -> Iterator[threading.Event]:
    """A holder on another machine, that says that it lives until the event is set."""
    forge(folder, 1, machine=["elsewhere"], **changes)
    quiet, content = threading.Event(), newest(folder)[1]

    def beat() -> None:
        beats = 0
        while not quiet.wait(0.05):
            beats += 1
            draft = folder / "draft"
            draft.write_text(json.dumps({**content, "beat": beats}))
            draft.replace(folder / "lease-000001.json")

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield quiet
    finally:
        quiet.set()
        thread.join()


def test_who_cannot_be_looked_up_is_waited_for_until_it_is_seen_to_live_or_known_to_be_dead(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.lease.LOOK_SECONDS", 0.1)
    outlast(folder)
    with holder(folder):
        outlast(folder)
        assert not free(newest(folder)[1]), "whoever lives here is known to"
    with elsewhere(folder, job="7") as quiet:
        outlast(folder, Watcher(stale_seconds=1.0))
        assert not free(newest(folder)[1]), "it was seen to live"
        quiet.set()
        outlast(folder, Watcher(stale_seconds=1.0))
        assert free(newest(folder)[1])


def test_an_earlier_start_of_the_same_job_is_outlived(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.lease.LOOK_SECONDS", 0.1)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with elsewhere(folder, job="7") as quiet:
        threading.Timer(1.0, quiet.set).start()
        outlast(folder, Watcher(stale_seconds=0.5))
        assert quiet.is_set(), "it was not taken for dead while it lived"
        assert free(newest(folder)[1])


def beaten(folder: Path, beats: int, **more: object) -> None:
    """A lease of a process that has gone without a word after so many beats."""
    number, _ = newest(folder)
    content = {**identity(), "started": "long ago", "beat": beats, **more}
    (folder / f"lease-{number + 1:06d}.json").write_text(json.dumps(content))


def test_what_vanished_holders_have_spent_is_owed_once(tmp_path: Path) -> None:
    beaten(tmp_path, 3, devices=2)
    with Lease(tmp_path) as lease:
        assert lease.owed() == 3 * 2 * BEAT_SECONDS
        assert lease.owed() == 0
    with Lease(tmp_path) as lease:
        assert lease.owed() == 0


def test_what_is_owed_is_handed_on_until_somebody_writes_it_down(tmp_path: Path) -> None:
    beaten(tmp_path, 2)
    with Lease(tmp_path):
        pass  # it gave up before it could write anything
    beaten(tmp_path, 4, owed=2 * BEAT_SECONDS)
    bury(tmp_path, counted=True)
    with Lease(tmp_path) as lease:
        assert lease.owed() == 2 * BEAT_SECONDS

"""One stage's folder, run as every executor and `harness exec` run it."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bricks import PLUGINS, brick, outputs, record, runs, until, weights
from safetensors import SafetensorError

from harness.causes import HINTS, classify
from harness.errors import HarnessError
from harness.execute import execute, follow, settle
from harness.lease import Lease
from harness.metrics import Measurement
from harness.stages import Stage, Train
from harness.store import Store

EXEC = """
import sys
from pathlib import Path
from harness.execute import execute
print(execute(Path(sys.argv[1])).status)
"""


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)


def prepare(results: Path, stage: Stage) -> Path:
    return Store(results).prepare(stage)


def failure(results: Path, stage: Stage) -> dict[str, Any]:
    return dict(json.loads((results / stage.name / "failed.json").read_text()))


def test_a_record_says_what_was_made_by_whom_at_what_cost(tmp_path: Path) -> None:
    stage = brick("a")
    assert execute(prepare(tmp_path, stage)).status == "done"
    found = record(tmp_path, stage)
    assert found["name"] == stage.name
    assert found["spec"] == stage.spec
    assert found["status"] == "done"
    text = weights(tmp_path, stage).read_bytes()
    assert found["files"] == {"policy/weights": {"bytes": 64, "sha256": hashlib.sha256(text).hexdigest()}}
    steps = found["measurements"][0]
    assert (steps["metric"], steps["n"], steps["unit"]) == ("steps", 1, "steps")
    assert found["seconds"] >= 0
    cost = found["cost"]
    assert cost["device_seconds"] == pytest.approx(found["seconds"] * cost["devices"])
    assert cost["peak_memory_bytes"] >= cost["loaded_memory_bytes"] > 1_000_000
    assert {"commit", "dirty", "harness", "python", "packages", "host", "command"} <= found["made_by"].keys()
    assert found["made_by"]["packages"]["numpy"]


def test_a_finished_stage_is_not_run_again(tmp_path: Path) -> None:
    stage = brick("a")
    folder = prepare(tmp_path, stage)
    assert execute(folder).status == "done"
    before = (folder / "record.json").read_bytes()
    assert execute(folder).status == "done"
    assert runs(tmp_path)[stage.name] == 1
    assert (folder / "record.json").read_bytes() == before


@pytest.mark.parametrize(
    ("trouble", "cause", "said"),
    [
        ("memory", "out of memory", "MemoryError"),
        ("torch memory", "out of memory", "DefaultCPUAllocator"),
        ("divergence", "divergence", "nan at step 3"),
        ("not a number", "divergence", "steps is nan"),
        ("bad data", "bad data", "rows.jsonl:3: no prompt"),
        ("disk full", "no room", "No space left on device: 'policy/weights'"),
        ("bug", "plug-in", "KeyError: 'beta'"),
        ("exit", "plug-in", "SystemExit: 3"),
    ],
)
def test_a_failure_has_a_cause_a_hint_and_no_private_path(tmp_path: Path, trouble: str, cause: str, said: str) -> None:
    stage = brick("a", trouble=trouble)
    folder = prepare(tmp_path, stage)
    outcome = execute(folder)
    assert (outcome.status, outcome.cause) == ("failed", cause)
    found = failure(tmp_path, stage)
    assert (found["name"], found["cause"], found["hint"], found["attempt"]) == (stage.name, cause, HINTS[cause], 1)
    assert said in found["error"]
    assert said.split(":")[0] in found["traceback"] or trouble == "not a number"
    assert str(tmp_path) not in json.dumps(found)
    assert found["cost"]["device_seconds"] == found["seconds"]
    assert not Store(tmp_path).done(stage.name)
    assert "Traceback" in (folder / "log.txt").read_text()
    with Lease(folder) as lease:
        assert lease.held(), "a failure gives the folder back"


def test_a_mistake_of_a_plug_in_is_told_with_its_place(tmp_path: Path) -> None:
    stage = brick("a", trouble="bug")
    execute(prepare(tmp_path, stage))
    found = failure(tmp_path, stage)
    assert re.fullmatch(r"\S*brick\.py:\d+: KeyError: 'beta'", found["error"])
    assert "bug in harness" not in found["hint"]


def test_the_next_attempt_starts_clean_but_for_checkpoints(tmp_path: Path) -> None:
    stage = brick("a", trouble="bug", once=True)
    folder = prepare(tmp_path, stage)
    assert execute(folder).status == "failed"
    (folder / "policy").mkdir()
    (folder / "policy" / "half").write_text("x")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "x").write_text("x")
    assert execute(folder).status == "done"
    assert list(record(tmp_path, stage)["files"]) == ["policy/weights"]
    assert (folder / "checkpoints" / "x").exists()
    assert not (folder / "failed.json").exists()
    assert record(tmp_path, stage)["attempt"] == 2


def test_everything_that_is_printed_is_in_the_log(tmp_path: Path) -> None:
    program = f"import sys; sys.argv = ['-c', {str(prepare(tmp_path, brick('a', trouble='speak')))!r}]\n{EXEC}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "")
    log = next(tmp_path.glob("train-*/log.txt")).read_text()
    for line in ("said by Python", "said by C", "said by a child"):
        assert f"{line}\n" in log


def test_a_logger_set_up_in_one_stage_writes_to_the_next_ones_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    logger, stages = logging.Logger("library"), [brick("a"), brick("b")]

    def run(stage: Stage, *_: object) -> list[Measurement]:
        if not logger.handlers:
            logger.addHandler(logging.StreamHandler())
        logger.warning("said in %s", stage.name)
        print("no end of line", end="")
        return []

    monkeypatch.setattr(Train, "run", run)
    for stage in stages:
        assert execute(prepare(tmp_path, stage)).status == "done"
        lines = (tmp_path / stage.name / "log.txt").read_text().splitlines()
        assert lines[1:] == [f"said in {stage.name}", "no end of line"]
    assert capfd.readouterr() == ("", "")
    logger.warning("said in the end")
    assert capfd.readouterr().err == "said in the end\n"


def test_an_input_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    below = brick("a")
    stage = brick("b", below)
    outcome = execute(prepare(tmp_path, stage))
    assert (outcome.status, outcome.error) == ("waiting", f"{below.name} has no record")
    assert not runs(tmp_path)


@pytest.mark.parametrize("damage", ["x", "x" * 64])
def test_a_damaged_input_is_not_read_and_loses_its_record(tmp_path: Path, damage: str) -> None:
    below = brick("a")
    stage = brick("b", below)
    folder = prepare(tmp_path, stage)
    execute(tmp_path / below.name)
    weights(tmp_path, below).write_text(damage)
    assert execute(folder).status == "waiting"
    assert not Store(tmp_path).done(below.name)
    assert execute(tmp_path / below.name).status == "done"
    assert execute(folder).status == "done"
    assert runs(tmp_path) == {below.name: 2, stage.name: 1}


def test_pruned_weights_are_made_again_when_asked_for(tmp_path: Path) -> None:
    stage = brick("a")
    folder = prepare(tmp_path, stage)
    execute(folder)
    before = outputs(tmp_path)
    weights(tmp_path, stage).unlink()
    assert execute(folder).status == "done"
    assert outputs(tmp_path) == before


def test_a_published_stage_that_is_whole_is_done(tmp_path: Path) -> None:
    stage = brick("a")
    folder = prepare(tmp_path, stage)
    execute(folder)
    shutil.copytree(folder, tmp_path / "published" / "paper" / stage.name)
    (folder / "record.json").unlink()
    assert execute(folder).status == "done"
    shutil.rmtree(folder)
    assert execute(folder).status == "done"
    assert runs(tmp_path)[stage.name] == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
)
def test_a_lack_of_memory_has_many_names(error: Exception) -> None:
    assert classify(error) == "out of memory"


def test_an_error_that_only_speaks_of_memory_is_no_lack_of_it() -> None:
    assert classify(ValueError("CUDA error: out of memory")) == "bug"
    assert classify(OSError(errno.ENOENT, "No such file")) == "bug"
    assert classify(OSError(errno.EACCES, "Permission denied")) == "bad data"


SAID = "Error while serializing: I/O error: "


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError(f"{SAID}No space left on device (os error 28)"),
        SafetensorError(f"{SAID}Disk quota exceeded (os error 122)"),
        SafetensorError(f'{SAID}Read-only file system (os error 30) at path "/r/.tmp1HZrLg"'),
        Exception("No space left on device (os error 28)"),  # tokenizers
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_a_full_disk_has_many_names(error: Exception) -> None:
    assert classify(error) == "no room"


def test_an_error_of_reading_weights_is_no_full_disk() -> None:
    text = "PytorchStreamReader failed reading zip archive: failed finding central directory"
    assert classify(RuntimeError(f"[enforce fail at inline_container.cc:242] . {text}")) == "bug"
    assert classify(SafetensorError("Error while deserializing header: incomplete metadata")) == "bug"


def test_torch_says_so_of_a_file_that_cannot_grow(tmp_path: Path) -> None:
    import torch

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
        with pytest.raises(RuntimeError) as told:
            torch.save({"weights": torch.zeros(1 << 16)}, tmp_path / "optimizer.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert classify(told.value) == "no room"


def test_a_folder_that_does_not_hold_what_its_name_says_is_refused(tmp_path: Path) -> None:
    folder = prepare(tmp_path, brick("a"))
    moved = folder.rename(tmp_path / "train-0123456789abcdef")
    with pytest.raises(HarnessError, match="it describes train-"):
        execute(moved)
    outcome = settle(moved, 50)
    assert (outcome.status, outcome.cause) == ("failed", "bad data")
    assert "it describes train-" in json.loads((moved / "failed.json").read_text())["error"]


def test_of_two_processes_one_works(tmp_path: Path) -> None:
    stage = brick("a", trouble="hang")
    folder = prepare(tmp_path, stage)
    other = subprocess.Popen([sys.executable, "-c", EXEC, str(folder)])
    try:
        until(lambda: runs(tmp_path)[stage.name])
        assert execute(folder).status == "busy"
    finally:
        other.kill()
        other.wait()
    assert runs(tmp_path)[stage.name] == 1


def test_many_processes_run_each_of_many_folders_once(tmp_path: Path) -> None:
    stages = [brick(str(number)) for number in range(40)]
    program = "import sys; from pathlib import Path; from harness.execute import execute\n"
    program += "for folder in sys.argv[1:]: execute(Path(folder))"
    command = [sys.executable, "-c", program, *(str(prepare(tmp_path, stage)) for stage in stages)]
    crowd = [subprocess.Popen(command) for _ in range(4)]
    for process in crowd:
        process.wait(timeout=90)
    assert [process.returncode for process in crowd] == [0] * 4
    assert runs(tmp_path) == {stage.name: 1 for stage in stages}


def test_what_another_process_finished_just_before_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = brick("a")
    folder = prepare(tmp_path, stage)

    class Late(Lease):
        def __enter__(self) -> Lease:
            monkeypatch.setattr("harness.execute.Lease", Lease)
            assert execute(folder).status == "done"
            return super().__enter__()

    monkeypatch.setattr("harness.execute.Lease", Late)
    assert execute(folder).status == "done"
    assert runs(tmp_path)[stage.name] == 1


def test_who_was_overtaken_writes_no_record(tmp_path: Path) -> None:
    stage = brick("a", trouble="overtaken")
    assert execute(prepare(tmp_path, stage)).status == "busy"
    assert runs(tmp_path)[stage.name] == 1
    assert not Store(tmp_path).done(stage.name)


def test_an_interrupt_gives_the_folder_back(tmp_path: Path) -> None:
    stage = brick("a", trouble="hang", once=True)
    folder = prepare(tmp_path, stage)
    process = subprocess.Popen([sys.executable, "-c", EXEC, str(folder)], stderr=subprocess.PIPE)
    until(lambda: runs(tmp_path)[stage.name])
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in said
    assert not (folder / "failed.json").exists(), "an interrupt is no failure"
    assert execute(folder).status == "done"


def test_costs_are_of_this_stage_alone(tmp_path: Path) -> None:
    big, small = brick("a", trouble="allocate"), brick("b")
    program = EXEC + "print(execute(Path(sys.argv[2])).status)"
    folders = [str(prepare(tmp_path, stage)) for stage in (big, small)]
    subprocess.run([sys.executable, "-c", program, *folders], check=True, timeout=60)
    one, other = (record(tmp_path, stage)["cost"] for stage in (big, small))
    assert one["peak_memory_bytes"] - one["loaded_memory_bytes"] > 190_000_000
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert other["peak_memory_bytes"] < one["peak_memory_bytes"] - 150_000_000
    assert one["cpu_seconds"] > other["cpu_seconds"] >= 0


def test_a_process_beside_the_first_tells_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it prints goes into its job's log, which nobody cleans."""
    monkeypatch.setenv("HF_TOKEN", "not-known-by-its-form")
    stage = brick("a", trouble="blab")
    Store(tmp_path).prepare(stage)
    assert follow(tmp_path / stage.name, 50).status == "failed"
    said = capsys.readouterr().err
    assert ("refused: ***" in said, "not-known" in said) == (True, False)

"""The results folder: what counts as done, what is published, what is damaged, and what is cleared away."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from bricks import PLUGINS, brick, record, wall, weights

from harness.commands.status import state_of
from harness.dispatch import run as go
from harness.errors import HarnessError
from harness.execute import execute
from harness.executors._slurm_queue import Queue
from harness.executors.inline import Inline
from harness.lease import Lease
from harness.stages import Stage, Train, walk
from harness.store import Store


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)


def finish(store: Store, stage: Train) -> Train:
    """Run a stage and all below it."""
    store.prepare(stage)
    for needed in walk([stage]):
        assert execute(store.root / needed.name).status == "done"
    return stage


def publish(results: Path, *stages: Stage, without: tuple[str, ...] = ()) -> Path:
    """Move finished stages to where published ones are."""
    home = results / "published" / "paper"
    home.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        (results / stage.name).rename(home / stage.name)
        for file in without:
            (home / stage.name / file).unlink()
    return home


def test_a_prepared_folder_holds_the_stage_and_all_below_it(tmp_path: Path) -> None:
    top = wall(width=3, height=3)[0]
    store = Store(tmp_path)
    assert store.prepare(top) == tmp_path / top.name
    names = {stage.name for stage in walk([top])}
    assert {file.parent.name for file in tmp_path.glob("*/spec.json")} == names
    loaded = Store(tmp_path).load(top.name)
    assert loaded == top
    assert loaded.inputs["start"].inputs["start"].spec == top.inputs["start"].inputs["start"].spec
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/*")}
    store.prepare(top)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/*")} == before


def test_a_changed_spec_below_is_refused(tmp_path: Path) -> None:
    below = brick("a")
    stage = brick("b", below)
    Store(tmp_path).prepare(stage)
    (tmp_path / below.name / "spec.json").unlink()
    with pytest.raises(HarnessError, match=rf"{below.name}/spec.json: no stage can be read there"):
        Store(tmp_path).load(stage.name)


def test_done_is_the_record_and_nothing_else(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), brick("a")
    folder = store.prepare(stage)
    (folder / "policy").mkdir()
    (folder / "policy" / "weights").write_text("x")
    assert not store.done(stage.name)
    assert store.record(stage.name) is None
    shutil.rmtree(folder / "policy")
    finish(store, stage)
    assert store.done(stage.name)
    assert record(tmp_path, stage)["schema"] == 1


UNREADABLE = {"empty": "", "cut": '{"schema": 1, "na', "zeros": "\0" * 64, "a list": "[]", "without files": "{}"}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_a_record_that_cannot_be_read_is_none_and_the_stage_runs_again(tmp_path: Path, text: str) -> None:
    store, stage = Store(tmp_path), brick("a")
    finish(store, stage)
    (tmp_path / stage.name / "record.json").write_text(text)
    assert not store.done(stage.name)
    assert not store.has_files(stage.name)
    assert not Store(tmp_path).done(stage.name)
    assert go([stage], store, Inline()).ran == [stage.name]
    assert store.done(stage.name)
    assert (tmp_path / stage.name / "record.corrupt.json").read_text() == text


def test_a_published_record_stands_in_for_one_that_cannot_be_read(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), brick("a")
    finish(store, stage)
    home = publish(tmp_path, stage)
    own = Store(tmp_path).prepare(stage)
    (own / "record.json").write_text("")
    store = Store(tmp_path)
    assert store.done(stage.name)
    assert store.folder(stage.name) == home / stage.name


def test_a_record_is_read_once_while_it_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, stage = Store(tmp_path), brick("a")
    finish(store, stage)
    store = Store(tmp_path)
    reads, read = [], Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, *more: reads.append(path) or read(path, *more))
    assert [store.done(stage.name) for _ in range(3)] == [True] * 3
    assert len(reads) == 1


def scored(store: Store, stage: Train) -> Path:
    """A finished stage with a table of scores."""
    table = store.prepare(stage) / "scores.parquet"
    table.write_text("scores" * 8)
    store.finish(stage.name, {"files": store.outputs(stage.name)})
    return table


@pytest.mark.parametrize("text", ["", "scores" * 7, None])
def test_without_its_scores_a_stage_is_not_done(tmp_path: Path, text: str | None) -> None:
    store, stage = Store(tmp_path), brick("a")
    table = scored(store, stage)
    assert store.done(stage.name)
    table.unlink() if text is None else table.write_text(text)
    assert not store.done(stage.name)
    home = publish(tmp_path, stage)
    assert (home / stage.name / "record.json").exists()
    assert Store(tmp_path).done(stage.name), "what is published is restored and not made again"


def test_scores_that_have_changed_are_made_again(tmp_path: Path) -> None:
    store, stage, other = Store(tmp_path), brick("a"), brick("b")
    table, right = scored(store, stage), scored(store, other).read_text()
    table.write_text(right.replace("o", "0"))
    assert store.done(stage.name), "by size"
    store.withdraw_changed([stage.name, other.name, "train-0123456789abcdef"])
    assert (store.done(stage.name), store.done(other.name)) == (False, True)


def test_changed_scores_over_published_ones_are_withdrawn_once(tmp_path: Path) -> None:
    """Another process may have seen them first: what is published is whole, and nobody's to restore."""
    store, stage = Store(tmp_path), brick("a")
    table = scored(store, stage)
    shutil.copytree(tmp_path / stage.name, tmp_path / "published" / "paper" / stage.name)
    table.write_text(table.read_text().replace("o", "0"))
    store = Store(tmp_path)
    for _ in range(2):
        store.withdraw_changed([stage.name])
    assert store.folder(stage.name).parent.name == "paper"


def test_damage_is_found(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), brick("a")
    finish(store, stage)
    assert store.verify(stage.name) == ""
    path = weights(tmp_path, stage)
    right = path.read_text()
    path.write_text(right[:10])
    assert store.verify(stage.name) == f"{stage.name}/policy/weights has 10 bytes, not 64"
    assert not store.has_files(stage.name)
    path.write_text("x" * 64)
    assert "has changed since it was written" in store.verify(stage.name)
    assert store.has_files(stage.name), "which looks at sizes alone"
    path.write_text(right)
    assert store.verify(stage.name) == ""
    path.unlink()
    assert "cannot be read (No such file or directory)" in store.verify(stage.name)
    store.withdraw(stage.name)
    assert not store.done(stage.name)
    store.withdraw(stage.name)  # somebody else may have been first
    assert store.verify(stage.name) == f"{stage.name} has no record"


def test_a_published_stage_is_done_and_never_written(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), brick("a")
    finish(store, stage)
    home = publish(tmp_path, stage, without=("policy/weights",))
    store = Store(tmp_path)
    before = sorted(home.rglob("*"))
    assert store.done(stage.name)
    assert not store.has_files(stage.name)
    assert store.folder(stage.name) == home / stage.name
    store.withdraw(stage.name)
    assert store.done(stage.name)
    with pytest.raises(HarnessError, match="published"):
        execute(home / stage.name)
    assert state_of(store, stage.name, Queue(0)).word == "done"
    with Lease(store.prepare(stage)):
        assert state_of(store, stage.name, Queue(0)).word == "running", "somebody needs its weights"
    assert execute(store.prepare(stage)).status == "done", "made again, since somebody needs its weights"
    assert store.folder(stage.name) == tmp_path / stage.name
    assert sorted(home.rglob("*")) == before


def test_a_damaged_published_file_is_the_readers_to_restore(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), brick("a")
    finish(store, stage)
    home = publish(tmp_path, stage)
    (home / stage.name / "policy" / "weights").write_text("x" * 64)
    with pytest.raises(HarnessError, match="restore it"):
        Store(tmp_path).withdraw(stage.name)


def test_a_published_input_needs_no_folder_of_its_own(tmp_path: Path) -> None:
    store, below = Store(tmp_path), brick("a")
    finish(store, below)
    publish(tmp_path, below)
    above = brick("b", below)
    store = Store(tmp_path)
    assert execute(store.prepare(above)).status == "done"
    assert not (tmp_path / below.name).exists()


def test_an_adapter_rests_on_its_base(tmp_path: Path) -> None:
    store, base = Store(tmp_path), brick("base")
    adapter = finish(store, brick("adapter", base, trouble="adapter"))
    assert store.bases(adapter) == [base]
    assert store.bases(base) == []
    assert store.bases(brick("not made", base)) == []


def test_clearing_keeps_what_is_known_to_be_whole(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), brick("a")
    folder = store.prepare(stage)
    kept = ["log.txt", "failed.json", "lease-000001.json", "lease-draft-1", "draft-young", "checkpoints/checkpoint-1/x"]
    gone = ["policy/weights", "samples.parquet", "draft-old", "draft-folder/x"]
    for name in kept + gone:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    long_ago = time.time() - 7200
    os.utime(folder / "draft-old", (long_ago, long_ago))
    store.clear(stage.name)
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert left == {*kept, "spec.json"}
    assert store.outputs(stage.name) == {}


def test_failures_are_counted_and_what_they_cost_adds_up(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), brick("a")
    store.prepare(stage)
    for _ in range(2):
        store.fail(stage.name, {"cause": "bug", "error": "x", "cost": {"device_seconds": 2.0, "devices": 1}})
    failure = store.failure(stage.name)
    assert failure is not None
    assert (failure["attempt"], failure["cost"]["device_seconds"]) == (2, 4.0)
    finish(store, stage)
    assert store.failure(stage.name) is None
    found = record(tmp_path, stage)
    assert (found["attempt"], found["failed_device_seconds"]) == (3, 4.0)


def test_a_half_written_json_is_no_record(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), brick("a")
    store.prepare(stage)
    (tmp_path / stage.name / "failed.json").write_text(json.dumps({"cause": "bug"})[:7])
    assert store.failure(stage.name) is None

"""The store's promises: whole files, and names that a folder must live up to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bricks import HERE, PLUGINS, brick

from harness.errors import HarnessError
from harness.execute import execute, settle
from harness.store import RECORD, Store, write_whole


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "x", "first")

    def fails(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "x", "second")
    assert (tmp_path / "x").read_text() == "first"


def test_a_reader_never_sees_a_part_of_a_file(tmp_path: Path) -> None:
    texts = {letter * 1_000_000 for letter in "abc"}
    write_whole(tmp_path / "x", min(texts))
    ended, seen = threading.Event(), set[str]()

    def read() -> None:
        while not ended.is_set():
            seen.add((tmp_path / "x").read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        for text in texts:
            write_whole(tmp_path / "x", text)
    ended.set()
    reader.join()
    assert seen <= texts
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


EDITS = {
    "knob": ('"label":"a"', '"label":"b"', "it describes train-"),
    "unknown field": ('"kind"', '"colour":"red","kind"', "no stage can be read there .*colour"),
    "unknown kind": ('"kind":"train"', '"kind":"drain"', "there is no stage kind 'drain'"),
    "no version": ('"version":1}', '"verse":1}', "no stage can be read there"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_folder_whose_spec_was_edited_is_refused(tmp_path: Path, edit: str) -> None:
    old, new, said = EDITS[edit]
    folder = Store(tmp_path).prepare(brick("a"))
    text = (folder / "spec.json").read_text()
    assert old in text
    (folder / "spec.json").write_text(text.replace(old, new))
    with pytest.raises(HarnessError, match=said):
        execute(folder)
    assert settle(folder, 50).cause == "bad data"
    assert not (tmp_path / "diary.txt").exists(), "nothing ran"


@pytest.mark.parametrize("text", ["", '{"kind":"tra', "[]", '{"inputs": 3}'])
def test_a_spec_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    folder = Store(tmp_path).prepare(brick("a"))
    (folder / "spec.json").write_text(text)
    with pytest.raises(HarnessError, match=r"spec.json: no stage can be read there"):
        execute(folder)


def test_a_spec_cut_short_by_a_loss_of_power_is_written_again(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), brick("a")
    folder = store.prepare(stage)
    (folder / "spec.json").write_text('{"kind"')
    store.prepare(stage)
    assert execute(folder).status == "done"


def test_a_spec_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = Store(tmp_path / "r").prepare(brick("a"))
    for file in ("algorithms/brick.py", "data/nothing.py"):
        text = (HERE / "plugins" / file).read_text()
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text(text.replace("    label: str", "    version: ClassVar[int] = 7\n    label: str"))
    code = (
        "import sys; from pathlib import Path; from harness.execute import settle; print(settle(Path(sys.argv[1]), 1))"
    )
    own = {**os.environ, "HARNESS_PLUGINS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True, timeout=60, env=own
    )
    assert "is version 7 in this code, but the stage asks for version 1" in done.stdout


def test_a_death_between_record_and_tidying_up_is_a_finished_stage(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), brick("a", trouble="bug", once=True)
    folder = store.prepare(stage)
    assert execute(folder).status == "failed"
    failed = (folder / "failed.json").read_bytes()
    assert execute(folder).status == "done"
    (folder / "failed.json").write_bytes(failed)
    assert store.done(stage.name)
    assert store.failure(stage.name) is None
    record = store.record(stage.name)
    assert record is not None
    assert record["attempt"] == 2


def test_a_failure_is_known_until_the_record_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, stage = Store(tmp_path), brick("a")
    store.prepare(stage)
    store.fail(stage.name, {"cause": "bug", "error": "x", "cost": {"device_seconds": 2.0, "devices": 1}})

    def dies(path: Path, text: str) -> None:
        assert path.name == RECORD
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.store.write_whole", dies)
    with pytest.raises(KeyboardInterrupt):
        store.finish(stage.name, {"files": {}})
    failure = store.failure(stage.name)
    assert failure is not None
    assert failure["attempt"] == 1, "what it cost is not forgotten"

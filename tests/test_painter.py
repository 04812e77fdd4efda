"""The process that draws the page's figures and writes its long tables."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from harness.report import painter

POINTS = {"data": {"values": [{"a": 1}, {"a": 2}]}, "mark": "point", "encoding": {"x": {"field": "a"}}}


def test_figures_come_back_each_for_its_own_question() -> None:
    titled = [painter.ask(painter.svg, {**POINTS, "title": f"figure {number}"}) for number in range(3)]
    for number in (2, 0, 1, 2):
        assert titled[number].get().startswith("<svg")
        assert f"figure {number}" in titled[number].get()


def test_the_runtime_can_stand_in_a_page() -> None:
    assert "vegaEmbed" in painter.runtime()
    assert "</script" not in painter.runtime()


def test_the_runtime_is_bundled_once_on_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    first = painter._script()
    kept = list((tmp_path / "cache").glob("vega-lite-*.js"))
    assert [file.read_text() for file in kept] == [first]
    kept[0].write_text("kept")
    assert painter._script() == "kept"
    monkeypatch.setenv("HARNESS_CACHE", "/dev/null/cache")  # nowhere to keep it
    assert painter._script() == first


def test_what_cannot_be_drawn_is_an_error_and_the_next_is_drawn() -> None:
    broken = painter.ask(painter.svg, {"mark": "no such mark", "encoding": 3})
    whole = painter.ask(painter.svg, POINTS)
    with pytest.raises(RuntimeError, match="a part of the report could not be made:\nTraceback"):
        broken.get()
    assert whole.get().startswith("<svg")


def test_what_a_disk_refuses_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        painter.ask(os.listdir, str(tmp_path / "nowhere")).get()


def test_what_a_function_prints_is_no_answer() -> None:
    said = painter.ask(print, "done")
    assert said.get() is None
    assert painter.ask(painter.svg, POINTS).get().startswith("<svg")


def test_questions_are_for_this_user_alone_and_go_when_they_are_answered() -> None:
    asked = painter.ask(painter.svg, POINTS)
    asked.get()
    folder = Path(asked.painter._folder.name)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not list(folder.glob(f"{asked.number}.*"))


def test_data_on_a_network_are_not_fetched() -> None:
    with pytest.raises(RuntimeError, match="could not be made"):
        painter.ask(painter.svg, {**POINTS, "data": {"url": "http://127.0.0.1:9/points.json"}}).get()


def test_a_process_that_was_killed_is_told_and_replaced() -> None:
    asked = painter.ask(painter.svg, POINTS)
    asked.get()
    process = asked.painter._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(RuntimeError, match="ended with code -9"):
        asked.painter.answer(asked.number + 1)
    assert painter.ask(painter.svg, POINTS).get().startswith("<svg")
    assert "vegaEmbed" in painter.runtime()

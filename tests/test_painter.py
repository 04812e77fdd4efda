"""The process that draws the page's figures."""

from __future__ import annotations

import os
import signal

import pytest

from harness.report import painter

POINTS = {"data": {"values": [{"a": 1}, {"a": 2}]}, "mark": "point", "encoding": {"x": {"field": "a"}}}


def test_figures_come_back_each_for_its_own_question() -> None:
    titled = [painter.svg({**POINTS, "title": f"figure {number}"}) for number in range(3)]
    for number in (2, 0, 1):
        assert titled[number].text().startswith("<svg")
        assert f"figure {number}" in titled[number].text()


def test_the_runtime_can_stand_in_a_page() -> None:
    assert "vegaEmbed" in painter.runtime()
    assert "</script" not in painter.runtime()


def test_what_cannot_be_drawn_is_an_error_and_the_next_is_drawn() -> None:
    broken = painter.svg({"mark": "no such mark", "encoding": 3})
    whole = painter.svg(POINTS)
    with pytest.raises(RuntimeError, match="a figure cannot be drawn: "):
        broken.text()
    assert whole.text().startswith("<svg")


def test_data_on_a_network_are_not_fetched() -> None:
    with pytest.raises(RuntimeError, match="cannot be drawn"):
        painter.svg({**POINTS, "data": {"url": "http://127.0.0.1:9/points.json"}}).text()


def test_a_process_that_was_killed_is_told_and_replaced() -> None:
    asked = painter.svg(POINTS)
    asked.text()
    process = asked.painter._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(RuntimeError, match="ended with code -9"):
        asked.painter.answer(asked.number + 1)
    assert painter.svg(POINTS).text().startswith("<svg")
    assert "vegaEmbed" in painter.runtime()

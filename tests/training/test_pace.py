"""How far a training is."""

from __future__ import annotations

import pytest

from harness.training import pace
from harness.training.pace import Pace


def test_it_is_told_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])
    own = Pace(20, 60)
    clock[0] += 5
    assert own.told(21) == "", "a moment after it began"
    clock[0] += 115
    assert own.told(30) == "step 30 of 60, about 6 min left", "10 steps in 2 minutes, 30 to go"
    assert own.told(31) == ""
    assert own.told(60) == "step 60 of 60"

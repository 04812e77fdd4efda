"""Memory: what a plan tells, beside what the records say, in the report."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import synthetic

from harness.commands.room import expected
from harness.memory import needed_bytes
from harness.plan import Plan, make_plan
from harness.recipe import read_recipe
from harness.records import rows
from harness.records.shelf import Shelf
from harness.report.room import room_sentence, room_sheet
from harness.stages import Train
from harness.store import Store


def ran(root: Path, shares: dict[str, float]) -> Plan:
    """Trainings that took a share of what was told of them."""
    (root / "r.toml").write_text(
        'name = "x"\nreplicates = 2\n[[algorithm]]\nname = "dpo"\n[[algorithm]]\nname = "ppo"\n'
    )
    plan = make_plan(read_recipe(root / "r.toml"))
    told = {one["algorithm"]: one["bytes"] for one in expected(plan, Store(root))[0]}
    for stage in plan.stages():
        name = stage.spec["algorithm"]["name"] if isinstance(stage, Train) else ""
        if name in shares:
            synthetic.record(root, stage)
            file = root / stage.name / "record.json"
            record = json.loads(file.read_text())
            record["cost"] |= {"loaded_memory_bytes": 5e8, "peak_memory_bytes": 5e8 + shares[name] * told[name]}
            file.write_text(json.dumps(record))
    return plan


def test_estimates_stand_beside_what_was_measured(tmp_path: Path) -> None:
    plan = ran(tmp_path, {"dpo": 1 / 1.25, "ppo": 1.0})
    sheet = room_sheet(plan, Store(tmp_path))
    rows = sheet.frame.set_index("work")
    assert rows["stages"].to_dict() == {"dpo": 2, "ppo": 2}
    assert rows["ratio"].to_dict() == {"dpo": pytest.approx(1.25), "ppo": pytest.approx(1.0)}
    assert "that of dpo is furthest from what was measured: 1.25 times as large" in room_sentence(sheet)


def test_an_estimate_that_was_too_small_is_told(tmp_path: Path) -> None:
    sheet = room_sheet(ran(tmp_path, {"dpo": 1 / 1.25, "ppo": 2.0}), Store(tmp_path))
    assert "that of ppo is furthest from what was measured: 2.00 times too small" in room_sentence(sheet)


def test_what_has_not_run_is_not_told(tmp_path: Path) -> None:
    sheet = room_sheet(ran(tmp_path, {}), Store(tmp_path))
    assert (len(sheet.frame), room_sentence(sheet)) == (0, "")


def test_what_a_training_needed_is_its_estimate_where_its_process_grew_by_less(tmp_path: Path) -> None:
    """What a worker held before is no need, and what it did not have to ask for again is one; on a GPU the peak is."""
    plan = ran(tmp_path, {"dpo": 0.1, "ppo": 1.5})
    told = {one["algorithm"]: one["bytes"] for one in expected(plan, Store(tmp_path))[0]}
    shelf = Shelf(plan, Store(tmp_path))
    needed = {
        stage.spec["algorithm"]["name"]: shelf.needed(stage)
        for stage in plan.stages()
        if isinstance(stage, Train) and Store(tmp_path).done(stage.name)
    }
    assert needed == {"dpo": told["dpo"], "ppo": pytest.approx(1.5 * told["ppo"])}
    stage = next(one for one in plan.stages() if isinstance(one, Train) and one.dataset)
    cost = {"peak_memory_bytes": 9e9, "loaded_memory_bytes": 1e9, "peak_device_memory_bytes": 7e6}
    assert needed_bytes(stage, Store(tmp_path), cost) == 7e6
    sample = next(one for one in plan.stages() if not isinstance(one, Train))
    assert needed_bytes(sample, Store(tmp_path), {"peak_memory_bytes": 9e9, "loaded_memory_bytes": 1e9}) == 8e9
    assert needed_bytes(sample, Store(tmp_path), {}) is None


def test_what_a_training_needed_is_unknown_where_that_of_one_before_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ran(tmp_path, {"dpo": 1.5, "ppo": 1.5})
    for stage in plan.stages():
        if not Store(tmp_path).done(stage.name):
            synthetic.record(tmp_path, stage)
    spent = {row["contestant"]: row for row in rows.spent(Shelf(plan, Store(tmp_path))) if row["part"] == "own"}
    assert spent["dpo"]["needed_memory_bytes"] > 0
    monkeypatch.setattr(Shelf, "needed", lambda _, stage: None if isinstance(stage, Train) else 1.0)
    spent = {row["contestant"]: row for row in rows.spent(Shelf(plan, Store(tmp_path))) if row["part"] == "own"}
    assert math.isnan(spent["dpo"]["needed_memory_bytes"])

"""Quality against cost: a known fixture has the known front, and a target its price in device-seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from synthetic import World, fail, fill, make_cells, make_plan, record
from test_tuning_report import study, trial, with_studies

from harness.plan import Plan
from harness.records import Tables, read
from harness.report import build
from harness.report.compare import Price
from harness.report.figures.cost_to_target import CostToTarget
from harness.report.figures.quality_cost import QualityCost
from harness.report.prices import cost_of
from harness.report.quality_cost import _target, quality_cost_sheet
from harness.report.sheet import rows
from harness.report.standings import compare
from harness.store import Store

GAINS = {"dpo": 2.0, "ipo": 1.0, "kto": 4.0, "cpo": 3.0}
SECONDS = {"dpo": 10.0, "ipo": 20.0, "kto": 40.0, "cpo": 60.0}
SHARED = 2.0 + 3.0  # of the base and of the start; nobody reads the reference in training here but all are charged it
REFERENCE = 2.0


def finished(root: Path, **more: object) -> tuple[Plan, Store]:
    cells = make_cells(list(GAINS), 5, **more)
    fill(root, cells, World(GAINS, prompts=40))
    for cell in cells:
        if cell.contestant in SECONDS:
            record(root, cell.policy, seconds=SECONDS[cell.contestant])
    return make_plan(cells, 5), Store(root)


def prices(plan: Plan, store: Store, tables: Tables | None = None) -> dict[str, Price]:
    return {one.name: one for one in compare(plan, tables or read(plan, store))[0].prices}


def test_the_known_front(tmp_path: Path) -> None:
    found = prices(*finished(tmp_path))
    on = {name for name, one in found.items() if "device_seconds" in one.on_front}
    assert on == {"sft", "dpo", "kto"}, "ipo gains less than dpo for more, cpo less than kto"
    assert found["dpo"].device_seconds == pytest.approx(SECONDS["dpo"] + SHARED + REFERENCE)


def test_who_has_no_case_is_beaten_significantly_and_at_no_more_cost(tmp_path: Path) -> None:
    found = prices(*finished(tmp_path))
    assert found["ipo"].beaten_by == ("dpo",), "cpo and kto are better too, and cost more"
    assert found["cpo"].beaten_by == ("kto",)
    assert not found["kto"].beaten_by
    assert not found["sft"].beaten_by


def test_on_a_cpu_it_is_the_work_that_counts_and_memory_is_not_compared(tmp_path: Path) -> None:
    plan, store = finished(tmp_path)
    _costs(plan, store, "dpo", device_seconds=1000.0, cpu_seconds=10.0)
    found = prices(plan, store)
    assert found["dpo"].device_seconds == pytest.approx(10.0 + SHARED + REFERENCE), "the machine was busy"
    assert found["ipo"].beaten_by == ("dpo",)
    row = next(row for row in compare(plan, read(plan, store))[0].standings if row.name == "dpo")
    assert row.seconds["own"] == 10.0, "as in the table of contestants"
    assert {one.peak_memory_bytes for one in found.values()} == {None}
    assert not any("peak_memory_bytes" in one.on_front for one in found.values())


def test_on_a_gpu_memory_is_the_largest_of_all_that_a_policy_rests_on(tmp_path: Path) -> None:
    plan, store = finished(tmp_path)
    for name, size in {"sft": 9.0, "dpo": 5.0, "ipo": 10.0}.items():
        _costs(plan, store, name, peak_memory_bytes=size, peak_device_memory_bytes=size)
    found = prices(plan, store)
    assert {name: found[name].peak_memory_bytes for name in ("sft", "dpo", "ipo")} == {"sft": 9, "dpo": 9, "ipo": 10}
    assert "peak_memory_bytes" in found["kto"].on_front, "it rests on the start too, and gains most"


def _costs(plan: Plan, store: Store, contestant: str, **costs: float) -> None:
    """Write other costs into the records of a contestant's own training."""
    for cell in plan.cells:
        if cell.contestant == contestant:
            path = store.root / cell.policy.name / "record.json"
            told = json.loads(path.read_text())
            told["cost"] |= costs
            path.write_text(json.dumps(told))


@pytest.mark.parametrize(("price", "reached", "tried", "told"), [
    (None, 0, 3, "never (0 of 3 seeds)"), (None, 1, 3, "in half or fewer (1 of 3 seeds)"),
    (12.0, 2, 3, "12 (2 of 3 seeds)"), (None, 2, 4, "in half or fewer (2 of 4 seeds)"),
])  # fmt: skip
def test_a_target_that_one_seed_reached_was_not_never_reached(
    price: float | None, reached: int, tried: int, told: str
) -> None:
    assert _target({"target_device_seconds": price, "reached": reached, "tried": tried}) == told


@pytest.mark.parametrize(("failed", "told"), [(1, "107 (3 of 4 seeds)"), (2, "in half or fewer (2 of 4 seeds)")])
def test_of_half_the_seeds_there_is_no_middle_one(tmp_path: Path, failed: int, told: str) -> None:
    """The middle of four lies between the second and the third, and the third never comes there."""
    cells = make_cells(["dpo"], 4)
    fill(tmp_path, cells, World({"dpo": 2.0}, prompts=40), skip={("dpo", seed) for seed in range(failed)})
    for cell in (cell for cell in cells if cell.contestant == "dpo"):
        if cell.replicate < failed:
            fail(tmp_path, cell.policy, "divergence")
        else:
            record(tmp_path, cell.policy, seconds=100.0)
    plan = make_plan(cells, 4)
    one = compare(plan, read(plan, Store(tmp_path)))[0]
    [row] = [row for row in rows(quality_cost_sheet([one], "").frame) if row["contestant"] == "dpo"]
    assert _target(row) == told
    spec = CostToTarget().draw(one).to_dict()
    ticks = [layer for layer in spec["layer"] if layer["mark"]["type"] == "tick"]
    assert bool(ticks) == (failed == 1)
    assert "none where half or fewer come there" in CostToTarget.how_to_read


def test_equal_gains_beat_nobody(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "ipo"], 5)
    fill(tmp_path, cells, World({"dpo": 1.0, "ipo": 1.0}, prompts=40))
    for cell in cells:
        if cell.contestant == "ipo":
            record(tmp_path, cell.policy, seconds=50.0)
    found = prices(make_plan(cells, 5), Store(tmp_path))
    assert not found["ipo"].beaten_by, "it may be off the front of the means, but nothing is shown against it"


def test_tuning_is_part_of_the_price(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "dpo tuned"], 5)
    fill(tmp_path, cells, World({"dpo": 1.0, "dpo tuned": 1.2}, prompts=40))
    plan = make_plan(cells, 5)
    trials = [trial(i, float(i), 2e-4, device_seconds=7.0) for i in range(3)]
    found = prices(plan, Store(tmp_path), with_studies(read(plan, Store(tmp_path)), study("dpo", trials, 2)))
    assert (found["dpo"].tuning_seconds, found["dpo tuned"].tuning_seconds) == (0.0, 21.0)
    assert cost_of(found["dpo tuned"], "device_seconds") == cost_of(found["dpo"], "device_seconds") + 21.0


WAY = {10: (0.1, 0.0, 0.1), 20: (1.5, 0.0, 1.0), 0: (2.0, 0.0, 2.0)}


@pytest.mark.parametrize(("failed", "price"), [(0, 5 + 2 + 100 * 20 / 40), (1, 5 + 2 + 100 * 20 / 40), (3, None)])
def test_a_target_is_paid_for_up_to_the_first_step_that_reaches_it(
    tmp_path: Path, failed: int, price: float | None
) -> None:
    cells = make_cells(["dpo"], 5, steps=(10, 20), budget={"steps": 40})
    fill(tmp_path, cells, World({"dpo": 0.0}, prompts=60, way=WAY), skip={("dpo", seed) for seed in range(failed)})
    for cell in (cell for cell in cells if cell.contestant == "dpo"):
        if cell.replicate < failed:
            fail(tmp_path, cell.policy, "divergence")
        else:
            record(tmp_path, cell.policy, seconds=100.0)
    found = prices(make_plan(cells, 5), Store(tmp_path))["dpo"]
    assert (found.reached, found.tried) == (5 - failed, 5)
    assert found.to_target == (price if price is None else pytest.approx(price))


def test_a_policy_that_never_reaches_it_has_no_price(tmp_path: Path) -> None:
    cells = make_cells(["dpo"], 3)
    fill(tmp_path, cells, World({"dpo": -1.0}, prompts=40))
    found = prices(make_plan(cells, 3), Store(tmp_path))["dpo"]
    assert (found.reached, found.tried, found.to_target) == (0, 3, None)


def test_the_page_says_it_without_naming_a_winner(tmp_path: Path) -> None:
    plan, store = finished(tmp_path)
    text = build(plan, store, tmp_path / "out").path.with_suffix(".md").read_text()
    told = text.split("## Quality and cost")[1].split("\n## ")[0]
    assert "sft (0.00 for 5), dpo (+" in told
    assert "means alone name no winner" in told
    assert "Significantly worse than something that costs no more device-seconds and generated tokens: cpo and" in told
    frame = pd.read_csv(tmp_path / "out/tables/quality_cost.csv").set_index("contestant")
    assert set(frame.index[frame["front_device_seconds"]]) == {"sft", "dpo", "kto"}


def test_the_figure_draws_the_costs_that_differ(tmp_path: Path) -> None:
    plan, store = finished(tmp_path)
    spec = QualityCost().draw(compare(plan, read(plan, store))[0]).to_dict()
    titles = [panel["layer"][2]["encoding"]["x"]["title"] for panel in spec["vconcat"]]
    assert len(titles) == 1, "memory and tokens are the same for all here"
    assert titles[0].startswith("device-seconds")


def test_tuning_can_be_seen_away_from_the_price(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "dpo tuned"], 5)
    fill(tmp_path, cells, World({"dpo": 1.0, "dpo tuned": 1.2}, prompts=40))
    plan, store = make_plan(cells, 5), Store(tmp_path)
    tables = with_studies(read(plan, store), study("dpo", [trial(0, 1.0, 2e-4, device_seconds=7.0)], 0))
    comparison = compare(plan, tables)[0]
    costs = []
    for panel in QualityCost().draw(comparison).to_dict()["vconcat"]:
        data = panel.get("data") or panel["layer"][0]["data"]
        costs.append({row["contestant"]: row["cost"] for row in data["values"]})
    with_it, without = costs
    assert without["dpo"] == without["dpo tuned"] == with_it["dpo"]
    assert with_it["dpo tuned"] == without["dpo tuned"] + 7.0
    fronts = {one.name: one.on_front for one in comparison.prices}
    assert "alone" in fronts["dpo tuned"]
    assert "alone" not in fronts["dpo"], "tuned it gains more for the same"

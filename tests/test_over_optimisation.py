"""The way of training on the page: a planted fall is found, and a rise is not called one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from synthetic import World, fill, make_cells, make_plan

from harness.plan import Plan
from harness.records import read
from harness.report import build
from harness.report.figures.over_optimisation import OverOptimisation
from harness.report.over_optimisation import NOT_DRAWN, NOT_GRADED, over_optimisation_sheet, points, section
from harness.report.standings import compare
from harness.store import Store

STEPS = (10, 20, 40)
FALLS = {10: (1.0, 0.0, 0.5), 20: (3.0, 0.5, 1.0), 40: (2.0, 2.5, 2.0), 0: (0.0, 5.0, 4.0)}
RISES = {10: (1.0, 0.0, 0.5), 20: (2.0, 0.0, 1.0), 40: (2.5, 0.0, 2.0), 0: (3.0, 0.0, 4.0)}


def study(
    root: Path, way: dict[int, tuple[float, float, float]] | None, steps: tuple[int, ...] = STEPS
) -> tuple[Plan, Store]:
    cells = make_cells(["dpo"], 5, steps=steps)
    fill(root, cells, World({"dpo": 0.0}, prompts=30, way=way))
    return make_plan(cells, 5), Store(root)


def gold(plan: Plan, store: Store, step: int | None, role: str = "gold", name: str = "dpo") -> np.ndarray:
    """(S, P, K) as it was written."""
    found = []
    for cell in (cell for cell in plan.cells if cell.contestant == name):
        table = pq.read_table(store.folder(cell.grades[step].name) / "scores.parquet").to_pandas()
        own = table[(table["metric"] == "reward") & (table["role"] == role)]
        found.append(own.pivot(index="prompt_id", columns="k", values="value").to_numpy())
    return np.array(found)


def test_a_planted_fall_is_found_with_its_numbers(tmp_path: Path) -> None:
    plan, store = study(tmp_path, FALLS)
    found = section(compare(plan, read(plan, store))[0], "-0")
    assert found.sentence.startswith("Over-optimised: gold is shown to fall before the end for dpo; oracle")
    row = found.sheets[0].frame.set_index("reward").loc["gold"]
    start = gold(plan, store, None, name="sft")
    assert (row["best_step"], row["graded_at"], row["fell"]) == (20, "10, 20, 40", True)
    assert row["fall"] == pytest.approx((gold(plan, store, None) - gold(plan, store, 20)).mean() / start.std())
    assert row["best"] == pytest.approx((gold(plan, store, 20).mean() - start.mean()) / start.std())
    assert row["fall_low"] < row["fall"] < row["fall_high"] < 0
    proxy = gold(plan, store, None, "proxy", "sft")
    ahead = (gold(plan, store, None, "proxy") - proxy.mean()) / proxy.std() - (
        gold(plan, store, None) - start.mean()
    ) / start.std()
    assert row["gap"] == pytest.approx(ahead.mean())
    assert row["gap_low"] > 1
    assert 0 < row["peak"] < row["farthest"]


def test_a_rise_is_no_fall_and_its_peak_lies_beyond(tmp_path: Path) -> None:
    plan, store = study(tmp_path, RISES)
    found = section(compare(plan, read(plan, store))[0], "-0")
    assert found.sentence == "No fall before the end of training is shown for any of 1 contestant."
    row = found.sheets[0].frame.set_index("reward").loc["gold"]
    assert not row["fell"]
    assert row["fall"] > 0
    assert pd.isna(row["peak"]) or row["peak"] > row["farthest"]


def test_the_points_are_the_means_over_runs(tmp_path: Path) -> None:
    plan, store = study(tmp_path, FALLS)
    comparison = compare(plan, read(plan, store))[0]
    point = next(p for p in points(comparison) if (p["contestant"], p["role"], p["step"]) == ("dpo", "proxy", "40"))
    start = gold(plan, store, None, "proxy", "sft")
    assert point["value"] == pytest.approx((gold(plan, store, 40, "proxy").mean() - start.mean()) / start.std())
    assert point["distance"] == pytest.approx(2.0**0.5, abs=0.05)
    spec = OverOptimisation().draw(comparison).to_dict()
    assert [panel["title"] for panel in spec["concat"]] == ["dpo"]


def test_a_tick_marks_the_peak_only_where_runs_went_that_far(tmp_path: Path) -> None:
    for name, way in (("falls", FALLS), ("rises", RISES)):
        plan, store = study(tmp_path / name, way)
        comparison = compare(plan, read(plan, store))[0]
        (panel,) = OverOptimisation().draw(comparison).to_dict()["concat"]
        ticks = [layer for layer in panel["layer"] if layer["mark"]["type"] == "tick"]
        row = over_optimisation_sheet([comparison]).frame.set_index("reward").loc["gold"]
        assert bool(ticks) is (name == "falls")
        for tick in ticks:
            (at,) = tick["data"]["values"]
            highest = row["peak"] * (row["alpha"] - row["beta"] * np.log(row["peak"]))
            assert (at["distance"], at["value"]) == pytest.approx((row["peak"], highest))


def test_the_page_shows_it_and_without_steps_says_how_to_ask(tmp_path: Path) -> None:
    text = build(*study(tmp_path / "a", FALLS), tmp_path / "out").path.with_suffix(".md").read_text()
    assert "| dpo | gold | 20 |" in text
    assert "▼ fell" in text
    assert len(pd.read_csv(tmp_path / "out/tables/over_optimisation.csv")) == 2
    comparison = compare(plan := study(tmp_path / "b", None, steps=())[0], read(plan, Store(tmp_path / "b")))[0]
    assert section(comparison, "-0").sentence == NOT_GRADED
    assert OverOptimisation().draw(comparison) == NOT_DRAWN, "the sentence is not said twice"
    assert "`" not in NOT_GRADED
    assert over_optimisation_sheet([comparison]).frame.empty

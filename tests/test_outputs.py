"""Length, diversity, degenerate outputs and the best-of-n curve: nothing is missing without a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binomtest
from synthetic import World, fail, fill, make_cells, make_plan

from harness import registry
from harness.plan import Cell
from harness.records import read
from harness.report import build
from harness.report.compare import Comparison
from harness.report.standings import compare
from harness.store import Store

METRICS = ("reward", "length", "truncated", "empty", "greedy", "self_bleu", "distinct", "distinct_across", "refusal")


def report(root: Path, cells: list[Cell], world: World, replicates: int = 4, **more) -> tuple[pd.DataFrame, str]:
    """The table of outputs by contestant, and the report's text."""
    fill(root / "results", cells, world, **more)
    build(make_plan(cells, replicates, metrics=METRICS), Store(root / "results"), root / "report")
    table = pd.read_parquet(root / "report" / "tables" / "outputs.parquet").set_index("contestant")
    return table, (root / "report" / "report.md").read_text()


def compared(root: Path, cells: list[Cell], replicates: int = 4) -> Comparison:
    plan = make_plan(cells, replicates)
    return compare(plan, read(plan, Store(root / "results")))[0]


def test_a_planted_winner_by_length_alone_loses_under_control(tmp_path):
    world = World({"dpo": 1.0, "kto": 0.0}, prompts=40, samples=4, tokens_by_length={"kto": 0.2})
    table, text = report(tmp_path, make_cells(["dpo", "kto"], 5), world, 5)
    longer, better = table.loc["kto"], table.loc["dpo"]
    assert longer["gold_low"] > 0.3, "raw, it wins"
    assert longer["soft_win_low"] > 0.55
    assert longer["lc_gold_low"] < 0 < longer["lc_gold_high"]
    assert longer["lc_soft_win_low"] < 0.5 < longer["lc_soft_win_high"]
    assert longer["length_ratio"] == pytest.approx(20 / 12, rel=0.05)
    assert "length makes +" in longer["note"]
    assert better["lc_gold_low"] > 0, "who is better without length stays so"
    assert better["note"] == ""
    assert "length makes +" in text


def test_a_failed_run_gains_nothing_at_equal_length(tmp_path):
    cells = make_cells(["dpo"], 4)
    lost = next(cell for cell in cells if (cell.contestant, cell.replicate) == ("dpo", 3))
    world = World({"dpo": 2.0}, prompts=30, samples=4)
    fill(tmp_path / "results", cells, world, skip={("dpo", 3)})
    whole = next(row for row in compared(tmp_path, cells[:-1], 4).standings if row.name == "dpo").estimates
    fail(tmp_path / "results", lost.policy, "bug")
    found = next(row for row in compared(tmp_path, cells).standings if row.name == "dpo").estimates
    assert found["lc_gold"].value == pytest.approx(whole["lc_gold"].value * 3 / 4, rel=0.01)
    assert found["lc_soft_win"].value == pytest.approx((3 * whole["lc_soft_win"].value + 0.5) / 4, rel=0.01)


def test_what_was_not_measured_is_null_with_its_reason(tmp_path):
    table, _ = report(tmp_path, make_cells(["dpo"], 3), World({"dpo": 1.0}, more=True), 3)
    row = table.loc["dpo"]
    assert row[["self_bleu", "distinct_across", "truncated", "greedy_gold"]].notna().all()
    assert row[["distinct", "refusal", "entropy", "bleu", "greedy_length"]].isna().all()
    reasons = dict(reversed(part.split(": ", 1)) for part in row["gap"].split("; "))
    assert reasons[registry.load("metrics", "distinct").absent] == "distinct"
    assert reasons["not measured"] == "refusal"
    left = reasons["not among evaluation.metrics"]
    assert all(name in left for name in ("entropy", "bleu", "rouge", "greedy_length", "hard_win_chosen_oracle"))
    assert not any(name in row["gap"] for name in ("self_bleu,", "truncated"))


def test_a_contestant_without_a_finished_run_says_why(tmp_path):
    cells = make_cells(["dpo", "kto"], 2)
    for cell in cells:
        if cell.contestant == "kto":
            fail(tmp_path / "results", cell.policy, "out of memory", "it needs 9 GB")
    table, _ = report(tmp_path, cells, World({}), 2, skip={("kto", 0), ("kto", 1)})
    row = table.loc["kto"]
    assert row.drop(["setting", "note", "gap"]).isna().all()
    assert "out of memory" in row["gap"]


def test_without_lengths_there_is_no_number_at_equal_length_and_a_reason(tmp_path):
    class Silent(World):
        def scores(self, cell, step):
            table = super().scores(cell, step)
            return table.filter([name != "length" for name in table["metric"].to_pylist()])

    table, _ = report(tmp_path, make_cells(["dpo"], 3), Silent({"dpo": 1.0}), 3)
    assert table.loc["dpo", ["lc_gold", "lc_soft_win", "length", "length_ratio"]].isna().all()
    assert table.loc["dpo", "note"] == "response lengths were not measured"


def test_a_number_of_the_whole_run_has_the_range_of_its_seeds_and_no_interval(tmp_path):
    table, text = report(tmp_path, make_cells(["dpo"], 3), World({"dpo": 1.0}, more=True), 3)
    row = table.loc["dpo"]
    assert 0.4 < row["distinct_across_low"] < row["distinct_across"] < row["distinct_across_high"] < 0.6
    assert "mean [lowest, highest] over seeds, no interval" in text
    one, _ = report(tmp_path / "one", make_cells(["dpo"], 1), World({"dpo": 1.0}, more=True), 1)
    row = one.loc["dpo"]
    assert row["distinct_across_low"] == row["distinct_across"] == row["distinct_across_high"]


def test_a_share_of_which_there_is_none_may_still_be_some(tmp_path):
    table, _ = report(tmp_path, make_cells(["dpo"], 3), World({"dpo": 1.0}, more=True), 3)
    row = table.loc["dpo"]
    assert row["empty"] == row["empty_low"] == 0
    within, beyond = (binomtest(0, 12, row["empty_high"] + step).pvalue for step in (-1e-4, 1e-4))
    assert within > 0.05 >= beyond, "what the exact test of 0 of 12 prompts does not refuse"


def test_why_there_is_no_best_of_n_is_said(tmp_path):
    figure = registry.load("report/figures", "best_of_n")()
    cells = make_cells(["dpo"], 2)
    fill(tmp_path / "results", cells, World({"dpo": 1.0}))
    assert not isinstance(figure.draw(compared(tmp_path, cells, 2)), str)
    start = next(cell for cell in cells if cell.is_start)
    assert start.pool is not None
    (tmp_path / "results" / start.pool.name / "record.json").unlink()
    fail(tmp_path / "results", start.pool, "out of memory", "it needs 9 GB")
    part = compared(tmp_path, cells, 2)
    assert part.no_best_of == "failed: it needs 9 GB"
    assert {one.seeds for one in part.best_of} == {1}
    none = [replace(cell, pool=None) for cell in cells]
    said = figure.draw(compared(tmp_path, none, 2))
    assert "evaluation.best_of is below 2" in said

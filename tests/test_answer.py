"""What the answer says of who is best and of what the study can show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic import World, fill, make_cells, make_plan

from harness.plan import Plan
from harness.records import read
from harness.report import build
from harness.report.answer import headline
from harness.report.standings import compare
from harness.store import Store

WORLD = World({"dpo": 3.0, "kto": 0.0}, prompts=30, sd_seed=0.05)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    root = tmp_path_factory.mktemp("answer")
    cells = make_cells(list(WORLD.gains), 5)
    fill(root, cells, WORLD)
    return make_plan(cells, 5), Store(root)


def test_who_scores_best_is_not_said_to_beat_whom_it_is_not_shown_to_beat(finished: tuple[Plan, Store]) -> None:
    comparison = compare(finished[0], read(*finished))[0]
    assert headline(comparison) == "dpo is significantly better on the gold reward than every other contestant."
    pairs = [
        replace(one, verdict="cannot separate") if {one.a, one.b} == {"dpo", "kto"} else one for one in comparison.pairs
    ]
    assert headline(replace(comparison, pairs=pairs)) == (
        "dpo scores best on the gold reward, and of every other contestant one is significantly better."
    )


def test_the_smallest_differences_and_the_seeds_above_are_told(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    answer = build(*finished, tmp_path / "out").text
    pairs = pd.read_parquet(tmp_path / "out/tables/pairs.parquet")
    smallest = pairs[pairs["family"] == "start"]["detectable"]
    assert f"finds with power 0.8: against the start {smallest.median():.2f} sd of the start" in answer
    own = pairs[(pairs["family"] == "start") & (pairs["a"] == "dpo")].iloc[0]
    assert own["above"] == 1.0
    assert own["above_low"] == pytest.approx(0.5655, abs=1e-4), "Wilson's, of 5 of 5"


def test_answer_and_stability_have_one_tau(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    answer = build(*finished, tmp_path / "out").text
    table = pd.read_csv(tmp_path / "out/tables/agreement.csv").set_index(["a", "b"])
    assert f"Kendall's tau {table.loc[('gold', 'oracle'), 'kendall']:.2f} (1: the same)" in answer

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
from harness.report.answer import _undecided, headline
from harness.report.collapse import in_top_set
from harness.report.compare import Comparison
from harness.report.places import Places
from harness.report.say import pairs as pairs_told
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
    assert own["above_low"] == pytest.approx(0.5, abs=1e-6), "the exact interval of 5 of 5"


def test_answer_and_stability_have_one_tau(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    answer = build(*finished, tmp_path / "out").text
    table = pd.read_csv(tmp_path / "out/tables/agreement.csv").set_index(["a", "b"])
    assert f"Kendall's tau {table.loc[('gold', 'oracle'), 'kendall']:.2f} (1: the same)" in answer


def _needing(comparison: Comparison, needs: list[tuple[int | None, int | None]]) -> list[str]:
    """The answer's points where the pairs with the start lack so many seeds and prompts."""
    start = [pair for pair in comparison.pairs if pair.family == "start"]
    own = [
        replace(start[0], a=f"m{i}", verdict="cannot separate", more_seeds=seeds, more_prompts=prompts)
        for i, (seeds, prompts) in enumerate(needs)
    ]
    return [text for text in _undecided(replace(comparison, pairs=own)) if "the start: m0" in text]


def test_what_would_help_some_pairs_is_told_and_whom_nothing_helps_alone(finished: tuple[Plan, Store]) -> None:
    comparison = compare(finished[0], read(*finished))[0]
    (mixed,) = _needing(comparison, [(14, 8000), (20, None), (None, 9000), (None, None)])
    assert mixed.endswith(
        "it would take up to 20 more seeds (median 17, for 2 of 4) or up to 9000 more test prompts (median 8500, for "
        "2 of 4); neither alone would do for m3."
    )
    (apart,) = _needing(comparison, [(14, None), (None, 9000)])
    assert apart.endswith("it would take 14 more seeds (for 1 of 2) or 9000 more test prompts (for 1 of 2).")
    (all_of_them,) = _needing(comparison, [(14, None), (20, None)])
    assert all_of_them.endswith("it would take up to 20 more seeds (median 17).")
    (none,) = _needing(comparison, [(None, None)])
    assert none.endswith("Neither more seeds nor more prompts alone would show a difference of 0.10 with power 0.8.")


def test_the_method_says_how_far_it_reaches_and_what_was_not_as_planned(
    finished: tuple[Plan, Store], tmp_path: Path
) -> None:
    method = build(*finished, tmp_path / "out").path.with_suffix(".md").read_text().split("## Method")[1]
    assert "Limits: what was seen is lab · lab · sft: 5 seeds, 30 prompts." in method
    assert "Departures from what was planned: none that the records show." in method
    cells = make_cells(["dpo"], 3)
    fill(tmp_path, cells, WORLD, skip={("dpo", 2)})
    method = build(make_plan(cells, 3), Store(tmp_path), tmp_path / "out").path.with_suffix(".md").read_text()
    assert "Departures from what was planned: runs that have no scores: 1 waiting." in method


def test_one_pair_differs(finished: tuple[Plan, Store]) -> None:
    comparison = compare(finished[0], read(*finished))[0]
    first, *rest = [pair for pair in comparison.pairs if pair.family == "all"]
    pairs = [replace(first, verdict="better"), *(replace(pair, verdict="cannot separate") for pair in rest)]
    assert pairs_told(replace(comparison, pairs=pairs)).startswith("Of 3 pairs: 1 differs, 0 are equivalent, 2 cannot")


def test_collapsed_runs_of_the_top_set_are_in_the_answer(finished: tuple[Plan, Store]) -> None:
    comparison = compare(finished[0], read(*finished))[0]
    assert not in_top_set(comparison)
    lost = [replace(row, collapsed=2 + row.in_top_set) for row in comparison.standings]
    told = in_top_set(replace(comparison, standings=lost))
    assert told.startswith("Runs in the top set that collapsed: dpo (3 of 5). A run collapsed where it failed, or more")


def test_a_contestant_called_like_a_section_does_not_take_its_links() -> None:
    where = Places(rows={"trust": "table-main-0-3"}, trust="trust-0")
    assert where.to("trust") == (("Reward-model trust", "trust-0"),)
    assert where.to("grade", row="trust") == (
        ("trust", "table-main-0-3"),
        ("What the grade rests on", "table-grade-0"),
    )
    assert where.to(row="nobody") == ()

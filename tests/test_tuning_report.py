"""The section on tuning: budgets, shrinkage, edges, and the sentences that keep a search from being a result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic import World, fill, make_cells, make_plan

from harness.records import Tables, read, rows, searches
from harness.report.answer import points
from harness.report.compare import Comparison
from harness.report.standings import compare
from harness.report.tuning import studies_sheet, trials_sheet, tuning_section
from harness.store import Store

SPACE = {"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}, "beta": {"low": 0.01, "high": 1.0, "log": True}}


def trial(place: int, score: float | None, rate: float, **more: Any) -> dict[str, Any]:
    own = {"status": "done" if score is not None else "failed", "cause": "" if score is not None else "divergence"}
    return {
        **{"trial": place, "phase": "own" if place == 0 else "random", **own, "score": score},
        **{"feasible": score is not None, "device_seconds": 3.0, "knobs": {"learning_rate": rate, "beta": 0.1}},
        **{"measured": {}, **more},
    }


def study(contestant: str, trials: list[dict[str, Any]], chosen: int | None) -> dict[str, Any]:
    return {
        **{"setting": "lab · lab · sft", "contestant": contestant, "algorithm": contestant, "number": 0},
        **{"metric": "reward/selection", "planned": 4, "device_seconds_cap": 0.0, "start": 0.0},
        **{"finished": chosen is not None, "chosen": chosen, "space": SPACE, "trials": trials},
    }


DPO = study("dpo", [trial(0, 1.0, 1e-4), trial(1, 3.0, 9.9e-4), trial(2, None, 5e-4), trial(3, -1.0, 2e-5)], 1)
KTO = study("kto", [trial(0, 2.0, 1e-4), trial(1, 1.0, 2e-4), trial(2, 0.5, 5e-4), trial(3, 2.5, 2e-4)], 3)


@pytest.fixture
def world(tmp_path: Path) -> tuple[Comparison, Tables]:
    cells = make_cells(["dpo", "kto", "dpo tuned", "kto tuned"], 3)
    truth = World({"dpo": 1.0, "kto": 0.5, "dpo tuned": 1.2, "kto tuned": 3.0})
    fill(tmp_path, cells, truth)
    plan = make_plan(cells, 3)
    tables = read(plan, Store(tmp_path))
    return compare(plan, tables)[0], tables


def test_where_trials_were_stopped_nothing_is_said_that_needs_their_end(world: tuple[Comparison, Tables]) -> None:
    comparison, tables = world
    stopped = {**trial(2, None, 5e-4), "status": "pruned", "cause": ""}
    found = with_studies(tables, {**DPO, "trials": [*DPO["trials"][:2], stopped, DPO["trials"][3]]})
    section = tuning_section(comparison, found, "")
    assert section is not None
    assert any(point.startswith("1 trial stopped half-way") for point in section.points)
    [row] = studies_sheet([comparison], found).frame.to_dict("records")
    assert (row["trials"], row["failed"]) == (4, 0)
    assert pd.isna(row["above_start"])
    assert pd.isna(row["basin"])


def with_studies(tables: Tables, *studies: dict[str, Any]) -> Tables:
    frames = {
        "studies": rows.frame(searches.studies(studies), searches.STUDIES),
        "trials": rows.frame(searches.trials(studies), searches.TRIALS),
    }
    return replace(tables, **frames)


def test_a_study_is_one_row_with_its_budget_and_what_it_gained(world: tuple[Comparison, Tables]) -> None:
    comparison, tables = world
    frame = studies_sheet([comparison], with_studies(tables, DPO, KTO)).frame.set_index("contestant")
    dpo = frame.loc["dpo"]
    assert (dpo["trials"], dpo["failed"], dpo["device_seconds"]) == (4, 1, 12.0)
    assert (dpo["own_score"], dpo["best_score"], dpo["gain"]) == (1.0, 3.0, 2.0)
    assert dpo["above_start"] == pytest.approx(1 / 3), "of the random ones, the failed one counted"
    assert dpo["at_edge"] == "learning_rate high"
    assert frame.loc["kto"]["at_edge"] == ""
    assert dpo["basin"] == pytest.approx(2 / 3), "one of three random trials over two decades"
    means = {name: cube.values.mean() for name, cube in comparison.cubes["gold"].by_contestant.items()}
    wanted = (means["kto tuned"] - means["kto"]) / comparison.scales["gold"].sd
    assert frame.loc["kto"]["gold"] == pytest.approx(wanted)


def test_the_section_says_that_scores_of_a_search_are_no_results(world: tuple[Comparison, Tables]) -> None:
    comparison, tables = world
    section = tuning_section(comparison, with_studies(tables, DPO, KTO), "-0")
    assert section is not None
    told = " ".join([section.sentence, *section.points])
    assert "8 trials" in told
    assert "no results" in told
    assert "for the selected knobs" in told
    assert "too few" in told
    assert "changes from dpo to kto" in told
    assert "UNEQUAL" not in told
    assert all(figure.picture.svg for figure in section.figures)


def test_unequal_budgets_wear_a_banner(world: tuple[Comparison, Tables]) -> None:
    comparison, tables = world
    short = {**KTO, "trials": KTO["trials"][:3], "chosen": 0}
    section = tuning_section(comparison, with_studies(tables, DPO, short), "-0")
    assert section is not None
    assert section.points[0].startswith("UNEQUAL BUDGETS")
    assert "dpo 4 and kto 3" in section.points[0]


def test_every_trial_is_listed_and_a_failed_one_has_no_score(world: tuple[Comparison, Tables]) -> None:
    _, tables = world
    sheet = trials_sheet(with_studies(tables, DPO, KTO))
    texts = sheet.texts
    assert len(texts) == 8
    assert texts[1][2] == "1 ★"
    assert texts[2][5:7] == ["—", "divergence"]


def test_the_answer_says_whether_anything_was_tuned(world: tuple[Comparison, Tables]) -> None:
    comparison, tables = world
    assert "Nothing was tuned" in points(comparison, tables)[-1]
    assert "their search selected" in points(comparison, with_studies(tables, DPO, KTO))[-1]
    assert tuning_section(comparison, tables, "-0") is None

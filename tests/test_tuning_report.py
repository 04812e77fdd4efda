"""The section on tuning: budgets, shrinkage, edges, and the sentences that keep a search from being a result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic import World, fill, make_cells, make_plan

from harness.records import Tables, read, rows, searches
from harness.report.answer import points
from harness.report.compare import Comparison
from harness.report.standings import compare
from harness.report.tuning import studies_of, studies_sheet, trials_sheet, tuning_section
from harness.report.tuning_figures import charts
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


def test_where_no_trial_keeps_the_limits_nothing_is_shown_as_chosen(world: tuple[Comparison, Tables]) -> None:
    comparison, tables = world
    above = [one | {"feasible": False} for one in DPO["trials"]]
    failed = [trial(place, None, 9.9e-4) for place in range(4)]
    none = {**study("dpo", above, None), "finished": True}
    lost = {**study("kto", failed, None), "finished": True}
    found = with_studies(tables, none, lost)
    sheet = studies_sheet([comparison], found)
    dpo, kto = sheet.frame.to_dict("records")
    assert (dpo["failed"], dpo["infeasible"], kto["failed"], kto["infeasible"]) == (1, 3, 4, 0)
    assert [row[2] for row in sheet.texts] == ["4 (1, 3)", "4 (4, 0)"]
    assert [row[4] for row in sheet.texts] == ["none: no trial kept the limits", "none: no trial has finished"]
    assert pd.isna(dpo["gain"])
    assert dpo["at_edge"] == ""
    assert not any("★" in row[2] for row in trials_sheet(found).texts)
    section = tuning_section(comparison, found, "")
    assert section is not None
    assert not any("edge of their range" in point for point in section.points)


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
    assert [figure.id for figure in section.figures if not figure.picture.svg] == ["importance-0"], "too few trials"


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
    assert "Nothing was tuned" in points(comparison, tables)[-1].text
    assert "their search selected" in points(comparison, with_studies(tables, DPO, KTO))[-1].text
    assert tuning_section(comparison, tables, "-0") is None


def searched(places: int, random: int = 20, **more: Any) -> dict[str, Any]:
    """A study in which only the learning rate decides; trial 3 fails, 4 is above a limit."""
    draw = np.random.default_rng(0)
    trials = []
    for place in range(places):
        rate, beta = (float(10 ** draw.uniform(*ends)) for ends in ((-5, -3), (-2, 0)))
        score = None if place == 3 else 1 - abs(float(np.log10(rate)) + 3.7)
        one = trial(place, score, rate, **({"phase": "guided"} if place > random else {}))
        one["knobs"]["beta"] = beta
        trials.append({**one, "feasible": False} if place == 4 else one)
    best = max((one for one in trials if one["feasible"]), key=lambda one: one["score"])
    return {**study("dpo", trials, best["trial"]), **more}


def drawn(world: tuple[Comparison, Tables], *studies: dict[str, Any]) -> dict[str, Any]:
    """The section's figures by name: a specification, or why there is none."""
    section = tuning_section(world[0], with_studies(world[1], *studies), "-0")
    assert section is not None
    pictures = {figure.id.removesuffix("-0"): figure.picture for figure in section.figures}
    return {name: json.loads(one.spec) if one.spec else one.reason for name, one in pictures.items()}


def test_knobs_are_weighed_by_random_trials_with_the_range_of_resampled_studies(
    world: tuple[Comparison, Tables],
) -> None:
    own = searched(30)
    spec = drawn(world, own)["importance"]
    rows = {row["knob"]: row for row in spec["data"]["values"]}
    assert list(rows) == ["learning_rate", "beta"], "the most important first"
    assert rows["learning_rate"]["value"] > 0.6
    assert sum(row["value"] for row in rows.values()) == pytest.approx(1)
    assert all(0 <= row["low"] < row["high"] <= 1 for row in rows.values())
    assert spec["concat"][0]["title"] == "dpo (20 random trials)"
    [told] = studies_sheet([world[0]], with_studies(world[1], own)).frame["important"]
    assert told.startswith(f"learning_rate {rows['learning_rate']['value']:.2f} [{rows['learning_rate']['low']:.2f}, ")
    other = [one | {"score": -9.0} if one["phase"] == "guided" else one for one in own["trials"]]
    same = drawn(world, {**own, "trials": other})["importance"]
    assert same["data"]["values"] == list(rows.values()), "guided trials weigh nothing"


def test_below_five_trials_in_the_best_quarter_nothing_is_weighed(world: tuple[Comparison, Tables]) -> None:
    few = searched(40, random=16)
    assert unweighed(world, few) == "16 of the 17 random trials that it takes"
    assert "concat" in drawn(world, searched(40, random=17))["importance"]


def unweighed(world: tuple[Comparison, Tables], study: dict[str, Any]) -> str:
    """Why nothing is said of what matters, which the table, its file and the figure say alike."""
    sheet = studies_sheet([world[0]], with_studies(world[1], study))
    told = str(sheet.texts[0][-1])
    assert list(sheet.frame["important"]) == [told]
    assert drawn(world, study)["importance"] == f"No study can tell: {told} (dpo)."
    return told


def test_why_nothing_is_weighed_is_told_as_it_is(world: tuple[Comparison, Tables]) -> None:
    def scored(*scores: float | None) -> dict[str, Any]:
        own = searched(len(scores) + 1, random=len(scores))
        changed = [trial(i, score, 1e-5 * (1 + i)) for i, score in enumerate(scores, 1)]
        return {**own, "trials": [own["trials"][0], *changed]}

    alike = "more than three quarters of random trials score the same"
    assert unweighed(world, scored(*[1.0] * 20)) == alike
    assert unweighed(world, scored(*[2.0] * 4, *[1.0] * 16)) == alike
    assert "concat" in drawn(world, scored(*[2.0] * 5, *[1.0] * 15))["importance"]
    failed = "fewer than a quarter of random trials have a score"
    assert unweighed(world, scored(1.0, 2.0, 3.0, 4.0, *[None] * 16)) == failed
    assert unweighed(world, scored(*[None] * 20)) == failed
    stopped = scored(*[float(i) for i in range(20)])
    stopped["trials"][5] |= {"status": "pruned", "score": None, "feasible": False}
    assert unweighed(world, stopped) == "trials were stopped early"


def test_studies_that_cannot_tell_share_a_reason(world: tuple[Comparison, Tables]) -> None:
    few, lone = ({**searched(10), "contestant": name} for name in ("kto", "ipo"))
    lone["space"] = {"learning_rate": SPACE["learning_rate"]}
    for one in lone["trials"]:
        del one["knobs"]["beta"]
    told = drawn(world, searched(10), few, lone)["importance"]
    assert told == "No study can tell: 9 of the 17 random trials that it takes (dpo and kto); its only knob (ipo)."
    [panel] = drawn(world, searched(20), few, lone)["importance"]["concat"]
    assert panel["title"] == "dpo (19 random trials)"


def test_of_a_lone_knob_nothing_is_weighed(world: tuple[Comparison, Tables]) -> None:
    own = searched(30, space={"learning_rate": SPACE["learning_rate"]})
    for one in own["trials"]:
        del one["knobs"]["beta"]
    assert unweighed(world, own) == "its only knob"
    [panel] = drawn(world, own)["trials-by-knobs"]["concat"]
    assert {row["axis"] for row in lines(panel)} == {"learning_rate", "score"}


def lines(panel: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a panel's lines, each once: thick lines are drawn twice."""
    layers = [layer["data"]["values"] for layer in panel["layer"] if layer["mark"]["type"] == "line"]
    return [dict(row) for row in dict.fromkeys(tuple(row.items()) for layer in layers for row in layer)]


def test_each_trial_is_a_line_over_its_knobs_to_its_score(world: tuple[Comparison, Tables]) -> None:
    [panel] = drawn(world, searched(20))["trials-by-knobs"]["concat"]
    rows = lines(panel)
    by_trial = {place: {row["axis"]: row for row in rows if row["trial"] == place} for place in range(20)}
    knobs = searched(20)["trials"]
    for place, own in by_trial.items():
        rate, beta = (np.log10(knobs[place]["knobs"][name]) for name in ("learning_rate", "beta"))
        assert own["learning_rate"]["at"] == pytest.approx((rate + 5) / 2), "its place on a logarithmic axis"
        assert own["beta"]["at"] == pytest.approx((beta + 2) / 2)
        assert ("score" in own) == (place != 3), "a failed trial ends at its last knob"
    assert {place: own["beta"]["ended"] for place, own in by_trial.items() if own["beta"]["ended"] != "finished"} == {
        3: "failed", 4: "above a limit",
    }  # fmt: skip
    scores = [own["score"] for own in by_trial.values() if "score" in own]
    assert {row["at"] for row in scores if row["score"] == max(one["score"] for one in scores)} == {1.0}
    texts = [row["label"] for layer in panel["layer"] if layer["mark"]["type"] == "text"
             for row in layer["data"]["values"] if "label" in row]  # fmt: skip
    assert {"1e-05", "0.001", "0.01", "1"} <= set(texts), "the ends of both axes"
    dashes = next(layer for layer in panel["layer"] if layer["mark"]["type"] == "line")["encoding"]["strokeDash"]
    assert dashes["scale"]["domain"] == ["finished", "above a limit", "failed"]
    grey = next(
        layer for layer in panel["layer"] if "color" not in layer["encoding"] and layer["mark"]["type"] == "line"
    )
    assert {row["trial"] for row in grey["data"]["values"]} == {3}


def test_knobs_beyond_their_range_and_choices_have_a_place(world: tuple[Comparison, Tables]) -> None:
    space = {**SPACE, "threshold": {"choice": [1.1, 1.2, 1.5]}}
    own = searched(6, space=space)
    for place, one in enumerate(own["trials"]):
        one["knobs"] |= {"threshold": space["threshold"]["choice"][place % 3]}
    own["trials"][0]["knobs"] |= {"beta": 10.0, "threshold": 1.7}
    [panel] = drawn(world, own)["trials-by-knobs"]["concat"]
    first = {row["axis"]: row["at"] for row in lines(panel) if row["trial"] == 0}
    assert (first["beta"], first["threshold"]) == (1.0, 1.0)
    assert all(0 <= row["at"] <= 1 for row in lines(panel))
    second = {row["axis"]: row["at"] for row in lines(panel) if row["trial"] == 1}
    assert second["threshold"] == pytest.approx(1 / 3), "the second of four"


def test_the_expected_best_is_drawn_by_trials_and_by_what_they_cost(world: tuple[Comparison, Tables]) -> None:
    trials = [trial(place, float(place), 1e-4, device_seconds=2.0 * place) for place in range(1, 4)]
    by_number, by_cost = drawn(world, study("dpo", trials, 3))["expected-best"]["vconcat"]
    assert by_number["encoding"]["x"]["field"] == "n"
    rows = by_cost["data"]["values"]
    assert [(row["n"], row["seconds"]) for row in rows] == [(1, 4.0), (2, 8.0), (3, 12.0)], "4 s each, on average"
    assert [row["best"] for row in rows] == pytest.approx([2.0, 8 / 3, 3.0])


def test_several_studies_and_studies_without_a_score_are_told_apart(world: tuple[Comparison, Tables]) -> None:
    failed = study("dpo", [trial(place, None, 1e-4) for place in range(3)], 0)
    waiting = study("kto", [trial(0, None, 1e-4, status="open")], None)
    panels = drawn(world, failed, searched(20, number=1), waiting)["trials-by-knobs"]["concat"]
    assert [panel["title"] for panel in panels] == ["dpo, study 0", "dpo, study 1"]
    assert drawn(world, waiting)["trials-by-knobs"] == "No trial has finished yet."


def test_the_figures_of_tuning_keep_to_the_schema(world: tuple[Comparison, Tables]) -> None:
    stopped = {**searched(20), "contestant": "kto"}
    stopped["trials"][5] |= {"status": "pruned", "score": None, "feasible": False}
    studies = studies_of(with_studies(world[1], searched(30), stopped), world[0].name)
    found = charts(studies, [one.weights for one in studies], "")
    assert set(found) == {"expected-best", "score-by-knob", "trials-by-knobs", "importance"}
    for chart in found.values():
        chart.to_dict(validate=True)  # the page leaves this out for its time

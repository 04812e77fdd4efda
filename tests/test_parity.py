"""What the parity table calls alike, from the stages of a plan."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from synthetic import make_cells, make_plan

from harness.plan import Cell
from harness.report.parity import parity_section, parity_sheet
from harness.stages import Train


def test_alike_is_alike() -> None:
    sheet = parity_sheet(make_plan(make_cells(["dpo", "kto"], 2, budget={"steps": 40, "batch": 16}), 2))
    rows = sheet.frame.set_index(["part", "property"])
    assert rows.loc[("training", "budget.batch")][["alike", "value", "contestants"]].tolist() == [True, "16", 2]
    assert rows.loc[("sampling", "temperature")][["alike", "value", "contestants"]].tolist() == [True, "1.0", 3]
    design = sheet.frame[sheet.frame["part"] != "knobs"]
    assert design["alike"].all()


def changed(cell: Cell) -> Cell:
    """Another temperature, and another batch in training."""
    assert isinstance(cell.trained, Train)
    policy = replace(cell.trained, budget={**cell.trained.budget, "batch": 8})
    sample = replace(cell.samples[None], temperature=0.7)
    return replace(cell, trained=policy, own=(policy,), samples={None: sample})


def test_what_differs_is_named_with_who_has_it() -> None:
    cells = make_cells(["dpo", "kto", "ipo"], 2, budget={"steps": 40, "batch": 16})
    cells = [changed(cell) if cell.contestant == "kto" else cell for cell in cells]
    section = parity_section(make_plan(cells, 2))
    rows = section.sheets[0].frame.set_index(["part", "property"])
    assert rows.loc[("training", "budget.batch")]["value"] == "16: dpo and ipo; 8: kto"
    assert rows.loc[("sampling", "temperature")]["value"] == "1.0: sft, dpo and ipo; 0.7: kto"
    assert "2 differ (budget.batch and temperature)" in section.sentence
    assert not section.sheets[0].frame["alike"].iloc[:2].any(), "what differs stands first"


def test_one_property_differs() -> None:
    cells = make_cells(["dpo", "kto"], 2, budget={"steps": 40, "batch": 16})
    cells = [
        replace(cell, samples={None: replace(cell.samples[None], temperature=0.7)})
        if cell.contestant == "kto"
        else cell
        for cell in cells
    ]
    assert "1 differs (temperature)" in parity_section(make_plan(cells, 2)).sentence


def test_nothing_can_run() -> None:
    cells = make_cells(["dpo"], 1, cut={"dpo": "no pairs", "sft": "no data"})
    assert parity_section(make_plan(cells, 1)).sentence.startswith("No contestant can run")


def _cell(name: str, is_start: bool = False) -> dict[str, Any]:
    return {"setting": "s", "contestant": name, "algorithm": name, "is_start": is_start}


def test_what_was_made_from_another_view_is_counted_where_there_was_any() -> None:
    import pandas as pd

    from harness.records import FINAL, Tables
    from harness.report.given import given_sheet

    cells = pd.DataFrame([_cell(name) for name in ("dpo", "cut")])
    own = {"setting": "s", "kind": "train", "step": FINAL}
    rows = [
        {**own, "contestant": name, "replicate": replicate, "metric": metric, "value": value}
        for replicate in (0, 1)
        for name, metric, value in (("dpo", "prompts", 8.0), ("cut", "prompts", 8.0), ("cut", "rows_converted", 40.0))
    ]
    sheet = given_sheet(cast(Tables, SimpleNamespace(measurements=pd.DataFrame(rows), cells=cells)))
    assert [column.title for column in sheet.shown if column.title.startswith("rows")] == [
        "rows left out",
        "rows converted",
    ]
    converted = sheet.frame.set_index("contestant")["rows_converted"]
    assert (pd.isna(converted["dpo"]), converted["cut"]) == (True, 40.0)


@pytest.mark.parametrize(("metric", "other", "named"), [
    ("prompts", 1009.0, ""),
    ("prompts", 1011.0, "on pairs prompts differ"),
    ("trained_tokens", 900.0, "on pairs trained tokens differ"),
    ("rows_left_out", 1.0, ""),
])  # fmt: skip
def test_who_was_given_more_than_another_on_the_same_view_is_named(metric: str, other: float, named: str) -> None:
    """By hand: 1,009 are 0.9 % more than 1,000, and 1,011 are 1.1 %; kto has another view; the start had less."""
    import pandas as pd

    from harness.records import FINAL, Tables
    from harness.report.given import given_sentence, given_sheet

    names = ("dpo", "ipo", "kto")
    cells = pd.DataFrame([_cell(name) for name in names] + [_cell("sft_chosen", is_start=True)])
    rows = [
        {
            "setting": "s",
            "kind": "train",
            "step": FINAL,
            "replicate": 0,
            "contestant": name,
            "metric": metric,
            "value": v,
        }
        for name, v in zip((*names, "sft_chosen"), (1000.0, other, 5.0, 600.0), strict=True)
    ]
    said = given_sentence(given_sheet(cast(Tables, SimpleNamespace(measurements=pd.DataFrame(rows), cells=cells))))
    assert ("not given the same" in said) == bool(named)
    assert named in said

"""What the parity table calls alike, from the stages of a plan."""

from __future__ import annotations

from dataclasses import replace

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


def test_nothing_can_run() -> None:
    cells = make_cells(["dpo"], 1, cut={"dpo": "no pairs", "sft": "no data"})
    assert parity_section(make_plan(cells, 1)).sentence.startswith("No contestant can run")

"""Published tables beside the study's own numbers, and what differs between their settings."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from synthetic import World, fill, make_cells, make_plan

from harness import registry
from harness.plan import Plan
from harness.records import read
from harness.report import build
from harness.report.published import DIFFERENCES, published, published_section, published_sheet
from harness.report.standings import compare
from harness.store import Store


def study(root: Path, *contestants: str) -> tuple[Plan, Store]:
    cells = make_cells(list(contestants), 3)
    fill(root, cells, World(dict.fromkeys(contestants, 1.0)))
    return make_plan(cells, 3), Store(root)


@pytest.mark.parametrize("table", published(), ids=lambda table: table.name)
def test_the_tables_are_whole(table) -> None:  # type: ignore[no-untyped-def]
    known = registry.names("algorithms")
    for rows in table.rows.values():
        for name, numbers in rows.items():
            assert name in known
            assert len(numbers) == len(table.columns)
            assert all(0 <= number <= 100 for number in numbers)
    assert all(table.setting[part] for part in DIFFERENCES)
    assert "arXiv" in table.citation


def test_simpo_and_cut_stand_beside_the_studys_own_numbers(tmp_path: Path) -> None:
    plan, store = study(tmp_path, "dpo", "simpo", "cut", "hindsight")
    comparison = compare(plan, read(plan, store))[0]
    frame = published_sheet([comparison]).frame
    where = frame.set_index(["table", "their_setting", "metric", "algorithm"])
    row = where.loc[("simpo", "llama-3-instruct", "AlpacaEval 2 LC", "simpo")]
    gold = next(one for one in comparison.standings if one.name == "simpo").estimates["gold"]
    assert (row["theirs"], row["their_gain"]) == (44.7, pytest.approx(44.7 - 26.0))
    assert (row["gold"], row["gold_low"], row["contestant"]) == (gold.value, gold.low, "simpo")
    assert where.loc[("cut", "llama2-13b", "AlpacaEval", "cut")]["theirs"] == 61.06
    assert pd.isna(where.loc[("simpo", "llama-3-instruct-v2", "Arena-Hard", "dpo")]["their_gain"]), "no start there"
    assert set(frame["algorithm"]) == {"dpo", "simpo", "cut", "hindsight"}


def test_what_differs_is_named_part_by_part(tmp_path: Path) -> None:
    plan, store = study(tmp_path, "dpo", "simpo")
    text = build(plan, store, tmp_path / "out").path.with_suffix(".md").read_text()
    told = text.split("## Beside published numbers")[1].split("\n## ")[0]
    assert "An order may be compared, numbers may not" in told
    for part, here in (("model", "lab"), ("data", "lab"), ("seeds", "3"), ("tuning", "none")):
        assert f"{part}: " in told
        assert f"(here {here})" in told
    assert "arXiv 2405.14734" in told
    assert "may be a mistake of copying" in told
    assert "| simpo | llama-3-base | dpo | AlpacaEval 2 LC | 18.2 | +12.0 | dpo |" in told


def test_one_shared_algorithm_is_no_comparison(tmp_path: Path) -> None:
    plan, store = study(tmp_path, "dpo", "ppo")
    section = published_section(compare(plan, read(plan, store)), plan)
    assert section.sentence.startswith("No published table")
    assert not section.sheets

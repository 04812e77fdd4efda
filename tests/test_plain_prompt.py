"""Contestants that are not used by their plain prompt: what is measured of their policy is not of their responses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import World, benched, fill, make_cells, make_plan

from harness.plan import Cell, Plan
from harness.recipe import Benchmark
from harness.records import Tables, read
from harness.report import say
from harness.report.benchmarks import NOT_ASKED, benchmarks_section, benchmarks_sheet
from harness.report.claim_links import agreements
from harness.report.compare import Comparison
from harness.report.ledger import preference_sheet
from harness.report.sheet import rows
from harness.report.standings import compare
from harness.store import Store

SEEDS, DOCUMENTS = 5, 60
Study = tuple[Plan, Tables, Comparison]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """`hindsight` asks with praise in the prompt, and has no KL; `dpo` and `kto` lose on a task, `dpo` by a little."""
    root = tmp_path_factory.mktemp("study")
    cells = make_cells(["dpo", "kto", "ipo", "hindsight"], SEEDS)
    fill(root, cells, World({"dpo": 2.0, "kto": 1.0, "ipo": 0.0, "hindsight": 3.0}, prompts=20))
    plan = make_plan([_benched(root, cell) for cell in cells], SEEDS)
    plan = replace(plan, recipe=replace(plan.recipe, benchmarks=(Benchmark(tasks=("t",), margin=0.01),)))
    tables = read(plan, Store(root))
    blocks = tables.blocks.blocks
    blocks[:] = [one for one in blocks if (one.contestant, one.metric) != ("hindsight", "kl")]
    (comparison,) = compare(plan, tables)
    return plan, tables, comparison


def _benched(root: Path, cell: Cell) -> Cell:
    if cell.contestant == "hindsight":
        return cell
    right = np.arange(DOCUMENTS) < 50
    fewer = {"kto": 30, "dpo": 4 + cell.replicate}.get(cell.contestant, 0)
    right[:fewer] = False
    return benched(root, cell, right)


def test_they_are_known_by_their_algorithm(study: Study) -> None:
    assert study[2].plain == {"sft", "dpo", "kto", "ipo"}


def test_a_missing_kl_is_explained_where_it_is_missed(study: Study) -> None:
    _, _, comparison = study
    gaps = {row.name: row.gap for row in comparison.standings}
    assert gaps["hindsight"] == "no KL: its responses are not its policy's to the plain prompt"
    assert not any(gaps[name] for name in comparison.plain)
    assert say.reward_kl(comparison).endswith("means alone name no winner. Without a known distance: hindsight.")


def test_what_was_not_measured_is_told_for_whom(study: Study) -> None:
    plan, tables, comparison = study
    told = say.unmeasured(comparison, tables, benchmarks_sheet(plan, [comparison], tables))
    assert "Not measured for hindsight: kl." in told
    assert "Without any benchmark: hindsight." in told
    assert any(text.startswith("Not measured for any contestant: ") and "bleu" in text for text in told)
    assert say.gaps(tables) == "Every planned run is there."


def test_a_bound_of_the_distance_is_called_one(study: Study) -> None:
    plan, tables, _ = study
    cells = tables.cells.assign(algorithm=tables.cells["algorithm"].replace("kto", "best_of_n"))
    (comparison,) = compare(plan, replace(tables, cells=cells))
    assert "The distance of kto is the most that it can be." in say.reward_kl(comparison)


def test_what_policies_think_of_pairs_is_told_of_policies_alone(study: Study) -> None:
    _, tables, comparison = study
    assert set(preference_sheet(comparison, "").frame["contestant"]) == comparison.plain
    every = list(comparison.contestants)
    assert len(agreements("preference_accuracy", "gold", every, tables, comparison)[0]) == SEEDS
    assert not len(agreements("preference_accuracy", "gold", ["dpo", "kto", "ipo", "hindsight"], tables, comparison)[0])
    assert len(agreements("length", "gold", ["dpo", "kto", "ipo", "hindsight"], tables, comparison)[0]) == SEEDS


def test_benchmarks_say_whom_they_did_not_ask(study: Study) -> None:
    plan, tables, comparison = study
    found = {row["contestant"]: row for row in rows(benchmarks_sheet(plan, [comparison], tables).frame)}
    assert found["hindsight"]["gap"] == NOT_ASKED
    assert found["hindsight"]["verdict"] is None


def test_a_loss_that_holm_leaves_open_is_told(study: Study) -> None:
    """`dpo` and `kto` both lose; with one of them not shown, the sentence still names how far it lies below."""
    plan, tables, comparison = study
    sheet = benchmarks_sheet(plan, [comparison], tables)
    lower = sheet.frame["verdict"] == "lower"
    assert set(sheet.frame.loc[lower, "contestant"]) == {"dpo", "kto"}
    (section,) = benchmarks_section(sheet)
    assert section.sentence.startswith("Lower than the start: dpo on t and kto on t.")
    assert "unadjusted" not in section.sentence
    sheet.frame.loc[sheet.frame["contestant"] == "dpo", "verdict"] = "cannot separate"
    (section,) = benchmarks_section(sheet)
    low, high = (sheet.frame.set_index("contestant").loc["dpo", f"difference_{end}"] for end in ("low", "high"))
    lowest = f"the lowest dpo on t (−0.100 [−{-low:.3f}, −{-high:.3f}])"
    assert f"By its unadjusted interval alone, 1 difference below the start, {lowest}; what Holm's" in section.sentence

"""The letter of the answer, from records: each grade, each fact that lowers it, and what the page says of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic import MADE_BY, World, fill, make_cells, make_plan
from test_alarms import Finished, studied
from test_trust_gate import world as judged
from test_trust_report import CLEAN, audited
from test_tuning_report import study, trial

from harness.plan import Plan
from harness.records import Tables, read
from harness.report import build
from harness.report.advice import Advice, Wishes, advise_all
from harness.report.answer import points
from harness.report.grade import weighed
from harness.report.sheets import matrix_sheet
from harness.report.standings import compare
from harness.report.trust import trusts
from harness.store import Store

CLEAR = World({"dpo": 3.0, "kto": 0.0}, prompts=40)
TIE = replace(CLEAR, gains={"dpo": 3.0, "kto": 3.0})
AGAINST = replace(CLEAR, gains={"dpo": -1.0, "kto": 3.0})


def study_of(
    root: Path, worlds: Iterable[World], seeds: int = 5, skip: tuple[tuple[str, int], ...] = (), **audit: Any
) -> tuple[Plan, Store]:
    """A comparison with one model for each world, all of them audited."""
    settings = {"lab" if i == 0 else f"model-{i}": world for i, world in enumerate(worlds)}
    cells = {model: make_cells(list(world.gains), seeds, model=model) for model, world in settings.items()}
    for i, (model, world) in enumerate(settings.items()):
        fill(root, cells[model], replace(world, seed=i), skip=set(skip))
    plan = make_plan([cell for own in cells.values() for cell in own], seeds)
    for model in settings:
        plan = audited(root, plan, model, audit.get("scores", judged(0)), audit.get("prompts"))
    return plan, Store(root)


def advice(plan: Plan, store: Store, tables: Tables | None = None) -> Advice:
    """Of the first setting, without constraints."""
    tables = tables or read(plan, store)
    comparisons = weighed(compare(plan, tables), plan, tables, trusts(plan, store))
    return next(iter(advise_all(comparisons, tables, Wishes()).values()))


def test_a_clear_winner_in_two_settings_is_an_a(tmp_path: Path) -> None:
    found = advice(*study_of(tmp_path, [CLEAR, CLEAR]))
    assert (found.pick, found.grade) == ("dpo", "A")
    assert all(fact.holds for fact in found.facts)


@pytest.mark.parametrize("worlds", [[CLEAR], [CLEAR, AGAINST]])
def test_a_clear_winner_in_one_setting_is_a_b(tmp_path: Path, worlds: list[World]) -> None:
    found = advice(*study_of(tmp_path, worlds))
    assert (found.pick, found.grade) == ("dpo", "B")


def test_a_tie_is_a_c_whatever_the_means_say(tmp_path: Path) -> None:
    found = advice(*study_of(tmp_path, [TIE, TIE]))
    assert found.grade == "C"
    assert set(found.tied) == {"dpo", "kto"}


def test_an_oracle_that_disagrees_makes_a_c(tmp_path: Path) -> None:
    found = advice(*study_of(tmp_path, [replace(CLEAR, oracle_sign=-1.0)] * 2))
    assert (found.pick, found.grade) == ("dpo", "C")


def test_a_lead_that_the_oracle_turns_round_is_marked_and_makes_a_c(tmp_path: Path) -> None:
    """Both gain by both rewards; only which of them is better is another question for the oracle."""
    plan, store = study_of(tmp_path, [replace(CLEAR, gains={"dpo": 6.0, "kto": 3.0})])
    tables = read(plan, store)
    for block in tables.blocks.of(metric="reward", role="oracle"):
        if block.contestant == "dpo":
            block.values[:] -= 5.0
    (one,) = compare(plan, tables)
    turned = [pair for pair in one.pairs if pair.turned]
    assert [(pair.family, {pair.a, pair.b}, pair.winner, pair.turned) for pair in turned] == [
        ("all", {"dpo", "kto"}, "dpo", ["oracle"])
    ]
    runs = {name: one.cubes["oracle"].by_contestant[name].prompts for name in ("dpo", "kto")}
    by_hand = float((runs["dpo"] - runs["kto"]).mean()) / one.scales["oracle"].sd
    sign = 1 if turned[0].a == "dpo" else -1
    assert turned[0].others["oracle"].value == pytest.approx(sign * by_hand)
    assert by_hand < 0
    assert any("oracle has the other sign for 1 (⇄): dpo over kto (gold +" in said.text for said in points(one, tables))
    assert matrix_sheet(one, "").frame.set_index("row").loc["dpo", "kto"].endswith("▲⇄")
    assert "⇄" in matrix_sheet(one, "").caption
    assert advice(plan, store, tables).grade == "C"


def test_without_numbers_it_is_a_d(tmp_path: Path) -> None:
    cells = make_cells(["dpo"], 5)
    found = advice(make_plan(cells, 5), Store(tmp_path))
    assert (found.pick, found.grade) == ("", "D")


LOWERED = {
    "gold errs with the proxy": {"scores": judged(0.5)},
    "gold's prompts are the test's": {"prompts": {**CLEAN, "equal": [1], "apart": [False]}},
    "the audits have not run": {"scores": None},
    "four seeds": {"seeds": 4},
    "a run is missing": {"skip": (("kto", 4),)},
}


@pytest.mark.parametrize("what", LOWERED)
def test_each_fact_that_does_not_hold_lowers_a_b(tmp_path: Path, what: str) -> None:
    plan, store = study_of(tmp_path, [CLEAR], **LOWERED[what])
    found = advice(plan, store)
    lost = 2 if what == "a run is missing" else 1  # and then there are four seeds
    assert (found.pick, found.grade) == ("dpo", "BCD"[lost])
    assert sum("so that the grade is one lower" in said.text for said in found.said) == lost


def test_an_alarm_lowers_it(tmp_path: Path) -> None:
    plan, store = study_of(tmp_path, [CLEAR])
    falsified = Finished.__new__(Finished)
    falsified.root = tmp_path
    falsified.change(plan.cells[0].policy.name, made_by=MADE_BY | {"dirty": True})
    assert advice(plan, store).grade == "C"


def test_unequal_tuning_lowers_it_and_equal_tuning_does_not(tmp_path: Path) -> None:
    plan, store = study_of(tmp_path, [CLEAR])
    tables = read(plan, store)
    two, three = ([trial(i, float(i), 2e-4) for i in range(n)] for n in (2, 3))
    equal = replace(tables, **studied(study("dpo", two, 1), study("kto", two, 1)))
    unequal = replace(tables, **studied(study("dpo", three, 2), study("kto", two, 1)))
    assert advice(plan, store, equal).grade == "B"
    found = advice(plan, store, unequal)
    assert found.grade == "C"
    assert any("Tuning budgets were not equal" in said.text for said in found.said)


def test_who_cannot_run_has_no_seeds_to_be_few(tmp_path: Path) -> None:
    plan, store = study_of(tmp_path, [CLEAR])
    cells = [replace(one, reason="no labels" * (one.contestant == "kto")) for one in plan.cells]
    given = advice(make_plan(cells, 5), store)
    assert not any("Seeds are few" in said.text for said in given.said)


def test_the_page_opens_with_the_letter_and_says_why_it_is_no_better(tmp_path: Path) -> None:
    plan, store = study_of(tmp_path, [TIE], seeds=4)
    answer = build(plan, store, tmp_path / "out")
    first = answer.path.with_suffix(".md").read_text().split("## Answer")[1].split("\n## ")[0]
    assert "**Grade D**" in first
    assert "(grade D: the verdicts give C, since it is one of a tie; lowered by a letter for each of: " in first
    assert "seeds are few, which makes it a guess, not a finding)" in first
    assert "the data do not say which of them is best" in first
    assert "it cannot be told from the best: the tie is" in first
    assert "seeds are few (4 seeds of the contestant with the fewest)" in first
    assert "| ✗ | at least 5 seeds of each contestant |" in first
    assert "| ✓ | every planned run has an outcome" in first
    assert '<p class="grade grade-D">' in answer.path.read_text()
    assert "Recommended without constraints" in answer.text

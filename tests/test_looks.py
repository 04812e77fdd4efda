"""Contestants that are decided at a look get no more seeds; what has been decided follows from the records alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import World, fail, fill

from harness.errors import HarnessError
from harness.plan import Cell, Plan
from harness.recipe import Recipe, read_recipe
from harness.records import read
from harness.report.compare import Comparison
from harness.report.looks import plan_so_far
from harness.report.standings import compare
from harness.store import Store

TEXT = """
name = "looks"
replicates = 6
looks = [4, 6]

[evaluation]
best_of = 0
greedy = false

[[algorithm]]
name = "dpo"

[[algorithm]]
name = "kto"
"""
CLEAR = World({"dpo": 3.0, "kto": 0.05}, sd_cell=0.5)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return written(tmp_path, TEXT)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def written(folder: Path, text: str) -> Recipe:
    path = folder / "looks.toml"
    path.write_text(text)
    return read_recipe(path)


def live(plan: Plan, contestant: str) -> list[int]:
    return [cell.replicate for cell in plan.cells if cell.contestant == contestant and not cell.reason]


def reasons(plan: Plan, contestant: str) -> set[str]:
    return {cell.reason for cell in plan.cells if cell.contestant == contestant and cell.reason}


def ready(plan: Plan) -> list[Cell]:
    return [cell for cell in plan.cells if not cell.reason]


def compared(plan: Plan, store: Store) -> Comparison:
    return compare(plan, read(plan, store))[0]


def seeds(comparison: Comparison) -> dict[str, int]:
    return {pair.a: pair.seeds for pair in comparison.pairs if pair.family == "start"}


def test_before_the_first_look_nobody_has_later_seeds(recipe: Recipe, store: Store) -> None:
    plan, more = plan_so_far(recipe, store)
    assert more
    assert [live(plan, name) for name in ("sft", "dpo", "kto")] == [[0, 1, 2, 3]] * 3
    assert reasons(plan, "dpo") == {"waits for the next look"}
    assert not any("replicate-4" in str(stage.spec) for stage in plan.stages())


def test_the_decided_leave_and_the_open_go_on(recipe: Recipe, store: Store) -> None:
    first, _ = plan_so_far(recipe, store)
    fill(store.root, ready(first), CLEAR)
    plan, more = plan_so_far(recipe, store)
    assert not more
    assert live(plan, "kto") == live(plan, "sft") == [0, 1, 2, 3, 4, 5]
    assert live(plan, "dpo") == [0, 1, 2, 3]
    assert reasons(plan, "dpo") == {"decided at 4 seeds: better"}
    fill(store.root, ready(plan), CLEAR)
    again, more = plan_so_far(recipe, store)
    assert not more
    assert [cell.reason for cell in again.cells] == [cell.reason for cell in plan.cells]
    assert seeds(compared(again, store)) == {"dpo": 4, "kto": 6}


def test_p_values_pay_for_the_looks(tmp_path: Path, store: Store) -> None:
    world = World({"dpo": 0.2, "kto": 0.1}, sd_cell=0.5)
    once, _ = plan_so_far(written(tmp_path, TEXT.replace("looks = [4, 6]", "")), store)
    fill(store.root, ready(once), world)
    twice, _ = plan_so_far(written(tmp_path, TEXT), store)
    before, after = (compared(plan, store).pairs for plan in (once, twice))
    assert seeds(compared(twice, store)) == {"dpo": 6, "kto": 6}  # still open at 4
    assert [pair.p for pair in after] == [pair.p for pair in before]
    assert [pair.p_holm for pair in after] == pytest.approx([min(1.0, 2 * (pair.p_holm or 0.0)) for pair in before])


def test_it_ends_where_nothing_is_open(recipe: Recipe, store: Store) -> None:
    first, _ = plan_so_far(recipe, store)
    fill(store.root, ready(first), World({"dpo": 3.0, "kto": -3.0}))
    plan, more = plan_so_far(recipe, store)
    assert not more
    assert reasons(plan, "kto") == {"decided at 4 seeds: worse"}
    assert live(plan, "sft") == [0, 1, 2, 3]
    assert reasons(plan, "sft") == {"no verdict is open any more"}


def test_a_look_waits_for_every_run_but_not_for_failed_ones(recipe: Recipe, store: Store) -> None:
    first, _ = plan_so_far(recipe, store)
    fill(store.root, ready(first), CLEAR, skip={("kto", 2)})
    plan, more = plan_so_far(recipe, store)
    assert more
    assert live(plan, "dpo") == [0, 1, 2, 3]
    lost = next(cell for cell in ready(first) if (cell.contestant, cell.replicate) == ("kto", 2))
    fail(store.root, lost.policy, "divergence")
    plan, more = plan_so_far(recipe, store)
    assert not more
    assert live(plan, "kto") == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("looks", ["[3]", "[6, 4]", "[1, 6]", "[2, 2, 6]", "[2.5, 6]", "6", "[true, 6]", "[2, 8]"])
def test_looks_that_cannot_be(tmp_path: Path, looks: str) -> None:
    with pytest.raises(HarnessError, match=r"looks.toml:4: looks is .*growing whole numbers .* for example \[3, 6\]"):
        written(tmp_path, TEXT.replace("looks = [4, 6]", f"looks = {looks}"))

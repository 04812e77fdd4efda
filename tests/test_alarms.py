from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import MADE_BY, World, fill, make_cells, make_plan
from test_tuning_report import study, trial

from harness.held_out import Check
from harness.plan import Cell, Plan
from harness.records import read, rows, searches
from harness.report import build
from harness.report.alarms import CHECKS, SHARED, Alarm, alarms, alarms_section, idle
from harness.report.trust import Trust
from harness.store import Store

WORLD = World({"dpo": 1.0, "ipo": 0.5}, prompts=20, samples=2)


class Finished:
    """A finished comparison of sft, dpo and ipo whose records can be falsified before they are read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cells = make_cells(list(WORLD.gains), 3)
        self.plan: Plan = make_plan(self.cells, 3)
        fill(root, self.cells, WORLD)
        for cell in self.cells:
            self.weigh(cell, f"{cell.contestant} {cell.replicate}")

    def cell(self, contestant: str, replicate: int = 0) -> Cell:
        return next(one for one in self.cells if (one.contestant, one.replicate) == (contestant, replicate))

    def change(self, stage: str, **values: Any) -> None:
        path = self.root / stage / "record.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    def weigh(self, cell: Cell, sha256: str) -> None:
        file = {"bytes": 1, "sha256": sha256}
        self.change(cell.policy.name, files={"policy/model.safetensors": file, "policy/config.json": file})

    def scores(self, cell: Cell) -> Path:
        return self.root / cell.grades[None].name / "scores.parquet"

    def rescore(self, cell: Cell, metric: str, values: Any, role: str = "") -> None:
        """Replace a metric's values."""
        table = pq.read_table(self.scores(cell)).to_pandas()
        table.loc[(table["metric"] == metric) & (table["role"] == role), "value"] = values
        pq.write_table(pa.Table.from_pandas(table), self.scores(cell))

    def values(self, cell: Cell, metric: str, role: str = "") -> np.ndarray:
        table = pq.read_table(self.scores(cell)).to_pandas()
        return table.loc[(table["metric"] == metric) & (table["role"] == role), "value"].to_numpy()

    def found(self) -> list[Alarm]:
        return alarms(read(self.plan, Store(self.root)), {})

    def texts(self, check: str) -> str:
        """What one check found; no other check may have found anything."""
        found = self.found()
        assert {alarm.check for alarm in found} == {check}, found
        return " | ".join(alarm.text for alarm in found)


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    return Finished(tmp_path)


def test_an_honest_comparison_has_none(finished: Finished) -> None:
    assert finished.found() == []


def test_unchanged_weights(finished: Finished) -> None:
    finished.weigh(finished.cell("dpo", 1), "sft 1")
    assert "dpo (seed 1) ended with exactly the start's weights" in finished.texts("unchanged weights")


def test_the_weights_of_another_seeds_start_are_not_its_own(finished: Finished) -> None:
    finished.weigh(finished.cell("dpo", 1), "sft 2")
    assert not finished.found()


def test_an_adapter_that_was_not_applied(finished: Finished) -> None:
    finished.rescore(finished.cell("ipo", 2), "kl", 0.0)
    assert "ipo (seed 2) answers every prompt exactly as the start does" in finished.texts("policy without effect")


def test_a_single_response_that_is_as_likely_is_no_alarm(finished: Finished) -> None:
    values = finished.values(finished.cell("ipo", 2), "kl").copy()
    values[1:] = 0.0
    finished.rescore(finished.cell("ipo", 2), "kl", values)
    assert not finished.found()


def test_a_seed_without_effect(finished: Finished) -> None:
    finished.weigh(finished.cell("dpo", 2), "dpo 0")
    assert "dpo of seed 0 and dpo of seed 2 have exactly the same weights" in finished.texts("equal weights")


def test_a_mean_that_is_equal_in_all_seeds(finished: Finished) -> None:
    gold = np.round(finished.values(finished.cell("dpo"), "reward", "gold"))  # whole: equal sums in any order
    for replicate in range(3):  # each in another order, or they would be copies
        finished.rescore(finished.cell("dpo", replicate), "reward", np.roll(gold, replicate), "gold")
    assert "dpo has the same mean reward (gold) in all 3 seeds" in finished.texts("no spread over seeds")


def test_two_equal_seeds_of_three_are_no_alarm_of_spread(finished: Finished) -> None:
    gold = finished.values(finished.cell("dpo"), "reward", "gold")
    finished.rescore(finished.cell("dpo", 1), "reward", gold[::-1], "gold")
    assert not finished.found()


def test_a_cache_that_answered_for_another_model(finished: Finished) -> None:
    gold = finished.values(finished.cell("dpo"), "reward", "gold")
    finished.rescore(finished.cell("ipo"), "reward", gold, "gold")
    assert "dpo and ipo have the same reward (gold) for every sample of seed 0" in finished.texts("identical rows")


def test_two_policies_without_a_fault_of_one_kind_are_no_copies(finished: Finished) -> None:
    """Their scores in that dimension are equal in every sample, of all seeds."""
    for name in ("dpo", "ipo"):
        for replicate in range(2):
            finished.rescore(finished.cell(name, replicate), "reward", 1.0, "oracle")
    assert not {"identical rows", "cache hit across models"} & {alarm.check for alarm in finished.found()}


def test_the_same_values_in_another_order_are_not_identical_rows(finished: Finished) -> None:
    gold = finished.values(finished.cell("dpo"), "reward", "gold")
    finished.rescore(finished.cell("ipo"), "reward", gold[::-1], "gold")
    assert "identical rows" not in {alarm.check for alarm in finished.found()}


def test_a_metric_that_equals_the_starts_to_all_digits(finished: Finished) -> None:
    table = pq.read_table(finished.scores(finished.cell("sft", 1)))
    rows = table.filter(pa.compute.equal(table["role"], "gold")).to_pandas().assign(metric="entropy", role="")
    for name, shift in (("sft", 0.0), ("dpo", 0.0), ("ipo", 0.5)):
        path = finished.scores(finished.cell(name, 1))
        more = rows.assign(value=rows["value"] + shift)
        pq.write_table(pa.concat_tables([pq.read_table(path), pa.Table.from_pandas(more, table.schema)]), path)
        before = rows.assign(metric="chosen_logp", role="before")  # the start's own by its definition
        pq.write_table(pa.concat_tables([pq.read_table(path), pa.Table.from_pandas(before, table.schema)]), path)
    found = finished.texts("equal to the start")
    assert found == "dpo of seed 1 equals the start to all digits in entropy."


def test_what_is_measured_before_training_equals_the_start_by_definition(finished: Finished) -> None:
    table = pq.read_table(finished.scores(finished.cell("sft", 1)))
    rows = table.filter(pa.compute.equal(table["role"], "gold")).to_pandas().assign(metric="chosen_logp", role="before")
    for name in ("sft", "dpo", "ipo"):
        path = finished.scores(finished.cell(name, 1))
        pq.write_table(pa.concat_tables([pq.read_table(path), pa.Table.from_pandas(rows, table.schema)]), path)
    assert not finished.found()


def test_a_coarse_metric_may_equal_the_starts(finished: Finished) -> None:
    pairs = finished.values(finished.cell("sft"), "preference_accuracy")
    finished.rescore(finished.cell("dpo"), "preference_accuracy", pairs)
    assert not finished.found()


@pytest.mark.parametrize(("metric", "share", "alarm"), [("truncated", 0.2, True), ("truncated", 0.05, False),
                                                        ("empty", 0.1, True), ("repetition", 0.9, False)])  # fmt: skip
def test_cut_off_and_empty_responses(finished: Finished, metric: str, share: float, alarm: bool) -> None:
    for replicate in range(3):
        path = finished.scores(finished.cell("dpo", replicate))
        table = pq.read_table(path)
        rows = table.filter(pa.compute.equal(table["role"], "gold")).to_pandas()
        rows = rows.assign(metric=metric, role="", value=(np.arange(len(rows)) < share * len(rows)).astype(float))
        pq.write_table(pa.concat_tables([table, pa.Table.from_pandas(rows, table.schema)]), path)
    if alarm:
        told = finished.texts("cut-off or empty responses")
        assert f"{share:.0%}".replace("%", " %") + f" of dpo's responses are {metric}" in told
        assert "its mean reward counts texts that are no whole answers" in told
    else:
        assert not finished.found()


def test_a_run_that_passed_its_kl_limit(finished: Finished) -> None:
    for replicate, step in ((0, 12), (2, 7)):
        said = {"metric": "kl_alarm_step", "value": step, "n": 1, "unit": "step", "better": ""}
        finished.change(finished.cell("dpo", replicate).policy.name, measurements=[said])
    assert "dpo passed its KL limit in 2 runs, first at step 7" in finished.texts("KL limit")


def test_dirty_code(finished: Finished) -> None:
    finished.change(finished.cell("dpo").policy.name, made_by=MADE_BY | {"dirty": True})
    assert "1 of" in (text := finished.texts("code and machines"))
    assert "uncommitted changes" in text


def test_two_versions_of_torch(finished: Finished) -> None:
    finished.change(finished.cell("dpo").policy.name, made_by=MADE_BY | {"packages": {"torch": "2.12.0"}})
    assert "2 different sets of package versions" in finished.texts("code and machines")


def test_the_page_opens_with_them(finished: Finished, tmp_path: Path) -> None:
    finished.weigh(finished.cell("dpo", 1), "sft 1")
    page = build(finished.plan, Store(finished.root), tmp_path / "out").path.with_suffix(".md").read_text()
    assert page.index("## Answer") < page.index("## Alarms") < page.index("## Contestants")
    assert "1 alarm (unchanged weights): look" in page
    assert "ended with exactly the start's weights" in page


def test_an_honest_page_says_how_many_checks_had_something_to_look_at(finished: Finished, tmp_path: Path) -> None:
    page = build(finished.plan, Store(finished.root), tmp_path / "out").path.with_suffix(".md").read_text()
    many = len(CHECKS) + 1
    assert f"No alarm: {many - 5} of {many} checks had something to look at, and found nothing." in page
    told = "cut-off or empty responses, KL limit, optimum at the edge, unequal budgets and shared prompts"
    assert f"- Nothing to look at for: {told}." in page
    assert alarms_section([], []).sentence == f"No alarm: {many} checks found nothing."


def test_nothing_has_run(tmp_path: Path) -> None:
    plan, store = make_plan(make_cells(["dpo"], 2), 2), Store(tmp_path)
    tables = read(plan, store)
    assert alarms(tables, {}) == []
    assert idle(tables, {}) == [*CHECKS, SHARED]
    page = build(plan, store, tmp_path / "out").path.with_suffix(".md").read_text()
    assert f"No alarm, and no all-clear: none of {len(CHECKS) + 1} checks had anything to look at." in page


OF_TRAINED = ("unchanged weights", "policy without effect", "equal weights", "identical rows", "equal to the start")
"""Checks that look at more than the start."""


def test_where_all_but_the_start_failed_its_own_runs_alone_are_looked_at(tmp_path: Path) -> None:
    cells = make_cells(["dpo"], 2)
    fill(tmp_path, cells, WORLD, skip={("dpo", 0), ("dpo", 1)})
    found = idle(read(make_plan(cells, 2), Store(tmp_path)), {})
    assert set(OF_TRAINED) <= set(found)
    assert not {"no spread over seeds", "cache hit across models", "code and machines"} & set(found)


def test_one_seed_has_no_spread_and_no_other_model_to_look_at(tmp_path: Path) -> None:
    cells = make_cells(["dpo"], 1)
    fill(tmp_path, cells, WORLD)
    found = idle(read(make_plan(cells, 1), Store(tmp_path)), {})
    assert {"no spread over seeds", "cache hit across models", "equal weights"} <= set(found)
    assert not {"policy without effect", "identical rows", "equal to the start"} & set(found)


def test_each_check_tells_when_it_gets_something_to_look_at(finished: Finished) -> None:
    def now(trusts: dict[tuple[str, str], Trust] | None = None, **more: Any) -> set[str]:
        return set(idle(replace(read(finished.plan, Store(finished.root)), **more), trusts or {}))

    before = now()
    assert before == {"cut-off or empty responses", "KL limit", "optimum at the edge", "unequal budgets", SHARED}
    inside = study("ipo", [trial(0, 1.0, 1e-4), trial(1, 2.0, 2e-4)], 1)
    assert before - now(**studied(inside)) == {"optimum at the edge", "unequal budgets"}
    asked = [Check("apart", passed, "") for passed in (None, True)]
    assert SHARED in now({("lab", "lab"): Trust("lab", prompts=asked[:1])}), "what is not known was not looked at"
    assert SHARED not in now({("lab", "lab"): Trust("lab", prompts=asked)})
    said = {"metric": "kl_max", "value": 3.0, "n": 1, "unit": "nats/response", "better": ""}
    finished.change(finished.cell("dpo").policy.name, measurements=[said])
    assert "KL limit" not in now()
    cells = read(finished.plan, Store(finished.root)).cells
    assert "KL limit" in now(cells=cells.assign(knobs='{"kl_limit": 0}')), "a limit of 0 is none"
    path = finished.scores(finished.cell("dpo"))
    table = pq.read_table(path)
    rows = table.filter(pa.compute.equal(table["role"], "gold")).to_pandas().assign(metric="empty", role="", value=0.0)
    pq.write_table(pa.concat_tables([table, pa.Table.from_pandas(rows, table.schema)]), path)
    assert "cut-off or empty responses" not in now()


def test_a_cache_that_took_one_model_for_another(tmp_path: Path) -> None:
    """Two models whose rewards are equal sample by sample; the third setting is honest."""
    cells = [cell for model in ("small", "large", "third") for cell in make_cells(["dpo"], 2, model=model)]
    fill(tmp_path, [cell for cell in cells if cell.model != "third"], WORLD)
    fill(tmp_path, [cell for cell in cells if cell.model == "third"], replace(WORLD, seed=5))
    texts = [one.text for one in alarms(read(make_plan(cells, 2), Store(tmp_path)), {})]
    assert texts
    assert all("a cache took one for another" in text for text in texts)
    assert any("dpo of seed 0 (small · lab · sft) and dpo of seed 0 (large · lab · sft)" in text for text in texts)
    assert not any("third" in text for text in texts)


def test_a_cache_that_took_one_seed_for_another(finished: Finished) -> None:
    gold = finished.values(finished.cell("dpo", 0), "reward", "gold")
    finished.rescore(finished.cell("dpo", 1), "reward", gold, "gold")
    found = finished.texts("cache hit across models")
    assert "dpo of seed 0 (lab · lab · sft) and dpo of seed 1 (lab · lab · sft) have equal values of reward" in found


@pytest.mark.parametrize(("values", "alarm"), [(np.linspace(0, 1, 40), True), (np.arange(40) % 2, False)])
def test_a_benchmark_cache_that_took_one_policy_for_another(
    finished: Finished, values: np.ndarray, alarm: bool
) -> None:
    """Equal likelihoods of 40 documents are no chance; equal right and wrong answers may be."""
    tables = read(finished.plan, Store(finished.root))
    rows = [
        {"setting": "lab · lab · sft", "contestant": name, "replicate": 0, "step": -1, "metric": "bits", "role": "task",
         "level": "prompt", "prompt_id": str(i), "k": -1, "value": float(value)}
        for name in ("dpo", "ipo") for i, value in enumerate(values)
    ]  # fmt: skip
    found = alarms(replace(tables, benchmarks=pd.DataFrame(rows)), {})
    assert [one.check for one in found] == ["cache hit across models"] * alarm
    if alarm:
        assert "equal values of benchmark task" in found[0].text


def studied(*studies: dict[str, Any]) -> dict[str, pd.DataFrame]:
    return {
        "studies": rows.frame(searches.studies(studies), searches.STUDIES),
        "trials": rows.frame(searches.trials(studies), searches.TRIALS),
    }


def test_an_optimum_at_the_edge_and_unequal_trials(finished: Finished) -> None:
    tables = read(finished.plan, Store(finished.root))
    inside = study("ipo", [trial(0, 1.0, 1e-4), trial(1, 2.0, 2e-4)], 1)
    edge = study("dpo", [trial(0, 1.0, 1e-4), trial(1, 3.0, 9.9e-4)], 1)
    (found,) = alarms(replace(tables, **studied(edge, inside)), {})
    assert found.check == "optimum at the edge"
    assert "dpo was given knobs at the edge of their range (learning_rate high)" in found.text
    more = study("ipo", [trial(i, float(i), 2e-4) for i in range(3)], 2)
    (found,) = alarms(replace(tables, **studied(inside, {**more, "contestant": "dpo"})), {})
    assert (found.check, "ipo 2 and dpo 3" in found.text) == ("unequal budgets", True)


def test_prompts_that_are_shared_between_splits(finished: Finished) -> None:
    tables = read(finished.plan, Store(finished.root))
    fine = Check("prompts of gold and of test are apart", True, "0 equal and 0 near duplicates of 12")
    shared = Check("prompts of policies and proxy and of test are apart", False, "1 equal and 0 near duplicates of 12")
    (found,) = alarms(tables, {("lab", "lab"): Trust("lab", prompts=[fine, shared])})
    assert (found.check, found.setting) == ("shared prompts", "lab · lab · sft")
    assert "policies and proxy and of test are apart (1 equal" in found.text

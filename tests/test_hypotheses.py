"""Verdicts on hypotheses: every verdict on scores of known truth, and how often a true null is called another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from synthetic import World, fail, fill, make_cells, make_plan, record

from harness.claims import CHOSEN_LONGER, COLLAPSE, CURVE, EVERY, NUMBERED, SPREAD, START, SWEEP, Hypothesis, Premise
from harness.errors import HarnessError
from harness.plan import Plan
from harness.plan import make_plan as plan_of
from harness.recipe import read_recipe
from harness.recipe_hypotheses import about_nobody
from harness.records import read
from harness.report import claim_metrics, claim_scores, claim_words
from harness.report.candidates import candidates
from harness.report.claim_links import agreements
from harness.report.claims import Judged, built_in, judge
from harness.report.hypotheses import ARTICLES, hypotheses_section
from harness.report.say import cost
from harness.report.sheet import rows
from harness.report.standings import compare
from harness.store import Store

RECIPES = Path(__file__).parents[1] / "recipes"
GAINS = {"dpo": 3.0, "ipo": -3.0, "cpo": 0.0, "kto": 3.0}
WORLD = World(GAINS, prompts=30, samples=2)
OVERLAPS = {"bleu", "rouge"}
"""What article 003 judges quality by."""


def own(name: str = "Z1", **more: Any) -> Hypothesis:
    given = {"metric": "gold", "a": ("dpo",), "b": ("start",), "delta": 0.1, **more}
    return Hypothesis(name, "a claim", **given)


def judged(
    root: Path, claims: list[Hypothesis], world: World = WORLD, seeds: int = 5, skip: Any = frozenset()
) -> tuple[list[Judged], Plan, Any, Any]:
    cells = make_cells(list(world.gains), seeds)
    plan = make_plan(cells, seeds)
    plan = replace(plan, recipe=replace(plan.recipe, hypotheses=tuple(claims)))
    fill(root, cells, world, skip=skip)
    store = Store(root)
    tables = read(plan, store)
    comparisons = compare(plan, tables)
    found = [one for one in judge(plan, tables, comparisons) if one.claim.tier == "own"]
    return found, plan, tables, comparisons


def judged_in(study: tuple[Plan, Any, Any], claim: Hypothesis) -> Judged:
    """A claim alone, in a study whose scores are there already."""
    plan, tables, comparisons = study
    plan = replace(plan, recipe=replace(plan.recipe, hypotheses=(claim,)))
    with mock.patch("harness.report.claims.built_in", tuple):
        (found,) = judge(plan, tables, comparisons)
    return found


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Any, Any]:
    """The study of `WORLD`."""
    return judged(tmp_path_factory.mktemp("study"), [])[1:]


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        (own(), "SUPPORTED, LARGE"),
        (own(delta=3.0), "SUPPORTED"),
        (own(direction="below"), "CONTRADICTED"),
        (own(a=("ipo",)), "CONTRADICTED"),
        (own(a=("ipo",), direction="below"), "SUPPORTED, LARGE"),
        (own(a=("dpo",), b=("ipo",), test="not_worse"), "SUPPORTED"),
        (own(a=("cpo",), test="not_worse", delta=3.0), "SUPPORTED"),
        (own(a=("cpo",), test="not_worse", direction="below", delta=3.0), "SUPPORTED"),
        (own(a=("cpo",), test="not_worse", delta=0.01), "UNDECIDED"),
        (own(a=("ipo",), test="not_worse"), "CONTRADICTED"),
        (own(a=("ipo",), test="not_worse", direction="below"), "SUPPORTED"),
        (own(a=("cpo",), test="equal", delta=3.0), "SUPPORTED"),
        (own(a=("cpo",), test="equal", delta=0.01), "UNDECIDED"),
        (own(a=("dpo",), test="equal"), "CONTRADICTED"),
        (own(a=("dpo", "kto"), b=("ipo", "cpo"), contrast="groups"), "SUPPORTED, LARGE"),
        (own(a=("dpo", "ipo"), b=("cpo",), contrast="groups", delta=3.0), "EQUIVALENT"),
        (own(a=("dpo", "ppo"), b=("cpo",), contrast="groups"), "SUPPORTED, LARGE"),
        (own(metric="collapse", b=("ipo",), delta=0.2), "UNDECIDED"),
        (own(across="settings", b=(), a=("every",), direction="either"), "NOT RUN"),
        (own(starts=("sft_chosen", "base"), b=("dpo",)), "NOT RUN"),
        (own(proof="tests/test_hypotheses.py::own"), "PROVED"),
        (own(by_construction="it is so"), "BY CONSTRUCTION"),
        (own(a=("cpo",), delta=3.0), "EQUIVALENT"),
        (own(a=("cpo",), delta=0.01), "UNDECIDED"),
        (own(a=("dpo", "ipo")), "MIXED"),
        (own(a=("dpo", "kto")), "SUPPORTED, LARGE"),
        (own(b=("ipo", "cpo"), delta=2.0), "SUPPORTED"),  # one of them is large
        (own(a=("dpo", "cpo"), delta=0.01), "UNDECIDED"),
        (own(a=("ppo",)), "NOT RUN"),
        (own(not_run="no data"), "NOT RUN"),
        (own(metric="chosen_logp"), "NOT RUN"),
        (own(metric="kl", b=(), against=0.0), "SUPPORTED, LARGE"),
        (own(metric="curve:loss", b=(), against=0.0, direction="below"), "NOT RUN"),
    ],
)
def test_each_verdict_is_that_of_the_truth(known: tuple[Plan, Any, Any], claim: Hypothesis, word: str) -> None:
    found = judged_in(known, claim)
    assert found.word == word
    needs = ("MIXED", "NOT RUN", "PROVED", "BY CONSTRUCTION")
    assert bool(found.why) == (word in needs or len(found.found) > 1)


def test_undecided_says_what_would_decide_it(tmp_path: Path) -> None:
    (found,), *_ = judged(tmp_path, [own(a=("cpo",), delta=1.0)], World(GAINS, prompts=60, sd_seed=2.0), seeds=3)
    assert found.word == "UNDECIDED"
    assert (found.found[0].more_seeds or 0) > 3


def test_the_estimate_is_the_mean_difference_by_hand(tmp_path: Path) -> None:
    (found,), _, tables, _ = judged(tmp_path, [own(metric="length")])
    scores = tables.scores[(tables.scores["metric"] == "length")]
    means = scores.groupby("contestant", observed=True)["value"].mean()
    result = found.found[0].result
    assert result is not None
    assert result.difference == pytest.approx(means["dpo"] - means["sft"])


def change_cost(root: Path, plan: Plan, contestant: str, **cost: float) -> None:
    """Of the trainings of a contestant."""
    for cell in plan.cells:
        if cell.contestant == contestant:
            file = root / cell.policy.name / "record.json"
            record = json.loads(file.read_text())
            record["cost"] |= cost
            record["seconds"] = cost.get("device_seconds", record["seconds"])
            file.write_text(json.dumps(record))


def compared(found: Judged) -> float:
    """What the claim's only comparison comes to."""
    (one,) = found.found
    assert one.scored.a is not None
    assert one.scored.b is not None
    return float((one.scored.a - one.scored.b).mean())


def test_time_on_a_cpu_is_that_of_its_work(tmp_path: Path) -> None:
    """A busy machine lengthens what a training takes, not what it costs; start and references take 5 s beside."""
    _, plan, *_ = judged(tmp_path, [])
    change_cost(tmp_path, plan, "dpo", device_seconds=40.0, cpu_seconds=2.0)
    change_cost(tmp_path, plan, "ipo", device_seconds=40.0, cpu_seconds=4.0)
    tables = read(plan, Store(tmp_path))
    study = (plan, tables, compare(plan, tables))
    assert compared(judged_in(study, own(metric="seconds", a=("ipo",), b=("dpo",)))) == pytest.approx(np.log(9 / 7))
    assert "10 stages of" in (told := cost(tables))
    assert "took more than 1.25 times as long as it worked for them (400 s for 30 s of work)" in told


def test_time_is_of_all_that_a_policy_rests_on_beyond_the_base(tmp_path: Path) -> None:
    """A policy of 3 s whose references took 8 s, beside its start of 3 s; what was pretrained before is not counted."""
    _, plan, *_ = judged(tmp_path, [])
    for cell in plan.cells:
        if cell.contestant == "dpo" and cell.policy is not None:
            record(tmp_path, cell.policy.inputs["reference"], seconds=8.0)
    tables = read(plan, Store(tmp_path))
    study = (plan, tables, compare(plan, tables))
    assert compared(judged_in(study, own(metric="seconds"))) == pytest.approx(np.log((3 + 8 + 3) / 3))


def test_memory_is_known_of_a_gpu_alone(tmp_path: Path) -> None:
    _, plan, *_ = judged(tmp_path, [])
    claim = own(metric="memory", a=("ipo",), b=("dpo",), delta=0.05)
    tables = read(plan, Store(tmp_path))
    found = judged_in((plan, tables, compare(plan, tables)), claim)
    assert (found.word, found.why[:35]) == ("NOT RUN", "memory is known of a GPU alone: on ")
    for name, size in (("dpo", 1e9), ("ipo", 2e9)):
        change_cost(tmp_path, plan, name, peak_device_memory_bytes=size)
    tables = read(plan, Store(tmp_path))
    assert compared(judged_in((plan, tables, compare(plan, tables)), claim)) == pytest.approx(np.log(2))


LONGER, SHORTER = (Premise(CHOSEN_LONGER, direction) for direction in ("above", "below"))
ALIKE = Premise("responses", "equal")
PAIRS = {"prompts": 100.0, "responses": 200.0, "trained_tokens": 1000.0, "rows_available": 90.0}


def seen(root: Path, plan: Plan, contestant: str, **given: float) -> None:
    """What the trainings of a contestant read, as their records say."""
    for cell in plan.cells:
        if cell.contestant == contestant:
            assert cell.policy is not None
            file = root / cell.policy.name / "record.json"
            record = json.loads(file.read_text())
            record["measurements"] = [
                {"metric": name, "value": value, "n": 1, "unit": "", "better": ""} for name, value in given.items()
            ]
            file.write_text(json.dumps(record))


def supposing(root: Path, plan: Plan, claim: Hypothesis) -> tuple[Judged, dict[str, Any]]:
    """A verdict, and the claim's row of the table."""
    tables = read(plan, Store(root))
    plan = replace(plan, recipe=replace(plan.recipe, hypotheses=(claim,)))
    (found,) = (one for one in judge(plan, tables, compare(plan, tables)) if one.claim.tier == "own")
    (sheet,) = hypotheses_section(plan, [found]).sheets
    return found, rows(sheet.frame)[0]


def test_without_its_premise_a_claim_is_not_judged(tmp_path: Path) -> None:
    """550 of 1000 tokens are of chosen responses: by one for each of 100 pairs they are the longer ones."""
    _, plan, *_ = judged(tmp_path, [])
    seen(tmp_path, plan, "dpo", **PAIRS, chosen_tokens=550.0)
    holds, row = supposing(tmp_path, plan, own(premise=LONGER, note="a note"))
    assert (holds.word, holds.why) == ("SUPPORTED, LARGE", "")
    assert row["note"] == "a note; its premise holds: chosen responses are 1.00 tokens longer than rejected ones"
    fails, row = supposing(tmp_path, plan, own(premise=SHORTER))
    told = "its premise fails: chosen responses are 1.00 tokens longer than rejected ones"
    assert (fails.word, fails.why, row["why"], row["estimate"], row["note"]) == ("NOT RUN", told, told, None, None)
    seen(tmp_path, plan, "dpo", **PAIRS, chosen_tokens=485.0)
    fails, _ = supposing(tmp_path, plan, own(premise=LONGER))
    assert fails.why == "its premise fails: chosen responses are 0.30 tokens shorter than rejected ones"
    seen(tmp_path, plan, "dpo", **PAIRS, chosen_tokens=500.0)
    for premise in (LONGER, SHORTER):
        fails, _ = supposing(tmp_path, plan, own(premise=premise))
        assert fails.why == "its premise fails: chosen responses are as long as rejected ones"


def test_where_a_premise_is_not_known_the_verdict_says_so(tmp_path: Path) -> None:
    _, plan, *_ = judged(tmp_path, [])
    seen(tmp_path, plan, "dpo", **PAIRS)
    found, row = supposing(tmp_path, plan, own(premise=LONGER))
    assert found.word == "SUPPORTED, LARGE"
    assert row["note"] == "whether chosen responses are longer than rejected ones is not known here"
    seen(tmp_path, plan, "kto", **PAIRS, chosen_tokens=900.0)  # reads no pairs, whatever its record holds
    _, row = supposing(tmp_path, plan, own(a=("kto",), premise=SHORTER))
    assert row["note"] == "whether chosen responses are shorter than rejected ones is not known here"
    _, row = supposing(tmp_path, plan, own(premise=ALIKE))
    assert row["note"] == "whether all saw as many responses is not known here"


def test_older_records_know_the_chosen_length_by_who_trained_on_the_same_pairs(tmp_path: Path) -> None:
    gains = {**GAINS, "sft_chosen": 0.0}
    _, plan, *_ = judged(tmp_path, [], World(gains, prompts=30, samples=2))
    seen(tmp_path, plan, "dpo", **PAIRS)
    seen(tmp_path, plan, "sft_chosen", **PAIRS | {"responses": 100.0, "trained_tokens": 550.0})
    holds, row = supposing(tmp_path, plan, own(premise=LONGER))
    assert (holds.word, row["note"][:18]) == ("SUPPORTED, LARGE", "its premise holds:")
    fails, _ = supposing(tmp_path, plan, own(premise=SHORTER))
    assert fails.why == "its premise fails: chosen responses are 1.00 tokens longer than rejected ones"
    for other in ({"prompts": 99.0}, {"rows_available": 80.0}):  # then its pairs are others
        seen(tmp_path, plan, "sft_chosen", **PAIRS | {"responses": 100.0, "trained_tokens": 550.0} | other)
        assert supposing(tmp_path, plan, own(premise=SHORTER))[0].word != "NOT RUN"


def test_a_premise_may_be_that_all_saw_as_much(tmp_path: Path) -> None:
    _, plan, *_ = judged(tmp_path, [])
    seen(tmp_path, plan, "dpo", responses=960.0)
    seen(tmp_path, plan, "ipo", responses=965.0)
    holds, row = supposing(tmp_path, plan, own(b=("ipo",), premise=ALIKE))
    assert (holds.word, row["note"]) == ("SUPPORTED, LARGE", "its premise holds: 965 responses seen in a run of each")
    seen(tmp_path, plan, "ipo", responses=1920.0)
    fails, _ = supposing(tmp_path, plan, own(b=("ipo",), premise=ALIKE))
    told = "its premise fails: responses seen are 960 in a run of dpo and 1,920 in a run of ipo"
    assert (fails.word, fails.why) == ("NOT RUN", told)


def test_a_premise_counts_in_its_family_whether_it_holds_or_not(tmp_path: Path) -> None:
    """As what can be tested does that has no scores: whom a premise stops makes no other claim easier."""
    _, plan, *_ = judged(tmp_path, [])
    seen(tmp_path, plan, "dpo", **PAIRS, chosen_tokens=550.0)
    tables = read(plan, Store(tmp_path))
    p = []
    for premise in (None, SHORTER):
        claims = (own(premise=premise), own("Z2", a=("ipo",)))
        told = replace(plan, recipe=replace(plan.recipe, hypotheses=claims))
        p.append(judge(told, tables, compare(plan, tables))[-1].found[0].p)
    assert 0 < p[0] <= p[1]


def test_a_claim_is_judged_in_the_settings_where_its_premise_holds(tmp_path: Path) -> None:
    cells = [*make_cells(["dpo"], 5), *make_cells(["dpo"], 5, model="other")]
    fill(tmp_path, cells, World({"dpo": 3.0}, prompts=30, samples=2))
    plan = make_plan(cells, 5)
    for model, chosen in (("lab", 550.0), ("other", 450.0)):
        own_cells = replace(plan, cells=tuple(cell for cell in cells if cell.model == model))
        seen(tmp_path, own_cells, "dpo", **PAIRS, chosen_tokens=chosen)
    found, row = supposing(tmp_path, plan, own(premise=LONGER))
    told = "in other · lab · sft its premise fails: chosen responses are 1.00 tokens shorter than rejected ones"
    assert (found.word, found.why) == ("SUPPORTED, LARGE", told)
    assert [(one.word, one.result is None) for one in found.found] == [("SUPPORTED, LARGE", False), ("NOT RUN", True)]
    assert (row["setting"], row["own_verdict"]) == ("lab · lab · sft", "SUPPORTED, LARGE")


@pytest.fixture(scope="module")
def lab() -> tuple[Plan, Any, Any]:
    """The published study."""
    published = RECIPES.parent / "results" / "published" / "compare_all"
    plan, store = plan_of(read_recipe(RECIPES / "compare_all.toml")), Store(published)
    tables = read(plan, store)
    return plan, tables, compare(plan, tables)


def test_the_lab_lacks_what_two_claims_suppose(lab: tuple[Plan, Any, Any]) -> None:
    """By the records of the published study, which are older than the count of chosen tokens."""
    found = {one.claim.id: one for one in judge(*lab)}
    supposed = {name: one for name, one in found.items() if one.claim.premise}
    told = {name: (one.word, one.why) for name, one in supposed.items()}
    shorter = "its premise fails: chosen responses are 1.18 tokens shorter than rejected ones"
    fewer = "its premise fails: responses seen are 960 in a run of ppo and 1,920 in a run of reinforce"
    assert told == {"A24": ("NOT RUN", shorter), "A07": ("NOT RUN", fewer), "A33": ("UNDECIDED", "")}
    assert supposed["A33"].found[0].scored.premise == "its premise holds: 1,920 responses seen in a run of each"


def test_claims_of_time_compare_what_the_page_says_that_contestants_cost(lab: tuple[Plan, Any, Any]) -> None:
    """In the lab the reference pass costs as much as DPO's own training, and CPO has none."""
    _, tables, (comparison,) = lab
    shown = {one.name: one.device_seconds for one in candidates(comparison, tables)}
    found = judged_in(lab, own(metric="seconds", a=("cpo",), b=("dpo",), direction="below"))
    assert compared(found) == pytest.approx(np.log(shown["cpo"] / shown["dpo"]), abs=0.01)
    assert found.word == "SUPPORTED, LARGE"
    for one in built_in():
        assert one.metric != "seconds" or "reference log-probabilities and reward model too" in one.note, one.id


def test_what_a_metric_is_held_against_the_truth_itself_clears_by_far(lab: tuple[Plan, Any, Any]) -> None:
    """Within single prompts the oracle has .5 with gold, so that a metric that tells quality could not have more."""
    _, tables, (comparison,) = lab
    top, prompts = agreements("reward/oracle", "gold", comparison.contestants, tables, comparison)
    asked = {one.metric: one.against for one in built_in() if one.correlates == "gold" and one.metric in OVERLAPS}
    assert set(asked) == OVERLAPS
    assert prompts > 100
    assert all(bar == pytest.approx(top.mean() / 2, abs=0.01) for bar in asked.values())


def test_growth_is_the_fitted_change_over_a_runs_graded_policies(tmp_path: Path) -> None:
    way = {1: (-2.0, 0.0, 0.1), 2: (-1.0, 0.0, 0.2), 0: (0.0, 0.0, 0.3)}
    cells = make_cells(["cut_online"], 5, steps=(1, 2))
    fill(tmp_path, cells, World({"cut_online": 3.0}, prompts=30, way=way))
    plan = make_plan(cells, 5)
    tables = read(plan, Store(tmp_path))
    study = (plan, tables, compare(plan, tables))
    found = judged_in(study, own(metric="growth", a=("cut_online",), b=(), against=0.0))
    assert found.word == "SUPPORTED, LARGE"
    (one,) = study[2]
    first, last = (
        cubes.by_contestant["cut_online"].values.mean() for cubes in (one.stages[1]["gold"], one.cubes["gold"])
    )
    assert found.found[0].result is not None
    assert found.found[0].result.difference == pytest.approx((last - first) / one.scales["gold"].sd)
    few = judged_in(study, own(metric="growth", a=("start",), b=(), against=0.0))
    assert (few.word, few.why) == ("NOT RUN", "growth needs 3 graded policies of each run")


def test_a_missing_side_is_not_decided_by_the_rest(tmp_path: Path) -> None:
    nobody = {("kto", seed) for seed in range(5)}
    (found,), *_ = judged(tmp_path, [own(a=("dpo", "kto"))], skip=nobody)
    assert found.word == "UNDECIDED"
    assert "NOT RUN" in found.why


def test_a_failed_run_cannot_make_equivalence(tmp_path: Path) -> None:
    cells = make_cells(["cpo"], 5)
    fill(tmp_path, cells, World({"cpo": 0.0}, prompts=30), skip={("cpo", 0)})
    broken = next(cell for cell in cells if cell.contestant == "cpo" and cell.replicate == 0)
    fail(tmp_path, broken.policy, "diverged")
    plan = make_plan(cells, 5)
    plan = replace(plan, recipe=replace(plan.recipe, hypotheses=(own(a=("cpo",), delta=3.0),)))
    tables = read(plan, Store(tmp_path))
    found = [one for one in judge(plan, tables, compare(plan, tables)) if one.claim.tier == "own"]
    assert [one.word for one in found] == ["UNDECIDED"]


def test_a_trend_along_a_knob_is_the_fitted_change(tmp_path: Path) -> None:
    values = (0.1, 0.2, 0.4)
    cells = []
    for cell in make_cells([f"dpo beta={value}" for value in values], 5):
        known = {} if cell.is_start else {"beta": float(cell.contestant.split("=")[1])}
        cells.append(replace(cell, knobs=known))
    fill(tmp_path, cells, World({f"dpo beta={value}": 4.0 * i for i, value in enumerate(values)}, prompts=30))
    plan = make_plan(cells, 5)
    claim = own(a=(), b=(), along="dpo.beta")
    plan = replace(plan, recipe=replace(plan.recipe, hypotheses=(claim, replace(claim, id="Z2", direction="below"))))
    tables = read(plan, Store(tmp_path))
    (comparison,) = compare(plan, tables)
    up, down = (one for one in judge(plan, tables, [comparison]) if one.claim.tier == "own")
    assert (up.word, down.word) == ("SUPPORTED, LARGE", "CONTRADICTED")
    means = [comparison.runs[f"dpo beta={value}"].scores.mean() for value in values]
    result = up.found[0].result
    assert result is not None
    assert result.difference == pytest.approx(means[2] - means[0])  # with three values the middle one has no weight


def test_a_true_null_is_seldom_called_anything(tmp_path: Path) -> None:
    """Four claims of a family, all null: any of them decided in at most 5 % of studies, Holm being conservative."""
    claims = [own(f"Z{i}", a=(name,), delta=1e-6) for i, name in enumerate(GAINS)]
    wrong, studies = 0, 100
    _, plan, tables, (comparison,) = judged(tmp_path, claims)
    noise = np.random.default_rng(1)
    for _ in range(studies):
        shared = noise.normal(size=(5, 1)) + noise.normal(size=(1, 30))
        runs = {
            name: replace(one, scores=shared + 0.3 * noise.normal(size=(5, 1)) + noise.normal(size=(5, 30)))
            for name, one in comparison.runs.items()
        }
        with mock.patch("harness.report.claims.built_in", tuple):
            found = judge(plan, tables, [replace(comparison, runs=runs)])
        words = {one.word for one in found}
        wrong += bool(words - {"UNDECIDED"})
    assert wrong <= 11  # the 99.5 % point of a binomial of 100 at .05


def test_the_section_holds_every_claim_with_its_source(tmp_path: Path) -> None:
    _, plan, tables, comparisons = judged(tmp_path, [own(a=("cpo",), delta=3.0)])
    section = hypotheses_section(plan, judge(plan, tables, comparisons))
    (sheet,) = section.sheets
    found = rows(sheet.frame)
    assert {row["id"] for row in found} == {one.id for one in built_in()} | {"Z1"}
    assert "EQUIVALENT" in section.sentence
    assert "NOT RUN" in section.sentence
    for row in found:
        assert (row["estimate"] is None) == (row["own_verdict"] in (None, "NOT RUN"))
        assert row["verdict"] != "NOT RUN" or row["why"]


def test_each_claim_is_one_line_that_opens_to_the_rows_of_the_table(tmp_path: Path) -> None:
    claims = [own(a=("dpo", "cpo"), delta=3.0), own("<b>", metric="chosen_logp")]
    _, plan, tables, comparisons = judged(tmp_path, claims)
    found = judge(plan, tables, comparisons)
    (sheet,) = hypotheses_section(plan, found).sheets
    assert sheet.listing is not None
    lines = [*sheet.listing.entries, *sheet.listing.folded]
    assert sorted(line.cells[0] for line in lines) == sorted(one.claim.id for one in found)
    assert {line.cells[3] for line in sheet.listing.folded} == {"NOT RUN"}
    assert "NOT RUN" not in {line.cells[3] for line in sheet.listing.entries}
    shown = [column.title for column in sheet.columns]
    told = [dict(zip(shown, row, strict=True)) for row in sheet.texts]
    compared = [(one["comparison"], one["estimate [95 %]"], one["p, Holm"]) for one in told if one["comparison"] != "—"]
    opened = [dict(zip((title for title, _ in line.heads), row, strict=True)) for line in lines for row in line.rows]
    assert [(one["comparison"], one.get("estimate [95 %]", "—"), one.get("p, Holm", "—")) for one in opened] == compared
    several = next(line for line in lines if line.cells[0] == "Z1")
    assert (several.cells[2], several.cells[4], len(several.rows)) == ("this recipe", "2 comparisons", 2)
    assert dict(several.facts)["compared"] == "each of dpo and cpo minus start"
    not_run = next(line for line in lines if line.cells[0] == "<b>")
    assert [title for title, _ in not_run.heads] == ["comparison", "verdict", "what else"]
    assert not_run.rows == (("dpo − sft", "NOT RUN", "dpo and sft have no chosen_logp"),)
    articles = sheet.listing.choices()["article"]
    assert list(articles.values()) == [*ARTICLES.values(), "this recipe"]


COMPARED = {
    "each of dpo and ipo minus start": own(a=("dpo", "ipo")),
    "the mean of dpo and ipo minus the mean of cpo": own(a=("dpo", "ipo"), b=("cpo",), contrast="groups"),
    "dpo minus 0.5": own(b=(), against=0.5),
    "the change from the lowest to the highest value of dpo.beta": own(a=(), b=(), along="dpo.beta"),
    "dpo from base minus dpo from sft": own(b=("dpo",), starts=("base", "sft")),
    "the rank correlation of gold with kl over every, minus 0": own(a=("every",), b=(), against=0.0, correlates="kl"),
    "the correlation of curve:rewards/margins with gold over runs of dpo, ipo, cpo, orpo and simpo, each one's mean "
    "taken out, minus 0.5": next(one for one in built_in() if one.id == "A51"),
    "how far every is ahead of the mean of all, in one setting minus in another": own(
        a=("every",), b=(), across="settings"
    ),
}


@pytest.mark.parametrize("told", COMPARED)
def test_what_a_claim_compares_is_told_in_words(told: str) -> None:
    assert claim_words.compared(COMPARED[told]) == told


def test_every_metric_of_the_articles_claims_has_its_unit_told() -> None:
    for one in built_in():
        assert not one.metric or one.correlates or claim_words.unit(one.metric), one.metric
    assert claim_words.unit("spread:gold") == "distance of a run to the median run, sd of the start"
    assert claim_words.unit("length") == "tokens"


def test_the_articles_claims_are_whole() -> None:
    claims = built_in()
    assert len({one.id for one in claims}) == len(claims)
    for article, count in (("A", 52), ("B", 13), ("C", 14), ("D", 25)):
        numbers = {one.id.split("-")[0] for one in claims if one.family == article}
        assert numbers == {f"{article}{number:02d}" for number in range(1, count + 1)}
    for one in claims:
        assert one.settled or (RECIPES.parent / one.runs).exists(), one.id


@pytest.mark.parametrize("path", sorted((RECIPES / "hypotheses").glob("*.toml")), ids=lambda path: path.stem)
def test_each_pack_plans_and_decides_a_claim(path: Path) -> None:
    """No cell is cut, and each contestant trains from the start that compare_all has."""
    plan = plan_of(read_recipe(path))
    main = plan_of(read_recipe(RECIPES / "compare_all.toml"))
    assert not [cell.reason for cell in plan.cells if cell.reason]
    starts = {cell.policy.name for cell in main.cells if cell.is_start}
    assert {cell.policy.name for cell in plan.cells if cell.is_start} == starts
    assert [one for one in built_in() if one.runs.endswith(f"/{path.name}")]


def test_hypotheses_of_a_recipe_are_checked_and_change_no_key(tmp_path: Path) -> None:
    text = f'extends = "{RECIPES / "compare_quick.toml"}"\n'
    good = '[[hypothesis]]\nid = "mine"\nclaim = "dpo beats kto"\nmetric = "gold"\na = ["dpo"]\nb = ["kto"]\n'
    good += 'direction = "above"\ndelta = 0.1\n'
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text(text + good)
    (tmp_path / "c.toml").write_text(
        text + good.replace('direction = "above"', 'direction = "up"').replace("claim", "clame") + "along = 'dpo'\n"
    )
    plain, more = (plan_of(read_recipe(tmp_path / name)) for name in ("a.toml", "b.toml"))
    assert more.recipe.hypotheses[0].a == ("dpo",)
    assert [one.grades for one in plain.cells] == [one.grades for one in more.cells]
    with pytest.raises(HarnessError) as error:
        read_recipe(tmp_path / "c.toml")
    said = str(error.value)
    for part in ("c.toml:8: hypothesis.direction is 'up'", "no 'clame'; did you mean 'claim'?", "needs claim",
                 "hypothesis.along is 'dpo'", "came b and along"):  # fmt: skip
        assert part in said, said


CLAIM = {
    "id": "mine",
    "claim": "it is so",
    "metric": "gold",
    "a": ["dpo"],
    "b": ["ipo"],
    "direction": "above",
    "delta": 0.1,
}
STUDY = """
name = "x"
[[algorithm]]
name = "dpo"
grid.beta = [0.1, 0.3]
[[algorithm]]
name = "ipo"
"""


def claiming(folder: Path, text: str = STUDY, **more: Any) -> Path:
    """A recipe with a claim; a key that is None is left out."""
    told = {key: value for key, value in (CLAIM | more).items() if value is not None}
    lines = [f"{key} = {value if isinstance(value, float) else json.dumps(value)}" for key, value in told.items()]
    path = folder / "r.toml"
    path.write_text("\n".join([text.strip(), "[[hypothesis]]", *lines, ""]))
    return path


NOBODY: dict[str, tuple[dict[str, Any], str]] = {
    "no contestant": ({"a": ["dpoo"]}, "r.toml:11: hypothesis.a: there is no contestant 'dpoo'; did you mean 'dpo"),
    "a value that the grid lacks": (
        {"b": ["dpo beta=0.2"]},
        "r.toml:12: hypothesis.b: there is no contestant 'dpo beta=0.2'; did you mean 'dpo beta=0.",
    ),
    "a tuned one without a search": ({"a": ["ipo tuned"]}, "there is no contestant 'ipo tuned'"),
    "no start": ({"starts": ["sft", "bsae"]}, "hypothesis.starts: there is no start 'bsae'; did you mean 'base'?"),
    "no metric": ({"metric": "lenght"}, "r.toml:10: hypothesis.metric: there is no metric 'lenght'; did you mean 'len"),
    "no role": ({"metric": "reward"}, "hypothesis.metric: it must be reward/selection or reward/proxy or reward/gold"),
    "another role": ({"metric": "kl/gold"}, "hypothesis.metric: it must be kl"),
    "no metric to spread": ({"metric": "spread:golden"}, "there is no metric 'golden'; did you mean 'gold'?"),
    "no curve": ({"metric": "curve:"}, "it names no curve, such as curve:loss"),
    "no metric to correlate": ({"b": None, "against": 0.5, "correlates": "gldo"}, "hypothesis.correlates: there is no"),
    "no algorithm along": (
        {"a": None, "b": None, "along": "dop.beta"},
        "hypothesis.along: there is no algorithm 'dop'",
    ),
    "no knob along": (
        {"a": None, "b": None, "along": "dpo.betta"},
        "hypothesis.along: 'betta' of dpo is none of its knobs; did you mean 'beta'? (numbers: learning_rate, beta",
    ),
    "no number along": ({"a": None, "b": None, "along": "dpo.normalise"}, "'normalise' of dpo is no number (numbers: "),
    "no knob to sweep": ({"metric": "sweep:tau", "a": ["dpo"]}, "hypothesis.a: 'tau' of dpo is none of its knobs"),
    "nobody to sweep": ({"metric": "sweep:beta", "b": ["every"]}, "hypothesis.b: there is no algorithm 'every'"),
    "a sweep against a number": ({"metric": "sweep:beta", "b": None, "against": 0.0}, "b is missing"),
    "against infinity": ({"b": None, "against": float("inf")}, "hypothesis.against is inf; it must be a finite number"),
    "against nan": ({"b": None, "against": float("nan")}, "hypothesis.against is nan; it must be a finite number"),
    "no premise": (
        {"premise": "it is so"},
        "hypothesis.premise is 'it is so'; it must be a table of data and direction",
    ),
    "infinite delta": ({"delta": float("inf")}, "hypothesis.delta is inf; it must be a finite number"),
}


@pytest.mark.parametrize("case", NOBODY)
def test_a_claim_about_nobody_is_refused(case: str, tmp_path: Path) -> None:
    more, message = NOBODY[case]
    with pytest.raises(HarnessError) as error:
        read_recipe(claiming(tmp_path, **more))
    assert message in str(error.value)
    assert str(error.value).count("\n") == 0, "told once"


TOGETHER: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "four mistakes": (
        {"direction": "up", "delta": 0, "a": ["dpoo"], "metric": "lenght"},
        (
            "hypothesis.direction is 'up'", "hypothesis.delta is 0", "there is no contestant 'dpoo'",
            "there is no metric 'lenght'",
        ),
    ),
    "shape and names": (
        {"a": "dpo", "b": ["ippo"], "correlates": 3, "claim": ""},
        (
            "hypothesis.a is 'dpo'", "hypothesis.claim is ''", "hypothesis.correlates is 3",
            "there is no contestant 'ippo'", "compares the correlation with a number",
        ),
    ),
    "a knob of nobody": (
        {"a": None, "b": None, "along": "dop.beta", "delta": -1},
        ("hypothesis.delta is -1", "there is no algorithm 'dop'"),
    ),
    "no knob": ({"a": None, "b": None, "along": "dpo.", "delta": -1}, ("hypothesis.delta is -1", "along is 'dpo.'")),
    "starts of no shape": (
        {"starts": 3, "a": ["dpoo"]}, ("hypothesis.starts is 3; it must be a list of names", "contestant 'dpoo'"),
    ),
    "settled": ({"proof": "x.py::y", "tier": 3, "a": ["nobody"]}, ("hypothesis.tier is 3",)),
}  # fmt: skip


@pytest.mark.parametrize("case", TOGETHER)
def test_names_that_nobody_has_are_told_with_all_else(case: str, tmp_path: Path) -> None:
    more, messages = TOGETHER[case]
    with pytest.raises(HarnessError) as error:
        read_recipe(claiming(tmp_path, **more))
    lines = str(error.value).split("\n")
    assert len(lines) == len(messages), lines
    assert all(any(message in line for line in lines) for message in messages), lines


PREMISES = {
    '{data = "labels"}': "r.toml:15: hypothesis.premise is {'data': 'labels'}; it must be a table of data and",
    '{data = "label", direction = "equal"}': "premise.data is 'label'; did you mean 'labels'?; it must be chosen",
    '{data = "labels", direction = "above"}': "hypothesis.premise.direction is 'above'; of labels it must be equal",
    '{data = ["labels"], direction = "equal"}': "hypothesis.premise.data is ['labels']; did you mean",
    '{data = "labels", direction = ["equal"]}': "hypothesis.premise.direction is ['equal']; of labels it must be equal",
    '{data = "labels", direction = "equal"}\nstarts = ["sft", "base"]': "starts and across compare settings",
}


@pytest.mark.parametrize("premise", PREMISES)
def test_a_premise_is_checked(premise: str, tmp_path: Path) -> None:
    path = claiming(tmp_path)
    path.write_text(f"{path.read_text()}premise = {premise}\n")
    with pytest.raises(HarnessError) as error:
        read_recipe(path)
    assert PREMISES[premise] in str(error.value)
    assert str(error.value).count("\n") == 0, "told once"


def test_a_recipes_own_claim_may_have_a_premise(tmp_path: Path) -> None:
    path = claiming(tmp_path)
    path.write_text(f'{path.read_text()}premise = {{direction = "below", data = "{CHOSEN_LONGER}"}}\n')
    assert read_recipe(path).hypotheses[0].premise == SHORTER


SOMEBODY: dict[str, dict[str, Any]] = {
    "an algorithm that the recipe lacks": {"b": ["kto"]},
    "a label of a grid": {"a": ["dpo beta=0.3"], "b": ["dpo beta=0.1"]},
    "all and the start": {"a": ["every"], "b": ["start", "sft"]},
    "starts that the recipe lacks": {"starts": ["sft_chosen", "base"]},
    "a judge's": {"metric": "judge_win/rule"},
    "a role": {"metric": "reward/oracle.brief"},
    "of the data before": {"metric": "chosen_logp/before"},
    "a curve's spread": {"metric": "spread:curve:rewards/margins"},
    "a sweep": {"metric": "sweep:beta", "b": ["kto"]},
    "along a knob of another": {"a": None, "b": None, "along": "kto.beta"},
    "settled": {
        "a": ["nobody"],
        "metric": None,
        "b": None,
        "direction": None,
        "delta": None,
        "not_run": "it takes people",
    },
}


@pytest.mark.parametrize("case", SOMEBODY)
def test_a_claim_that_some_study_can_judge_is_read(case: str, tmp_path: Path) -> None:
    assert read_recipe(claiming(tmp_path, **SOMEBODY[case])).hypotheses[0].id == "mine"


def test_tuned_contestants_may_be_claimed_about(tmp_path: Path) -> None:
    text = f"{STUDY}[tune]\n"
    assert read_recipe(claiming(tmp_path, text, a=["ipo tuned"], b=["ipo"])).hypotheses[0].a == ("ipo tuned",)


def test_a_claim_of_the_extended_recipe_may_be_about_its_contestants(tmp_path: Path) -> None:
    claiming(tmp_path, a=["dpo beta=0.3"])
    (tmp_path / "child.toml").write_text('extends = "r.toml"\n[[algorithm]]\nname = "kto"\n')
    assert read_recipe(tmp_path / "child.toml").hypotheses[0].a == ("dpo beta=0.3",)


def test_a_recipe_may_claim_what_the_articles_claim() -> None:
    """All of their metrics, knobs and algorithms; labels of other recipes' grids are those recipes' own."""
    recipe = read_recipe(RECIPES / "compare_all.toml")
    for one in built_in():
        assert one.settled or not list(about_nobody(one, recipe, own=False)), one.id


def test_the_words_of_claims_are_those_that_the_report_knows() -> None:
    assert (EVERY, START) == (claim_scores.EVERY, claim_scores.START)
    assert (CURVE, SPREAD, SWEEP) == (claim_metrics.CURVE, claim_metrics.SPREAD, claim_metrics.SWEEP)
    known = {
        *claim_metrics.TRAINED,
        claim_metrics.WIDENING,
        claim_metrics.MARGIN,
        claim_metrics.GROWTH,
        COLLAPSE,
        "gold",
    }
    assert set(NUMBERED) == known

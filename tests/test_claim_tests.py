"""A claim's tests and contrasts: by hand, on known truths, and how often each is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from scipy import stats
from synthetic import World, fail, fill, make_cells, make_plan
from test_hypotheses import WORLD, judged, judged_in, own

from harness.claims import hypothesis
from harness.plan import Plan
from harness.records import read
from harness.report.claim_scores import Scored, mean_of
from harness.report.claim_tests import Weighed
from harness.report.claims import Judged, false_discovery, judge
from harness.report.hypotheses import hypotheses_section
from harness.report.sheet import rows
from harness.report.standings import compare
from harness.stats.contrast import Contrast, contrast
from harness.stats.runs import Runs
from harness.store import Store


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Any, Any]:
    """The study of `WORLD`."""
    return judged(tmp_path_factory.mktemp("study"), [])[1:]


def own_verdicts(plan: Plan, root: Path, *claims: Any) -> list[Judged]:
    plan = replace(plan, recipe=replace(plan.recipe, hypotheses=claims))
    tables = read(plan, Store(root))
    with mock.patch("harness.report.claims.built_in", tuple):
        return judge(plan, tables, compare(plan, tables))


def study(random: np.random.Generator, truth: float, contestants: int = 2) -> list[Runs]:
    """Five seeds and 40 prompts; the first half of the contestants lies `truth` above the rest."""
    seeds, prompts = 0.1 * random.normal(size=(5, 1)), random.normal(size=(1, 40))
    found = []
    for place in range(contestants):
        mine = 0.2 * random.normal(size=(5, 1)) + 0.2 * random.normal(size=(1, 40)) + 0.7 * random.normal(size=(5, 40))
        found.append(Runs.of(seeds + prompts + mine + truth * (place < contestants / 2)))
    return found


@pytest.mark.parametrize(
    ("test", "truth", "contestants", "wrong"),
    [
        ("superior", 0.0, 2, "SUPPORTED"),
        ("superior", 0.0, 8, "SUPPORTED"),
        ("not_worse", -0.5, 2, "SUPPORTED"),
        ("not_worse", -0.5, 8, "SUPPORTED"),
        ("not_worse", -0.5, 2, "CONTRADICTED"),
        ("equal", 0.5, 2, "SUPPORTED"),
        ("equal", -0.5, 8, "SUPPORTED"),
        ("equal", 0.5, 2, "CONTRADICTED"),
    ],
)
def test_a_claim_at_the_border_of_its_truth_is_seldom_decided_wrongly(
    test: str, truth: float, contestants: int, wrong: str
) -> None:
    """Two-sided tests are wrong on one side in .025 of studies, equality in .05; the band is three sd of 400 more."""
    random, count, studies = np.random.default_rng(5), 0, 400
    claim, level = own(test=test, delta=0.5), 0.05 if (test, wrong) == ("equal", "SUPPORTED") else 0.025
    for _ in range(studies):
        some = study(random, truth, contestants)
        a, b = mean_of(some[: contestants // 2]), mean_of(some[contestants // 2 :])
        one = Weighed(claim, Scored("here", "a − b", a, b), contrast(a, b, paired=True))
        count += one.p <= 0.05 and one.word.startswith(wrong)
    assert count / studies <= level + 3 * (level * (1 - level) / studies) ** 0.5


def test_of_what_is_found_among_exploratory_claims_a_tenth_is_false() -> None:
    """Benjamini and Hochberg, .1 times the share of nulls; 30 % of 40 claims are true, some of them weak."""
    random, shares, found = np.random.default_rng(6), [], 0
    true = np.arange(40) < 12
    for _ in range(1000):
        z = random.normal(size=40) + np.where(true, 3.0, 0.0)
        called = np.array(false_discovery(list(2 * stats.norm.sf(np.abs(z))))) <= 0.1
        shares.append((called & ~true).sum() / max(called.sum(), 1))
        found += (called & true).sum()
    assert np.mean(shares) <= 0.07 + 3 * np.std(shares) / 1000**0.5
    assert found / (12 * 1000) > 0.6  # Holm finds fewer than half


def test_a_group_is_the_mean_of_its_members(known: tuple[Plan, Any, Any]) -> None:
    one = judged_in(known, own(a=("dpo", "kto"), b=("ipo", "cpo"), contrast="groups"))
    (comparison,) = known[2]
    means = {name: runs.scores.mean() for name, runs in comparison.runs.items()}
    (found,) = one.found
    assert found.scored.label == "mean of dpo, kto − mean of ipo, cpo"
    assert found.result is not None
    expected = (means["dpo"] + means["kto"] - means["ipo"] - means["cpo"]) / 2
    assert found.result.difference == pytest.approx(expected)


def test_a_group_with_a_member_without_scores_is_not_judged_by_the_rest(tmp_path: Path) -> None:
    claim = own(a=("dpo", "kto"), b=("ipo",), contrast="groups")
    (one,), *_ = judged(tmp_path, [claim], skip={("kto", seed) for seed in range(5)})
    assert one.word == "NOT RUN"
    assert "kto has no gold" in one.why


def test_what_is_left_out_of_a_trend_stands_beside_it(tmp_path: Path) -> None:
    """One value has a failed run and another none of a seed: both seeds are lost, and their other runs are counted."""
    values = (0.1, 0.2, 0.4)
    cells = [
        replace(cell, knobs={} if cell.is_start else {"beta": float(cell.contestant.split("=")[1])})
        for cell in make_cells([f"dpo beta={value}" for value in values], 5)
    ]
    lost = {("dpo beta=0.1", 0), ("dpo beta=0.4", 1)}
    fill(tmp_path, cells, World({f"dpo beta={value}": 0.0 for value in values}, prompts=30), skip=lost)
    broken = next(cell for cell in cells if (cell.contestant, cell.replicate) == ("dpo beta=0.1", 0))
    fail(tmp_path, broken.policy, "diverged")
    plan = make_plan(cells, 5)
    length = own("Z1", metric="length", a=(), b=(), along="dpo.beta", delta=100.0)
    gold = own("Z2", a=(), b=(), along="dpo.beta", delta=100.0)
    plan = replace(plan, recipe=replace(plan.recipe, hypotheses=(length, gold)))
    tables = read(plan, Store(tmp_path))
    (sheet,) = hypotheses_section(plan, judge(plan, tables, compare(plan, tables))).sheets
    by_id = {row["id"]: row for row in rows(sheet.frame)}
    assert [by_id["Z1"][key] for key in ("failed", "stand_ins", "unmatched", "seeds")] == [1, None, 4, 3]
    assert [by_id["Z2"][key] for key in ("failed", "stand_ins", "unmatched", "seeds")] == [None, 1, 2, 4]
    assert by_id["Z2"]["verdict"] == "UNDECIDED"  # a stand-in is no evidence of equality
    why = next(one for one in sheet.shown if one.title == "why")
    assert "1 failed run left out; 4 runs left out, of a seed that the other side lacks" in why.text(by_id["Z1"])


@pytest.mark.parametrize("test", ["superior", "not_worse", "equal"])
def test_stand_ins_are_no_evidence_that_a_sweep_is_like_another(tmp_path: Path, test: str) -> None:
    names = [f"{algorithm} learning_rate={value}" for algorithm in ("dpo", "ipo") for value in (1e-5, 1e-4, 1e-3)]
    cells = [
        replace(cell, knobs={} if cell.is_start else {"learning_rate": float(cell.contestant.split("=")[1])})
        for cell in make_cells(names, 5)
    ]
    gone = next(cell for cell in cells if cell.contestant == names[0] and cell.replicate == 2)
    fill(tmp_path, cells, World({name: float(name.split("=")[1]) for name in names}, prompts=30),
         skip={(gone.contestant, 2)})  # fmt: skip
    fail(tmp_path, gone.policy, "diverged")
    claim = own(metric="sweep:learning_rate", b=("ipo",), test=test, delta=50.0)
    (one,) = own_verdicts(make_plan(cells, 5), tmp_path, claim)
    assert one.found[0].scored.stand_ins == 1
    assert one.word == "UNDECIDED"


def test_a_seed_of_which_every_run_of_a_sweep_failed_has_no_spread(tmp_path: Path) -> None:
    names = [f"{algorithm} learning_rate={value}" for algorithm in ("dpo", "ipo") for value in (1e-5, 1e-4, 1e-3)]
    cells = [
        replace(cell, knobs={} if cell.is_start else {"learning_rate": float(cell.contestant.split("=")[1])})
        for cell in make_cells(names, 5)
    ]
    gone = [cell for cell in cells if cell.algorithm == "dpo" and cell.replicate == 2]
    fill(tmp_path, cells, World({}, prompts=30), skip={(cell.contestant, 2) for cell in gone})
    for cell in gone:
        fail(tmp_path, cell.policy, "diverged")
    (one,) = own_verdicts(make_plan(cells, 5), tmp_path, own(metric="sweep:learning_rate", b=("ipo",)))
    assert one.found[0].result is not None
    assert one.found[0].result.n_runs == (4, 4)


def two_settings(root: Path, second: dict[str, float], start: str, **more: Any) -> Plan:
    """dpo, ipo and cpo in two settings; the second has other prompts' scores and these gains."""
    first = make_cells(["dpo", "ipo", "cpo"], 5)
    other = [
        replace(cell, start=start, model=more.get("model", "lab"))
        for cell in make_cells(["dpo", "ipo", "cpo"], 5, model="other")
    ]
    fill(root, first, World({"dpo": 3.0}, prompts=30))
    fill(root, other, World(second, prompts=30, seed=9))
    return make_plan([*first, *other], 5)


def test_a_method_whose_lead_depends_on_the_task_is_found(tmp_path: Path) -> None:
    plan = two_settings(tmp_path, {"ipo": 3.0}, "sft", model="other")
    claim = own(across="settings", a=("every",), b=(), direction="either", delta=0.1)
    (one,) = own_verdicts(plan, tmp_path, claim)
    assert one.word == "SUPPORTED"
    (found,) = one.found
    assert found.scored.of == 3
    assert "over the mean of 3, one setting − the other" in found.scored.label


def test_leads_that_are_alike_are_seldom_called_different(tmp_path: Path) -> None:
    plan = two_settings(tmp_path, {"dpo": 3.0}, "sft", model="other")
    tables = read(plan, Store(tmp_path))
    settings = compare(plan, tables)
    claim = own(across="settings", a=("every",), b=(), direction="either", delta=0.1)
    plan = replace(plan, recipe=replace(plan.recipe, hypotheses=(claim,)))
    random, wrong, studies = np.random.default_rng(8), 0, 100
    for _ in range(studies):
        changed = []
        for setting in settings:
            names = [name for name in setting.runs if name != setting.start]
            changed.append(replace(setting, runs=setting.runs | dict(zip(names, study(random, 0.0, 3), strict=True))))
            changed[-1] = replace(changed[-1], runs={k: Runs(v.scores[:, :30], v.replicates)
                                                     for k, v in changed[-1].runs.items()})  # fmt: skip
        with mock.patch("harness.report.claims.built_in", tuple):
            (one,) = judge(plan, tables, changed)
        wrong += one.word == "SUPPORTED"
    assert wrong <= 11  # the 99.5 % point of a binomial of 100 at .05


def test_one_setting_cannot_tell_how_methods_and_tasks_interact(known: tuple[Plan, Any, Any]) -> None:
    one = judged_in(known, own(across="settings", a=("every",), b=(), direction="either"))
    assert (one.word, one.why) == ("NOT RUN", "this study has one setting; how methods and tasks interact takes two")


def test_two_starts_are_compared_on_one_scale(tmp_path: Path) -> None:
    plan = two_settings(tmp_path, {"dpo": -3.0}, "base")
    claim = own(starts=("sft", "base"), a=("dpo",), b=("dpo",))
    (one,) = own_verdicts(plan, tmp_path, claim)
    assert one.word.startswith("SUPPORTED")
    tables = read(plan, Store(tmp_path))
    first, second = compare(plan, tables)
    raw = [own.cubes["gold"].by_contestant["dpo"].values.mean() for own in (first, second)]
    result = one.found[0].result
    assert result is not None
    assert result.difference == pytest.approx((raw[0] - raw[1]) / second.scales["gold"].sd)


def test_a_metric_that_the_recipe_does_not_measure_is_no_part_of_the_family(tmp_path: Path) -> None:
    """One comparison that cannot be made would double the other's p."""
    cells = make_cells(["dpo"], 5)
    fill(tmp_path, cells, WORLD)
    blame = own("Z2", metric="blame", b=(), against=0.5, runs="recipes/hypotheses/judgment_marks.toml")
    plan = make_plan(cells, 5, metrics=("reward", "kl"))
    (alone,) = own_verdicts(plan, tmp_path, own(metric="kl"))
    with_it, told = own_verdicts(plan, tmp_path, own(metric="kl"), blame)
    assert with_it.found[0].p == alone.found[0].p
    assert told.why == "this study does not measure blame; see recipes/hypotheses/judgment_marks.toml"


def test_the_margin_of_a_pair_is_the_difference_of_both_log_probabilities(known: tuple[Plan, Any, Any]) -> None:
    plan, tables, comparisons = known
    pairs = tables.blocks.of(metric="preference_accuracy")
    random = np.random.default_rng(2)
    sides = {name: random.normal(size=(len(pairs), 6)) for name in ("chosen_logp", "rejected_logp")}
    more = [
        replace(block, metric=name, values=values)
        for name, own_values in sides.items()
        for block, values in zip(pairs, own_values, strict=True)
    ]
    blocks = replace(tables.blocks, blocks=[*tables.blocks.blocks, *more])
    one = judged_in((plan, replace(tables, blocks=blocks), comparisons), own(metric="margin", b=("ipo",)))
    margins = (sides["chosen_logp"] - sides["rejected_logp"]).mean(axis=1)
    means = {
        name: np.mean([margin for margin, block in zip(margins, pairs, strict=True) if block.contestant == name])
        for name in ("dpo", "ipo")
    }
    assert one.found[0].result is not None
    assert one.found[0].result.difference == pytest.approx(means["dpo"] - means["ipo"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"test": "same"}, "hypothesis.test is 'same'; it must be superior or not_worse or equal"),
        ({"contrast": "group"}, "hypothesis.contrast is 'group'; did you mean 'groups'?"),
        ({"contrast": "groups", "b": None, "against": 0.0}, "b is missing"),
        ({"starts": ["sft"]}, "it must be the start of a and the start of b"),
        ({"starts": ["sft", "base"], "metric": "kl"}, "only gold is compared across settings"),
        ({"direction": "either"}, "is for across = 'settings', and that for it alone"),
        ({"metric": "collapse", "test": "equal"}, "compares rates of a and b"),
        ({"proof": "tests/a.py::b", "not_run": "no"}, "a hypothesis has one of proof, by_construction, not_run"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused(changed: dict[str, Any], said: str) -> None:
    given = {"id": "Z", "claim": "c", "metric": "gold", "a": ["dpo"], "b": ["kto"], "direction": "above", "delta": 0.1}
    told: list[str] = []
    given = {key: value for key, value in (given | changed).items() if value is not None}
    assert hypothesis(given, lambda key, text: told.append(text)) is None
    assert said in " ".join(told)


def test_a_contrast_is_held_against_any_number() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 5, 30))
    result, moved = contrast(a, b, paired=True), contrast(a + 0.3, b, paired=True)
    assert isinstance(result, Contrast)
    assert isinstance(moved, Contrast)
    assert result.p_at(-0.3) == pytest.approx(moved.p)
    assert result.p_at(0.0) == pytest.approx(result.p)

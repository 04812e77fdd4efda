"""Methods that go in rounds, and systems that train nothing: how a plan lays them out, and a whole small comparison."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import dispatch
from harness.commands.plan import describe
from harness.commands.run import open_executor
from harness.inference.collecting import read_rows
from harness.plan import Cell, Plan, make_plan
from harness.recipe import read_recipe
from harness.records import FINAL, Tables, read
from harness.report import build
from harness.stages import Collect, Stage, Train, walk
from harness.store import Store

ROUNDS = ("rlhf_iterated", "cut_online", "ilf", "ilf_dpo")
OTHERS = ("base", "best_of_n", "feedback_prompting", "hindsight", "cut", "dpo", "ipo", "ppo", "online_dpo")


def plan_of(folder: Path, *algorithms: str, sets: tuple[str, ...] = (), more: str = "") -> Plan:
    """A plan of these algorithms, each with knobs behind its name: `rlhf_iterated count=3`."""
    tables = ""
    for text in algorithms:
        name, *knobs = text.split()
        tables += f'[[algorithm]]\nname = "{name}"\n' + "".join(f"{knob}\n" for knob in knobs)
    path = folder / "r.toml"
    path.write_text(f'name = "x"\n{tables}{more}')
    return make_plan(read_recipe(path, list(sets)))


def cell_of(plan: Plan, algorithm: str, replicate: int = 0) -> Cell:
    return next(cell for cell in plan.cells if cell.algorithm == algorithm and cell.replicate == replicate)


def start_of(plan: Plan, replicate: int = 0) -> Train:
    return next(cell.policy for cell in plan.cells if cell.is_start and cell.replicate == replicate)


def what(stage: Stage) -> str:
    return f"train {stage.algorithm['name']}" if isinstance(stage, Train) else stage.kind


def policies(cell: Cell) -> list[Train]:
    return [stage for stage in cell.own if isinstance(stage, Train) and stage.algorithm["name"] != "reward"]


def collects(cell: Cell) -> list[Collect]:
    return [stage for stage in cell.own if isinstance(stage, Collect)]


def rewards(cell: Cell) -> list[Train]:
    return [stage for stage in cell.own if isinstance(stage, Train) and stage.algorithm["name"] == "reward"]


# --- stages ---------------------------------------------------------------------------------------------------------

RELABELLED = ["collect", "train reward", "train ppo"]


@pytest.mark.parametrize(
    ("asked", "stages"),
    [
        ("rlhf_iterated", ["train ppo", *RELABELLED]),
        ("rlhf_iterated count=4", ["train ppo", *RELABELLED * 3]),
        ("cut_online", ["collect", "train cut"] * 3),
        ("cut_online count=1", ["collect", "train cut"]),
        ("ilf", ["collect", "train ilf"]),
        ("ilf_dpo", ["collect", "reference", "train ilf_dpo"]),
    ],
)
def test_a_method_in_rounds_is_made_of_these_stages(tmp_path: Path, asked: str, stages: list[str]) -> None:
    cell = cell_of(plan_of(tmp_path, asked), asked.split()[0])
    assert [what(stage) for stage in cell.own] == stages
    assert len(set(cell.own)) == len(cell.own)
    assert cell.policy == cell.own[-1]
    before: set[Stage] = set()
    for stage in cell.own:
        assert not set(stage.inputs.values()) & (set(cell.own) - before), "inputs come first"
        before.add(stage)


@pytest.mark.parametrize("steps", [60, 61, 62, 7, 4])
@pytest.mark.parametrize("asked", ["rlhf_iterated", "rlhf_iterated count=4", "cut_online", "ilf", "ilf_dpo"])
def test_the_budgets_steps_are_shared_out_exactly(tmp_path: Path, asked: str, steps: int) -> None:
    sets = (f"budget.steps={steps}", "budget.batch=5", "budget.warmup=0.0")  # with it no round has a lone step
    plan = plan_of(tmp_path, asked, "ppo", sets=sets)
    cell = cell_of(plan, asked.split()[0])
    own = [policy.budget["steps"] for policy in policies(cell)]
    assert sum(own) == steps == cell_of(plan, "ppo").policy.budget["steps"]
    assert max(own) - min(own) <= 1 <= min(own)
    rest = [{**policy.budget, "steps": 0} for policy in policies(cell)]
    assert all(budget == {**cell_of(plan, "ppo").policy.budget, "steps": 0} for budget in rest)


@pytest.mark.parametrize("steps", [60, 61])
@pytest.mark.parametrize("asked", ["rlhf_iterated count=3", "cut_online count=4"])
def test_each_round_asks_the_last_policy_about_fresh_prompts(tmp_path: Path, asked: str, steps: int) -> None:
    cell = cell_of(plan_of(tmp_path, asked, sets=(f"budget.steps={steps}", "budget.batch=8")), asked.split()[0])
    trained, done, used = [start_of(plan_of(tmp_path, asked)), *policies(cell)], 0, []
    rounds = iter(collects(cell))
    for number, policy in enumerate(policies(cell)):
        if number or asked.startswith("cut"):
            collect = next(rounds)
            assert collect.split == policy.split == "train"
            used += range(collect.skip or 0, (collect.skip or 0) + collect.prompts)
            assert (collect.skip or 0, collect.prompts) == (8 * done, 8 * policy.budget["steps"])
            assert collect.inputs["policy"] == policy.inputs["start"]
        assert number == 0 or policy.inputs["start"] == trained[number]
        done += policy.budget["steps"]
    assert next(rounds, None) is None
    assert len(set(used)) == len(used), "no prompt is asked twice while there are others"


@pytest.mark.parametrize("asked", ["rlhf_iterated count=3", "cut_online"])
@pytest.mark.parametrize("prompts", [24, 40, 64, 400])
def test_rounds_ask_about_the_budgets_prompts_alone(tmp_path: Path, asked: str, prompts: int) -> None:
    plan = plan_of(tmp_path, asked, sets=(f"budget.prompts={prompts}", "budget.steps=9", "budget.batch=8"))
    for collect in collects(cell_of(plan, asked.split()[0])):
        assert collect.prompts == min(24, prompts)
        assert (collect.skip or 0) + collect.prompts <= prompts


def test_refinements_are_of_the_budgets_own_judged_responses(tmp_path: Path) -> None:
    for prompts in (0, 32):
        plan = plan_of(tmp_path, "ilf", "ilf_dpo", sets=(f"budget.prompts={prompts}",))
        (one,), (other,) = (collects(cell_of(plan, name)) for name in ("ilf", "ilf_dpo"))
        assert one == other, "both are trained on the same refinements"
        assert (one.prompts, one.skip, one.samples, one.view, one.labeller) == (
            prompts,
            None,
            1,
            "refinements",
            "judge",
        )
        assert one.inputs["policy"] == start_of(plan)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (("budget.steps=2",), "leaves one without a step"),
        (("budget.steps=5",), "leaves one with a single step, which warm-up makes at a learning rate of 0"),
        (("budget.steps=5", "budget.warmup=0.0"), ""),
        (("budget.steps=6",), ""),
    ],
)
def test_rounds_that_would_learn_nothing_are_not_planned(tmp_path: Path, sets: tuple[str, ...], told: str) -> None:
    reason = cell_of(plan_of(tmp_path, "cut_online", "dpo", sets=sets), "cut_online").reason
    assert reason.endswith(told)
    assert bool(reason) == bool(told)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (("budget.precision=bfloat16", "budget.lora_rank=8"), "adapter is merged into bfloat16 weights"),
        (("budget.precision=bfloat16",), ""),
        (("budget.steps=1",), "warm-up makes the only step at a learning rate of 0"),
        (("budget.steps=1", "budget.warmup=0.0"), ""),
        ((), ""),
    ],
)
def test_a_plan_warns_of_budgets_that_teach_less_than_is_meant(
    tmp_path: Path, sets: tuple[str, ...], told: str
) -> None:
    warned = [
        text
        for text in describe(plan_of(tmp_path, "dpo", sets=sets), Store(tmp_path))["warnings"]
        if text.startswith(("budget.precision", "budget.steps"))
    ]
    assert len(warned) == bool(told)
    assert all(told in text for text in warned)


@pytest.mark.parametrize("replicate", [0, 1])
@pytest.mark.parametrize("asked", ["rlhf_iterated count=3", "cut_online", "ilf", "ilf_dpo"])
def test_kl_is_measured_to_where_all_rounds_began(tmp_path: Path, asked: str, replicate: int) -> None:
    plan = plan_of(tmp_path, asked)
    cell, begun = cell_of(plan, asked.split()[0], replicate), start_of(plan, replicate)
    first, *later = policies(cell)
    assert first.inputs["start"] == begun
    assert "anchor" not in first.inputs
    assert all(policy.inputs["anchor"] == begun for policy in later)
    assert all(grade.inputs["start"] == begun for grade in cell.grades.values())


def test_each_round_has_seeds_of_its_own(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "rlhf_iterated count=3", "cut_online count=3")
    for replicate in (0, 1):
        root = f"replicate-{replicate}"
        cell = cell_of(plan, "rlhf_iterated", replicate)
        seeds = [root, f"{root} round-1", f"{root} round-2"]
        assert [policy.seed for policy in policies(cell)] == seeds
        assert [stage.seed for stage in (*collects(cell), *rewards(cell))] == seeds[1:] * 2
        assert [stage.seed for stage in collects(cell_of(plan, "cut_online", replicate))] == seeds
        assert {sample.seed for sample in cell.samples.values()} == {root}, "noise of the evaluation is everybody's"


def test_a_new_reward_model_reads_the_proxys_rows_and_all_labels_so_far(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "rlhf_iterated count=4", "ppo")
    for replicate in (0, 1):
        cell, proxy = cell_of(plan, "rlhf_iterated", replicate), plan.rewards["lab", "lab", replicate]["proxy"]
        first, *later = policies(cell)
        assert first.inputs["reward"] == proxy == cell_of(plan, "ppo", replicate).policy.inputs["reward"]
        for number, (policy, reward) in enumerate(zip(later, rewards(cell), strict=True), 1):
            assert policy.inputs["reward"] == reward
            assert "data" not in policy.inputs, "PPO draws its own responses"
            data = {f"data-{place}": stage for place, stage in enumerate(collects(cell)[:number])}
            assert dict(reward.inputs) == {"start": proxy.inputs["start"], **data}
            assert reward.joined is True
            apart = ("seed", "joined")
            own, old = ({k: v for k, v in stage.settings().items() if k not in apart} for stage in (reward, proxy))
            assert own == old
            assert reward.seed != proxy.seed
    assert all(collect.view == "pairs" and collect.samples == 4 for collect in collects(cell))


@pytest.mark.parametrize(
    ("labeller", "reads"), [("annotators", {"policy"}), ("oracle", {"policy"}), ("reward", {"policy", "reward"})]
)
def test_who_labels_is_asked_and_nobody_else(tmp_path: Path, labeller: str, reads: set[str]) -> None:
    plan = plan_of(tmp_path, f'rlhf_iterated labeller="{labeller}" samples=6')
    (collect,) = collects(cell_of(plan, "rlhf_iterated"))
    assert collect.inputs.keys() == reads
    assert (collect.labeller, collect.samples, collect.rule) == (labeller, 6, None)
    if "reward" in reads:
        assert collect.inputs["reward"] == plan.rewards["lab", "lab", 0]["proxy"]


def test_labels_are_rankings_where_the_proxy_is_trained_on_rankings(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "rlhf_iterated", sets=("reward.proxy.data=rankings",))
    (collect,), (reward,) = (found(cell_of(plan, "rlhf_iterated")) for found in (collects, rewards))
    assert collect.view == "rankings"
    assert reward.algorithm["knobs"]["data"] == "rankings"


# --- what is judged -------------------------------------------------------------------------------------------------


def judged(cell: Cell) -> dict[int | None, tuple[Train, int | None]]:
    """The policy and its own step, by the step that a table shows."""
    found: dict[int | None, tuple[Train, int | None]] = {}
    for at, grade in cell.grades.items():
        sample = grade.inputs["sample"]
        assert sample == cell.samples[at]
        assert sample.inputs["policy"] == grade.inputs["policy"]
        assert sample.settings().get("step") == grade.step
        found[at] = (grade.inputs["policy"], grade.step)  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("asked", ["rlhf_iterated count=3", "cut_online"])
def test_earlier_rounds_are_judged_at_the_steps_that_were_taken_by_then(tmp_path: Path, asked: str) -> None:
    cell = cell_of(plan_of(tmp_path, asked, sets=("budget.steps=61",)), asked.split()[0])
    first, second, last = policies(cell)
    assert judged(cell) == {20: (first, None), 40: (second, None), None: (last, None)}
    assert not any(policy.emit for policy in policies(cell))


def test_steps_within_a_round_are_judged_too(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "cut_online", "ilf", "dpo", sets=("budget.steps=60", "evaluation.at=[5, 20, 33, 40, 59]"))
    cell = cell_of(plan, "cut_online")
    first, second, last = policies(cell)
    assert [policy.emit for policy in policies(cell)] == [[5], [13], [19]]
    assert judged(cell) == {
        **{5: (first, 5), 20: (first, None), 33: (second, 13), 40: (second, None)},
        **{59: (last, 19), None: (last, None)},
    }
    alone = cell_of(plan, "ilf")
    assert judged(alone) == {None: (alone.policy, None), **{at: (alone.policy, at) for at in (5, 20, 33, 40, 59)}}
    assert alone.grades.keys() == cell.grades.keys() == cell_of(plan, "dpo").grades.keys()


def test_what_trains_nothing_is_judged_once_and_has_no_stage_of_its_own(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "base", "best_of_n n=4", "feedback_prompting", sets=("evaluation.at=[5]",))
    start = start_of(plan)
    assert cell_of(plan, "base").policy == start.inputs["start"]
    for name in ("base", "best_of_n", "feedback_prompting"):
        cell = cell_of(plan, name)
        assert cell.own == ()
        assert cell.grades.keys() == {None}
        assert name == "base" or cell.policy == start
    procedures = [cell_of(plan, name).samples[None].procedure for name in ("base", "best_of_n", "feedback_prompting")]
    assert procedures == [{"name": "plain"}, {"name": "best_of_n", "n": 4}, {"name": "respond_judge_respond"}]
    assert cell_of(plan, "best_of_n").samples[None].inputs["reward"] == plan.rewards["lab", "lab", 0]["proxy"]
    assert cell_of(plan, "feedback_prompting").samples[None].inputs.keys() == {"policy"}


# --- what is whose --------------------------------------------------------------------------------------------------


def below(cell: Cell) -> set[Stage]:
    return set(walk(list(cell.grades.values())))


def test_own_are_the_stages_that_nobody_else_rests_on(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *ROUNDS, *OTHERS, sets=("replicates=2",))
    shared = {cell_of(plan, "ilf", replicate).own[0] for replicate in (0, 1)}  # the refinements of ilf and ilf_dpo
    for cell in plan.cells:
        others = [other for other in plan.cells if other is not cell and not other.is_start]
        greedy = {grade.inputs["greedy"] for grade in cell.grades.values() if "greedy" in grade.inputs}
        evaluation = {*cell.samples.values(), *cell.grades.values(), *greedy}
        alone = below(cell) - set().union(*map(below, others)) - evaluation
        if not cell.is_start:
            assert set(cell.own) - shared == alone, cell.contestant
            assert (set(cell.own) & shared != set()) == (cell.algorithm in ("ilf", "ilf_dpo"))
        assert set(cell.own) <= set(walk([cell.policy]))


def test_contestants_of_one_method_share_the_rounds_in_which_they_agree(tmp_path: Path) -> None:
    more = '[[algorithm]]\nname = "rlhf_iterated"\ngrid.labeller = ["annotators", "oracle"]\n'
    plan = plan_of(tmp_path, more=more)
    one, other = [cell for cell in plan.cells if cell.algorithm == "rlhf_iterated" and cell.replicate == 0]
    assert one.own[0] == other.own[0]
    assert not set(one.own[1:]) & set(other.own[1:])
    assert len([stage for stage in plan.stages() if what(stage) == "train ppo"]) == 5 * 3


def test_gold_is_read_by_grades_and_audits_alone(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *ROUNDS, *OTHERS)
    gold = {found["gold"] for found in plan.rewards.values()}
    readers = [stage for stage in plan.stages() if gold & set(stage.inputs.values())]
    assert readers
    assert {stage.kind for stage in readers} == {"grade", "audit", "separation"}
    made = [stage for cell in plan.cells for stage in (*cell.own, *cell.samples.values(), cell.policy)]
    assert not gold & set(walk(made))
    selection = {found["selection"] for found in plan.rewards.values()}
    assert not selection & set(walk(made))


@pytest.mark.parametrize("added", [*ROUNDS, "best_of_n", "online_dpo", "base", "feedback_prompting"])
def test_adding_an_algorithm_changes_no_key_of_the_others(tmp_path: Path, added: str) -> None:
    rest = [name for name in (*ROUNDS, *OTHERS) if name != added]
    few, many = plan_of(tmp_path, *rest), plan_of(tmp_path, added, *rest)
    for name in rest:
        for replicate in (0, 4):
            one, other = cell_of(few, name, replicate), cell_of(many, name, replicate)
            assert one.own == other.own
            assert one.grades == other.grades
    assert set(few.stages()) < set(many.stages())


# --- a whole small comparison ---------------------------------------------------------------------------------------

SMALL = """
name = "small"
replicates = 1
[[model]]
source = "lab"
hidden = 16
layers = 1
heads = 2
texts = 96
steps = 6
batch = 16
[[dataset]]
source = "lab"
train = 24
pretrain = 96
evaluation = 3
heldout = 4
proxy = 8
selection = 8
gold = 8
[[start]]
name = "sft"
steps = 2
[budget]
steps = 4
batch = 4
max_response_tokens = 96
schedule = "constant"
warmup = 0.0
[evaluation]
prompts = 3
samples = 2
best_of = 4
pairs = 4
metrics = ["reward", "length", "kl", "kl_per_token", "entropy"]
[launch]
executor = "inline"
"""
REWARDS = "".join(f"[reward.{role}]\nsteps = 2\nbatch = 4\n" for role in ("proxy", "selection", "gold"))
CONTESTANTS = {
    **{"base": "", "best_of_n": "n = 3", "feedback_prompting": "", "hindsight": "", "cut": "learning_rate = 1e-3"},
    **{"ilf": "", "ilf_dpo": "", "cut_online": "count = 2\nlearning_rate = 1e-3", "online_dpo": "", "ppo": ""},
    "rlhf_iterated": "learning_rate = 1e-3",
}
ALL = tuple(CONTESTANTS)
ADAPTED = ("base", "best_of_n", "ilf_dpo", "cut_online", "rlhf_iterated", "online_dpo", "ppo")
ON_POLICY = ("reinforce", "rloo", "grpo", "ppo", "online_dpo")
UNTRAINED = ("base", "best_of_n", "feedback_prompting")


@dataclass(frozen=True)
class Finished:
    """A comparison that was run, what its tables say, and its report."""

    plan: Plan
    store: Store
    summary: dispatch.Summary
    tables: Tables
    report: Path

    def main(self) -> pd.DataFrame:
        return pd.read_parquet(self.report / "tables" / "main.parquet").set_index("contestant")

    def record(self, stage: Stage) -> dict[str, Any]:
        found = self.store.record(stage.name)
        assert found is not None
        return found

    def measured(self, stage: Stage) -> dict[str, float]:
        return {m["metric"]: m["value"] for m in self.record(stage)["measurements"]}


def run(folder: Path, name: str, contestants: tuple[str, ...], *sets: str, report: bool = True) -> Finished:
    """Run a recipe in this process; all share one results folder."""
    tables = "".join(f'[[algorithm]]\nname = "{one}"\n{CONTESTANTS.get(one, "")}\n' for one in contestants)
    path = folder / f"{name}.toml"
    path.write_text(SMALL + REWARDS + tables)
    recipe = read_recipe(path, list(sets))
    plan, store = make_plan(recipe), Store(folder / "results")
    summary = dispatch.run(plan.targets, store, open_executor(recipe.launch, recipe), retries=0)
    if report:
        build(plan, store, folder / name)
    return Finished(plan, store, summary, read(plan, store), folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rounds")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Iterator[Finished]:
    return run(folder, "whole", ALL, "evaluation.at=[1]")


@pytest.fixture(scope="module")
def ruled(folder: Path) -> Finished:
    """A rule in place of the proxy."""
    return run(folder, "ruled", ("best_of_n", *ON_POLICY, "rlhf_iterated"), "reward.proxy.rule=total")


@pytest.fixture(scope="module")
def adapted(folder: Path) -> Finished:
    return run(folder, "adapted", ADAPTED, "budget.lora_rank=2", report=False)


def no_gap(found: Finished) -> None:
    assert not found.summary.failed
    assert not found.summary.blocked
    frames = {name: frame for name, frame in vars(found.tables).items() if name != "blocks"}
    for name, frame in {**frames, "scores": found.tables.scores}.items():
        assert not frame.isna().to_numpy().any(), name


def test_everything_runs_and_has_a_row(whole: Finished) -> None:
    no_gap(whole)
    assert whole.tables.gaps.empty
    assert set(whole.tables.cells["status"]) == {"done"}
    main = whole.main()
    assert set(main.index) == {"sft", *ALL}
    assert (main["done"] == 1).all()
    assert main[["length", "gold"]].notna().to_numpy().all()
    page = (whole.report / "report.md").read_text()
    assert all(name in page for name in ALL)
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)


def test_nothing_is_left_to_do(whole: Finished, folder: Path) -> None:
    again = run(folder, "whole", ALL, "evaluation.at=[1]", report=False)
    assert again.summary.ran == []
    assert again.summary.reused == len(whole.plan.stages())


def test_costs_are_of_the_contestants_own_stages(whole: Finished) -> None:
    spent = whole.tables.spent.set_index(["contestant", "part"])["device_seconds"]
    for name in UNTRAINED:
        assert spent[name, "own"] == 0
        assert spent[name, "evaluation"] > 0
    main = whole.main()
    for cell in whole.plan.cells:
        own = sum(whole.record(stage)["cost"]["device_seconds"] for stage in cell.own)
        assert spent[cell.contestant, "own"] == pytest.approx(own)
        worked = sum(whole.record(stage)["cost"]["cpu_seconds"] for stage in cell.own)
        assert main.loc[cell.contestant, "own_device_seconds"] == pytest.approx(worked), "on a CPU those of its work"
        assert cell.contestant in UNTRAINED or own > 0
    rounds = cell_of(whole.plan, "rlhf_iterated").own
    assert len(rounds) == 4
    assert all(0 < whole.record(stage)["cost"]["device_seconds"] < spent["rlhf_iterated", "own"] for stage in rounds)
    proxy = whole.record(whole.plan.rewards["lab", "lab", 0]["proxy"])["cost"]["device_seconds"]
    assert spent["best_of_n", "with shared"] == pytest.approx(spent["feedback_prompting", "with shared"] + proxy)


def test_a_divergence_that_nobody_knows_is_a_gap_in_the_report(whole: Finished) -> None:
    scores = whole.tables.scores[whole.tables.scores["step"] == FINAL]
    measured = {name: set(group["metric"].astype(str)) for name, group in scores.groupby("contestant", observed=True)}
    main = whole.main()
    for name in ("sft", *ALL):
        wanted = {"reward", "length", "kl", "kl_per_token", "entropy"}
        if name in ("feedback_prompting", "hindsight"):
            wanted -= {"kl", "kl_per_token", "entropy"}
        if name == "best_of_n":
            wanted -= {"kl_per_token", "entropy"}
        assert measured[name] == wanted
        assert pd.notna(main.loc[name, "kl"]) == ("kl" in wanted)
    assert main.loc["sft", "kl"] == 0
    assert main.loc["best_of_n", "kl"] == pytest.approx(math.log(3) - 2 / 3)
    lines = (whole.report / "report.md").read_text().splitlines()
    (row,) = (line for line in lines if line.startswith("| feedback_prompting") and "1 / 1" in line)
    assert not {"nan", "0.00 nats", "<NA>"} & {word.strip() for word in row.lower().split("|")}


def test_rounds_are_scored_on_the_way(whole: Finished) -> None:
    scores = whole.tables.scores
    steps = {name: set(group["step"]) for name, group in scores.groupby("contestant", observed=True)}
    assert steps["cut_online"] == steps["rlhf_iterated"] == {1, 2, FINAL}
    assert steps["ppo"] == steps["ilf"] == {1, FINAL}
    assert all(steps[name] == {FINAL} for name in ("sft", *UNTRAINED))
    assert all(len(scores[scores["contestant"] == name]) for name in ALL)


def test_curves_go_on_from_round_to_round(whole: Finished) -> None:
    curves = whole.tables.curves
    steps = {str(name): sorted(set(group["step"])) for name, group in curves.groupby("contestant", observed=True)}
    assert steps == {"sft": [1, 2], **{name: [1, 2, 3, 4] for name in ALL if name not in UNTRAINED}}
    own = curves[(curves["contestant"] == "rlhf_iterated") & (curves["metric"] == "score")]
    assert len(own) == 4, "and none of a reward model"


def test_best_of_n_spends_n_responses(whole: Finished) -> None:
    spent = {name: whole.measured(cell_of(whole.plan, name).samples[None])["generated_tokens"] for name in UNTRAINED}
    plain = whole.measured(next(cell for cell in whole.plan.cells if cell.is_start).samples[None])["generated_tokens"]
    assert spent["best_of_n"] > 2 * plain
    assert plain < spent["feedback_prompting"] <= 2 * 96 * 6


def test_labels_and_responses_are_counted(whole: Finished) -> None:
    collected = [whole.measured(stage) for stage in collects(cell_of(whole.plan, "cut_online"))]
    assert [found["responses"] for found in collected] == [8, 8]
    assert [found["labels"] for found in collected] == [found["rows"] for found in collected]
    assert all(0 < found["labels"] <= 8 - found["responses_cut_off"] for found in collected), "of whole ones alone"
    (relabelled,) = collects(cell_of(whole.plan, "rlhf_iterated"))
    assert whole.measured(relabelled)["responses"] == 4 * 8
    (reward,) = rewards(cell_of(whole.plan, "rlhf_iterated"))
    rows = read_rows(whole.store.folder(relabelled.name))
    totals = whole.measured(reward)
    assert totals["rows_available"] + totals["rows_left_out"] == 8 + len(rows)
    given = pd.read_parquet(whole.report / "tables" / "given.parquet").set_index("contestant")
    assert set(given.index) == {"sft", *ALL} - set(UNTRAINED)


def test_each_round_moves_the_policy_on(whole: Finished) -> None:
    import tiny

    for name in ("cut_online", "rlhf_iterated"):
        cell = cell_of(whole.plan, name)
        folders = [whole.store.folder(stage.name) / "policy" for stage in (start_of(whole.plan), *policies(cell))]
        assert not any(tiny.same(one, other) for one, other in pairwise(folders))
    score = whole.tables.scores[whole.tables.scores["contestant"] == "rlhf_iterated"]
    kl = score[score["metric"] == "kl"].groupby("step", observed=True)["value"].mean()
    assert 0 < kl[1] < kl[2] < kl[FINAL]


def test_a_rule_trains_every_on_policy_method(ruled: Finished) -> None:
    no_gap(ruled)
    assert [what(stage) for stage in ruled.plan.stages()].count("train reward") == 2, "selection and gold"
    gaps = ruled.tables.gaps[["contestant", "status", "error"]].to_dict("records")
    reason = "rlhf_iterated trains its reward model anew; here the proxy is the dataset's rule 'total'"
    assert gaps == [{"contestant": "rlhf_iterated", "status": "cut", "error": reason}]
    main = ruled.main()
    assert set(main.index) == {"sft", "best_of_n", *ON_POLICY, "rlhf_iterated"}
    assert (main.drop("rlhf_iterated")["done"] == 1).all()
    assert reason in (ruled.report / "report.md").read_text()
    scores = ruled.tables.scores
    for name in ("best_of_n", *ON_POLICY):
        own = scores[(scores["contestant"] == name) & (scores["metric"] == "reward")]
        by_role = {role: list(group["value"]) for role, group in own.groupby("role", observed=True)}
        assert by_role["proxy"] == by_role["oracle"]
        assert by_role.keys() >= {"gold", "selection"}
    for name in ON_POLICY:
        assert cell_of(ruled.plan, name).policy.rule == "total"
        assert "reward" not in cell_of(ruled.plan, name).policy.inputs


def test_best_of_n_by_the_rule_is_better_by_the_rule(ruled: Finished) -> None:
    scores = ruled.tables.scores
    oracle = scores[(scores["metric"] == "reward") & (scores["role"] == "oracle")]
    of = {
        name: group.set_index(["prompt_id", "k"])["value"]
        for name, group in oracle.groupby("contestant", observed=True)
    }
    assert len(of["best_of_n"]) == 6
    assert (of["best_of_n"] >= of["sft"]).all(), "the start's own response is among the candidates"


def test_every_kind_of_method_runs_with_adapters(adapted: Finished, whole: Finished) -> None:
    no_gap(adapted)
    assert adapted.tables.gaps.empty
    assert set(adapted.tables.cells["contestant"]) == {"sft", *ADAPTED}
    for cell in adapted.plan.cells:
        for stage in cell.own:
            folder = adapted.store.folder(stage.name)
            if isinstance(stage, Train):
                full = stage.algorithm["name"] == "reward"
                assert (folder / "policy" / "adapter_config.json").exists() != full
                pointer = folder / "policy" / "base.json"
                assert full or json.loads(pointer.read_text())["base"] == f"{stage.inputs['start'].name}/policy"
    assert adapted.plan.rewards == whole.plan.rewards, "reward models have no adapter"


def test_with_adapters_each_round_goes_on_from_the_last_and_kl_from_the_first(adapted: Finished) -> None:
    from harness.inference.policy import load_policy

    cell = cell_of(adapted.plan, "rlhf_iterated")
    stages = (start_of(adapted.plan), *policies(cell))
    models = [load_policy(adapted.store.folder(stage.name) / "policy")[0] for stage in stages]
    for one, other in pairwise(models):
        assert any(bool((a != b).any()) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    curves = adapted.tables.curves
    kl = curves[(curves["contestant"] == "rlhf_iterated") & (curves["metric"] == "kl")].set_index("step")["value"]
    assert kl[1] == pytest.approx(0, abs=1e-4)
    assert kl[3] != pytest.approx(0, abs=1e-6), "the second round begins where the first has ended"

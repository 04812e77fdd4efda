"""The plan: what is shared, what cannot run, and what changes a key and what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness import keys
from harness.commands.labels import labels
from harness.commands.plan import describe
from harness.commands.run import finish
from harness.errors import HarnessError
from harness.plan import Plan, make_plan, without_gold
from harness.recipe import read_recipe
from harness.stages import Train, walk
from harness.stats.power import smallest_difference
from harness.store import Store

REAL = Path(os.environ.get("HARNESS_DATA") or Path(__file__).parents[2] / "shared" / "data")
ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
ALL = ("dpo", "ipo", "cpo", "kto", "orpo", "simpo")


def plan_of(folder: Path, *algorithms: str, more: str = "", sets: list[str] | None = None) -> Plan:
    path = folder / "r.toml"
    tables = "".join(f'[[algorithm]]\nname = "{name}"\n' for name in algorithms)
    path.write_text(f'name = "x"\n{tables}{more}')
    return make_plan(read_recipe(path, sets))


def what(plan: Plan) -> Counter[str]:
    return Counter(
        f"{s.kind} {s.spec['algorithm']['name']}" if "algorithm" in s.spec else s.kind for s in plan.stages()
    )


def names(plan: Plan, contestant: str) -> list[str]:
    return [cell.grades[None].name for cell in plan.cells if cell.contestant == contestant]


def test_what_is_equal_is_trained_once(tmp_path: Path) -> None:
    extra = '[[algorithm]]\nname = "dpo"\nlabel = "strong"\ngrid.beta = [0.3, 0.5, 1.0, 2.0]\n'
    plan = plan_of(tmp_path, *ALL, more=extra)
    found = what(plan)
    assert len({cell.contestant for cell in plan.cells}) == 11, "ten algorithms and the start"
    assert found["train pretrain"] == 2, "one for policies, one for gold"
    assert found["train sft"] == 5
    assert found["reference"] == 5
    assert found["train reward"] == 5 + 1 + 1, "a proxy per replicate, one selection, one gold"
    assert found["train dpo"] == 5 * 5


def test_adding_an_algorithm_changes_nothing_for_the_others(tmp_path: Path) -> None:
    few, many = plan_of(tmp_path, "dpo"), plan_of(tmp_path, *ALL)
    assert names(few, "dpo") == names(many, "dpo")
    assert names(few, "sft") == names(many, "sft")
    assert {s.name for s in few.stages()} <= {s.name for s in many.stages()}


@pytest.mark.parametrize("setting", ["launch.executor=inline", "launch.workers=7", "launch.timeout_min=3",
                                     "launch.checkpoint_every=1", "launch.retries=0", "question=why",
                                     "launch.bundle=true", "launch.train.gpus=2",
                                     "launch.algorithm.dpo.gpus=9"])  # fmt: skip
def test_who_runs_it_is_in_no_key(setting: str, tmp_path: Path) -> None:
    before, after = plan_of(tmp_path, "dpo"), plan_of(tmp_path, "dpo", sets=[setting])
    assert [s.name for s in before.stages()] == [s.name for s in after.stages()]


@pytest.mark.parametrize("setting", ["budget.steps=61", "budget.batch=16", "budget.threads=2", "budget.lora_rank=4"])
def test_what_can_change_weights_is_in_their_key(setting: str, tmp_path: Path) -> None:
    before, after = plan_of(tmp_path, "dpo"), plan_of(tmp_path, "dpo", sets=[setting])
    assert not set(names(before, "dpo")) & set(names(after, "dpo"))


def test_a_knob_that_came_later_changes_no_older_key(tmp_path: Path) -> None:
    def planned(setting: str) -> Plan:
        return plan_of(tmp_path, "dpo", more=f'[[dataset]]\nsource = "lab"\n{setting}')

    before, same, other = planned(""), planned("garbled = 0"), planned("garbled = 0.5")
    knobs = [stage.spec["dataset"]["knobs"] for stage in (before.stages()[0], other.stages()[0])]
    assert "garbled" not in knobs[0]
    assert knobs[1] == {**knobs[0], "garbled": 0.5}
    assert [s.name for s in before.stages()] == [s.name for s in same.stages()]
    assert not {s.name for s in before.stages()} & {s.name for s in other.stages()}


def test_steps_do_not_change_the_reference(tmp_path: Path) -> None:
    more = '[[start]]\nname = "sft"\nsteps = 30\n'
    before = plan_of(tmp_path, "dpo", more=more)
    after = plan_of(tmp_path, "dpo", more=more, sets=["budget.steps=61"])

    def references(plan: Plan) -> set[str]:
        return {s.name for s in plan.stages() if s.kind == "reference"}

    assert references(before) == references(after)


def test_more_replicates_keep_the_first_ones(tmp_path: Path) -> None:
    few, many = plan_of(tmp_path, "dpo", sets=["replicates=2"]), plan_of(tmp_path, "dpo", sets=["replicates=4"])
    assert names(few, "dpo") == names(many, "dpo")[:2]


def test_gold_is_read_by_grades_and_audits_alone(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *ALL)
    gold = {found["gold"].name for found in plan.rewards.values()}
    readers = [s for s in plan.stages() if gold & {needed.name for needed in s.inputs.values()}]
    assert readers
    assert {stage.kind for stage in readers} == {"grade", "audit", "separation"}
    trained = [cell.policy for cell in plan.cells]
    assert not gold & {stage.name for stage in walk(list(trained))}


def test_gold_shares_no_base_with_policies_and_proxy(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "dpo")
    roles = plan.rewards["lab", "lab", 0]
    assert roles["gold"].inputs["start"].name != roles["proxy"].inputs["start"].name
    assert len({roles[role].spec["split"] for role in roles}) == 3


def test_the_rule_reward_of_a_dataset_may_be_the_proxy(tmp_path: Path) -> None:
    plain, ruled = plan_of(tmp_path, "dpo"), plan_of(tmp_path, "dpo", sets=["reward.proxy.rule=total"])
    assert set(ruled.rewards["lab", "lab", 0]) == {"selection", "gold"}
    assert what(ruled)["train reward"] == what(plain)["train reward"] - 5
    grade = next(stage for stage in ruled.stages() if stage.kind == "grade")
    assert grade.spec["rules"] == {"proxy": "total"}
    assert "rules" not in next(stage for stage in plain.stages() if stage.kind == "grade").spec


def test_every_emitted_step_is_sampled_and_graded(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "dpo", sets=["evaluation.at=[10, 20]"])
    cell = next(cell for cell in plan.cells if cell.contestant == "dpo")
    assert set(cell.grades) == {None, 10, 20}
    assert cell.policy.emit == [10, 20]
    start = next(cell for cell in plan.cells if cell.is_start)
    assert set(start.grades) == {None}


def test_finished_policies_answer_greedily_too_and_best_of_n_does_not(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "dpo", "best_of_n", sets=["evaluation.at=[10]"])
    cells = {cell.contestant: cell for cell in plan.cells if cell.replicate == 0}
    greedy = cells["dpo"].grades[None].inputs["greedy"]
    plain = cells["dpo"].samples[None]
    assert greedy.spec == {**plain.spec, "samples": 1, "temperature": 0.0}
    assert "greedy" not in cells["dpo"].grades[10].inputs
    assert "greedy" not in cells["best_of_n"].grades[None].inputs
    off = plan_of(tmp_path, "dpo", "best_of_n", sets=["evaluation.at=[10]", "evaluation.greedy=false"])
    assert {stage.name for stage in off.stages() if stage.kind == "sample"} < {s.name for s in plan.stages()}
    unread = plan_of(tmp_path, "dpo", sets=['evaluation.metrics=["reward", "length"]'])
    for other in (off, unread):
        assert not any("greedy" in stage.inputs for stage in other.stages())


def test_the_start_alone_has_many_responses_for_its_best_of_n_curve(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "dpo", sets=["evaluation.best_of=16", "evaluation.best_of_prompts=8"])
    for cell in plan.cells:
        assert (cell.pool is not None) == cell.is_start
    start = next(cell for cell in plan.cells if cell.is_start)
    many, plain = start.pool.inputs["sample"], start.samples[None]
    assert many.spec == {**plain.spec, "samples": 16, "prompts": 8}
    assert start.pool.metrics == {"reward": 1}
    assert start.pool in plan.targets
    assert set(start.pool.inputs) == {"sample", "policy", "start", "gold", "proxy"}
    for sets in (["evaluation.best_of=0"], ["evaluation.best_of=1"]):
        assert not any(cell.pool for cell in plan_of(tmp_path, "dpo", sets=sets).cells)


def test_an_algorithm_may_name_its_start(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "dpo", more='[[algorithm]]\nname = "orpo"\nstart = "base"\n')
    orpo = next(cell for cell in plan.cells if cell.algorithm == "orpo")
    start = next(cell for cell in plan.cells if cell.is_start)
    assert isinstance(orpo.policy, Train)
    assert orpo.policy.inputs["start"].spec["algorithm"]["name"] == "pretrain"
    assert orpo.grades[None].inputs["start"].name == start.policy.name, "all are compared with the same start"


PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar
from harness.data import Dataset
@dataclass(frozen=True)
class Bare(Dataset):
    """Pairs and prompts alone."""
    version: ClassVar[int] = 1
    views: ClassVar[frozenset[str]] = frozenset({"text", "demonstrations", "pairs", "prompts"})
    def rows(self, view, split): return []
'''


def test_what_a_dataset_cannot_feed_is_cut_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bare.py").write_text(PLUGIN)
    monkeypatch.setenv("HARNESS_PLUGINS", str(tmp_path))
    plan = plan_of(tmp_path, "dpo", "kto", more='[[dataset]]\nsource = "bare"\n')
    reasons = {cell.contestant: cell.reason for cell in plan.cells}
    assert reasons["kto"] == "kto needs binary; dataset 'bare' has demonstrations, pairs, prompts, text"
    assert not reasons["dpo"]


def test_seeds_are_of_the_replicate_and_purpose_alone() -> None:
    seeds = {
        keys.seed(root, purpose) for root in ("replicate-0", "replicate-1", "gold") for purpose in ("order", "init")
    }
    assert len(seeds) == 6
    assert keys.seed("replicate-0", "order") == 1261398006, "frozen: another number would change every result"


def _golden(name: str, found: Any) -> None:
    """Compare with a frozen file. A change here re-keys every result that anybody has: it must be meant.

    Where it is, `WRITE_GOLDEN=1 pytest tests/test_plan.py` writes the new one; read its diff.
    """
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    if os.environ.get("WRITE_GOLDEN"):
        (GOLDEN / name).write_text(text)
    assert (GOLDEN / name).read_text() == text


def test_compare_all_is_the_documented_list_of_jobs() -> None:
    plan = make_plan(read_recipe(ROOT / "recipes" / "compare_all.toml"))
    first = {stage.kind: stage.name for stage in reversed(plan.stages())}
    cells = {f"{cell.contestant} {cell.replicate}": cell.policy.name for cell in plan.cells}
    _golden("compare_all.json", {"stages": what(plan), "one of each kind": first, "policies": cells})


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").rglob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_plans(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if recipe.stem in ("smollm2", "cut_judgments"):
        if not (REAL / "truthfulqa_split").is_dir():
            pytest.skip("no real data in $HARNESS_DATA or ../shared/data")
        monkeypatch.setenv("HARNESS_DATA", str(REAL))
    assert make_plan(read_recipe(recipe)).stages()


def test_presets_have_the_published_values(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('extends = "simpo_llama3_instruct"\nname = "mine"\n')
    (simpo, dpo), budget = read_recipe(recipe).contestants, read_recipe(recipe).budget
    assert simpo.knobs == {"beta": 2.5, "gamma_over_beta": 0.55, "learning_rate": 1e-6}
    assert dpo.knobs == {"beta": 0.01, "learning_rate": 7e-7}
    assert (budget.batch, budget.schedule, budget.warmup) == (128, "cosine", 0.1)

    recipe.write_text('extends = "simpo_llama_instruct"\nname = "mine"\n')
    told = r"mine\.toml:1: there is no preset 'simpo_llama_instruct' to extend; did you mean 'simpo_llama3_instruct'"
    with pytest.raises(HarnessError, match=told):
        read_recipe(recipe)

    stages = read_recipe(ROOT / "recipes" / "presets" / "rlhf_three_stages.toml")
    (ppo,) = stages.contestants
    assert {"clip": 0.2, "entropy_weight": 0.01, "learning_rate": 1e-5, "epochs": 4}.items() <= ppo.knobs.items()
    assert int(ppo.knobs["minibatches"]) * stages.budget.batch == 128, "rollouts"
    assert stages.rewards["proxy"].knobs == {"loss": "margin", "margin": 0.5, "learning_rate": 1e-5}
    assert stages.budget.max_response_tokens == 50


def test_presets_are_in_the_package() -> None:
    """As files that setuptools finds, each with where it comes from."""
    from harness.locate import PRESETS

    files = sorted((ROOT / "recipes" / "presets").glob("*.toml"))
    assert [file.name for file in sorted(PRESETS.glob("*.toml"))] == [file.name for file in files]
    assert all("arXiv" in file.read_text() or "article 003" in file.read_text() for file in files)


def test_every_contestant_of_the_published_recipes_can_run() -> None:
    for name in ("ultrafeedback_8b", "beta_gamma_lambda", "rlhf_opt_350m"):
        plan = make_plan(read_recipe(ROOT / "recipes" / f"{name}.toml"))
        assert [cell.reason for cell in plan.cells if cell.reason] == []


LABELS = '{"prompt": "p", "response": "r", "label": true}\n'
WORDS = '{"prompt": "p", "response": "r", "judgment": "too short"}\n'
RANKS = '{"prompt": "p", "responses": ["a", "b", "c"]}\n'
GRADES = '{"prompt": "p", "responses": ["a", "b"], "scores": [2, 1]}\n'


@pytest.mark.parametrize(
    ("view", "row", "own", "algorithm", "said"),
    [
        ("binary", LABELS, "", "kto", 'has binary, prompts; no verdicts will be possible: add pairs = "from binary"'),
        (
            "judgments",
            WORDS,
            "",
            "cut",
            "has judgments, prompts; no verdicts will be possible: add pairs to the dataset",
        ),
        (
            "rankings",
            RANKS,
            '[reward.proxy]\ndata = "rankings"\n',
            "rloo",
            'add pairs = "from rankings" to the dataset',
        ),
        ("graded", GRADES, 'judgments = "from graded"\n', "cut", 'add pairs = "from graded" to the dataset'),
        ("binary", LABELS, 'pairs = "from binary"\n', "kto", ""),
    ],
)
def test_where_no_gold_reward_can_be_trained_it_is_said_before(
    tmp_path: Path, view: str, row: str, own: str, algorithm: str, said: str
) -> None:
    (tmp_path / "a.jsonl").write_text(row)
    model = '[[model]]\nsource = "HuggingFaceTB/SmolLM2-135M-Instruct"\n[[start]]\nname = "base"\n'
    data = f'[[dataset]]\nsource = "a.jsonl"\nview = "{view}"\n{own}'
    plan = plan_of(tmp_path, algorithm, more=model + data)
    assert [cell.reason for cell in plan.cells] == [""] * 10
    told = without_gold(plan)
    assert len(told) == bool(said)
    assert all(
        said in text and text.startswith("no gold reward can be trained: it needs pairs, and dataset 'a.jsonl' ")
        for text in told
    )
    warned = [text for text in describe(plan, Store(tmp_path))["warnings"] if "gold" in text]
    assert warned == told


def test_a_run_says_that_no_gold_can_be_trained_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    (tmp_path / "a.jsonl").write_text(LABELS)
    more = '[[model]]\nsource = "HuggingFaceTB/SmolLM2-135M-Instruct"\n[[start]]\nname = "base"\n'
    plan = plan_of(tmp_path, "kto", more=f'{more}[[dataset]]\nsource = "a.jsonl"\nview = "binary"\n')
    monkeypatch.setattr("harness.commands.run.check_prompts", lambda *_: None)
    monkeypatch.setattr("harness.dispatch.run", train)
    with pytest.raises(KeyboardInterrupt):
        finish(plan.recipe, Store(tmp_path / "results"))
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{tmp_path / 'r.toml'}: no gold reward can be trained")


def test_where_gold_is_there_or_nobody_runs_nothing_is_said_of_it(tmp_path: Path) -> None:
    assert without_gold(plan_of(tmp_path, "dpo")) == []
    (tmp_path / "a.jsonl").write_text(LABELS)
    more = '[[dataset]]\nsource = "lab"\n[[dataset]]\nsource = "a.jsonl"\nview = "binary"\n'
    plan = plan_of(tmp_path, "kto", more=more)
    assert {cell.dataset for cell in plan.cells if not cell.reason} == {"lab"}, "the lab's model is not for own data"
    assert without_gold(plan) == []


def test_planning_needs_no_torch_and_touches_no_disk() -> None:
    code = (
        "import sys, pathlib; from harness.recipe import read_recipe; from harness.plan import make_plan;"
        f"make_plan(read_recipe(pathlib.Path({str(ROOT / 'recipes' / 'compare_all.toml')!r})));"
        "heavy = {'torch', 'transformers', 'pandas', 'numpy', 'scipy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_separable_difference_is_that_of_acceptance() -> None:
    for seeds, one, nine, all_pairs in (
        (3, 3.1, 5.6, 8.5),
        (5, 2.0, 3.0, 3.9),
        (8, 1.5, 2.1, 2.5),
        (10, 1.3, 1.8, 2.2),
    ):
        found = [smallest_difference(seeds, count, paired=False) for count in (1, 9, 45)]
        assert found == pytest.approx([one, nine, all_pairs], abs=0.06)


def test_a_stage_is_called_by_what_tells_its_setting_from_others(tmp_path: Path) -> None:
    more = (
        '[[model]]\nsource = "lab"\n[[model]]\nsource = "lab"\nlabel = "small"\nhidden = 32\n'
        '[[dataset]]\nsource = "lab"\n[[dataset]]\nsource = "lab"\nlabel = "few"\ntrain = 400\n'
        '[[start]]\nname = "base"\n[[start]]\nname = "sft"\n'
    )
    found = set(labels(plan_of(tmp_path, "dpo", more=more)).values())
    assert {"train dpo r0 · small · few · sft", "train dpo r0 · lab · lab · base"} <= found
    assert {"reward gold · small · few", "audit proxy · lab · few"} <= found, "both starts have them"
    one = set(labels(plan_of(tmp_path, "dpo", more='[[start]]\nname = "sft"\n')).values())
    assert {"train dpo r0", "reward gold", "audit proxy"} <= one, "there is nothing to tell apart"

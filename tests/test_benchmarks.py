"""lm-eval on our policies: each its own answers, the prompt as in training, and one clear message for each mistake."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from synthetic import World, benched, fail, fill, make_cells, make_plan

from harness import keys, registry
from harness.data._lab_prompts import split_of
from harness.data.lab import Lab
from harness.errors import HarnessError
from harness.inference.benchmarks import write_scores
from harness.inference.policy import load_policy, save_policy
from harness.inference.ready import folder_digest
from harness.inference.rendering import prompt_hash, render_prompt
from harness.job import Budget, Job
from harness.metrics import Measurement
from harness.plan import Plan
from harness.plan import make_plan as plan_of
from harness.recipe import Benchmark, read_recipe
from harness.records import read
from harness.report import build
from harness.report.benchmarks import _FRAME, NOT_ASKED, _margins, benchmarks_sheet, tax
from harness.report.sheet import Sheet, make_frame
from harness.report.standings import compare
from harness.report.tasks import _main_metrics, lost_policies
from harness.stages import Bench, Train, dataset_spec, from_spec, grade
from harness.store import Store

LAB = Lab()
VERSION = version("lm_eval")


def bench(**given: Any) -> Bench:
    usual = {"lm_eval": VERSION, "tasks": list(LAB.tasks), "chat": True, "batch": 32, "threads": 1}
    return Bench({}, **({"source": dataset_spec("lab", {})} | usual | given))


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two small models of the lab's language, from two seeds."""
    folder = tmp_path_factory.mktemp("policies")
    rows = Lab(pretrain=320).rows("text", "pretrain")
    made = []
    for number in range(2):
        made.append(folder / f"train-{number}")
        made[-1].mkdir()
        algorithm = registry.load("algorithms", "pretrain")(hidden=32, layers=2, heads=2)
        budget = Budget(steps=40, batch=16, micro_batch=16, prompts=320)
        algorithm.train(Job(made[-1], rows, LAB, budget, f"pretrain-{number}", {}, (), 50, None))
    return made


def asked(policy: Path, out: Path, **given: Any) -> tuple[pd.DataFrame, dict[str, Measurement]]:
    out.mkdir(parents=True)
    training = given.pop("training", {})
    stage = bench(**given)
    source = LAB if stage.source else None
    found = write_scores(out, policy, source, training, stage)
    return pd.read_parquet(out / "scores.parquet"), {one.metric: one for one in found}


@pytest.fixture(scope="module")
def scores(policies, tmp_path_factory):
    return asked(policies[0], tmp_path_factory.mktemp("bench") / "own")


def test_every_document_has_a_value_and_their_mean_is_lm_evals(scores):
    table, found = scores
    for task, metric in (("lab_choose_fact", "acc"), ("lab_say_fact", "exact_match,first_fact")):
        own = table[(table["role"] == task) & (table["metric"] == metric)]
        assert len(own) == own["prompt_id"].nunique() == 64
        assert set(own["level"]) == {"document"}
        assert found[f"{task}/{metric}"].value == pytest.approx(own["value"].mean())
        assert found[f"{task}/{metric}"].better == "higher"
        assert found[f"{task}/{metric}"].n == 64


def test_a_choice_is_scored_as_the_policy_itself_would(policies, scores):
    """Accuracy by hand: log-probabilities from the model's own logits, on the prompt as training renders it."""
    import torch

    model, tokenizer = load_policy(policies[0] / "policy")
    table = scores[0][scores[0]["role"] == "lab_choose_fact"].reset_index(drop=True)
    documents = documents_of(policies[0].parent)
    for place in range(0, 64, 7):
        document = documents[place]
        prompt = render_prompt(tokenizer, [{"role": "user", "content": document["prompt"]}])
        sums = []
        for choice in document["choices"]:
            own = tokenizer(choice, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logp = model(torch.tensor([[*prompt, *own]])).logits[0].log_softmax(-1)
            sums.append(sum(float(logp[len(prompt) - 1 + i, token]) for i, token in enumerate(own)))
        right = sums.index(max(sums)) == document["choices"].index(document["truth"])
        row = table[table["prompt_id"].str.startswith(f"{place}-")].iloc[0]
        assert row["value"] == float(right)
        assert row["prompt_hash"] == prompt_hash(prompt)


def documents_of(folder: Path) -> list[dict[str, Any]]:
    where = folder / "tasks"
    where.mkdir(exist_ok=True)
    LAB.write_tasks(where)
    return [json.loads(line) for line in (where / "lab_choose_fact.jsonl").read_text().splitlines()]


def test_another_policy_gets_its_own_answers(policies, scores, tmp_path):
    """lm-eval's own cache of answers would give the first policy's to all (its issues 2715 and 4063)."""
    again, _ = asked(policies[0], tmp_path / "again")
    other, _ = asked(policies[1], tmp_path / "other")
    pd.testing.assert_frame_equal(again, scores[0])
    first, second = (pd.read_parquet(tmp_path / name / "documents.parquet") for name in ("again", "other"))
    assert (first["prompt"] == second["prompt"]).all()
    chosen = first["role"] == "lab_choose_fact"
    assert (first["response"] != second["response"])[chosen].all()
    assert not other["value"].equals(again["value"])


def test_documents_are_no_training_prompts_and_have_one_right_answer(tmp_path):
    documents = documents_of(tmp_path)
    texts = {document["prompt"] for document in documents}
    assert len(texts) == 64
    assert {split_of(text, LAB.seed) for text in texts} == {"test"}, "splits are shares of the prompts' hashes"
    assert not texts & {row["prompt"][0]["content"] for row in LAB.rows("prompts", "train")}
    for document in documents:
        totals = {text: LAB.score(user(document["prompt"]), text)["total"] for text in document["choices"]}
        assert len(totals) == 4
        assert all(totals[document["truth"]] > total for text, total in totals.items() if text != document["truth"])


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("template_has_bos", [True, False])
def test_a_tokenizer_that_adds_a_begin_token_renders_as_in_training(policies, tmp_path, template_has_bos):
    from tokenizers.processors import TemplateProcessing

    model, tokenizer = load_policy(policies[0] / "policy")
    begin = tokenizer.bos_token_id
    adds = TemplateProcessing(single=f"{tokenizer.bos_token} $A", special_tokens=[(tokenizer.bos_token, begin)])
    tokenizer.backend_tokenizer.post_processor = adds
    if not template_has_bos:
        tokenizer.chat_template = tokenizer.chat_template.replace("{{ bos_token }}", "")
    assert tokenizer("the .")["input_ids"][0] == begin, "it does add one"
    save_policy(model, tokenizer, tmp_path / "train-bos" / "policy")
    _, tokenizer = load_policy(tmp_path / "train-bos" / "policy")
    table, _ = asked(tmp_path / "train-bos", tmp_path / "out", limit=4)
    for place, document in enumerate(documents_of(tmp_path)[:4]):
        ids = render_prompt(tokenizer, user(document["prompt"]))
        assert ids[:2] != [begin, begin]
        assert (ids[0] == begin) == template_has_bos
        rows = table[table["prompt_id"].str.startswith(f"{place}-")]
        assert set(rows["prompt_hash"]) == {prompt_hash(ids)}


def test_the_model_reads_exactly_the_tokens_of_training(policies, tmp_path, monkeypatch):
    from harness.inference import _lm_policy

    _, tokenizer = load_policy(policies[0] / "policy")
    read: list[list[int]] = []
    own = _lm_policy.PolicyLM._loglikelihood_tokens

    def spy(self, requests, **more):
        read.extend(context for _, context, _ in requests)
        return own(self, requests, **more)

    monkeypatch.setattr(_lm_policy.PolicyLM, "_loglikelihood_tokens", spy)
    asked(policies[0], tmp_path / "out", tasks=["lab_choose_fact"], limit=3)
    rendered = [render_prompt(tokenizer, user(document["prompt"])) for document in documents_of(tmp_path)[:3]]
    assert {keys.key(ids) for ids in read} == {keys.key(ids) for ids in rendered}


def test_a_document_that_was_trained_on_is_refused(policies, tmp_path):
    prompt = user(documents_of(tmp_path)[5]["prompt"])
    training = {"split 'train', which dpo trains on": [{"prompt": prompt}]}
    for chat in (True, False):
        with pytest.raises(HarnessError, match=r"overlaps the training data.*which dpo trains on"):
            asked(policies[0], tmp_path / f"out-{chat}", training=training, chat=chat)


def test_a_policy_without_a_template_is_refused(policies, tmp_path):
    model, tokenizer = load_policy(policies[0] / "policy")
    tokenizer.chat_template = None
    save_policy(model, tokenizer, tmp_path / "train-x" / "policy")
    (tmp_path / "train-x" / "policy" / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(HarnessError, match="no chat template"):
        asked(tmp_path / "train-x", tmp_path / "out")


def test_another_lm_eval_is_refused(policies, tmp_path):
    with pytest.raises(HarnessError, match=r"lm-eval is .* asks for 0\.1"):
        asked(policies[0], tmp_path / "out", lm_eval="0.1")


RECIPE = """name = "x"
replicates = 2
[[benchmark]]
{}
[[algorithm]]
name = "dpo"
"""


def recipe(folder: Path, table: str) -> Plan:
    path = folder / "r.toml"
    path.write_text(RECIPE.format(table))
    return plan_of(read_recipe(path))


def own_tasks(folder: Path) -> Path:
    (folder / "mine").mkdir()
    LAB.write_tasks(folder / "mine")
    return folder / "mine"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('tasks = ["lab_chose_fact"]', "r.toml:4: there is no task 'lab_chose_fact'; did you mean 'lab_choose_fact'?"),
        ('tasks = ["arc_esy"]', "there is no task 'arc_esy'; did you mean 'arc_easy'?"),
        ('tasks = ["mine_too"]\nfolder = "mine"', "there is no task 'mine_too'"),
        ('tasks = ["a"]\nfolder = "empty"', "benchmark.folder 'empty' holds no task"),
        ('tasks = ["a"]\nfolder = "gone"', "benchmark.folder is 'gone'; it must be a folder that is there"),
        ("tasks = 3", "benchmark.tasks is 3; it must be a list of names"),
        ("tasks = []", "it must be a list of names"),
        ('tasks = ["lab_say_fact", "lab_say_fact"]', "task 'lab_say_fact' is asked for twice"),
        ("shot = 2", "benchmark has no knob 'shot'; did you mean 'shots'?"),
        ("margin = 0", "benchmark.margin is 0"),
    ],
)
def test_a_mistake_has_one_message(tmp_path, table, said):
    own_tasks(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(HarnessError) as error:
        recipe(tmp_path, table)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def benches(plan: Plan) -> dict[str, Bench]:
    return {stage.name: stage for stage in plan.stages() if isinstance(stage, Bench)}


def test_each_policy_is_asked_once_the_start_and_the_base_too(tmp_path):
    plan = recipe(tmp_path, "")
    asked_of = [stage.inputs["policy"] for stage in benches(plan).values()]
    assert len(asked_of) == len(set(asked_of)) == 2 * 2 + 1
    assert sorted(str(one.algorithm["name"]) for one in asked_of if isinstance(one, Train)) == [
        "dpo", "dpo", "pretrain", "sft", "sft",
    ]  # fmt: skip
    bare = tmp_path / "bare.toml"
    bare.write_text('name = "x"\nreplicates = 2\n[[algorithm]]\nname = "dpo"\n')
    without = {stage.name for stage in plan_of(read_recipe(bare)).stages()}
    assert without == {stage.name for stage in plan.stages()} - set(benches(plan)), "no other key changes"


def test_what_changes_an_answer_is_in_the_key(tmp_path):
    keyed = set(benches(recipe(tmp_path, "")))
    for table in ("chat = false", "shots = 2", "limit = 8", "batch = 2", 'tasks = ["lab_say_fact"]'):
        assert not keyed & set(benches(recipe(tmp_path, table))), table
    assert keyed == set(benches(recipe(tmp_path, "margin = 0.1"))), "the margin is the report's"
    found = next(iter(benches(recipe(tmp_path, "")).values()))
    assert from_spec({**found.spec, "lm_eval": "0.1"}, found.inputs).name not in keyed


def test_a_folder_of_tasks_is_known_by_its_content(tmp_path, policies):
    table = 'tasks = ["lab_say_fact"]\nfolder = "mine"'
    folder = own_tasks(tmp_path)
    keyed = set(benches(recipe(tmp_path, table)))
    folder.rename(tmp_path / "moved")
    assert keyed == set(benches(recipe(tmp_path, table.replace("mine", "moved"))))
    stage = next(iter(benches(recipe(tmp_path, table.replace("mine", "moved"))).values()))
    data = tmp_path / "moved" / "lab_say_fact.jsonl"
    data.write_text(data.read_text().replace("mention", "mention", 1) + "\n")
    assert not keyed & set(benches(recipe(tmp_path, table.replace("mine", "moved"))))
    with pytest.raises(HarnessError, match="have changed since the recipe was read"):
        write_scores(tmp_path, policies[0], None, {}, stage)


def _benched(root: Path, effects: dict[str, float], margin: float, looks: tuple[int, ...] = ()) -> pd.DataFrame:
    """A comparison in which the start is right on half of 200 documents and each contestant on so many more."""
    import numpy as np

    cells = make_cells(list(effects), 5)
    fill(root / "results", cells, World(dict.fromkeys(effects, 0.0), prompts=8, samples=2))
    made = []
    for cell in cells:
        hard = np.random.default_rng(0).permutation(200)
        flips = np.random.default_rng([cell.replicate, *cell.contestant.encode()]).random(200) < 0.02
        right = (hard < 100 + 200 * effects.get(cell.contestant, 0.0)) ^ flips
        made.append(benched(root / "results", cell, right))
    plan = make_plan(made, 5)
    recipe = replace(plan.recipe, benchmarks=(Benchmark(tasks=("t",), margin=margin),), looks=looks)
    plan = replace(plan, recipe=recipe)
    build(plan, Store(root / "results"), root / "report")
    return pd.read_parquet(root / "report" / "tables" / "benchmarks.parquet").set_index("contestant")


def test_the_alignment_tax_is_told_by_document(tmp_path):
    table = _benched(tmp_path, {"dpo": -0.2, "kto": 0.0}, margin=0.05)
    assert table.loc["dpo", "verdict"] == "lower"
    assert table.loc["dpo", "difference"] == pytest.approx(-0.2, abs=0.03)
    assert table.loc["dpo", "difference_high"] < 0 > table.loc["dpo", "difference_low"]
    assert table.loc["kto", "verdict"] == "equivalent"
    assert table.loc["kto", "p_equivalent_holm"] < 0.05
    own = table.loc["dpo", "value"] - table.loc["sft", "value"]
    assert table.loc["dpo", "difference"] == pytest.approx(own)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Benchmarks and alignment tax" in text
    assert "Lower than the start: dpo on t." in text
    assert "1 difference of 2 is shown to lie within the margin of ±0.05." in text
    answer = text.split("## Answer")[1].split("\n## ")[0]
    assert "Significantly lower than the start on a benchmark: dpo on t (−0." in answer
    assert "which is recommended" not in answer, "whoever is recommended was asked"


def test_of_one_task_the_main_table_has_its_difference(tmp_path):
    table = _benched(tmp_path, {"dpo": -0.2, "kto": 0.0}, margin=0.05)
    main = pd.read_parquet(tmp_path / "report" / "tables" / "main.parquet").set_index("contestant")
    ends = {"benchmarks": "difference", "benchmarks_low": "difference_low", "benchmarks_high": "difference_high"}
    for name in ("dpo", "kto"):
        assert [main.loc[name, one] for one in ends] == pytest.approx([table.loc[name, one] for one in ends.values()])
    assert main.loc["sft", "benchmarks"] == 0
    assert main.loc["sft", ["benchmarks_low", "benchmarks_high"]].isna().all()
    head = (tmp_path / "report" / "report.md").read_text().split("## Contestants")[1]
    assert "| benchmarks − start [95 %] |" in head.split("## ")[0]


def _of_tasks(root: Path, asked: dict[str, tuple[str, int, str]], lacks: dict[str, str], lost: set[tuple[str, int]]):
    """The table of contestants, where each task has a metric, so many documents and a mark of whose they are.

    `lacks` names the task that a contestant was not asked, `lost` the runs that failed.
    """
    import numpy as np

    effects, made = {"dpo": -0.2, "kto": 0.1}, []
    cells = make_cells(list(effects), 5)
    fill(root / "results", cells, World(dict.fromkeys(effects, 0.0), prompts=8, samples=2), skip=lost)
    for cell in cells:
        known = (cell.contestant, cell.replicate) not in lost
        for task, (metric, many, asks) in asked.items() if known else ():
            if lacks.get(cell.contestant) != task:
                rng = np.random.default_rng([cell.replicate, *cell.contestant.encode(), *task.encode()])
                right = rng.random(many) < 0.5 + effects.get(cell.contestant, 0.0) * (task == "long")
                cell = benched(root / "results", cell, right, task, metric, asks)
        if not known:
            fail(root / "results", cell.policy, "divergence")
        made.append(cell)
    plan = _asking(make_plan(made, 5), tuple(asked))
    build(plan, Store(root / "results"), root / "report")
    tables = root / "report" / "tables"
    main, table = (pd.read_parquet(tables / f"{name}.parquet") for name in ("main", "benchmarks"))
    return main.set_index("contestant"), table.set_index(["contestant", "task", "metric"])["difference"]


def test_each_task_counts_alike_however_many_documents_it_has(tmp_path):
    asked = {"long": ("acc", 300, "x"), "short": ("exact_match,first", 20, "y"), "odd": ("brier_score", 50, "z")}
    main, each = _of_tasks(tmp_path, asked, lacks={}, lost={("dpo", 4)})
    for name in ("dpo", "kto"):
        two = [each[name, "long", "acc"], each[name, "short", "exact_match,first"]]
        assert each[name, "odd", "brier_score"] != 0, "it is told, but no share of which more is better"
        assert main.loc[name, "benchmarks"] == pytest.approx(sum(two) / 2), "a failed run counts as the start in both"
        assert main.loc[name, "benchmarks_low"] < main.loc[name, "benchmarks"] < main.loc[name, "benchmarks_high"]


def test_who_lacks_a_task_has_no_mean(tmp_path):
    asked = {"long": ("acc", 60, "x"), "short": ("acc", 20, "y")}
    main, _ = _of_tasks(tmp_path, asked, lacks={"kto": "short"}, lost=set())
    assert main["benchmarks"].isna().to_dict() == {"sft": False, "dpo": False, "kto": True}


def test_tasks_that_ask_the_same_documents_do_not_count_as_independent(tmp_path):
    """Two tasks with the same answers to the same documents say no more than one; with others' documents they do."""
    import numpy as np

    widths = []
    for number, marks in enumerate((("x", "x"), ("x", "y"))):
        cells, made = make_cells(["dpo"], 5), []
        root = tmp_path / str(number)
        fill(root / "results", cells, World({"dpo": 0.0}, prompts=8, samples=2))
        for cell in cells:
            rng = np.random.default_rng([cell.replicate, cell.is_start])
            right = (np.random.default_rng(cell.is_start).random(50) < 0.5) ^ (rng.random(50) < 0.02)
            for task, asks in zip(("a", "b"), marks, strict=True):
                cell = benched(root / "results", cell, right, task, "acc", asks)
            made.append(cell)
        plan = _asking(make_plan(made, 5), ("a", "b"))
        tables = read(plan, Store(root / "results"))
        compared = compare(plan, tables)
        one = next(row for row in compared[0].standings if row.name == "dpo").estimates["benchmarks"]
        each = benchmarks_sheet(plan, compared, tables).frame.set_index(["contestant", "task"]).loc["dpo", "a"]
        assert one.value == pytest.approx(each["difference"])
        if marks == ("x", "x"):
            assert (one.low, one.high) == pytest.approx((each["difference_low"], each["difference_high"]))
        widths.append(one.high - one.low)
    assert widths[1] < 0.8 * widths[0]


def _asking(plan: Plan, tasks: tuple[str, ...]) -> Plan:
    return replace(plan, recipe=replace(plan.recipe, benchmarks=(Benchmark(tasks=tasks, margin=0.05),)))


def test_of_several_metrics_one_stands_for_the_task():
    asked = [("t", "acc"), ("t", "acc_norm"), ("u", "exact_match,b"), ("u", "exact_match,a"), ("v", "brier_score")]
    assert _main_metrics(sorted(asked)) == {"t": "acc_norm", "u": "exact_match,a"}


def test_the_answer_says_that_the_recommended_was_asked_no_benchmark():
    asked = {"setting": "here", "contestant": "sft", "task": "t", "value": 0.5}
    other = {"setting": "here", "contestant": "ilf", "gap": NOT_ASKED}
    sheet = Sheet("benchmarks", "", make_frame([asked, other], _FRAME), {})
    (told,) = tax(sheet, "here", "ilf")
    assert told == f"What ilf, which is recommended, loses on the benchmarks is not known ({NOT_ASKED})."
    assert tax(sheet, "here", "sft") == []
    assert tax(sheet, "elsewhere", "ilf") == [], "where no benchmark was asked of anybody"


def test_each_margin_is_told_where_tasks_differ_in_it():
    rows = [{"verdict": "equivalent", "margin": 0.02}, {"verdict": "lower", "margin": 0.1}, {"verdict": "equivalent",
            "margin": 0.02}, {"verdict": None, "margin": 0.5}]  # fmt: skip
    assert _margins(rows) == "the margin of the task (±0.02 or ±0.1)"
    assert _margins(rows[:1]) == "the margin of ±0.02"


def test_a_tighter_margin_shows_nothing_equal(tmp_path):
    table = _benched(tmp_path, {"kto": 0.0}, margin=0.001)
    assert table.loc["kto", "verdict"] == "cannot separate"


def answers(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "documents.parquet").set_index(["role", "prompt_id"])["response"]


def test_lm_evals_own_cache_warmed_by_one_policy_does_not_answer_for_another(policies, tmp_path, monkeypatch):
    """Its issue 4063: the fault is shown to be there, and not to be ours, with both of its caches warm."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("LM_HARNESS_CACHE_PATH", str(tmp_path / "requests"))
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path / "requests"))
    tasks = own_tasks(tmp_path)

    def theirs(policy: Path, cache: str | None) -> list[Any]:
        model, tokenizer = load_policy(policy / "policy")
        found = simple_evaluate(
            HFLM(pretrained=model, tokenizer=tokenizer, device="cpu", batch_size=32),
            tasks=["lab_choose_fact"], limit=6, apply_chat_template=True,
            task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
            use_cache=cache, cache_requests=True, bootstrap_iters=0,
        )  # fmt: skip
        return [sample["resps"] for sample in found["samples"]["lab_choose_fact"]]

    cache = str(tmp_path / "answers")
    first = theirs(policies[0], cache)
    assert theirs(policies[1], cache) == first, "lm-eval has mended its cache: this test is no longer needed"
    assert theirs(policies[1], None) != first
    given = {"tasks": ["lab_choose_fact"], "limit": 6}
    for number, policy in enumerate(policies):
        asked(policy, tmp_path / f"warm-{number}", **given)
    own, other = (answers(tmp_path / f"warm-{number}") for number in range(2))
    assert (own != other).all()


def test_stages_of_one_results_folder_have_their_own_answers(tmp_path, policies, monkeypatch):
    """Two policies under their keys, one after the other in one process: each stage's record holds its own."""
    from harness.execute import execute

    monkeypatch.setattr(grade, "trained_on", lambda stage, only=None: {})
    store, made = Store(tmp_path), []
    for number, policy in enumerate(policies):
        train = Train({}, algorithm={"name": "pretrain", "version": 1, "knobs": {}}, dataset=None, split="", budget={},
                      seed=f"pretrain-{number}")  # fmt: skip
        shutil.copytree(policy, store.prepare(train), dirs_exist_ok=True)
        store.finish(train.name, {"files": store.outputs(train.name), "measurements": []})
        made.append(from_spec(bench(limit=6).spec, {"policy": train}))
        store.prepare(made[-1])
        assert execute(tmp_path / made[-1].name).status == "done"
    one, other = (answers(tmp_path / stage.name) for stage in made)
    assert made[0].name != made[1].name
    assert (one != other)["lab_choose_fact"].all()


GROUP = {"group": "facts", "task": ["lab_choose_fact", "lab_say_fact"],
         "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}]}  # fmt: skip


def test_a_group_of_a_folder_with_examples_and_a_limit(policies, tmp_path):
    folder = own_tasks(tmp_path)
    (folder / "facts.yaml").write_text(json.dumps(GROUP, indent=1))
    plan = recipe(tmp_path, 'tasks = ["facts"]\nfolder = "mine"\nshots = 2\nlimit = 3')
    stage = next(iter(benches(plan).values()))
    assert (stage.tasks, stage.shots, stage.limit) == (["facts"], 2, 3)
    (tmp_path / "out").mkdir()
    write_scores(tmp_path / "out", policies[0], None, {}, stage)
    table = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert table.groupby("role", observed=True)["prompt_id"].nunique().to_dict() == dict.fromkeys(GROUP["task"], 3)
    _, tokenizer = load_policy(policies[0] / "policy")
    documents = pd.read_parquet(tmp_path / "out" / "documents.parquet")
    truths = {document["prompt"]: document["truth"] for document in documents_of(tmp_path)}
    for prompt in documents["prompt"]:
        turns = re.findall(r"<(user|assistant)> (.*?) (?:</s>|$)", prompt)
        assert [role for role, _ in turns] == ["user", "assistant"] * 2 + ["user"]
        assert [truths[turns[i][1]] for i in (0, 2)] == [turns[i][1] for i in (1, 3)], "examples are answered rightly"
        messages = [{"role": role, "content": text} for role, text in turns]
        assert prompt_hash(render_prompt(tokenizer, messages)) in set(table["prompt_hash"])


def hub_task(folder: Path, **given: Any) -> Path:
    folder.mkdir()
    task = {"task": "far", "dataset_path": "owner/not-there", "test_split": "test", "doc_to_text": "{{q}}",
            "doc_to_target": "{{a}}", "output_type": "generate_until",
            "metric_list": [{"metric": "exact_match"}]}  # fmt: skip
    (folder / "far.yaml").write_text(json.dumps({**task, **given}))
    return folder


def from_folder(folder: Path, **given: Any) -> Bench:
    where = {"path": str(folder), "sha256": folder_digest(folder)}
    return bench(**{"source": None, "tasks": ["far"], **where, **given})


def test_documents_that_the_hub_does_not_give_are_one_message(policies, tmp_path, monkeypatch):
    """Where there is no network, as on a compute node."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(HarnessError) as error:
        write_scores(tmp_path, policies[0], None, {}, from_folder(hub_task(tmp_path / "far")))
    said = str(error.value)
    assert said.startswith("the documents of far cannot be had: ")
    assert "owner/not-there" in said
    assert "hub: is there a network, or have they been fetched before" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("task", "stage", "said"),
    [
        ({"num_fewshot": 0}, {"shots": 2}, "task 'far' is asked without examples by its authors' rule"),
        ({"unsafe_code": True}, {}, "task 'far' runs code that the model writes"),
    ],
)
def test_what_a_task_forbids_is_one_message(policies, tmp_path, task, stage, said):
    data = tmp_path / "far.jsonl"
    data.write_text('{"q": "the farm .", "a": "x"}\n')
    local = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}}
    folder = hub_task(tmp_path / "far", **local, **task)
    with pytest.raises(HarnessError, match=re.escape(said)):
        write_scores(tmp_path, policies[0], None, {}, from_folder(folder, **stage))


def test_a_share_stays_between_0_and_1_and_is_never_sure(tmp_path):
    table = _benched(tmp_path, {"dpo": 0.5}, margin=0.05)
    assert table.loc["dpo", "value"] > 0.95
    assert table.loc["dpo", "value_high"] < 1
    assert table.loc["dpo", "value_low"] < table.loc["dpo", "value"]


def test_looking_more_than_once_is_paid_for(tmp_path):
    once, twice = (_benched(tmp_path / str(len(looks)), {"dpo": -0.02}, 0.05, looks) for looks in ((), (3, 5)))
    for name in ("p_holm", "p_equivalent_holm"):
        assert 0 < once.loc["dpo", name] < 0.5
        assert twice.loc["dpo", name] == pytest.approx(2 * once.loc["dpo", name])


def test_a_run_is_lost_whatever_failed_before_its_policy():
    """Iterated methods collect responses first; where sampling or grading fails the policy is there, and was asked."""
    failed = ["train-a", "collect-b", "reference-c", "sample-d", "grade-e"]
    gaps = pd.DataFrame(
        {"setting": "s", "status": "failed", "contestant": "ilf", "replicate": range(5), "stage": failed}
    )
    waiting = gaps.assign(status="waiting", replicate=9)
    assert lost_policies("s", SimpleNamespace(gaps=pd.concat([gaps, waiting]))) == {"ilf": [0, 1, 2]}

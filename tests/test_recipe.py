"""A recipe is read whole or refused whole, with file, line, what came and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.plan import make_plan
from harness.recipe import read_recipe

SHORTEST = 'name = "x"\n[[algorithm]]\nname = "dpo"\n'


def write(folder: Path, text: str, name: str = "r.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refusal(path: Path, sets: list[str] | None = None) -> str:
    with pytest.raises(HarnessError) as caught:
        read_recipe(path, sets)
    return str(caught.value)


def test_the_shortest_recipe_has_sensible_defaults(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, SHORTEST))
    assert (recipe.replicates, recipe.evaluation.margin, recipe.launch.executor) == (5, 0.1, "local")
    assert [part.name for part in (*recipe.models, *recipe.datasets, *recipe.starts)] == ["lab", "lab", "sft"]
    assert {role: part.split for role, part in recipe.rewards.items()} == {
        "proxy": "proxy", "selection": "selection", "gold": "gold",
    }  # fmt: skip
    assert recipe.rewards["gold"].pretrain == 1, "gold has a base from another pretraining seed"


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_bytes(b"\xef\xbb\xbf" + SHORTEST.encode())
    path = tmp_path / "r.toml"
    path.write_bytes(b'\xef\xbb\xbfextends = "base.toml"\nname = "y"\n')
    assert (read_recipe(path).name, read_recipe(path).contestants[0].algorithm) == ("y", "dpo")
    assert read_recipe(path, text=f"\ufeff{SHORTEST}").name == "x"
    path.write_bytes(b"\xef\xbb\xbf" + SHORTEST.replace('"x"', "3").encode())
    assert refusal(path).startswith(f"{path}:1: name is 3; ")
    path.write_bytes(b"\xef\xbb\xbfname = x\n")
    assert refusal(path).startswith(f"{path}:1: this is no TOML: Invalid value (at line 1, column 8)")


BAD = {
    "misspelt knob": ('[[algorithm]]\nname = "dpo"\nbta = 0.1', ":4: dpo has no knob 'bta'; did you mean 'beta'?"),
    "wrong type": ('[[algorithm]]\nname = "dpo"\nbeta = "big"', ":4: dpo.beta is 'big'; it must be a number (str"),
    "no whole number": (f"{SHORTEST[11:]}\n[budget]\nsteps = 1.5", "budget.steps is 1.5; it must be a whole number (opt"),
    "no truth": (f"{SHORTEST[11:]}\n[evaluation]\ngreedy = 1", "evaluation.greedy is 1; it must be true or false (also"),
    "no text": (f"{SHORTEST[11:]}\n[budget]\nschedule = 1", "budget.schedule is 1; it must be text (learning rate"),
    "out of range": ('[[algorithm]]\nname = "dpo"\nbeta = -1', ":4: dpo.beta is -1; valid: (0, inf)"),
    "unknown algorithm": ('[[algorithm]]\nname = "dop"', ":3: there is no algorithm 'dop'; did you mean 'dpo'?"),
    "reward as contestant": ('[[algorithm]]\nname = "reward"', ":3: there is no algorithm 'reward'"),
    "simpo with a reference": ('[[algorithm]]\nname = "simpo"\nreference = "sft"', "simpo has no knob 'reference'"),
    "unknown table": (f"{SHORTEST[11:]}\n[budgett]\nsteps = 3", "a recipe has no 'budgett'; did you mean 'budget'?"),
    "slurm without a time limit": (f'{SHORTEST[11:]}\n[launch]\nexecutor = "slurm"', "'slurm' needs launch.timeout_min"),
    "executor": (f'{SHORTEST[11:]}\n[launch]\nexecutor = "slurn"', "there is no executor 'slurn'; did you mean 'slurm'"),
    "benchmark elsewhere": (f'{SHORTEST[11:]}\n[evaluation]\nlm_eval = ["piqa"]', "evaluation has no 'lm_eval'; lm-eval tasks are written as [[benchmark]]"),
    "micro-batch": (f"{SHORTEST[11:]}\n[budget]\nmicro_batch = 7", "budget.micro_batch is 7; it must divide budget.batch = 32"),
    "one table for many": ('[algorithm]\nname = "dpo"', "algorithm must be written as [[algorithm]]"),
    "no algorithm": ("replicates = 3", "a recipe needs at least one [[algorithm]]"),
    "steps beyond the end": (f"{SHORTEST[11:]}\n[evaluation]\nat = [60]", "evaluation.at has 60; steps go from 1 to 59"),
    "unknown metric": (f'{SHORTEST[11:]}\n[evaluation]\nmetrics = ["lenght"]', "no metric 'lenght'; did you mean 'length'?"),
    "tuning split reported": (f'{SHORTEST[11:]}\n[evaluation]\nsplit = "tune"', "evaluation.split is 'tune': it is for choosing knobs"),
    "trained split reported": (f'{SHORTEST[11:]}\n[evaluation]\nsplit = "train"', "evaluation.split is 'train': policies train on it; use test or ood"),
    "gold is the proxy": (f'{SHORTEST[11:]}\n[reward.gold]\nsplit = "proxy"', "reward.proxy and reward.gold both train on split 'proxy'"),
    "gold on policy data": (f'{SHORTEST[11:]}\n[reward.gold]\nsplit = "train"', "policies and reward.gold both train on split 'train'"),
    "unknown rule": (f'{SHORTEST[11:]}\n[reward.proxy]\nrule = "totl"', "has no rule reward 'totl'; did you mean 'total'?"),
    "a rule as gold": (f'{SHORTEST[11:]}\n[reward.gold]\nrule = "total"', "gold is a reward model"),
    "a penalty that cannot adapt": (
        '[[algorithm]]\nname = "ppo"\nkl_target = 2.0\ngrid = {beta = [0.0, 0.1]}',
        ":2: ppo: kl_target adapts beta, which is 0 and would stay it; give beta a start above 0",
    ),
    "dimensions of rankings": (
        f'{SHORTEST[11:]}\n[reward.proxy]\ndata = "rankings"\ndimensions = "helpful=1"',
        "reward: dimensions needs data = 'pairs'",
    ),
    "unknown role": (f'{SHORTEST[11:]}\n[reward.golden]\nsteps = 3', "there is no reward role 'golden'; did you mean 'gold'?"),
    "same label twice": (
        '[[algorithm]]\nname = "dpo"\nlabel = "x"\n[[algorithm]]\nname = "ipo"\nlabel = "x"',
        """'x' needs a label of its own: label = "..." (the other: """,
    ),
    "the start's label": ('[[algorithm]]\nname = "dpo"\nlabel = "sft"', "'sft' needs a label of its own"),
    "same cell twice": ('[[algorithm]]\nname = "dpo"\n[[algorithm]]\nname = "dpo"\nbeta = 0.1', "is the same cell as another one"),
    "same start twice": (f'{SHORTEST[11:]}\n[[start]]\nname = "sft"\n[[start]]\nname = "sft"', "'sft' is there twice"),
    "knobs of an untrained start": (f'{SHORTEST[11:]}\n[[start]]\nname = "base"\nsteps = 3', "start 'base' takes no 'steps'"),
    "empty axis": ('[[algorithm]]\nname = "dpo"\ngrid.beta = []', "an axis is a list of at least one value"),
    "value twice": ('[[algorithm]]\nname = "dpo"\ngrid.beta = [0.1, 0.1]', "dpo.grid.beta has 0.1 more than once"),
    "fixed and axis": ('[[algorithm]]\nname = "dpo"\nbeta = 0.2\ngrid.beta = [0.1]', "both fixed and an axis"),
    "one label in six digits": (
        '[[algorithm]]\nname = "dpo"\nbeta = 0.1\n[[algorithm]]\nname = "dpo"\nbeta = 0.10000001',
        """:5: [[algorithm]] 'dpo beta=0.1' needs a label of its own: label = "..." (the other: """,
    ),
    "the label of a tuned one": (
        '[[algorithm]]\nname = "dpo"\n[[algorithm]]\nname = "ipo"\nlabel = "dpo tuned"\n[tune]',
        ":4: 'dpo tuned' is what 'dpo' is called once it is tuned; it needs another label",
    ),
    "the only start spelt out": (
        '[[algorithm]]\nname = "dpo"\n[[algorithm]]\nname = "dpo"\nstart = "sft"',
        ":4: dpo from sft is the same cell as another one (",
    ),
    "the start that an algorithm has anyway": (
        '[[algorithm]]\nname = "base"\n[[algorithm]]\nname = "base"\nstart = "base"',
        ":4: base from base is the same cell as another one (",
    ),
    "a label that is a number": ('[[algorithm]]\nname = "dpo"\nlabel = 3', ':4: algorithm.label is 3; it must be text on one line, such as "dpo 2"'),
    "a label that is a list": (f'{SHORTEST[11:]}\n[[start]]\nname = "sft"\nlabel = ["x"]', "start.label is ['x']; it must be text on one line"),
    "a label of two lines": (f'{SHORTEST[11:]}\n[[dataset]]\nsource = "lab"\nlabel = "a\\nb"', "dataset.label is 'a\\nb'; it must be text on one line"),
    "a label of nothing": (f'{SHORTEST[11:]}\n[[model]]\nsource = "lab"\nlabel = "  "', "model.label is '  '; it must be text on one line"),
    "a judge's label": (f'{SHORTEST[11:]}\n[[judge]]\nsource = "rule"\nlabel = 0', "judge.label is 0; it must be text on one line"),
    "two equal datasets": (
        f'{SHORTEST[11:]}\n[[dataset]]\nsource = "lab"\n[[dataset]]\nsource = "lab"\nlabel = "b"\nseed = 0',
        "[[dataset]] 'b' is the same as 'lab' (the other: ",
    ),
    "two equal models": (
        f'{SHORTEST[11:]}\n[[model]]\nsource = "lab"\nlabel = "a"\n[[model]]\nsource = "lab"\nlabel = "b"',
        "[[model]] 'b' is the same as 'a' (the other: ",
    ),
    "two equal starts": (
        f'{SHORTEST[11:]}\n[[start]]\nname = "sft"\n[[start]]\nname = "sft"\nlabel = "again"\nlearning_rate = 1e-3',
        "[[start]] 'again' is the same as 'sft' (the other: ",
    ),
    "not a number": (f"{SHORTEST}beta = nan", ":4: dpo.beta is nan; valid: (0, inf)"),
    "infinite": (f"{SHORTEST[11:]}\n[budget]\nweight_decay = inf", "budget.weight_decay is inf; valid: [0, inf)"),
    "more than a float holds": (f"{SHORTEST}beta = 1{'0' * 400}", "it must be a number"),
    "more steps than a float holds": (f"{SHORTEST[11:]}\n[budget]\nsteps = 1{'0' * 400}", "valid: [1, inf)"),
    "infinite where all else goes": (f'{SHORTEST[11:]}\n[[dataset]]\nsource = "lab"\nlength_bias = -inf', "lab.length_bias is -inf; valid: (-inf, inf)"),
    "infinitely many seeds": (f"replicates = inf\n{SHORTEST[11:]}", "replicates is inf; it must be a whole number from 1"),
    "a start's micro-batch": (
        f'{SHORTEST[11:]}\n[[start]]\nname = "sft"\nbatch = 10\nmicro_batch = 4',
        ":8: start sft.micro_batch is 4; it must divide the batch, which is 10",
    ),
    "a start's micro-batch of the budget's batch": (
        f'{SHORTEST[11:]}\n[budget]\nbatch = 16\n[[start]]\nname = "sft"\nmicro_batch = 32',
        "start sft.micro_batch is 32; it must divide the batch, which is 16",
    ),
    "a reward model's micro-batch": (
        f"{SHORTEST[11:]}\n[reward.gold]\nmicro_batch = 5",
        ":6: reward.gold.micro_batch is 5; it must divide the batch, which is 32",
    ),
    "no gold in the report": (f'{SHORTEST[11:]}\n[evaluation]\nmetrics = ["length"]', "evaluation.metrics lacks 'reward', by which contestants are compared"),
    "a reward model on what is evaluated": (
        f'{SHORTEST[11:]}\n[reward.gold]\nsplit = "test"',
        ":6: reward.gold trains on split 'test', whose prompts are evaluated; a split of its own is 'gold'",
    ),
    "evaluated where another reward model trains": (
        f'{SHORTEST[11:]}\n[evaluation]\nsplit = "proxy"\n[reward.gold]\nsplit = "test"',
        "evaluation.split is 'proxy': reward.proxy trains on it; use ood",
    ),
    "looks at one seed": (f"replicates = 1\nlooks = [1]\n{SHORTEST[11:]}", "end at replicates, of which 1 has none"),
    "looks at two seeds": (f"replicates = 2\nlooks = [1, 2]\n{SHORTEST[11:]}", "end at replicates, for example [2]"),
    "a misspelt key of the table": ('[[algorithm]]\nname = "dpo"\nlable = "x"', "did you mean 'label'? (knobs: learning_rate, beta, "),
    "a misspelt key of [tune]": (f"{SHORTEST[11:]}\n[tune]\nlimit = 3", "did you mean 'limits'?"),
    "a misspelt key of a reward": (f"{SHORTEST[11:]}\n[reward.proxy]\nslit = 'proxy'", "did you mean 'split'?"),
    "a misspelt key of a start": (f"{SHORTEST[11:]}\n[[start]]\nname = 'sft'\nmicro_bach = 3", "did you mean 'micro_batch'?"),
    "a misspelt key of the evaluation": (f"{SHORTEST[11:]}\n[evaluation]\nmetric = []", "did you mean 'metrics'?"),
    "a misspelt key of a judge": (f"{SHORTEST[11:]}\n[[judge]]\nsource = 'rule'\nprompt = 3", "did you mean 'prompts'?"),
    "a misspelt key of a benchmark": (f"{SHORTEST[11:]}\n[[benchmark]]\ntask = []", "did you mean 'tasks'?"),
    "too long a name": (f'name = "{"é" * 51}"\n[[algorithm]]\nname = "dpo"', ":1: name has 102 bytes; it must have 100 at most, for it names folders"),
    "bad name": ('name = "a/b"\n[[algorithm]]\nname = "dpo"', "name is 'a/b'; it must be letters"),
    "half a replicate": (f"replicates = 0.5\n{SHORTEST[11:]}", "replicates is 0.5; it must be a whole number from 1"),
    "unknown dataset": (f'{SHORTEST[11:]}\n[[dataset]]\nsource = "labb"', "there is no data 'labb'; did you mean 'lab'?"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_each_mistake_is_refused_with_what_would_be_right(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    text = text if text.startswith("name = ") else f'name = "x"\n{text}'
    path = write(tmp_path, text)
    found = refusal(path)
    assert message in found
    assert f"{path}:" in found, "the message names file and line"


def test_a_contestant_that_is_there_twice_is_told_once(tmp_path: Path) -> None:
    found = refusal(write(tmp_path, f'{SHORTEST}[[algorithm]]\nname = "dpo"\n')).splitlines()
    assert len(found) == 1
    assert "r.toml:4: dpo is the same cell as another one (" in found[0]
    found = refusal(write(tmp_path, f"{SHORTEST}grid.beta = [0.1, 0.1]\n")).splitlines()
    assert len(found) == 1


def test_from_another_start_it_is_another_contestant(tmp_path: Path) -> None:
    both = 'name = "x"\n[[start]]\nname = "sft"\n[[start]]\nname = "base"\n'
    text = '[[algorithm]]\nname = "dpo"\n[[algorithm]]\nname = "dpo"\nstart = "sft"\n'
    assert len(read_recipe(write(tmp_path, both + text)).contestants) == 2


def test_values_that_are_alike_in_six_digits_have_labels_that_differ(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, f"{SHORTEST}grid.beta = [0.1, 0.10000001, 0.30000001]\n"))
    assert [one.label for one in recipe.contestants] == ["dpo beta=0.1", "dpo beta=0.10000001", "dpo beta=0.3"]


def test_tables_of_one_algorithm_are_told_apart_by_what_they_set(tmp_path: Path) -> None:
    text = f'{SHORTEST}[[algorithm]]\nname = "dpo"\nbeta = 0.3\n[[algorithm]]\nname = "dpo"\nbeta = 0.5\n'
    labels = [one.label for one in read_recipe(write(tmp_path, text)).contestants]
    assert labels == ["dpo", "dpo beta=0.3", "dpo beta=0.5"]


def test_a_label_that_is_there_twice_is_refused_within_a_table_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.recipe_contestants._told", lambda value, among: "some")
    told = refusal(write(tmp_path, f"{SHORTEST}grid.beta = [0.1, 0.3]\n"))
    assert "'dpo beta=some' needs a label of its own" in told


def test_a_tuned_contestants_label_is_free_where_nothing_is_tuned(tmp_path: Path) -> None:
    text = f'{SHORTEST}[[algorithm]]\nname = "ipo"\nlabel = "dpo tuned"\n'
    assert [one.label for one in read_recipe(write(tmp_path, text)).contestants] == ["dpo", "dpo tuned"]


def test_a_name_of_a_hundred_bytes_is_a_name(tmp_path: Path) -> None:
    assert len(read_recipe(write(tmp_path, SHORTEST.replace('"x"', f'"{"é" * 50}"'))).name) == 50


def test_a_batch_that_a_part_sets_alone_is_one_micro_batch(tmp_path: Path) -> None:
    text = f'{SHORTEST}[budget]\nbatch = 16\nmicro_batch = 8\n[[start]]\nname = "sft"\nbatch = 10\n'
    stage = next(cell for cell in make_plan(read_recipe(write(tmp_path, text))).cells if cell.is_start).policy
    assert (stage.budget["batch"], stage.budget["micro_batch"]) == (10, 10)


def test_all_problems_come_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = 'name = "x"\nrepliactes = 3\n\n[budget]\nstep = 3\n\n[[algorithm]]\nname = "dpo"\ngrid.bta = [\n  0.1,\n  0.2,\n]\nloss = 1\n'
    found = refusal(write(tmp_path, text)).splitlines()
    assert len(found) == 4
    lines = {line.split(":")[1]: line for line in found}
    assert "replicates" in lines["2"]
    assert "steps" in lines["5"]
    assert "bta" in lines["9"]
    assert "no knob 'loss'" in lines["13"]


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    assert "r.toml:2: this is no TOML" in refusal(write(tmp_path, 'name = "x"\nreplicates = = 3\n'))
    assert "there is no such file" in refusal(tmp_path / "none.toml")


def test_values_from_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, SHORTEST)
    recipe = read_recipe(path, ["budget.steps=20", "launch.executor=inline", "evaluation.at=[5, 10]"])
    assert (recipe.budget.steps, recipe.launch.executor, recipe.evaluation.at) == (20, "inline", (5, 10))
    assert "--set budget.stepss: budget has no knob 'stepss'" in refusal(path, ["budget.stepss=1"])
    assert "expected table.key=value" in refusal(path, ["budget.steps"])
    assert "arrays of tables cannot be set from here" in refusal(path, ["algorithm.name=ipo"])


def test_whole_numbers_and_floats_are_one_value(tmp_path: Path) -> None:
    values = [read_recipe(write(tmp_path, f"{SHORTEST}beta = {beta}\n")).contestants[0].knobs for beta in ("1", "1.0")]
    assert values[0] == values[1]
    assert isinstance(values[0]["beta"], float)


def test_extends_merges_tables_and_replaces_arrays(tmp_path: Path) -> None:
    write(tmp_path, f"{SHORTEST}[budget]\nsteps = 40\nbatch = 16\n", "parent.toml")
    child = write(tmp_path, 'extends = "parent.toml"\nname = "child"\n[budget]\nsteps = 10\n')
    recipe = read_recipe(child)
    assert (recipe.name, recipe.budget.steps, recipe.budget.batch) == ("child", 10, 16)
    assert [contestant.algorithm for contestant in recipe.contestants] == ["dpo"]
    other = write(tmp_path, 'extends = "parent.toml"\n[[algorithm]]\nname = "ipo"\n', "other.toml")
    assert [contestant.algorithm for contestant in read_recipe(other).contestants] == ["ipo"]


def test_a_mistake_in_the_parent_is_told_of_the_parent(tmp_path: Path) -> None:
    write(tmp_path, f"{SHORTEST}bta = 1\n", "parent.toml")
    assert "parent.toml:4: dpo has no knob 'bta'" in refusal(write(tmp_path, 'extends = "parent.toml"\n'))


def test_a_file_to_extend_that_is_not_there_is_told_with_its_line(tmp_path: Path) -> None:
    assert f"r.toml:1: there is no file '{tmp_path / 'presets/mine.toml'}' to extend" in refusal(
        write(tmp_path, 'extends = "presets/mine.toml"\n', "r.toml")
    )
    told = refusal(write(tmp_path, 'extends = "presets/simpo_llama3_instruct.toml"\n', "r.toml"))
    assert told.endswith('; the preset of that name is extended as "simpo_llama3_instruct"')


def test_recipes_in_a_ring_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 'extends = "b.toml"\n', "a.toml")
    assert "in a ring" in refusal(write(tmp_path, 'extends = "a.toml"\n', "b.toml"))


def test_a_grid_is_a_product_and_labels_tell_its_points_apart(tmp_path: Path) -> None:
    text = 'name = "x"\n[[algorithm]]\nname = "dpo"\ngrid.beta = [0.1, 0.3]\ngrid.learning_rate = [1e-4, 1e-3]\n[[algorithm]]\nname = "ipo"\nstart = "base"\n'
    labels = [contestant.label for contestant in read_recipe(write(tmp_path, text)).contestants]
    assert labels == [
        "dpo beta=0.1 learning_rate=0.0001", "dpo beta=0.1 learning_rate=0.001",
        "dpo beta=0.3 learning_rate=0.0001", "dpo beta=0.3 learning_rate=0.001", "ipo from base",
    ]  # fmt: skip


def test_who_is_trained_as_the_start_is_and_goes_on_has_another_name(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('name = "r"\n[[start]]\nname = "sft"\n[[algorithm]]\nname = "sft"\n')
    (contestant,) = read_recipe(tmp_path / "r.toml").contestants
    assert (contestant.label, contestant.algorithm) == ("sft continued", "sft")

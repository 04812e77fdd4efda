"""A recipe is read whole or refused whole, with file, line, what came and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
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


BAD = {
    "misspelt knob": ('[[algorithm]]\nname = "dpo"\nbta = 0.1', ":4: dpo has no knob 'bta'; did you mean 'beta'?"),
    "wrong type": ('[[algorithm]]\nname = "dpo"\nbeta = "big"', ":4: dpo.beta is 'big'; it must be a float"),
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
    "trained split reported": (f'{SHORTEST[11:]}\n[evaluation]\nsplit = "train"', "evaluation.split is 'train', which policies train on"),
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
    "bad name": ('name = "a/b"\n[[algorithm]]\nname = "dpo"', "name is 'a/b'; it must be letters"),
    "half a replicate": (f"replicates = 0.5\n{SHORTEST[11:]}", "replicates is 0.5; it must be a whole number from 1"),
    "unknown dataset": (f'{SHORTEST[11:]}\n[[dataset]]\nsource = "labb"', "there is no data 'labb'; did you mean 'lab'?"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_each_mistake_is_refused_with_what_would_be_right(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    text = text if text.startswith('name = "a') else f'name = "x"\n{text}'
    path = write(tmp_path, text)
    found = refusal(path)
    assert message in found
    assert f"{path}:" in found, "the message names file and line"


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

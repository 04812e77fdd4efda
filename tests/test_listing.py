"""`harness list recipe`: every key that the reader takes, and no other, with the default that it has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.commands.listing_recipe import Key, Table, tables
from harness.errors import HarnessError
from harness.job import Budget
from harness.launch import Launch
from harness.recipe import Evaluation, Tune, read_recipe
from harness.recipe_launch import OF_KIND

ROOT = Path(__file__).parents[1]
TABLES = {table.name: table for table in tables()}
OWN_KNOBS = {
    "[[model]]": '[[model]]\nsource = "lab"',
    "[[dataset]]": '[[dataset]]\nsource = "lab"',
    "[[algorithm]]": '[[algorithm]]\nname = "dpo"',
    "[[judge]]": '[[judge]]\nsource = "rule"',
}
"""Tables that have knobs of what they name too, which other lists show."""
OTHERS = {
    "[[start]]": '[[start]]\nname = "sft"',
    '[[judge]] source = "endpoint"': '[[judge]]\nsource = "endpoint"\nurl = "http://x"\nmodel = "y"',
    '[[judge]] source = "local"': '[[judge]]\nsource = "local"\nmodel = "y"',
    '[[judge]] source = "rule"': '[[judge]]\nsource = "rule"',
    "[reward.proxy|selection|gold]": "[reward.gold]",
    "[[hypothesis]]": '[[hypothesis]]\nproof = "tests/x.py::y"\nid = "A1"\nclaim = "c"',
}


def known(text: str, tmp_path: Path) -> set[str]:
    """The keys that the reader offers where a table has one that there is not."""
    (tmp_path / "r.toml").write_text(f'name = "x"\n[[algorithm]]\nname = "dpo"\n{text}\nzzz = 1\n')
    with pytest.raises(HarnessError) as caught:
        read_recipe(tmp_path / "r.toml")
    found = re.search(r"'zzz' \((?:knobs|known): (.*)\)$", str(caught.value), re.MULTILINE)
    assert found, caught.value
    return set(found[1].split(", "))


def keys(table: Table) -> set[str]:
    return {key.name for key in table.keys}


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("recipe", "[reward]")])
def test_the_reader_takes_what_is_listed_and_nothing_else(name: str, tmp_path: Path) -> None:
    text = OWN_KNOBS.get(name) or OTHERS.get(name) or name.partition("|")[0].removesuffix("]") + "]"
    listed, offered = keys(TABLES[name]), known(text, tmp_path)
    if name.startswith('[[judge]] source = "'):
        listed |= keys(TABLES["[[judge]]"])
    if name == "[launch]":
        offered -= {"algorithm", *OF_KIND}  # tables of their own
    assert listed <= offered
    assert name in OWN_KNOBS or listed == offered


def test_the_keys_before_the_first_table(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('zzz = 1\nname = "x"\n[[algorithm]]\nname = "dpo"\n')
    with pytest.raises(HarnessError, match="a recipe has no 'zzz'") as caught:
        read_recipe(tmp_path / "r.toml")
    offered = str(caught.value).partition("(known: ")[2].removesuffix(")").split(", ")
    heads = {table.word for table in TABLES.values()} - {"recipe"}
    assert set(offered) == (keys(TABLES["recipe"]) - {"extends"}) | heads


@pytest.mark.parametrize(
    ("name", "owner"),
    [("[budget]", Budget()), ("[evaluation]", Evaluation()), ("[tune]", Tune()), ("[launch]", Launch())],
)
def test_defaults_are_those_of_a_recipe_that_says_nothing(name: str, owner: object) -> None:
    read = read_recipe(ROOT / "recipes" / "compare_all.toml").evaluation.metrics if name == "[evaluation]" else ()
    for key in (key for key in TABLES[name].keys if key.name != "split" or name != "[tune]"):
        usual = list(read) if key.name == "metrics" else getattr(owner, key.name)
        assert key.default == (list(usual) if isinstance(usual, tuple) else usual), key


def listing(word: str) -> str:
    done = CliRunner().invoke(app, ["list", word])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_person_reads_defaults_as_a_recipe_has_them() -> None:
    told = listing("budget")
    for line in (
        "[budget]: what every contestant may spend, alike for all; part of every key",
        "  warmup = 0.1  share of the steps in which the learning rate rises [a number: [0, 1]]",
        "  max_grad_norm = 1.0  gradients are clipped to this norm [a number: (0, inf)]",
        "  lora_alpha = 16.0  LoRA's scale, divided by the rank [a number: (0, inf)]",
        "  schedule = \"linear\"  learning rate after warm-up [text: one of 'linear', 'cosine', 'constant']",
    ):
        assert line in told.split("\n")
    assert "[launch]" not in told
    assert "  greedy = true  " in listing("evaluation")
    assert "  limits = {kl = 50.0, degenerate = 0.25}  " in listing("tune")
    whole = listing("recipe")
    for name in TABLES:
        assert f"\n{name}: " in f"\n{whole}"
    assert all(line.endswith("]") for line in whole.split("\n") if line.startswith("  ")), "the type, at least"


def test_a_program_reads_it_too() -> None:
    done = CliRunner().invoke(app, ["list", "launch", "--json"])
    launch, some = json.loads(done.stdout)
    timeout = {"name": "timeout_min", "type": "a number", "valid": "[0, inf)", "search": ""}
    assert timeout.items() <= launch["knobs"][0].items()
    assert (launch["knobs"][0]["default"], some["knobs"][0]["default"]) == (0.0, None)


def test_it_is_found() -> None:
    assert "harness list recipe" in (ROOT / "docs" / "recipes.md").read_text()
    told = CliRunner().invoke(app, ["list", "--help"]).stdout
    assert "recipe, for all tables of a recipe" in " ".join(told.split())
    refused = CliRunner().invoke(app, ["list", "budgett"])
    assert "there is no kind 'budgett' to list; did you mean 'budget'? (known: algorithms, " in str(refused.exception)


def test_every_key_has_a_meaning() -> None:
    every = [(name, key) for name, table in TABLES.items() for key in table.keys]
    assert all(isinstance(key, Key) and key.doc and key.type for _, key in every), every

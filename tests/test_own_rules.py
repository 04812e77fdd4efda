"""A rule reward on data of one's own: refused where there is none, and had from a plug-in, as docs/data.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import registry
from harness.data import Dataset
from harness.errors import HarnessError
from harness.plan import make_plan
from harness.recipe import Recipe, read_recipe

DATA = Path(__file__).parents[1] / "docs" / "data.md"
ADD = r"a data plug-in with `rewards` and `score` can add one \(docs/data.md\)$"
FILES = f"files have no rules; {ADD}"
HUB = f"data of the hub has no rules; {ADD}"
SOURCES = {
    "a file": ('source = "hh.jsonl"', "'hh.jsonl'", FILES),
    "files": ('source = "files"\npairs = "hh.jsonl"', "'files'", FILES),
    "the hub": ('source = "trl-lib/kto-mix-14k"', "'trl-lib/kto-mix-14k'", HUB),
    "the lab": ('source = "lab"', "'lab'", r"did you mean 'total'\? \(it gives total, helpful, "),
}


def read(folder: Path, dataset: str, more: str) -> Recipe:
    (folder / "hh.jsonl").write_text('{"prompt": "a b", "chosen": "x y", "rejected": "z"}\n')
    path = folder / "r.toml"
    path.write_text(f'name = "x"\n[[algorithm]]\nname = "ppo"\n{more}\n[[dataset]]\n{dataset}\n')
    return read_recipe(path)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("asks", ['[reward.proxy]\nrule = "totl"', '[[judge]]\nsource = "rule"\ndimension = "totl"'])
def test_a_rule_that_the_data_lacks_is_refused_before_anything_runs(asks: str, source: str, tmp_path: Path) -> None:
    dataset, called, why = SOURCES[source]
    with pytest.raises(HarnessError) as caught:
        read(tmp_path, dataset, asks)
    line = 4 + asks.count("\n")
    assert re.fullmatch(
        rf"{tmp_path}/r.toml:{line}: dataset 1 \({called}\) has no rule reward 'totl'[:;] {why}.*", str(caught.value)
    ), caught.value


def test_the_rule_of_a_judge_that_names_none_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=rf":4: dataset 1 \('hh.jsonl'\) has no rule reward 'total': {FILES}"):
        read(tmp_path, 'source = "hh.jsonl"', '[[judge]]\nsource = "rule"')


def test_a_plug_in_adds_one_as_the_documentation_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = DATA.read_text().split("\n## A rule of your own\n")[1].split("\n## ")[0]
    code, recipe = (re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[0] for language in ("python", "toml"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "brief.py").write_text(code)
    monkeypatch.setenv("HARNESS_PLUGINS", str(tmp_path))
    dataset, proxy = recipe.removeprefix("[[dataset]]\n").split("\n\n")
    more = f'{proxy}\n[[start]]\nname = "base"\n[[judge]]\nsource = "rule"\n[[model]]\nsource = "smollm2-135m"\n'
    plan = make_plan(read(tmp_path, dataset, more))
    assert [cell.reason for cell in plan.cells if cell.contestant == "ppo"] == [""] * 5
    part = plan.recipe.datasets[0]
    data: Dataset = registry.load("data", "brief")(**part.knobs)
    assert data.score([], "one two") == {"total": -0.02}
    assert data.offers() == {"pairs", "prompts"}, "it takes what files take"

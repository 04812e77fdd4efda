from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from synthetic import World, fill, make_cells, make_plan

from harness.records import read
from harness.report import build
from harness.report.components import components_points, components_sheet
from harness.report.standings import compare
from harness.stats.components import components
from harness.stats.parts import parts_of_difference
from harness.store import Store

WORLD = World({"dpo": 1.0, "ipo": 0.4, "cpo": -1.0}, prompts=40, samples=3, sd_seed=0.6, sd_shared=0.5)


def report(root, world=WORLD, replicates=4, skip=frozenset(), **more):
    """The table and the page."""
    cells = make_cells(list(world.gains), replicates)
    fill(root, cells, world, skip=skip)
    page = build(make_plan(cells, replicates, **more), Store(root), root / "out").path.with_suffix(".md").read_text()
    return pd.read_csv(root / "out/tables/components.csv"), page


def compared(root, world=WORLD, replicates=4):
    cells = make_cells(list(world.gains), replicates)
    fill(root, cells, world)
    plan, store = make_plan(cells, replicates), Store(root)
    return compare(plan, read(plan, store))


@pytest.mark.parametrize("paired", [True, False])
def test_a_contestants_own_are_the_variance_of_the_differences_that_verdicts_rest_on(tmp_path: Path, paired) -> None:
    rows, _ = report(tmp_path, paired=paired)
    plan, store = make_plan(make_cells(list(WORLD.gains), 4), 4, paired=paired), Store(tmp_path)
    runs = compare(plan, read(plan, store))[0].runs
    found = [parts_of_difference(runs[a].scores, runs[b].scores, paired=paired) for a, b in combinations(runs, 2)]
    own = rows[~rows["shared"]]
    uncut = np.mean([one.seed + one.prompt - one.cell for one in found])
    assert (2 * own["estimate"] / own["many"]).sum() == pytest.approx(uncut)
    assert own["share"].sum() == pytest.approx(1)
    common = ["seed", "prompt", "seed × prompt", "response"] if paired else ["prompt"]
    assert list(rows[rows["shared"]]["component"]) == common


def test_it_finds_what_was_planted(tmp_path: Path) -> None:
    """In raw units the start's sd is about 2: prompts 1, sampling 1.5, seeds of one's own .6, shared .5."""
    [one] = compared(tmp_path, replace(WORLD, prompts=60, samples=6), replicates=12)
    scale = one.scales["gold"].sd ** 2
    raw = {(part.source, part.shared): scale * part.variance for part in one.components.parts}
    assert raw["response", False] == pytest.approx(1.5**2, rel=0.1)
    assert raw["prompt", True] == pytest.approx(1, rel=0.5)
    assert raw["seed", False] == pytest.approx(0.6**2, rel=0.6)
    assert abs(raw["prompt", False]) < 0.05
    assert abs(raw["response", True]) < 0.1


def test_a_negative_estimate_is_shown_as_none_with_a_note(tmp_path: Path) -> None:
    rows, page = report(tmp_path)
    negative = rows["estimate"] < 0
    assert negative.any()
    assert (rows.loc[negative, ["variance", "in_difference", "share"]] == 0).all(axis=None)
    assert (rows.loc[negative, "note"] == "the estimate is negative, so that none is seen").all()
    assert (rows.loc[~negative, "variance"] == rows.loc[~negative, "estimate"]).all()
    assert rows.loc[~negative, "note"].isna().all()
    assert "0.0000" in page


def test_it_says_what_would_help_most(tmp_path: Path) -> None:
    _, page = report(tmp_path / "seeds")
    assert "more seeds help most, and they alone need training." in page
    _, page = report(tmp_path / "samples", replace(WORLD, sd_seed=0.0, sd_cell=0.0, sd_sample=4.0))
    assert "more samples help about as much as anything, and need no training." in page
    assert "is sampling within a prompt" in page
    assert "start-sd, the root mean square over all pairs." in page


def test_what_would_be_saved_is_the_standard_error_s() -> None:
    """All noise from the seeds: twice as many halve the variance, and lower the error by 1 - √½ = 29 %."""
    y = np.repeat(np.random.default_rng(0).standard_normal((3, 4, 1)), 5, axis=2)[..., None]
    found = components({name: ((0, 1, 2, 3), own) for name, own in zip("abc", y, strict=True)}, paired=True)
    told = components_points(SimpleNamespace(name="here", components=found))[1]
    assert told.startswith("The standard error would be 29 % lower with twice the seeds and 0 % lower with twice the")


def test_with_one_sample_a_prompt_sampling_is_in_the_cell(tmp_path: Path) -> None:
    rows, page = report(tmp_path, replace(WORLD, samples=1))
    assert set(rows["component"]) == {"seed", "prompt", "seed × prompt", "contestant × seed", "contestant × prompt",
                                      "contestant × seed × prompt"}  # fmt: skip
    cells = rows[rows["component"].str.endswith("seed × prompt")]
    assert cells["note"].str.contains("sampling included, with one sample a prompt").all()
    assert "With one sample a prompt, what more would do cannot be told." in page
    assert "twice the samples" not in page
    assert "is contestant × seed × prompt with sampling" in page


def test_who_lacks_seeds_is_left_out_and_named(tmp_path: Path) -> None:
    rows, page = report(tmp_path, skip={("cpo", 1), ("cpo", 2)})
    assert set(rows["contestants"]) == {3}
    assert set(rows["seeds"]) == {4}
    assert "Without cpo, who lack seeds of the others." in page


def test_one_seed_tells_nothing_and_says_so(tmp_path: Path) -> None:
    rows, page = report(tmp_path, replicates=1)
    assert rows.empty
    assert "Where the noise comes from cannot be told" in page


def test_contestants_that_are_copies_have_no_noise() -> None:
    y = np.random.default_rng(0).standard_normal((3, 4, 2))
    found = components({"a": ((0, 1, 2), y), "b": ((0, 1, 2), y)}, paired=True)
    one = SimpleNamespace(name="here", components=found)
    assert components_points(one) == ["No noise is seen in the differences between contestants."]
    assert len(components_sheet([one]).texts) == 8

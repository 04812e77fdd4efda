from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import World, fail, fill, make_cells, make_plan

from harness.records import read
from harness.report import build
from harness.report.stability import stability_sheet
from harness.report.standings import compare
from harness.store import Store

WORLD = World({"dpo": 1.0, "ipo": 0.4, "cpo": -1.0}, prompts=25, samples=2, sd_seed=0.6, sd_shared=0.5)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """The report's tables of a comparison in which one run of cpo failed."""
    root = tmp_path_factory.mktemp("results")
    cells = make_cells(list(WORLD.gains), 5)
    fill(root, cells, WORLD, skip={("cpo", 3)})
    fail(root, next(one for one in cells if (one.contestant, one.replicate) == ("cpo", 3)).policy, "out of memory")
    plan, store = make_plan(cells, 5), Store(root)
    out = build(plan, store, root / "out").path.parent / "tables"
    found = {path.stem: pd.read_parquet(path) for path in out.glob("*.parquet")}
    standings = compare(plan, read(plan, store))[0].standings
    return found | {"gains": pd.DataFrame({row.name: pd.Series(row.gain_by_seed) for row in standings})}


def test_spread_over_seeds(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables["stability"].set_index("contestant")
    for name in ("dpo", "ipo", "cpo"):
        gains = tables["gains"][name].dropna()
        assert len(gains) == (4 if name == "cpo" else 5)
        assert rows.loc[name, "seed_sd"] == pytest.approx(gains.std())
        assert rows.loc[name, "worst_seed"] == pytest.approx(gains.min())
        assert rows.loc[name, "above_start"] == pytest.approx((gains > 0).mean())
    assert rows.loc["sft", ["seed_sd", "worst_seed", "above_start"]].isna().all()


def test_failed_runs_are_a_share_with_its_interval(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables["stability"].set_index("contestant")
    exact = [0.2, 0.0102, 0.6574]  # ends that Sterne's interval of 1 of 5 has
    assert rows.loc["cpo", ["failed", "failed_low", "failed_high"]].tolist() == pytest.approx(exact, abs=1e-4)
    assert rows.loc["dpo", "failed"] == 0


def test_how_far_gradients_jump_is_that_of_the_worst_run(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "ipo"], 2)
    fill(tmp_path, cells, WORLD)
    plan = make_plan(cells, 2)
    comparison = compare(plan, read(plan, Store(tmp_path)))[0]
    norms = {("dpo", 0): [1.0, 2.0, 3.0], ("dpo", 1): [9.0, 1.0, 1.0], ("ipo", 0): [0.0, 0.0, 5.0]}
    curves = pd.DataFrame(
        [
            {"contestant": name, "replicate": seed, "step": step, "metric": "grad_norm", "value": norm}
            for (name, seed), run in norms.items()
            for step, norm in enumerate(run)
        ]
    )
    frame = stability_sheet([replace(comparison, curves=curves)]).frame.set_index("contestant")
    assert frame.loc["dpo", "spike"] == 9.0
    assert frame.loc[["sft", "ipo"], "spike"].isna().all(), "no median to hold it against"


def test_chances_are_of_all_contestants(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables["stability"].set_index("contestant")
    assert rows["best"].sum() == pytest.approx(1)
    assert (rows["near_best"] >= rows["best"]).all()
    assert rows["best"].idxmax() == "dpo"


def test_agreement_is_kendalls_tau_of_the_main_table(tables: dict[str, pd.DataFrame]) -> None:
    main, rows = tables["main"], tables["agreement"]
    assert rows[["a", "b"]].to_numpy().tolist() == [["gold", "oracle"]]
    assert rows["kendall"].item() == pytest.approx(stats.kendalltau(main["gold"], main["oracle"]).statistic)
    assert rows["contestants"].item() == 4


def test_a_contestant_without_a_finished_run_is_named_and_blanks_nobody(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "ipo", "cpo"], 3)
    fill(tmp_path, cells, WORLD, skip={("cpo", seed) for seed in range(3)})
    page = build(make_plan(cells, 3), Store(tmp_path), tmp_path / "out").path.with_suffix(".md").read_text()
    assert "Left out, with fewer than two runs that ended: cpo." in page
    rows = pd.read_csv(tmp_path / "out/tables/stability.csv").set_index("contestant")
    assert rows["best"].drop("cpo").sum() == pytest.approx(1)
    assert np.isnan(rows.loc["cpo", "best"])


def test_a_run_collapsed_where_it_wins_less_than_the_base_or_is_degenerate_or_failed(tmp_path: Path) -> None:
    """The base wins .3 of its pairs, or so; dpo far more, cpo far less; one run of ipo failed, one is degenerate."""
    world = replace(WORLD, gains={"base": -1.0, "dpo": 1.0, "ipo": 1.0, "cpo": -3.0}, sd_seed=0.1)
    cells = make_cells(list(world.gains), 4)
    fill(tmp_path, cells, world, skip={("ipo", 3)})
    fail(tmp_path, next(one for one in cells if (one.contestant, one.replicate) == ("ipo", 3)).policy, "out of memory")
    broken = next(one for one in cells if (one.contestant, one.replicate) == ("ipo", 1)).grades[None]
    path = tmp_path / broken.name / "scores.parquet"
    scores = pd.read_parquet(path)
    worse = scores[scores["metric"] == "length"].assign(metric="degenerate", value=0.0)
    worse.loc[worse.index[: len(worse) // 4], "value"] = 1.0
    pd.concat([scores, worse]).to_parquet(path)
    build(make_plan(cells, 4), Store(tmp_path), tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out/tables/stability.csv").set_index("contestant")
    assert rows["collapsed"].to_dict() == {"sft": 0.0, "base": 0.0, "dpo": 0.0, "ipo": 0.5, "cpo": 1.0}
    assert rows.loc["ipo", ["collapsed_low", "collapsed_high"]].tolist() == pytest.approx([0.0976, 0.9024], abs=1e-4)


def test_what_of_a_collapse_was_not_measured_is_said(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    assert tables["stability"].set_index("contestant").loc["cpo", "collapsed"] == 0.2, "the failed run"
    cells = make_cells(["dpo"], 2)
    fill(tmp_path, cells, WORLD)
    page = build(make_plan(cells, 2), Store(tmp_path), tmp_path / "out").path.with_suffix(".md").read_text()
    assert "(degenerate responses were not measured and the base is no contestant)" in page


def test_with_one_seed_it_says_that_nothing_can_be_told(tmp_path: Path) -> None:
    cells = make_cells(["dpo"], 1)
    fill(tmp_path, cells, WORLD)
    page = build(make_plan(cells, 1), Store(tmp_path), tmp_path / "out").path.with_suffix(".md").read_text()
    assert "The order's stability cannot be told" in page
    assert np.isnan(pd.read_csv(tmp_path / "out/tables/stability.csv")["best"]).all()

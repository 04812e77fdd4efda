"""Every number of the contestants' tables, again from the stages' parquet files, with pandas alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import World, fill, make_cells, make_plan

from harness.plan import Cell
from harness.report import build
from harness.store import Store

WORLD = World({"dpo": 0.8, "kto": 0.3}, more=True, tokens_by_length={"kto": 0.05})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, pd.DataFrame], pd.DataFrame, pd.DataFrame]:
    """The report's tables as they are in the files, all scores of finished policies, and the start's many responses."""
    root = tmp_path_factory.mktemp("traceable")
    cells = make_cells(["dpo", "kto"], 4)
    fill(root / "results", cells, WORLD)
    build(make_plan(cells, 4), Store(root / "results"), root / "report")
    names = ("main", "outputs", "best_of_n", "prompts")
    tables = {name: pd.read_parquet(root / "report" / "tables" / f"{name}.parquet") for name in names}
    scores = pd.concat([read(root, cell.grades[None].name, cell) for cell in cells])
    many = pd.concat([read(root, cell.pool.name, cell) for cell in cells if cell.pool])
    return tables, scores, many


def read(root: Path, stage: str, cell: Cell) -> pd.DataFrame:
    found = pd.read_parquet(root / "results" / stage / "scores.parquet")
    return found.assign(contestant=cell.contestant, replicate=cell.replicate)


def of(scores: pd.DataFrame, contestant: str, metric: str, role: str = "") -> pd.DataFrame:
    rows = (scores["contestant"] == contestant) & (scores["metric"] == metric) & (scores["role"] == role)
    return scores[rows]


def pairs(scores: pd.DataFrame, contestant: str, metric: str, role: str) -> pd.DataFrame:
    """Every sample of a contestant beside every one of the start for the same seed and prompt."""
    where = ["replicate", "prompt_id"]
    return of(scores, contestant, metric, role).merge(of(scores, "sft", metric, role), on=where)


@pytest.mark.parametrize("contestant", ["dpo", "kto"])
def test_the_main_table_is_the_scores_of_the_parquet_files(study, contestant):
    tables, scores, _ = study
    row = tables["main"].set_index("contestant").loc[contestant]
    for role in ("gold", "oracle"):
        start = of(scores, "sft", "reward", role)["value"]
        gain = (of(scores, contestant, "reward", role)["value"].mean() - start.mean()) / start.std(ddof=0)
        assert row[role] == pytest.approx(gain)
    both = pairs(scores, contestant, "reward", "gold")
    difference = both["value_x"] - both["value_y"]
    assert row["soft_win"] == pytest.approx((1 / (1 + np.exp(-difference))).mean())
    assert row["hard_win"] == pytest.approx((0.5 + 0.5 * np.sign(difference)).mean())
    for metric in ("length", "kl"):
        assert row[metric] == pytest.approx(of(scores, contestant, metric)["value"].mean())


@pytest.mark.parametrize("contestant", ["dpo", "kto"])
def test_scores_at_equal_length_are_a_regression_on_the_parquet_files(study, contestant):
    from statsmodels.api import GLM, families

    tables, scores, _ = study
    row = tables["main"].set_index("contestant").loc[contestant]
    other = "kto" if contestant == "dpo" else "dpo"
    sd = of(scores, "sft", "reward", "gold")["value"].std(ddof=0)
    keys = ["replicate", "prompt_id", "k_x", "k_y"]
    both = pairs(scores, contestant, "reward", "gold").merge(pairs(scores, contestant, "length", ""), on=keys)
    gain, longer = both["value_x_x"] - both["value_y_x"], both["value_x_y"] - both["value_y_y"]
    others = pairs(scores, other, "reward", "gold")
    others["gain"] = others["value_x"] - others["value_y"]
    x = np.tanh(longer / longer.std(ddof=0))
    for column, y, family in (
        ("lc_gold", gain / sd, families.Gaussian()),
        ("lc_soft_win", 1 / (1 + np.exp(-gain)), families.Binomial()),
    ):
        values = others["gain"] / sd if column == "lc_gold" else 1 / (1 + np.exp(-others["gain"]))
        difficulty = both["prompt_id"].map(values.groupby(others["prompt_id"]).mean())
        design = np.stack([np.ones_like(x), x, difficulty - difficulty.mean()], 1)
        fit = GLM(y, design, family=family).fit()
        design[:, 1] = 0
        assert row[column] == pytest.approx(fit.predict(design).mean(), abs=1e-6)


def test_the_table_of_outputs_is_the_scores_of_the_parquet_files(study):
    tables, scores, _ = study
    rows = tables["outputs"].set_index("contestant")
    for contestant in ("sft", "dpo", "kto"):
        row = rows.loc[contestant]
        for metric in ("truncated", "empty", "self_bleu"):
            assert row[metric] == pytest.approx(of(scores, contestant, metric)["value"].mean())
        runs = of(scores, contestant, "distinct_across")["value"]
        found = [row["distinct_across"], row["distinct_across_low"], row["distinct_across_high"]]
        assert found == pytest.approx([runs.mean(), runs.min(), runs.max()])
        lengths = [of(scores, who, "length")["value"].mean() for who in (contestant, "sft")]
        assert row["length_ratio"] == pytest.approx(lengths[0] / lengths[1])
        greedy = [of(scores, who, "greedy", "gold")["value"].mean() for who in (contestant, "sft")]
        sd = of(scores, "sft", "reward", "gold")["value"].std(ddof=0)
        assert row["greedy_gold"] == pytest.approx((greedy[0] - greedy[1]) / sd, abs=1e-12)


def test_best_of_n_is_what_choosing_from_the_parquet_files_gives(study):
    tables, scores, many = study
    sd = of(scores, "sft", "reward", "gold")["value"].std(ddof=0)
    table = tables["best_of_n"].set_index(["reward", "n"])["gain"]
    where = ["replicate", "prompt_id", "k"]
    gold, proxy = (of(many, "sft", "reward", role).set_index(where)["value"].unstack() for role in ("gold", "proxy"))
    assert gold.shape == (16, 8)
    assert table["gold", 1] == pytest.approx(0)
    best = gold.to_numpy()[np.arange(16), proxy.to_numpy().argmax(1)]
    assert table["gold", 8] == pytest.approx((best.mean() - gold.to_numpy().mean()) / sd)
    two = [
        gold.to_numpy()[row, max(pair, key=lambda k: proxy.to_numpy()[row, k])]
        for row in range(16)
        for pair in ((i, j) for i in range(8) for j in range(i))
    ]
    assert table["gold", 2] == pytest.approx((np.mean(two) - gold.to_numpy().mean()) / sd)


def test_the_table_by_prompt_is_the_mean_over_samples(study):
    tables, scores, _ = study
    start = of(scores, "sft", "reward", "gold")["value"]
    own = of(scores, "dpo", "reward", "gold").groupby(["replicate", "prompt_id"])["value"].mean()
    table = tables["prompts"][tables["prompts"]["contestant"] == "dpo"].set_index(["replicate", "prompt_id"])["gold"]
    expected = (own - start.mean()) / start.std(ddof=0)
    assert table.sort_index().to_numpy(float) == pytest.approx(expected.sort_index().to_numpy())

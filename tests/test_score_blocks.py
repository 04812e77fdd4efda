"""Scores in blocks: the values that the files hold, whatever the order of their rows, and equal prints for equals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from harness.records.scores import Scores, blocks_of
from harness.report.cubes import cubes

RUN = {"setting": "s", "contestant": "dpo", "replicate": 0}


def table(rows: pd.DataFrame) -> pa.Table:
    texts = {name: pa.array(rows[name]).dictionary_encode() for name in ("metric", "role", "level", "prompt_id")}
    return pa.table({**texts, "k": pa.array(rows["k"], pa.int32()), "value": pa.array(rows["value"])})


@pytest.fixture
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    found = [
        {"metric": metric, "role": role, "level": "sample", "prompt_id": f"p{p}", "k": k, "value": rng.normal()}
        for metric, role in (("reward", "gold"), ("reward", "proxy"), ("length", ""))
        for p in range(5) for k in range(3)
    ]  # fmt: skip
    found += [{"metric": "bleu", "role": "", "level": "prompt", "prompt_id": f"p{p}", "k": -1, "value": rng.normal()}
              for p in range(5)]  # fmt: skip
    return pd.DataFrame(found)


def test_the_frame_has_every_row_again(rows: pd.DataFrame) -> None:
    scores = Scores()
    scores.add(table(rows.sample(frac=1, random_state=1)), RUN, -1)
    by = ["metric", "role", "prompt_id", "k"]
    found = scores.frame().astype(dict.fromkeys(by[:3], str)).sort_values(by)
    assert found["value"].tolist() == rows.sort_values(by)["value"].tolist()
    assert blocks_of(scores.frame()).frame()["value"].sum() == pytest.approx(rows["value"].sum())


def test_runs_share_what_their_values_are_of(rows: pd.DataFrame) -> None:
    scores = Scores()
    for replicate in range(3):
        scores.add(table(rows.assign(value=rows["value"] + replicate)), {**RUN, "replicate": replicate}, -1)
    assert len({id(block.layout) for block in scores.of(level="sample")}) == 1
    assert len(scores.of("s", "reward", "gold", "sample")) == 3
    assert not scores.of("s", "reward", "gold", "sample", step=4)
    assert not scores.of("another", "reward")


def test_a_print_tells_values_and_places_and_not_the_order_of_rows(rows: pd.DataFrame) -> None:
    gold = rows[rows["role"] == "gold"].reset_index(drop=True)
    turned = gold.assign(value=gold["value"].to_numpy()[::-1])
    others = gold.assign(prompt_id="q" + gold["prompt_id"])
    scores = Scores()
    for replicate, one in enumerate((gold, gold.sample(frac=1, random_state=2), turned, others)):
        scores.add(table(one), {**RUN, "replicate": replicate}, -1)
    prints = [block.fingerprint() for block in scores.blocks]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_a_cube_holds_each_value_at_its_place_and_leaves_out_what_is_not_whole(rows: pd.DataFrame) -> None:
    scores = Scores()
    scores.add(table(rows.sample(frac=1, random_state=3)), RUN, -1)
    gap = (rows["metric"] == "reward") & (rows["prompt_id"] == "p3") & (rows["k"] == 1)
    scores.add(table(rows[~gap]), {**RUN, "replicate": 1}, -1)
    found = cubes(scores.of("s", "reward", "gold", "sample"), scores.prompts)
    assert (found.prompts, found.left_out) == (("p0", "p1", "p2", "p4"), 1)
    gold = rows[rows["role"] == "gold"].set_index(["prompt_id", "k"])["value"]
    for p, prompt in enumerate(found.prompts):
        for k in range(3):
            assert found.by_contestant["dpo"].values[:, p, k] == pytest.approx([gold[prompt, k]] * 2)
    assert cubes(scores.of("s", "bleu"), scores.prompts).by_contestant["dpo"].values.shape == (2, 5, 1)
    assert cubes([], scores.prompts).by_contestant == {}

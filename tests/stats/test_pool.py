"""Real runs with a known truth: sixty runs of one method, called by ten names, are not to be told apart.

The runs are those of benchmarks/pool.toml. A simulated world has the noise that its author thought of; these have
what training really does to seeds and prompts.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.stats.parts import parts_of_difference
from harness.stats.power import more_seeds
from harness.stats.runs import Runs
from harness.stats.verdicts import holm, verdicts

TABLE = Path(__file__).parents[2] / "benchmarks" / "pool.parquet"
METHOD, NAMES, STUDIES, SEED = "dpo", 10, 2000, 11


@pytest.fixture(scope="module")
def runs() -> np.ndarray:
    """(60, P) gold scores of one method."""
    table = pq.read_table(TABLE).to_pandas()
    return np.stack(table[table["contestant"] == METHOD]["gold"].to_list()).astype(np.float64)


def relabelled(runs: np.ndarray) -> Iterator[np.ndarray]:
    """(names, seeds, P): the runs dealt to names at random."""
    rng = np.random.default_rng(SEED)
    for _ in range(STUDIES):
        yield runs[rng.permutation(len(runs))].reshape(NAMES, -1, runs.shape[1])


def p_values(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(parts_of_difference(a, b, paired=False).p)


def test_one_method_by_ten_names_is_one_method(runs: np.ndarray) -> None:
    """All 45 pairs under Holm: some pair is called different in at most 5 % of studies; 6 % with its binomial band.

    Holm calls none different unless the most different pair is so at .05 / 45, which is all that has to be looked at.
    """
    pairs, called = np.array(list(combinations(range(NAMES), 2))), []
    for dealt in relabelled(runs):
        parts = parts_of_difference(dealt[pairs[:, 0]], dealt[pairs[:, 1]], paired=False)
        called.append(bool((np.abs(parts.difference) > parts.half_width(0.05 / len(pairs))).any()))
    assert np.mean(called) <= 0.06


def test_error_bars_over_prompts_alone_call_it_more_often(runs: np.ndarray) -> None:
    """What evaluation tools print takes a run for its method; seeds and prompts together do not."""
    by_prompts, by_both = [], []
    for dealt in relabelled(runs):
        d = dealt[0] - dealt[1]
        by_prompts.append(abs(d.mean()) > 1.96 * d.mean(0).std(ddof=1) / d.shape[1] ** 0.5)
        parts = parts_of_difference(dealt[0], dealt[1], paired=False)
        by_both.append(abs(float(parts.difference)) > float(parts.half_width(0.05)))
    assert np.mean(by_both) <= 0.06
    assert np.mean(by_prompts) > np.mean(by_both) + 0.015


def test_a_planted_winner_is_found_as_often_as_promised(runs: np.ndarray) -> None:
    """A gain that six seeds find with power .8 by the noise of the pool itself is found in about that share."""
    whole = verdicts({"a": runs[:30], "b": runs[30:]}, "b", 0.1, paired=False).start[0].result
    gain = next(g for g in np.arange(0.02, 2.0, 0.005) if more_seeds(whole.noise, g, (6, 6), runs.shape[1], 0.05) == 0)
    found = [float(p_values(dealt[0] + gain, dealt[1])) <= 0.05 for dealt in relabelled(runs)]
    assert 0.7 <= np.mean(found) <= 0.95


def test_the_verdicts_are_what_was_counted(runs: np.ndarray) -> None:
    """A few of the studies through `verdicts` itself."""
    pairs = np.array(list(combinations(range(NAMES), 2)))
    for dealt, _ in zip(relabelled(runs), range(5), strict=False):
        named = {f"name {i}": Runs(own, tuple(range(len(own)))) for i, own in enumerate(dealt)}
        found = {(one.a, one.b): one.p_holm for one in verdicts(named, "name 0", 0.1, paired=False).pairs}
        p = holm(p_values(dealt[pairs[:, 0]], dealt[pairs[:, 1]]))
        for (i, j), own in zip(pairs, p, strict=True):
            assert found.get((f"name {i}", f"name {j}"), found.get((f"name {j}", f"name {i}"))) == pytest.approx(own)

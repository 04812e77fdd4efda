"""Claims on two metrics at once: whether one tells the other, or leaves it behind over training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness.registry as registry
from harness.records import FINAL
from harness.report.claim_metrics import LEVELS

if TYPE_CHECKING:
    import pandas as pd

    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.report.cubes import Array, Cubes

FEWEST_CONTESTANTS = 4
"""That an order can be told from."""
FEWEST_STEPS = 2
"""Graded policies of a run, beside the start, that a slope needs."""


def agreements(first: str, second: str, names: list[str], tables: Tables, setting: Comparison) -> tuple[Array, int]:
    """How well one metric orders contestants as another does: (S,), one rank correlation for each replicate.

    Within prompts where both have scores of the same ones: contestants are ranked at each prompt, and products of ranks
    are summed over all prompts. Else contestants are ranked by their means. Contestants that lack a score are left out.

    Returns:
        The correlations, none where there are too few contestants, and the number of prompts, 0 for means.
    """
    import numpy as np

    one, two = _cubes(first, names, tables, setting), _cubes(second, names, tables, setting)
    names = [name for name in names if name in one.by_contestant and name in two.by_contestant]
    if "pair" in (_level(first), _level(second)):  # what a policy thinks of pairs tells nothing of another's responses
        names = [name for name in names if name in setting.plain]
    if len(names) < FEWEST_CONTESTANTS:
        return np.empty(0), 0
    seeds = sorted(set.intersection(*(set(c.by_contestant[n].replicates) for c in (one, two) for n in names)))
    prompts = tuple(sorted(set(one.prompts) & set(two.prompts)))
    within = len(prompts) > 1
    found = []
    for seed in seeds:
        sides = []
        for cubes in (one, two):
            asked = prompts if within else cubes.prompts
            scores = np.stack([cubes.of(name, (seed,), asked).mean(axis=2)[0] for name in names])
            sides.append(scores if within else scores.mean(axis=1, keepdims=True))
        found.append(rank_correlation(*sides))
    return np.array(found), len(prompts) if within else 0


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's correlation within each of P columns of (C, P) arrays, over all columns at once; 0 where all tie."""
    import numpy as np
    from scipy.stats import rankdata

    a, b = (rankdata(side, axis=0) - (len(side) + 1) / 2 for side in (x, y))
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale else 0.0


def within_contestants(x: Array, y: Array) -> Array:
    """The correlation over runs of what is left of (C, S) numbers without each contestant's mean, by jackknife: (S,).

    A replicate is left out as a whole, since its runs share start, order and noise. The mean of the pseudo-values is
    the estimate, and their spread its uncertainty.

    Source:
        Tukey 1958; Miller, The jackknife: a review, Biometrika 61, 1974.
    """
    import numpy as np

    count = x.shape[1]

    def correlation(a: Array, b: Array) -> float:
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
        scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
        return float((a * b).sum() / scale) if scale else 0.0

    whole = correlation(x, y)
    left = [correlation(np.delete(x, seed, axis=1), np.delete(y, seed, axis=1)) for seed in range(count)]
    found: Array = count * whole - (count - 1) * np.array(left)
    return found


def widening(names: list[str], setting: Comparison) -> pd.DataFrame:
    """Per run, how much z(proxy) − z(gold) grows for each √nat of KL to the start: `contestant, replicate, number`.

    The least-squares slope over the run's graded steps, the line going through the start, where both are 0.
    """
    import pandas as pd

    wanted = setting.run_means[setting.run_means["contestant"].isin(names) & (setting.run_means["level"] == "sample")]
    at = ["contestant", "replicate", "step"]
    columns = {}
    for column, metric, role in (("proxy", "reward", "proxy"), ("gold", "reward", "gold"), ("kl", "kl", "")):
        own = wanted[(wanted["metric"] == metric) & (wanted["role"] == role)]
        columns[column] = own.set_index(at)["value"]
    found = []
    both = pd.DataFrame(columns).dropna().reset_index()
    for (name, seed), run in both.groupby(["contestant", "replicate"], observed=True):
        if len(run) < FEWEST_STEPS or not (run["step"] == FINAL).any() or (run["kl"] <= 0).all():
            continue
        scaled = {role: (run[role] - setting.scales[role].mean) / setting.scales[role].sd for role in ("proxy", "gold")}
        root = run["kl"].clip(lower=0) ** 0.5
        slope = float((root * (scaled["proxy"] - scaled["gold"])).sum() / (root**2).sum())
        found.append({"contestant": name, "replicate": seed, "number": slope})
    return pd.DataFrame(found, columns=["contestant", "replicate", "number"])


def _level(metric: str) -> str:
    """What a metric's values are of."""
    name = metric.partition("/")[0]
    return str(registry.load("metrics", name).level) if name in registry.names("metrics") else ""


def _cubes(metric: str, names: list[str], tables: Tables, setting: Comparison) -> Cubes:
    from harness.report.cubes import Cubes, cubes

    name, _, role = ("reward", "", "gold") if metric == "gold" else metric.partition("/")
    for level in LEVELS:
        own = [one for one in tables.blocks.of(setting.name, name, role, level) if one.contestant in names]
        if own:
            return cubes(own, tables.blocks.prompts)
    return Cubes({}, (), 0)

"""How stable the order is: over seeds, over reward models, were the study made again, and what makes the noise."""

from __future__ import annotations

from itertools import combinations
from statistics import stdev
from typing import TYPE_CHECKING, Any

from harness.report.collapse import definition
from harness.report.compare import ROLES
from harness.report.components import components_points, components_sheet
from harness.report.page import Section
from harness.report.sheet import Row, Sheet, Shown, interval, listed, make_frame, number
from harness.report.sheets import ID_MEANINGS, IDS

if TYPE_CHECKING:
    from harness.report.compare import Comparison, Standing
    from harness.stats.ranks import Ranks

_STABILITY = {
    **IDS,
    **dict.fromkeys(("best", "near_best", "above_start", "seed_sd"), "Float64"),
    **dict.fromkeys(("worst_seed", "failed", "failed_low", "failed_high"), "Float64"),
    **dict.fromkeys(("collapsed", "collapsed_low", "collapsed_high", "spike"), "Float64"),
}
_MEANINGS = {
    **ID_MEANINGS,
    "best": "approximate chance that its true mean gold reward is the highest (see docs/statistics.md)",
    "near_best": "approximate chance that it is at most the margin below the highest",
    "above_start": "share of its finished seeds whose mean gold reward is above the start's of that seed",
    "seed_sd": "standard deviation of the gold gain over its finished seeds, in start-sd",
    "worst_seed": "the lowest gold gain of a finished seed, in start-sd",
    "failed": "share of its tried runs that failed",
    "failed_low": "lower end of its 95 % interval (exact, Sterne)",
    "failed_high": "upper end of it",
    "collapsed": "share of its tried runs that failed or collapsed: more than 20 % degenerate responses, or a lower "
    "soft win rate against the start than the base of that seed, as far as these were measured",
    "collapsed_low": "lower end of its 95 % interval (exact, Sterne)",
    "collapsed_high": "upper end of it",
    "spike": "the largest logged norm of a run's gradient over the median one of that run; the highest of its seeds",
}
_AGREEMENT = {"setting": "string", "a": "string", "b": "string", "kendall": "Float64", "contestants": "Int64"}
_AGREEMENT_MEANINGS = {
    "setting": ID_MEANINGS["setting"],
    "a": "a reward",
    "b": "another",
    "kendall": "Kendall's tau between the orders that the two give (1: the same, -1: reversed)",
    "contestants": "contestants that have both",
}


def stability_section(comparison: Comparison, part: str) -> Section:
    """Seeds, chances of being the best, whether the reward models agree on the order, and what makes the noise."""
    sheets = [make([comparison], part) for make in (stability_sheet, components_sheet, agreement_sheet)]
    said, points = _sentence(comparison.ranks), components_points(comparison)
    return Section("stability", "Stability of the order", said, points=points, sheets=sheets)


def _sentence(found: Ranks | None) -> str:
    if found is None:
        return "The order's stability cannot be told: it takes two contestants that share two seeds, and two prompts."
    few = list(found.left_out)
    without = f" Left out, with fewer than two runs that ended: {listed(few)}." if few else ""
    return (
        f"Two seeds' orders have Kendall's tau {number(found.seeds)} on average; the order of this study and that of "
        f"one made again would have about {number(found.again)}.{without}"
    )


def stability_sheet(comparisons: list[Comparison], part: str = "") -> Sheet:
    """A row per contestant: chances, and how its gain varies over seeds."""
    shown = [
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("chance to be the best", lambda row: number(row["best"])),
        Shown("… to be within the margin of it", lambda row: number(row["near_best"])),
        Shown("seeds above the start", lambda row: number(row["above_start"])),
        Shown("sd over seeds", lambda row: number(row["seed_sd"])),
        Shown("worst seed", lambda row: number(row["worst_seed"], sign=True)),
        Shown("failed [95 %]", lambda row: interval(row["failed"], row["failed_low"], row["failed_high"])),
        Shown("or collapsed [95 %]", _collapsed),
        Shown("largest gradient / median", lambda row: number(row["spike"], 1), optional=True),
    ]
    caption = (
        "How each contestant's gold gain varies over seeds, in sd of the start. Chances are approximate and, unlike "
        "verdicts, not adjusted for how many contestants there are. "
        + " ".join(filter(None, [*sorted({*map(_vague, comparisons)}), *sorted({*map(definition, comparisons)})]))
    )
    rows = [
        _row(comparison, row) | {"spike": spikes.get(row.name)}
        for comparison, spikes in ((comparison, _spikes(comparison)) for comparison in comparisons)
        for row in comparison.standings
    ]
    return Sheet("stability", caption, make_frame(rows, _STABILITY), _MEANINGS, shown, part=part)


def _collapsed(row: Row) -> str:
    return interval(row["collapsed"], row["collapsed_low"], row["collapsed_high"])


def _row(comparison: Comparison, row: Standing) -> dict[str, Any]:
    from harness.stats.runs import rate

    values: dict[str, Any] = {"setting": comparison.name, "contestant": row.name}
    found = comparison.ranks
    if found is not None:
        values |= {"best": found.best.get(row.name), "near_best": found.near_best.get(row.name)}
    gains = list(row.gain_by_seed.values())
    if gains and row.name != comparison.start:
        values |= {"worst_seed": min(gains), "above_start": sum(gain > 0 for gain in gains) / len(gains)}
    if len(gains) > 1 and row.name != comparison.start:
        values["seed_sd"] = stdev(gains)
    for kind, many in (("failed", row.failed), ("collapsed", row.failed + row.collapsed)):
        lost = rate(many, row.failed + row.done)
        values |= dict(zip((kind, f"{kind}_low", f"{kind}_high"), lost or (), strict=False))
    return values


def _spikes(comparison: Comparison) -> dict[str, float]:
    """How far gradients jumped in the run in which they did most, by contestant."""
    curves = comparison.curves
    norms = curves[curves["metric"] == "grad_norm"].astype({"contestant": str})
    by_run = norms.groupby(["contestant", "replicate"])["value"].agg(["max", "median"])
    jumps = (by_run["max"] / by_run["median"])[by_run["median"] > 0]
    return {str(name): float(jump) for name, jump in jumps.groupby("contestant").max().items()}


def _vague(comparison: Comparison) -> str:
    """How little so many seeds say of a standard deviation; as an interval it would hold for normal seeds alone."""
    from scipy import stats

    df = min((len(row.gain_by_seed) for row in comparison.standings if len(row.gain_by_seed) > 1), default=0) - 1
    if df < 1:
        return ""
    low, high = ((df / stats.chi2.ppf(share, df)) ** 0.5 for share in (0.975, 0.025))
    return (
        f"From {df + 1} seeds, the fewest, a standard deviation is known to within a factor of {number(low, 1)} to "
        f"{number(high, 1)} where they are normal, and less well where some stray far."
    )


def agreement_sheet(comparisons: list[Comparison], part: str = "") -> Sheet:
    """A row for two rewards: Kendall's tau between the orders that they give."""
    shown = [
        Shown("order by", lambda row: row["a"], kind="word"),
        Shown("and by", lambda row: row["b"], kind="word"),
        Shown("Kendall's tau", lambda row: number(row["kendall"])),
        Shown("contestants", lambda row: str(row["contestants"])),
    ]
    found = [
        {"setting": comparison.name, "a": a, "b": b, **both}
        for comparison in comparisons
        for a, b in combinations(ROLES, 2)
        if (both := agreed(comparison, a, b)) is not None
    ]
    caption = "Do the rewards agree on the order of the contestants?"
    return Sheet("agreement", caption, make_frame(found, _AGREEMENT), _AGREEMENT_MEANINGS, shown, part=part)


def agreed(comparison: Comparison, a: str, b: str) -> dict[str, Any] | None:
    """Kendall's tau between the orders of all contestants, the start too, by two rewards; None of fewer than 3."""
    import numpy as np

    from harness.stats.ranks import kendall

    both = [row.estimates for row in comparison.standings if {a, b} <= set(row.estimates)]
    if len(both) < 3:
        return None
    first, second = (np.array([one[role].value for one in both]) for role in (a, b))
    return {"kendall": float(kendall(first, second)), "contestants": len(both)}

"""Runs that collapsed: they ended with a policy, but with one that nobody would keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.records import FINAL
from harness.report.sheet import listed, named

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.compare import Comparison

DEGENERATE = 0.2
"""A run has collapsed where more than this share of its responses is degenerate."""


def collapsed(comparison: Comparison) -> dict[str, set[int]]:
    """Each contestant's finished seeds that collapsed: too many degenerate responses, or fewer wins than the base."""
    found: dict[str, set[int]] = {name: set() for name in comparison.contestants}
    broken = _degenerate(comparison)
    broken = broken[broken["value"] > DEGENERATE]
    for name, seed in zip(broken["contestant"], broken["replicate"], strict=True):
        found[str(name)].add(int(seed))
    wins = _soft_wins(comparison)
    floor = wins.get(comparison.base, {})
    least = (
        0.5 if comparison.base and comparison.base == comparison.start else 0.0
    )  # the start wins half against itself
    for name, own in wins.items():
        found[name] |= {seed for seed, win in own.items() if win < floor.get(seed, least)}
    return found


def definition(comparison: Comparison) -> str:
    """What counts as collapsed, and what of it was measured here."""
    parts = [f"more than {DEGENERATE:.0%} of its responses are degenerate".replace("%", " %")]
    parts += ["it wins less often against the start than the base of that seed"]
    lacking = ["degenerate responses were not measured"] if _degenerate(comparison).empty else []
    lacking += [] if comparison.base else ["the base is no contestant"]
    return f"A run collapsed where it failed, or {' or '.join(parts)}" + (f" ({listed(lacking)})." if lacking else ".")


def in_top_set(comparison: Comparison) -> str:
    """Whose runs collapsed although nothing is significantly better; empty where nobody's did."""
    lost = [row for row in comparison.standings if row.in_top_set and row.collapsed]
    told = [f"{row.name} ({row.collapsed} of {row.done})" for row in sorted(lost, key=lambda row: -row.collapsed)]
    return f"Runs in the top set that collapsed: {named(told)}. {definition(comparison)}" if told else ""


def _degenerate(comparison: Comparison) -> pd.DataFrame:
    """Each finished run's share of degenerate responses."""
    own = comparison.run_means
    return own[(own["metric"] == "degenerate") & (own["level"] == "sample") & (own["step"] == FINAL)]


def _soft_wins(comparison: Comparison) -> dict[str, dict[int, float]]:
    """Each finished run's soft win rate against the start of its seed."""
    return {
        name: dict(zip(runs.replicates, map(float, runs.scores.mean(1)), strict=True))
        for name, runs in comparison.wins["soft"].items()
    }

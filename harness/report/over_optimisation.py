"""Over training: the proxy, gold and the oracle side by side, and whether gold is shown to fall before the end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from harness.records import FINAL
from harness.report.compare import ROLES, Comparison, Estimate, estimate
from harness.report.page import Section
from harness.report.sheet import GAP, Row, Sheet, Shown, count, interval, listed, make_frame, named, number
from harness.report.sheets import ID_MEANINGS, IDS

if TYPE_CHECKING:
    from harness.report.cubes import Array, Cubes
    from harness.stats.overoptimisation import Fall, Gao

NOT_GRADED = "No policy was graded before its end; evaluation.at in the recipe asks for it."
NOT_DRAWN = "There is no graded step to draw."


@dataclass(frozen=True)
class Way:
    """How a contestant's rewards went on the way.

    Attributes:
        name: the contestant.
        role: the reward that is taken for the truth: the oracle where there is one, else gold.
        steps: graded before the end.
        fall: the end against the best step before it.
        end: the mean at the end, on the start's scale.
        gap: proxy minus gold at the end, each on its own start's scale; None without a proxy.
        curve: the fitted curve of gold over distance.
        farthest: the largest distance of its runs.
    """

    name: str
    role: str
    steps: tuple[int, ...]
    fall: Fall
    end: float
    gap: Estimate | None
    curve: Gao | None
    farthest: float

    @property
    def peak(self) -> tuple[float, float] | None:
        """Where the fitted curve is highest, and how high; None where it is not, or only beyond what was measured."""
        peak = self.curve.peak if self.curve else None
        return (peak, self.curve.at(peak)) if self.curve and peak is not None and peak <= self.farthest else None


@lru_cache(maxsize=16)
def ways(comparison: Comparison) -> tuple[Way, ...]:
    """Each contestant's way by gold, and by the oracle where there is one; those graded at the end alone are left out.

    The scale is the start's, so that the start is at 0.
    """
    roles = [role for role in ("gold", "oracle") if role in comparison.scales]
    names = [row.name for row in comparison.standings if row.name != comparison.start]
    return tuple(way for name in names for role in roles if (way := _way(comparison, name, role)) is not None)


def _way(comparison: Comparison, name: str, role: str) -> Way | None:
    from harness.stats.overoptimisation import fall

    found = {step: own[role] for step, own in comparison.stages.items() if name in own[role].by_contestant}
    last = comparison.cubes[role]
    if name not in last.by_contestant or not found:
        return None
    seeds, prompts = _shared([last, *found.values()], name)
    if not seeds or not prompts:
        return None
    end = _scores(comparison, last, name, role, seeds, prompts)
    earlier = {step: _scores(comparison, cube, name, role, seeds, prompts) for step, cube in found.items()}
    distances, curve = _curve(comparison, name) if role == "gold" else ([], None)
    return Way(
        *(name, role, tuple(sorted(found)), fall(end, earlier), float(end.mean())),
        gap=_gap(comparison, name) if role == "gold" else None,
        curve=curve,
        farthest=max(distances, default=0.0),
    )


def _shared(found: list[Cubes], name: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Seeds and prompts that all have."""
    seeds = set.intersection(*(set(cube.by_contestant[name].replicates) for cube in found))
    prompts = set.intersection(*(set(cube.prompts) for cube in found))
    return tuple(sorted(seeds)), tuple(sorted(prompts))


def _scores(
    comparison: Comparison, cube: Cubes, name: str, role: str, seeds: tuple[int, ...], prompts: tuple[str, ...]
) -> Array:
    scale = comparison.scales[role]
    scores: Array = (cube.of(name, seeds, prompts).mean(axis=2) - scale.mean) / scale.sd
    return scores


def _gap(comparison: Comparison, name: str) -> Estimate | None:
    """Proxy minus gold of the finished policies, on the start's scales."""
    from harness.stats.contrast import summary

    found = [comparison.cubes[role] for role in ("gold", "proxy")]
    if "proxy" not in comparison.scales or not all(name in cube.by_contestant for cube in found):
        return None
    seeds, prompts = _shared(found, name)
    gold, proxy = (_scores(comparison, comparison.cubes[r], name, r, seeds, prompts) for r in ("gold", "proxy"))
    return estimate(summary(proxy - gold))


def _curve(comparison: Comparison, name: str) -> tuple[list[float], Gao | None]:
    import numpy as np

    from harness.stats.overoptimisation import gao

    own = [point for point in comparison.frontier if point["contestant"] == name]
    distances, gains = ([float(point[axis]) for point in own] for axis in ("root_kl", "gold"))
    return distances, gao(np.array(distances), np.array(gains))


def points(comparison: Comparison) -> list[dict[str, Any]]:
    """One point per contestant, graded step and reward: means over runs of the reward and of the distance."""
    means = comparison.run_means[comparison.run_means["level"] == "sample"].astype({"metric": str, "role": str})
    index = ["contestant", "replicate", "step"]
    kl = means[(means["metric"] == "kl") & (means["role"] == "")].set_index(index)["value"]
    found: list[dict[str, Any]] = []
    for role in (role for role in ROLES if role in comparison.scales and role != "selection"):
        own = means[(means["metric"] == "reward") & (means["role"] == role)].set_index(index)["value"]
        both = own.to_frame("reward").join(kl.clip(lower=0).pow(0.5).rename("distance"), how="inner").reset_index()
        scale = comparison.scales[role]
        for (name, step), rows in both.groupby(["contestant", "step"], observed=True):
            found.append(
                {"contestant": str(name), "step": "final" if step == FINAL else str(step), "role": role,
                 "value": float((rows["reward"].mean() - scale.mean) / scale.sd),
                 "distance": float(rows["distance"].mean()), "order": 1e12 if step == FINAL else float(str(step))}
            )  # fmt: skip
    return found


def section(comparison: Comparison, part: str) -> Section:
    """The section; its figure comes from the folder of figures."""
    found = ways(comparison)
    sheets = [over_optimisation_sheet([comparison], part)] if found else []
    graded = {way.name for way in found}
    others = [row.name for row in comparison.standings if row.name not in {*graded, comparison.start}]
    points = (
        [f"Graded at the end alone, so that nothing is known of their way: {named(others)}."]
        if others and found
        else []
    )
    return Section("over-optimisation", "Over-optimisation", sentence(found), points=points, sheets=sheets)


def sentence(found: tuple[Way, ...]) -> str:
    """Whose reward is shown to have fallen before the end."""
    if not found:
        return NOT_GRADED
    fell = {role: [way.name for way in found if way.role == role and way.fall.shown] for role in ("gold", "oracle")}
    told = [f"{role} is shown to fall before the end for {listed(names)}" for role, names in fell.items() if names]
    if told:
        text = "; ".join(told)
        return f"Over-optimised: {text}."
    names = dict.fromkeys(way.name for way in found)
    return f"No fall before the end of training is shown for any of {count(len(names), 'contestant')}."


_FRAME = {
    **IDS,
    **{"reward": "string", "graded_at": "string", "best_step": "Int64"},
    **dict.fromkeys(("best", "end", "fall", "fall_low", "fall_high"), "Float64"),
    **{"fell": "boolean", "gap": "Float64", "gap_low": "Float64", "gap_high": "Float64"},
    **{"alpha": "Float64", "beta": "Float64", "peak": "Float64", "farthest": "Float64"},
}
_MEANINGS = {
    **ID_MEANINGS,
    "reward": "gold, or the oracle",
    "graded_at": "optimiser steps at which policies were graded before the end",
    "best_step": "of these, the one with the highest mean",
    "best": "its mean over seeds and prompts, in sd of the start above the start",
    "end": "the same of the finished policies",
    "fall": "end minus best",
    "fall_low": "lower end of its 95 % interval, simultaneous over all steps before the end",
    "fall_high": "upper end of it",
    "fell": "true: the whole interval is below 0",
    "gap": "proxy minus gold at the end, each in sd of the start above the start: a proxy that is exploited runs ahead",
    "gap_low": "lower end of its 95 % interval",
    "gap_high": "upper end of it",
    "alpha": "of gold = d (alpha − beta log d), d = √KL, fitted by least squares to all graded runs (Gao et al. 2022)",
    "beta": "of the same",
    "peak": "√KL at which that curve is highest; absent where it has no peak",
    "farthest": "the largest √KL of its runs; a peak beyond it is extrapolated",
}


def over_optimisation_sheet(comparisons: list[Comparison], part: str = "") -> Sheet:
    """A row per contestant and true reward."""
    found = [{"setting": one.name, **_row(way)} for one in comparisons for way in ways(one)]
    shown = [
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("reward", lambda row: row["reward"], kind="word"),
        Shown("best earlier step", lambda row: str(row["best_step"])),
        Shown("its reward", lambda row: number(row["best"], sign=True)),
        Shown("at the end", lambda row: number(row["end"], sign=True)),
        Shown("end − best earlier [simultaneous 95 %]",
              lambda row: interval(row["fall"], row["fall_low"], row["fall_high"], sign=True)),
        Shown("fell", lambda row: "▼ fell" if row["fell"] else "not shown", kind="word"),
        Shown("proxy − gold at the end [95 %]",
              lambda row: interval(row["gap"], row["gap_low"], row["gap_high"], sign=True)),
        Shown("peak of the fitted curve, √nats", _peak),
    ]  # fmt: skip
    caption = (
        "Rewards of graded steps, in sd of the start above the start; the best earlier step is the highest of several."
    )
    return Sheet("over_optimisation", caption, make_frame(found, _FRAME), _MEANINGS, shown, part=part)


def _row(way: Way) -> dict[str, Any]:
    gap = way.gap
    return {
        **{"contestant": way.name, "reward": way.role, "graded_at": ", ".join(map(str, way.steps))},
        **{"best_step": way.fall.step, "best": way.fall.best, "end": way.end, "fall": way.fall.difference},
        **{"fall_low": way.fall.low, "fall_high": way.fall.high, "fell": way.fall.shown},
        **({"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high} if gap else {}),
        **({"alpha": way.curve.alpha, "beta": way.curve.beta, "peak": way.curve.peak} if way.curve else {}),
        "farthest": way.farthest if way.role == "gold" else None,
    }


def _peak(row: Row) -> str:
    if row["peak"] is None:
        return GAP if row["alpha"] is None else "none"
    return number(row["peak"]) if row["peak"] <= row["farthest"] else "beyond what was measured"

"""Quality against cost: the front by means, who is beaten at no higher cost, and what it costs to reach a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.page import Section
from harness.report.prices import COSTS, TARGET, cost_of
from harness.report.sheet import GAP, Row, Sheet, Shown, interval, listed, make_frame, mebibytes, named, number
from harness.report.sheets import ID_MEANINGS, IDS

if TYPE_CHECKING:
    from harness.report.compare import Comparison

WORDS = {
    "device_seconds": "device-seconds",
    "peak_memory_bytes": "memory",
    "answers": "generated tokens",
}
_FRAME = {
    **IDS,
    **dict.fromkeys(("gold", "gold_low", "gold_high", "device_seconds", "tuning_device_seconds"), "Float64"),
    **{"peak_memory_bytes": "Float64", "answers": "Float64"},
    **{f"front_{kind}": "boolean" for kind in COSTS},
    **{"beaten_by": "string", "reached": "Int64", "tried": "Int64", "target_device_seconds": "Float64"},
}
_MEANINGS = {
    **ID_MEANINGS,
    "gold": "gold gain over the start, in sd of the start",
    "gold_low": "lower end of its 95 % interval",
    "gold_high": "upper end of it",
    "device_seconds": "device-seconds of one policy with all that it rests on, mean over seeds, tuning not included; "
    "on a CPU those in which it worked",
    "tuning_device_seconds": "device-seconds of the searches that chose its knobs",
    "peak_memory_bytes": "a GPU's largest peak while training a policy and what it rests on beyond the base; absent "
    "where nothing is trained, and on a CPU, where a process has what other work left in it",
    "answers": "tokens generated for each token of a response that is returned: about 8 for a best of 8",
    **{
        f"front_{kind}": f"true: by means, nothing gains as much for less {WORDS[kind]} or more for as much"
        for kind in COSTS
    },
    "beaten_by": "contestants that cost no more of anything and are significantly better (Holm over all pairs)",
    "reached": f"seeds whose policy reached a hard win rate of {TARGET} against the start",
    "tried": "seeds that ended, in success or failure",
    "target_device_seconds": "median over the tried seeds of the device-seconds until then, tuning not included, one "
    "that never reaches it counting as infinite; between graded steps training is taken to cost the same for each",
}


def section(comparison: Comparison, part: str) -> Section:
    """The section; its figure comes from the folder of figures."""
    return Section(
        "quality-cost",
        "Quality and cost",
        sentence(comparison),
        points=_points(comparison),
        sheets=[quality_cost_sheet([comparison], part)],
    )


def sentence(comparison: Comparison) -> str:
    """Who is on the front by device-seconds."""
    known = [one for one in comparison.prices if one.device_seconds is not None]
    if not known:
        return "No contestant has both a gain and a cost yet."
    front = sorted((one for one in known if "device_seconds" in one.on_front), key=lambda one: one.gold.value)
    named = [
        f"{one.name} ({number(one.gold.value, sign=True)} for {number(cost_of(one, COSTS[0]), 0)})" for one in front
    ]
    return f"By means, the front of gold gain against device-seconds is {listed(named)}; means alone name no winner."


def _points(comparison: Comparison) -> list[str]:
    found = []
    beaten = [one.name for one in comparison.prices if one.beaten_by]
    if beaten:
        found.append(f"Significantly worse than something that costs no more {_costs(comparison)}: {named(beaten)}.")
    priced = sorted((one for one in comparison.prices if one.to_target), key=lambda one: one.to_target or 0.0)
    goal = f"gold prefers its responses to the start's in {TARGET:.0%} of pairs".replace("%", " %")
    if priced:
        told = [f"{one.name} {number(one.to_target, 0)}" for one in priced[:3]]
        found.append(f"Cheapest to where {goal}, in device-seconds of the middle seed: {listed(told)}.")
    elif comparison.prices:
        found.append(f"In no contestant's middle seed has training come to where {goal}.")
    return found


def _costs(comparison: Comparison) -> str:
    """The costs that are known here."""
    known = [kind for kind in COSTS if any(cost_of(one, kind) < float("inf") for one in comparison.prices)]
    return listed([WORDS[kind] for kind in known])


def quality_cost_sheet(comparisons: list[Comparison], part: str = "") -> Sheet:
    """A row per contestant: its gain and its costs."""
    found = [_row(comparison, place) for comparison in comparisons for place in range(len(comparison.prices))]
    shown = [
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("gold gain [95 %]", lambda row: interval(row["gold"], row["gold_low"], row["gold_high"], sign=True)),
        Shown("device-seconds in all", lambda row: number(row["device_seconds"], 0)),
        Shown("of tuning", lambda row: number(row["tuning_device_seconds"], 0)),
        Shown("peak memory", lambda row: mebibytes(row["peak_memory_bytes"]), optional=True),
        Shown("tokens generated per token returned", lambda row: f"× {number(row['answers'], 1)}"),
        Shown("on the front by", _fronts, kind="word"),
        Shown("significantly better for no more", lambda row: row["beaten_by"] or "", kind="prose"),
        Shown(f"device-seconds to win {TARGET:.0%}".replace("%", " %"), _target),
    ]
    caption = (
        "Gains and costs; ◆ marks fronts by means, which noise may move. On a CPU device-seconds are those of work, "
        "and memory is not compared: a process has what other work left in it."
    )
    return Sheet("quality_cost", caption, make_frame(found, _FRAME), _MEANINGS, shown, part=part)


def _row(comparison: Comparison, place: int) -> dict[str, Any]:
    one = comparison.prices[place]
    return {
        **{"setting": comparison.name, "contestant": one.name, "gold": one.gold.value},
        **{"gold_low": one.gold.low, "gold_high": one.gold.high, "device_seconds": one.device_seconds},
        **{"tuning_device_seconds": one.tuning_seconds, "peak_memory_bytes": one.peak_memory_bytes},
        **{"answers": one.answers, **{f"front_{kind}": kind in one.on_front for kind in COSTS}},
        **{"beaten_by": ", ".join(one.beaten_by), "reached": one.reached, "tried": one.tried},
        "target_device_seconds": one.to_target,
    }


def _fronts(row: Row) -> str:
    on = [WORDS[kind] for kind in COSTS if row[f"front_{kind}"]]
    return f"◆ {', '.join(on)}" if on else ""


def _target(row: Row) -> str:
    if not row["tried"]:
        return GAP
    seeds = f"{row['reached']} of {row['tried']} seeds"
    if row["target_device_seconds"] is None:
        return f"in half or fewer ({seeds})" if row["reached"] else f"never ({seeds})"
    return f"{number(row['target_device_seconds'], 0)} ({seeds})"

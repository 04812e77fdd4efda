"""What does each gain cost, and which contestants are on the front?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.figures import START_COLOUR, WIDTH, Figure, colour_scale, inline, legend, shape_scale, tips

if TYPE_CHECKING:
    from harness.report.compare import Comparison

TITLES = {
    "device_seconds": "device-seconds of a policy with all that it rests on, its tuning included (log scale)",
    "alone": "the same without tuning: with knobs that are known (log scale)",
    "peak_memory_bytes": "peak memory while training, the start and rewards included, MiB (log scale)",
    "answers": "tokens generated for each token of a response (log scale)",
}


LETTER = 6.5
"""Pixels of a letter of a name, about."""


class QualityCost(Figure):
    """Gold gain against device-seconds, memory and tokens per response, with the front of the means."""

    question = "What does each gain cost, and who gains as much for less?"
    section = "quality-cost"
    how_to_read = (
        "Up is better, left is cheaper. Bars: 95 % intervals of the gain. Stepped line: the front of the means, which "
        "nobody below and to the right of it reaches; where bars overlap, the data need not say who is on it. A cost "
        "that all share is not drawn."
    )

    def draw(self, comparison: Comparison) -> Any:
        """One panel per cost that differs, one below the other; device-seconds with tuning and without."""
        import altair as alt

        from harness.report.prices import ALONE, FRONTS

        if len(comparison.prices) < 2:
            return "Fewer than two contestants have a gain."
        tuned = any(one.tuning_seconds for one in comparison.prices)
        kinds = [kind for kind in FRONTS if tuned or kind != ALONE]
        panels = [panel for kind in kinds if (panel := _panel(comparison, kind)) is not None]
        return alt.vconcat(*panels) if panels else "The contestants' costs are not known, or are all the same."


def _panel(comparison: Comparison, kind: str) -> Any:
    import altair as alt

    from harness.report.prices import cost_of

    unit = 2**20 if kind == "peak_memory_bytes" else 1
    rows = [
        {"contestant": one.name, "cost": cost_of(one, kind) / unit, **vars(one.gold), "front": kind in one.on_front}
        for one in comparison.prices
        if 0 < cost_of(one, kind) < float("inf")
    ]
    if len({row["cost"] for row in rows}) < 2:
        return None
    height = 300 if kind == "device_seconds" else 200
    front = [row for row in rows if row["front"]]
    domain = _domain([row["cost"] for row in rows], [row["contestant"] for row in front])
    lifted = _lifted(front, domain, height)
    rows = [{**row, "lifted": row["contestant"] in lifted} for row in rows]
    shown = legend(comparison.contestants, rows)
    x = alt.X("cost:Q", title=TITLES[kind], scale=alt.Scale(type="log", nice=False, domain=domain))
    y = alt.Y("value:Q", title="gold gain (sd of the start)", scale=alt.Scale(zero=False))
    colour = alt.Color("contestant:N", scale=colour_scale(comparison), title=None, legend=shown)
    base = alt.Chart(inline(rows))
    steps = base.transform_filter("datum.front").mark_line(color=START_COLOUR, interpolate="step-after", strokeWidth=1)
    numbers = [alt.Tooltip("cost:Q", format=",.1f"), alt.Tooltip("value:Q", format="+.3f")]
    marks = base.mark_point(size=70, filled=True, opacity=1).encode(
        x, y, colour,
        alt.Shape("contestant:N", scale=shape_scale(comparison.contestants), title=None, legend=shown),
        tooltip=tips("contestant:N", *numbers, "front:N"),
    )  # fmt: skip
    bars = base.transform_filter("datum.low != null").mark_rule(opacity=0.45).encode(
        x, alt.Y("low:Q"), alt.Y2("high:Q"), colour
    )  # fmt: skip
    names = [
        base.transform_filter(f"datum.front && {'' if up else '!'}datum.lifted")
        .mark_text(align="right", dx=-7, dy=-20 if up else -7, fontSize=11)  # nobody is above and left of the front
        .encode(x, y, alt.Text("contestant:N"))
        for up in {row["lifted"] for row in rows if row["front"]}  # a layer without rows has no scale
    ]
    drawn = alt.layer(steps.encode(x, y, alt.Order("cost:Q")), bars, marks, *names)
    return drawn.properties(width=WIDTH, height=height)


def _domain(costs: list[float], names: list[str]) -> list[float]:
    """Costs from left to right, with room for the longest of the names that stand to the left of their marks."""
    from math import exp, log

    left, right = max(40.0, *(LETTER * len(name) + 15 for name in names)), 30.0
    per_pixel = (log(max(costs)) - log(min(costs))) / (WIDTH - left - right)
    return [min(costs) * exp(-left * per_pixel), max(costs) * exp(right * per_pixel)]


def _lifted(front: list[dict[str, Any]], domain: list[float], height: int) -> set[str]:
    """Contestants whose name would lie upon that of another."""
    from math import log

    ends = [row[end] for row in front for end in ("low", "value", "high") if row[end] is not None]
    per_letter, per_line = LETTER * log(domain[1] / domain[0]) / WIDTH, 12 * (max(ends) - min(ends)) / height
    taken: list[tuple[float, float]] = []
    found = set[str]()
    for row in sorted(front, key=lambda row: float(row["cost"])):
        end, value = log(row["cost"]), row["value"]
        begin = end - per_letter * len(row["contestant"])
        if any(begin < other and abs(value - at) < per_line for other, at in taken):
            found.add(row["contestant"])
            value += per_line
        taken.append((end, value))
    return found

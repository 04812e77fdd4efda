"""How much better than the start is each contestant, and how sure is that?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.figures import WIDTH, Figure, colour_scale, inline, tips

if TYPE_CHECKING:
    from harness.report.compare import Comparison


class Forest(Figure):
    """Gold gain over the start with its interval, and one dot per seed."""

    question = "How much better than the start is each contestant on the gold reward, and how sure is that?"
    section = "main"
    how_to_read = (
        "Tick: mean gain over the start, in standard deviations of the start. Bar: its 95 % interval over seeds and "
        "prompts. Dots: one per seed. Grey band: differences too small to matter (the margin)."
    )

    def draw(self, comparison: Comparison) -> Any:
        """Intervals as bars, means as ticks, seeds as dots, and the margin as a band."""
        import altair as alt

        standings = [row for row in comparison.standings if "gold" in row.estimates and row.name != comparison.start]
        if not standings:
            return "No contestant can be compared with the start yet."
        order = [row.name for row in standings]
        bars = [{"contestant": row.name, **vars(row.estimates["gold"]), "verdict": row.verdict} for row in standings]
        dots = [
            {"contestant": row.name, "replicate": replicate, "value": gain}
            for row in standings
            for replicate, gain in row.gain_by_seed.items()
        ]
        y = alt.Y("contestant:N", sort=order, title="contestant")
        colour = alt.Color("contestant:N", scale=colour_scale(comparison), legend=None)
        margin = inline([{"from": -comparison.margin, "to": comparison.margin}])
        zero = alt.Chart(inline([{"zero": 0}])).mark_rule(color="#555555").encode(alt.X("zero:Q"))
        band = alt.Chart(margin).mark_rect(color="#bbbbbb", opacity=0.35).encode(alt.X("from:Q"), alt.X2("to:Q"))
        base = alt.Chart(inline(bars))
        sure = [row["contestant"] for row in bars if row["low"] is not None]
        line = (
            base.transform_filter(alt.FieldOneOfPredicate(field="contestant", oneOf=sure))
            .mark_bar(height=5, opacity=0.55)
            .encode(y, alt.X("low:Q", title="gold gain over the start (sd of the start)"), alt.X2("high:Q"), colour)
        )
        numbers = [alt.Tooltip(f"{name}:Q", format="+.3f") for name in ("value", "low", "high")]
        tick = base.mark_tick(thickness=3, size=22).encode(
            y, alt.X("value:Q"), colour, tooltip=tips("contestant:N", "verdict:N", *numbers)
        )
        seeds = (
            alt.Chart(inline(dots))
            .mark_circle(size=45, opacity=0.75, stroke="white", strokeWidth=0.5)
            .encode(y, alt.X("value:Q"), colour, tooltip=tips("contestant:N", "replicate:O", numbers[0]))
        )
        return alt.layer(band, zero, line, tick, seeds).properties(width=WIDTH, height=alt.Step(30))

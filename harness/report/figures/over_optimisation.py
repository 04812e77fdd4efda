"""Does gold go on rising with the proxy, or does training exploit it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.figures import REWARD_COLOURS, REWARD_DASHES, REWARD_SHAPES, Figure, inline, tips

if TYPE_CHECKING:
    from harness.report.compare import Comparison


class OverOptimisation(Figure):
    """A panel per contestant: proxy, gold and oracle over √KL, from the start to the end of training."""

    question = "Does gold go on rising with the proxy, or does training exploit the proxy?"
    section = "over-optimisation"
    how_to_read = (
        "One panel per contestant; each begins at the start (0, 0) and ends with training. Solid line, circles: gold. "
        "Dashed, squares: the proxy. Dotted, triangles: the oracle. All are means over seeds, in sd of the start. Thin "
        "grey line: d (α − β log d), fitted to gold; a tick across it marks its peak, where runs went that far. Where "
        "the proxy rises and gold or the oracle does not, the proxy is being exploited."
    )

    def draw(self, comparison: Comparison) -> Any:
        """Panels of lines, three to a row."""
        import altair as alt

        from harness.report.over_optimisation import NOT_DRAWN, points, ways

        found = {way.name: way for way in ways(comparison) if way.role == "gold"}
        if not found:
            return NOT_DRAWN
        rows = points(comparison)
        roles = list(dict.fromkeys(row["role"] for row in rows))
        colours, dashes, shapes = (
            alt.Scale(domain=roles, range=[of[role] for role in roles])
            for of in (REWARD_COLOURS, REWARD_DASHES, REWARD_SHAPES)
        )
        panels = []
        for name, way in found.items():
            own = [row for row in rows if row["contestant"] == name]
            start = [{"role": role, "distance": 0.0, "value": 0.0, "order": 0.0, "step": "start"} for role in roles]
            x = alt.X("distance:Q", title="√KL to the start", scale=alt.Scale(zero=True))
            y = alt.Y("value:Q", title="gain (sd of the start)")
            colour = alt.Color("role:N", scale=colours, title=None)
            base = alt.Chart(inline([*start, *own]))
            line = base.mark_line(strokeWidth=2).encode(
                x, y, colour, alt.StrokeDash("role:N", scale=dashes, title=None), alt.Order("order:Q")
            )
            numbers = [alt.Tooltip(f"{axis}:Q", format="+.3f") for axis in ("value", "distance")]
            marks = base.mark_point(size=45, filled=True, opacity=1).encode(
                x, y, colour, alt.Shape("role:N", scale=shapes, title=None), tooltip=tips("role:N", "step:N", *numbers)
            )
            layers = [line, marks]
            if way.curve:
                far = [{"distance": (d := way.farthest * i / 30), "value": way.curve.at(d)} for i in range(31)]
                layers.insert(0, alt.Chart(inline(far)).mark_line(color="#888888", strokeWidth=1).encode(x, y))
            if way.peak:
                peak = alt.Chart(inline([dict(zip(("distance", "value"), way.peak, strict=True))]))
                tick = peak.mark_tick(orient="vertical", color="#444444", thickness=2, size=18)
                layers.append(tick.encode(x, y, tooltip=[numbers[1]]))
            panels.append(alt.layer(*layers).properties(width=230, height=170, title=name))
        return alt.concat(*panels, columns=3)

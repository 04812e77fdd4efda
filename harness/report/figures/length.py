"""Who wins by writing more?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.figures import WIDTH, Figure, colour_scale, inline, legend, shape_scale, tips

if TYPE_CHECKING:
    from harness.report.compare import Comparison

ALIKE, LEVEL = 1.0, 0.5
"""As long as the start, and preferred as often as it: both are drawn, wherever the marks are."""
RATIOS = (0.1, 0.2, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
FINE = (0.8, 0.9, 1.1, 1.2)
"""Where the axis may have ticks, and where also on a short one: a logarithmic axis has none between 1 and 2."""


class Length(Figure):
    """Soft win rate against the length ratio to the start, with an arrow to the rate at equal length."""

    question = "Who wins by writing more, and what is left of it at equal length?"
    section = "outputs"
    how_to_read = (
        "One mark per contestant: right writes more than the start, up wins more often. The arrow goes from the win "
        "rate to the one that is predicted at equal length; a long arrow says that length makes much of it. A mark "
        "without an arrow has no such prediction (the table's note says why), or one that is no different. Lines: as "
        "long as the start, and as often preferred."
    )

    def draw(self, comparison: Comparison) -> Any:
        """A mark per contestant, and an arrow where there is a rate at equal length."""
        import altair as alt

        rows = _rows(comparison)
        if not rows:
            return "No contestant has both a length and a win rate against the start."
        shown = legend(comparison.contestants, rows)
        x, y = _ratios(rows), _rates(rows)
        colour = alt.Color("contestant:N", scale=colour_scale(comparison), title=None, legend=shown)
        shape = alt.Shape("contestant:N", scale=shape_scale(comparison.contestants), title=None, legend=shown)
        base = alt.Chart(inline(rows))
        numbers = [alt.Tooltip("ratio:Q", format=".2f")]
        numbers += [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("win", "controlled")]
        marks = base.mark_point(size=70, filled=True, opacity=1)
        marks = marks.encode(x, y, colour, shape, tooltip=tips("contestant:N", *numbers))
        rule = {"color": "#999999", "strokeDash": [3, 3]}
        level = alt.Chart(inline([{"win": LEVEL}])).mark_rule(**rule).encode(y)
        alike = alt.Chart(inline([{"ratio": ALIKE}])).mark_rule(**rule).encode(x)
        arrows = _arrows(base, x, y, colour) if any(row["turn"] is not None for row in rows) else []
        return alt.layer(level, alike, *arrows, marks).properties(width=WIDTH, height=340)


def _ratios(rows: list[dict[str, Any]]) -> Any:
    """The axis of lengths: every mark, and the start's."""
    import altair as alt

    ratios = [ALIKE, *(row["ratio"] for row in rows)]
    low, high = min(ratios) / 1.03, max(ratios) * 1.03
    ticks = (*RATIOS, *(FINE if high < 2 * low else ()))
    return alt.X(
        "ratio:Q",
        title="response tokens over the start's (log scale)",
        scale=alt.Scale(type="log", nice=False, domain=[low, high]),
        axis=alt.Axis(values=[at for at in ticks if low <= at <= high], format="~r"),
    )


def _rates(rows: list[dict[str, Any]]) -> Any:
    """The axis of win rates: every mark, every arrow's end, and as often as the start."""
    import altair as alt

    rates = [LEVEL, *(row[name] for row in rows for name in ("win", "controlled") if name in row)]
    reach = alt.Scale(zero=False, domain=[min(rates) - 0.02, max(rates) + 0.02])
    return alt.Y("win:Q", title="soft win rate against the start", scale=reach)


def _arrows(base: Any, x: Any, y: Any, colour: Any) -> list[Any]:
    """Lines and heads from each win rate to the one at equal length."""
    import altair as alt

    moved = base.transform_filter("isNumber(datum.turn)")
    line = moved.mark_rule(opacity=0.6, strokeWidth=1.5).encode(x, y, alt.Y2("controlled:Q"), colour)
    # the angle is the data's own: a scale would turn it
    head = moved.mark_point(shape="triangle", size=45, filled=True, opacity=0.9).encode(
        x, alt.Y("controlled:Q"), colour, angle=alt.Angle("turn:Q", scale=None)
    )
    return [line, head]


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    found = {row.name: row.estimates for row in comparison.standings}
    start = found.get(comparison.start, {}).get("length")
    if start is None or start.value <= 0:
        return []
    return [
        {
            **{"contestant": name, "ratio": own["length"].value / start.value, "win": own["soft_win"].value},
            **_arrow(own["soft_win"].value, own["lc_soft_win"].value if "lc_soft_win" in own else None),
        }
        for name, own in found.items()
        if {"length", "soft_win"} <= set(own) and own["length"].value > 0
    ]


def _arrow(win: float, controlled: float | None) -> dict[str, Any]:
    """The rate at equal length, and by how many degrees the arrow's head is turned; None where there is no arrow."""
    if controlled is None:
        return {"turn": None}
    turn = 0 if controlled > win else 180
    return {"controlled": controlled, "turn": turn if controlled != win else None}

"""Who wins by writing more?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.figures import WIDTH, Figure, colour_scale, inline, legend, shape_scale, tips

if TYPE_CHECKING:
    from harness.report.compare import Comparison

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
        ratios, rates = [row["ratio"] for row in rows], [row["win"] for row in rows]
        rates += [row["controlled"] for row in rows if "controlled" in row]
        domain = [min(ratios) / 1.03, max(ratios) * 1.03]
        ticks = (*RATIOS, *(FINE if domain[1] < 2 * domain[0] else ()))
        x = alt.X(
            "ratio:Q",
            title="response tokens over the start's (log scale)",
            scale=alt.Scale(type="log", nice=False, domain=domain),
            axis=alt.Axis(values=[at for at in ticks if domain[0] <= at <= domain[1]], format="~r"),
        )
        reach = alt.Scale(zero=False, domain=[min(rates) - 0.02, max(rates) + 0.02])
        y = alt.Y("win:Q", title="soft win rate against the start", scale=reach)
        colour = alt.Color("contestant:N", scale=colour_scale(comparison), title=None, legend=shown)
        base = alt.Chart(inline(rows))
        numbers = [alt.Tooltip("ratio:Q", format=".2f")]
        numbers += [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("win", "controlled")]
        marks = base.mark_point(size=70, filled=True, opacity=1).encode(
            x, y, colour,
            alt.Shape("contestant:N", scale=shape_scale(comparison.contestants), title=None, legend=shown),
            tooltip=tips("contestant:N", *numbers),
        )  # fmt: skip
        level = alt.Chart(inline([{"win": 0.5}])).mark_rule(color="#999999", strokeDash=[3, 3]).encode(y)
        alike = alt.Chart(inline([{"ratio": 1}])).mark_rule(color="#999999", strokeDash=[3, 3]).encode(x)
        layers = [level, alike]
        if any(row["turn"] is not None for row in rows):
            moved = base.transform_filter("isNumber(datum.turn)")
            layers.append(moved.mark_rule(opacity=0.6, strokeWidth=1.5).encode(x, y, alt.Y2("controlled:Q"), colour))
            # the angle is the data's own: a scale would turn it
            layers.append(
                moved.mark_point(shape="triangle", size=45, filled=True, opacity=0.9).encode(
                    x, alt.Y("controlled:Q"), colour, angle=alt.Angle("turn:Q", scale=None)
                )
            )
        return alt.layer(*layers, marks).properties(width=WIDTH, height=340)


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

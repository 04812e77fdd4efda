"""What does each contestant pay in distance from the start for its reward?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.collapse import collapsed
from harness.report.figures import START_COLOUR, WIDTH, Figure, colour_scale, inline, legend, shape_scale, tips

if TYPE_CHECKING:
    from harness.report.compare import Comparison

CROSS = "M-1,-1L1,1M-1,1L1,-1"


class RewardKl(Figure):
    """Gold reward against the square root of KL to the start, one point per run."""

    question = "What does each contestant pay, in distance from the start, for its reward?"
    section = "reward-kl"
    how_to_read = (
        "One mark per run. Up is better, left is nearer to the start. Distance: square root of KL(policy ‖ start) "
        "in nats per response, from full logits on the policy's own responses. Where policies were kept at earlier "
        "steps, a line joins the steps of a run. A black cross lies on a run that collapsed (see the stability of the "
        "order). Stepped grey line: the front of the contestants' means, of whom no other has more gold at less KL; "
        "they need not lie on one of their runs, and where runs scatter the data need not say who is on it."
    )

    def draw(self, comparison: Comparison) -> Any:
        """Points, lines over the graded steps of a run, the front of the means, and crosses on what collapsed."""
        import altair as alt

        points = comparison.frontier
        if not points:
            return "No run has both a gold reward and a KL to the start."
        data, shown = inline(points), legend(comparison.contestants, points)
        x = alt.X("root_kl:Q", title="√KL to the start (√nats per response)", scale=alt.Scale(zero=True))
        y = alt.Y("gold:Q", title="gold reward (sd of the start)", scale=alt.Scale(zero=False, nice=True))
        colour = alt.Color("contestant:N", scale=colour_scale(comparison), title=None, legend=shown)
        shape = alt.Shape("contestant:N", scale=shape_scale(comparison.contestants), title=None, legend=shown)
        numbers = [alt.Tooltip("gold:Q", format="+.3f"), alt.Tooltip("kl:Q", format=".3f")]
        told = tips("contestant:N", "replicate:O", "step:N", *numbers)
        layers = [
            alt.Chart(data).mark_point(size=60, filled=True, opacity=0.8).encode(x, y, colour, shape, tooltip=told)
        ]
        if any(point["step"] != "final" for point in points):
            lines = alt.Chart(data).mark_line(opacity=0.4, strokeWidth=1)
            layers.insert(0, lines.encode(x, y, colour, alt.Detail("replicate:O"), alt.Order("order:Q")))
        if front := _front(comparison):
            steps = alt.Chart(inline(front)).mark_line(color=START_COLOUR, interpolate="step-after", strokeWidth=1)
            layers.insert(0, steps.encode(x, y, alt.Order("root_kl:Q")))
        if lost := _collapsed(comparison):
            crosses = alt.Chart(inline(lost)).mark_point(
                shape=CROSS, size=60, stroke="black", strokeWidth=1.5, opacity=1
            )
            layers.append(crosses.encode(x, y, tooltip=told))
        return alt.layer(*layers).properties(width=WIDTH, height=340)


def _front(comparison: Comparison) -> list[dict[str, Any]]:
    """The means of the contestants on the front; none where it is the start alone, which is no line."""
    found = [
        {
            "contestant": row.name,
            "gold": row.estimates["gold"].value,
            "root_kl": max(row.estimates["kl"].value, 0.0) ** 0.5,
        }
        for row in comparison.kl_front
    ]
    return found if len(found) > 1 else []


def _collapsed(comparison: Comparison) -> list[dict[str, Any]]:
    """The points of finished policies that collapsed."""
    lost = collapsed(comparison)
    return [
        point
        for point in comparison.frontier
        if point["step"] == "final" and point["replicate"] in lost[point["contestant"]]
    ]

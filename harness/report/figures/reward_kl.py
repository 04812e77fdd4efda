"""What does each contestant pay in distance from the start for its reward?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.figures import WIDTH, Figure, colour_scale, inline, legend, shape_scale, tips

if TYPE_CHECKING:
    from harness.report.compare import Comparison


class RewardKl(Figure):
    """Gold reward against the square root of KL to the start, one point per run."""

    question = "What does each contestant pay, in distance from the start, for its reward?"
    section = "reward-kl"
    how_to_read = (
        "One mark per run. Up is better, left is nearer to the start. Distance: square root of KL(policy ‖ start) "
        "in nats per response, from full logits on the policy's own responses. Where policies were kept at earlier "
        "steps, a line joins the steps of a run."
    )

    def draw(self, comparison: Comparison) -> Any:
        """Points, and lines over the graded steps of a run."""
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
        marks = alt.Chart(data).mark_point(size=60, filled=True, opacity=0.8).encode(x, y, colour, shape, tooltip=told)
        if all(point["step"] == "final" for point in points):
            return marks.properties(width=WIDTH, height=340)
        lines = (
            alt.Chart(data)
            .mark_line(opacity=0.4, strokeWidth=1)
            .encode(x, y, colour, alt.Detail("replicate:O"), alt.Order("order:Q"))
        )
        return alt.layer(lines, marks).properties(width=WIDTH, height=340)

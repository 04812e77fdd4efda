"""How did training go?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.figures import Figure, colour_scale, dash_scale, inline, tips

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.compare import Comparison

PREFERRED = (
    *("loss", "rewards/margins", "rewards/accuracies", "rewards/chosen", "rewards/rejected"),
    *("kl", "entropy", "grad_norm", "logps/chosen", "logps/rejected"),
)
PANELS, POINTS, THIN_RUNS = 9, 40, 60
"""At most so many panels, points per line, and runs that get a thin line of their own."""


class Curves(Figure):
    """Small multiples of what training logged: a thin line per seed, a thick one for their mean."""

    question = "How did training go?"
    section = "training"
    how_to_read = (
        "One panel per logged quantity. Thin lines: seeds; thick lines: their mean; a click on a name of the legend "
        "brings its lines out. Losses and rewards/margins mean something else in each algorithm, so compare their "
        "shapes and not their heights."
    )

    def draw(self, comparison: Comparison) -> Any:
        """One panel per quantity, its own vertical axis each."""
        import altair as alt

        curves = _thinned(comparison.curves)
        if curves.empty:
            return "No run has logged training curves."
        x = alt.X("step:Q", title="optimiser step")
        y = alt.Y("value:Q", title="as logged", scale=alt.Scale(zero=False))
        logged = set(curves["contestant"].unique())
        trained = [name for name in comparison.contestants if name in logged]
        legend = alt.Legend(values=trained, symbolOpacity=1, symbolStrokeWidth=2, symbolSize=400)
        dashes = dash_scale(comparison.contestants, comparison.start)
        colour = alt.Color("contestant:N", scale=colour_scale(comparison), title=None, legend=legend)
        dash = alt.StrokeDash("contestant:N", scale=dashes, title=None, legend=legend)
        chosen = alt.selection_point("chosen", fields=["contestant"], bind="legend")
        panels: list[Any] = []
        for metric in _panels(curves):
            one = curves[curves["metric"] == metric]
            mean = one.groupby(["contestant", "step"])["value"].mean().reset_index()
            thick = (
                alt.Chart(_data(mean))
                .mark_line(strokeWidth=2)
                .encode(x, y, colour, dash, tooltip=tips("contestant:N", "step:Q", "value:Q"))
                .encode(opacity=alt.condition(chosen, alt.value(1), alt.value(0.1)))
            )
            chart = thick.properties(width=230, height=140, title=metric)
            if 1 < len(one[["contestant", "replicate"]].drop_duplicates()) <= THIN_RUNS:
                thin = (
                    alt.Chart(_data(one))
                    .mark_line(strokeWidth=0.6)
                    .encode(x, y, colour, alt.Detail("replicate:O"))
                    .encode(opacity=alt.condition(chosen, alt.value(0.45), alt.value(0.05)))
                )
                chart = alt.layer(thin, thick).properties(width=230, height=140, title=metric)
            panels.append(chart if panels else chart.add_params(chosen))  # a click reaches all panels
        return alt.concat(*panels, columns=3)


def _panels(curves: pd.DataFrame) -> list[str]:
    logged = set(curves["metric"].unique())
    known = [metric for metric in PREFERRED if metric in logged]
    return [*known, *sorted(logged - set(known))][:PANELS]


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """Means over buckets of steps, so that a line has at most `POINTS` points."""
    if curves.empty:
        return curves
    curves = curves.astype({"contestant": str, "metric": str})
    width = max(1, -(-int(curves["step"].max()) // POINTS))
    bucket = ((curves["step"] + width - 1) // width * width).clip(upper=curves["step"].max()).rename("step")
    columns = [curves["contestant"], curves["replicate"], curves["metric"], bucket]
    return curves.groupby(columns)["value"].mean().reset_index()


def _data(frame: pd.DataFrame) -> Any:
    rounded = frame.assign(value=frame["value"].map(lambda value: float(f"{value:.5g}")))
    return inline(rounded.drop(columns="metric", errors="ignore").to_dict("records"))

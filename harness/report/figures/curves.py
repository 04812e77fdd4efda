"""How did training go?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.figures import Figure, colour_scale, inline

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
        "One panel per logged quantity. Thin lines: seeds; thick lines: their mean. Losses and rewards/margins mean "
        "something else in each algorithm, so compare their shapes and not their heights."
    )

    def draw(self, comparison: Comparison) -> Any:
        """One panel per quantity, its own vertical axis each."""
        import altair as alt

        curves = _thinned(comparison.curves)
        if curves.empty:
            return "No run has logged training curves."
        x = alt.X("step:Q", title="optimiser step")
        y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False))
        colour = alt.Color("contestant:N", scale=colour_scale(comparison), title=None)
        panels = []
        for metric in _panels(curves):
            one = curves[curves["metric"] == metric]
            mean = one.groupby(["contestant", "step"])["value"].mean().reset_index()
            thick = (
                alt.Chart(_data(mean))
                .mark_line(strokeWidth=2)
                .encode(x, y, colour, tooltip=["contestant:N", "step:Q", "value:Q"])
            )
            chart = thick.properties(width=230, height=140, title=metric)
            if 1 < len(one[["contestant", "replicate"]].drop_duplicates()) <= THIN_RUNS:
                thin = (
                    alt.Chart(_data(one))
                    .mark_line(strokeWidth=0.6, opacity=0.45)
                    .encode(x, y, colour, detail="replicate:O")
                )
                chart = alt.layer(thin, thick).properties(width=230, height=140, title=metric)
            panels.append(chart)
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

"""Does training cost diversity?"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

from harness.report.figures import WIDTH, Figure, colour_scale, inline, legend, shape_scale, tips

if TYPE_CHECKING:
    from harness.report.compare import Comparison


class Diversity(Figure):
    """Distinct n-grams of the samples of a prompt against the square root of KL to the start."""

    question = "Does moving away from the start cost diversity?"
    section = "outputs"
    how_to_read = (
        "Pale marks: runs that have both numbers. The large one: the mean of their distinct n-grams, at the root of "
        "their mean KL; the table of contestants also counts runs that have one of the two alone. Up is more diverse: "
        "distinct n-grams of the samples of a prompt, for which longer responses have no advantage. Right is farther "
        "from the start. Not drawn is whoever has no KL, since its responses are not its policy's to the plain prompt."
    )

    def draw(self, comparison: Comparison) -> Any:
        """A mark per run, and a larger one per contestant."""
        import altair as alt

        rows = _rows(comparison)
        if not rows:
            return "No run has both distinct n-grams and a KL to the start."
        shown = legend(comparison.contestants, rows)
        x = alt.X("root_kl:Q", title="√KL to the start (√nats per response)", scale=alt.Scale(zero=True))
        y = alt.Y("distinct:Q", title="distinct n-grams of a prompt's samples", scale=alt.Scale(zero=False))
        colour = alt.Color("contestant:N", scale=colour_scale(comparison), title=None, legend=shown)
        shape = alt.Shape("contestant:N", scale=shape_scale(comparison.contestants), title=None, legend=shown)
        base = alt.Chart(inline(rows))
        numbers = [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("distinct", "root_kl")]
        told = tips("contestant:N", "run:N", *numbers)
        layers = [
            base.transform_filter(f"datum.run {sign} 'mean'")
            .mark_point(size=size, filled=True, opacity=opacity, stroke=stroke, strokeWidth=1)
            .encode(x, y, colour, shape, tooltip=told)
            for sign, size, opacity, stroke in (("!=", 30, 0.4, None), ("==", 140, 1, "white"))
        ]
        return alt.layer(*layers).properties(width=WIDTH, height=340)


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row per run, then one per contestant, of runs that have both."""
    kls, distinct = (comparison.cubes[name].by_contestant for name in ("kl", "distinct"))
    runs, means = [], []
    for name in comparison.contestants:
        if name not in kls or name not in distinct:
            continue
        far, said = (
            dict(zip(own.replicates, own.prompts.mean(axis=1), strict=True)) for own in (kls[name], distinct[name])
        )
        both = [seed for seed in far if seed in said]
        runs += [_row(name, f"seed {seed}", far[seed], said[seed]) for seed in both]
        if both:
            means.append(_row(name, "mean", *(fmean(one[seed] for seed in both) for one in (far, said))))
    return [*runs, *means]


def _row(name: str, run: str, kl: float, distinct: float) -> dict[str, Any]:
    return {"contestant": name, "run": run, "root_kl": float(max(kl, 0.0) ** 0.5), "distinct": float(distinct)}

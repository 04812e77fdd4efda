"""Do the contestants keep their places from seed to seed?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.figures import WIDTH, Figure, colour_scale, column, inline, shape_scale, tips

if TYPE_CHECKING:
    from harness.report.compare import Comparison
    from harness.stats.runs import Runs


class MeanRank(Figure):
    """The mean over seeds of each contestant's rank by gold, one dot per seed, and the letters of all pairs."""

    question = "Do the contestants keep their places from seed to seed?"
    section = "stability"
    how_to_read = (
        "Mark: mean rank by gold over the seeds that all who are ranked have (1 is best). Dots: the rank on one seed, "
        "those of equal rank one below the other; the fewer places they span, the steadier. A failed run ranks as the "
        "start. Contestants with fewer than two runs that ended are left out. Letters, as in the table of contestants: "
        "two that share one are not significantly different on gold. They are not about ranks, which say nothing of "
        "how large a difference is."
    )

    def draw(self, comparison: Comparison) -> Any:
        """Contestants by mean rank, seeds as dots, letters to the right."""
        import altair as alt

        ranked = {name: own for name, own in comparison.runs.items() if len(own.replicates) > 1}
        found, seeds = _ranks(ranked)
        if len(found) < 2 or seeds < 2:
            return "Ranks over seeds take two contestants that share two seeds."
        means = {name: sum(own) / len(own) for name, own in found.items()}
        order = sorted(found, key=lambda name: means[name])
        letters = comparison.letters
        rows = [{"contestant": name, "rank": means[name], "letters": letters.get(name, "")} for name in order]
        dots = [{"contestant": name, **dot} for name in order for dot in _dots(found[name])]
        y = alt.Y("contestant:N", sort=order, title="contestant")
        x = alt.X(
            "rank:Q",
            title=f"rank by gold, 1 is best, mean over {seeds} seeds",
            scale=alt.Scale(domain=[0.5, len(order) + 0.5], nice=False),
            axis=alt.Axis(tickMinStep=1, format="d"),
        )
        colour = alt.Color("contestant:N", scale=colour_scale(comparison), legend=None)
        apart = alt.YOffset("shift:Q", scale=alt.Scale(domain=[-1, 1]))
        light = alt.Chart(inline(dots)).mark_circle(size=30, opacity=0.5).encode(
            x, y, apart, colour, tooltip=tips("contestant:N", "rank:Q")
        )  # fmt: skip
        base = alt.Chart(inline(rows))
        marks = base.mark_point(size=110, filled=True, opacity=1, stroke="white", strokeWidth=1).encode(
            x, y, colour, alt.Shape("contestant:N", scale=shape_scale(comparison.contestants), legend=None),
            tooltip=tips("contestant:N", alt.Tooltip("rank:Q", format=".1f"), "letters:N"),
        )  # fmt: skip
        layers = [light, marks]
        if any(row["letters"] for row in rows):
            layers += column(base, y, "letters", "letters")
        return alt.layer(*layers).properties(width=WIDTH, height=alt.Step(22))


def _dots(ranks: list[float]) -> list[dict[str, float]]:
    """A dot per seed; those of equal rank are shifted apart, by at most 1 up or down, so that each is seen."""
    found = []
    for seed, rank in enumerate(ranks):
        equal = [other for other, own in enumerate(ranks) if own == rank]
        step = min(0.5, 2 / max(len(equal) - 1, 1))
        found.append({"rank": rank, "shift": step * (equal.index(seed) - (len(equal) - 1) / 2)})
    return found


def _ranks(runs: dict[str, Runs]) -> tuple[dict[str, list[float]], int]:
    """Each contestant's ranks by mean score on the seeds that all have, 1 being the highest; how many seeds."""
    import numpy as np
    from scipy.stats import rankdata

    seeds = sorted(set.intersection(*(set(own.replicates) for own in runs.values()))) if runs else []
    if not seeds:
        return {}, 0
    means = np.stack([own.at(seeds).mean(1) for own in runs.values()])  # (C, S)
    ranks = rankdata(-means, axis=0)
    return {name: [float(rank) for rank in own] for name, own in zip(runs, ranks, strict=True)}, len(seeds)

"""What does it cost until a policy wins often enough?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.figures import WIDTH, Figure, colour_scale, column, inline, shape_scale, tips
from harness.report.prices import TARGET

if TYPE_CHECKING:
    from harness.report.compare import Comparison, Price


class CostToTarget(Figure):
    """Device-seconds until the first graded policy that reaches the target, per seed and for the middle one."""

    question = "What does it cost until gold prefers a policy's responses often enough?"
    section = "quality-cost"
    how_to_read = (
        "Marks: the device-seconds of one seed until its first graded policy whose responses gold prefers to the "
        f"start's in {100 * TARGET:.0f} % of pairs, with all that it rests on; neither its tuning nor what its "
        "responses cost (many tokens, for a best of n) is included. Left is cheaper. "
        "Tick: the middle seed, where seeds that failed or never come there count as infinite; none where half or "
        "fewer come there. To the right: how many seeds do."
    )

    def draw(self, comparison: Comparison) -> Any:
        """Contestants by the cost of their middle seed; who never comes there stands last."""
        import altair as alt

        prices = [one for one in comparison.prices if one.tried and one.name != comparison.start]
        dots = [dot for one in prices for dot in _dots(one)]
        if not dots:
            share = f"{100 * TARGET:.0f} % of pairs"
            return f"No run has come to where gold prefers its responses to the start's in {share}."
        prices.sort(key=_place)
        order = [one.name for one in prices]
        rows = [{"contestant": one.name, "cost": one.to_target or None, "seeds": _seeds(one)} for one in prices]
        x = _costs([dot["cost"] for dot in dots])
        y = alt.Y("contestant:N", sort=order, title=None, scale=alt.Scale(domain=order))
        colour = alt.Color("contestant:N", scale=colour_scale(comparison), legend=None)
        shape = alt.Shape("contestant:N", scale=shape_scale(comparison.contestants), legend=None)
        cost = alt.Tooltip("cost:Q", format=",.1f")
        seeds = alt.Chart(inline(dots)).mark_point(size=45, filled=True, opacity=0.5)
        layers = [seeds.encode(x, y, colour, shape, tooltip=tips("contestant:N", "seed:O", cost))]
        base = alt.Chart(inline(rows))
        if any(row["cost"] for row in rows):
            middle = base.transform_filter("datum.cost != null").mark_tick(thickness=3, size=18)
            layers.insert(0, middle.encode(x, y, colour, tooltip=tips("contestant:N", cost)))
        layers += column(base, y, "seeds", "seeds")
        return alt.layer(*layers).properties(width=WIDTH, height=alt.Step(22))


def _dots(one: Price) -> list[dict[str, Any]]:
    """A row per seed that comes there."""
    return [
        {"contestant": one.name, "seed": seed, "cost": cost}
        for seed, cost in one.target_by_seed.items()
        if 0 < cost < float("inf")
    ]


def _costs(costs: list[float]) -> Any:
    """The axis of costs, from the least to the largest with some room."""
    import altair as alt

    scale = alt.Scale(type="log", nice=False, domain=[min(costs) / 1.1, max(costs) * 1.1])
    return alt.X("cost:Q", title="device-seconds until then (log scale)", scale=scale)


def _place(one: Price) -> tuple[float, int, float]:
    """Cheapest middle seed first; then those of whom more seeds come there, and of these the cheapest."""
    costs = one.target_by_seed.values()
    return one.to_target or float("inf"), -one.reached, min(costs, default=float("inf"))


def _seeds(one: Price) -> str:
    return f"{one.reached} of {one.tried}" if one.reached else "never"

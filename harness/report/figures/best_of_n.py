"""Does training beat choosing the best of several responses of the start?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.figures import REWARD_DASHES, WIDTH, Figure, colour_scale, inline, legend, shape_scale, tips

if TYPE_CHECKING:
    from harness.report.compare import Comparison


class BestOfN(Figure):
    """Gains of the start's best of n by every reward over √KL, and the contestants' gold gains."""

    question = "Does training beat choosing the best of n responses of the start?"
    section = "reward-kl"
    how_to_read = (
        "Lines: the start's best of n as the proxy chooses, n rising from 1, by gold (with its 95 % band) and "
        "by the other rewards; their distance is the most that it can be, log n − (n − 1)/n. Marks: the contestants' "
        "gold gains, on all test prompts; the lines rest on some of them. Where the gold line rises, a mark below it "
        "gains less than best of n for its distance; one above it need not gain more, since the true line is at this "
        "one or left of it. Where the proxy's line rises away from gold's, the proxy is being exploited."
    )

    def draw(self, comparison: Comparison) -> Any:
        """Lines of best-of-n by reward, a band for gold, and a mark per contestant."""
        import altair as alt

        if not comparison.best_of:
            return f"The start's best of n is not known: {comparison.no_best_of or 'its responses have no scores yet'}."
        lines = [
            {"reward": one.role, "n": one.n, "root_kl": one.kl**0.5, **vars(one.gain)} for one in comparison.best_of
        ]
        roles = list(dict.fromkeys(row["reward"] for row in lines))
        dashes = alt.Scale(domain=roles, range=[REWARD_DASHES[role] for role in roles])
        x = alt.X("root_kl:Q", title="√KL to the start (√nats per response)", scale=alt.Scale(zero=True))
        y = alt.Y("value:Q", title="gain over the start (sd of the start)")
        data = alt.Chart(inline(lines))
        numbers = [alt.Tooltip("value:Q", format="+.3f"), alt.Tooltip("root_kl:Q", format=".3f")]
        dash = alt.StrokeDash("reward:N", scale=dashes, title="best of n by")
        drawn = data.mark_line(color="#222222").encode(x, y, dash, tooltip=tips("reward:N", "n:Q", *numbers))
        band = (
            data.transform_filter("datum.reward == 'gold' && datum.low != null")
            .mark_area(color="#222222", opacity=0.12)
            .encode(x, alt.Y("low:Q"), alt.Y2("high:Q"))
        )
        marks = [
            {"contestant": row.name, "root_kl": row.estimates["kl"].value ** 0.5, "value": row.estimates["gold"].value}
            for row in comparison.standings
            if {"kl", "gold"} <= set(row.estimates)
        ]
        layers = [band, drawn]
        if marks:
            shown = legend(comparison.contestants, marks)
            layers.append(
                alt.Chart(inline(marks))
                .mark_point(size=70, filled=True)
                .encode(
                    x, y, alt.Color("contestant:N", scale=colour_scale(comparison), title=None, legend=shown),
                    alt.Shape("contestant:N", scale=shape_scale(comparison.contestants), title=None, legend=shown),
                    tooltip=tips("contestant:N", numbers[0]),
                )
            )  # fmt: skip
        return alt.layer(*layers).properties(width=WIDTH, height=340)

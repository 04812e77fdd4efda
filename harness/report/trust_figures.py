"""Figures of the section on trust: how right each reward model is, and where the proxy and gold part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.cards import LOOKS, reliability
from harness.report.figures import START_COLOUR, WIDTH, inline, tips
from harness.report.page import Drawn, pictures
from harness.report.sheet import interval

if TYPE_CHECKING:
    from harness.report.compare import Comparison
    from harness.report.cubes import Array
    from harness.report.trust import Trust
    from harness.trust.card import Card, Share

BINS = 24
"""Bins of a side of a map; a hundred thousand samples then take a few kilobytes."""
SHADES = ("#d3e3f3", "#08306b")
"""From few samples to many, in one hue."""
THIRDS = ("least", "middle", "most")


def trust_figures(trust: Trust, comparisons: list[Comparison], suffix: str) -> list[Drawn]:
    """The figures of a model and dataset; by length only where pairs have been scored, a map only of both scores."""
    own = [one for one in comparisons if one.name.rpartition(" · ")[0] == trust.label]
    found = [reliability(trust, suffix)]
    points = _points(trust)
    if points:
        id = f"accuracy-by-length{suffix}"
        found.append(Drawn(id, *BY_LENGTH, pictures(_by_length, id, points)))
    maps = {one.name: panels for one in own if (panels := _panels(one))}
    for place, (name, panels) in enumerate(maps.items()):
        id = f"proxy-gold{suffix}" + f"-{place}" * (len(maps) > 1)
        start = f" (start: {name.rpartition(' · ')[2]})" * (len(maps) > 1)
        found.append(Drawn(id, PARTED + start, _how(trust), pictures(_map, id, panels)))
    return found


BY_LENGTH = (
    "Is a reward model right as often whatever the lengths of the responses?",
    "y: share of labelled pairs in the right order, with 95 % intervals; the dashed line is a coin. Least, middle and "
    "most: thirds of the pairs by difference in length. Longer rejected: pairs in which liking length is a mistake; a "
    "model that is right less often there than over all pairs leans on length.",
)


def _points(trust: Trust) -> list[dict[str, Any]]:
    """A row per reward model and group of pairs; nothing where no model has pairs of different lengths."""
    if all(card.length_share is None for card in trust.cards.values()):  # no two lengths differ
        return []
    return [
        {"role": role, "pairs": name, **vars(part)}
        for role, card in trust.cards.items()
        for name, part in _groups(card).items()
        if part is not None
    ]


def _groups(card: Card) -> dict[str, Share | None]:
    thirds = dict(zip(THIRDS, card.by_length, strict=False))
    return {"all": card.accuracy, **thirds, "longer rejected": card.longer_rejected}


def _by_length(id: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    import altair as alt

    roles = list(dict.fromkeys(str(row["role"]) for row in points))
    groups = [name for name in ("all", *THIRDS, "longer rejected") if any(row["pairs"] == name for row in points)]
    looks = {kind: alt.Scale(domain=roles, range=[of[role] for role in roles]) for kind, of in LOOKS.items()}
    least = min(0.5, *(row["low"] for row in points))
    names = alt.Axis(labelAngle=0, labelExpr="split(datum.label, ' ')")
    x = alt.X("pairs:N", title="labelled pairs, by difference in length", sort=groups, axis=names)
    y_scale = alt.Scale(domain=[int(least * 10) / 10, 1.0])
    beside = alt.XOffset("role:N", sort=roles, scale=alt.Scale(domain=roles, paddingOuter=1.0))
    colour = alt.Color("role:N", title=None, scale=looks["colour"])
    y = alt.Y("value:Q", title="share in the right order", scale=y_scale)
    base = alt.Chart(inline(points))
    numbers = [alt.Tooltip(f"{end}:Q", format=".3f") for end in ("value", "low", "high")]
    told = tips("role:N", "pairs:N", "n:Q", *numbers)
    ranges = base.mark_rule(strokeWidth=1.5).encode(
        x, beside, colour, alt.Y("low:Q", scale=y_scale), alt.Y2("high:Q"),
        alt.StrokeDash("role:N", title=None, scale=looks["dash"]),
    )  # fmt: skip
    marks = base.mark_point(filled=True, size=70, opacity=1).encode(
        x, beside, y, colour, alt.Shape("role:N", title=None, scale=looks["shape"]), tooltip=told
    )
    coin = (
        alt.Chart(inline([{"coin": 0.5}]))
        .mark_rule(color=START_COLOUR, strokeDash=[4, 4])
        .encode(alt.Y("coin:Q", scale=y_scale))
    )
    return {id: alt.layer(coin, ranges, marks).properties(width=WIDTH, height=260)}


PARTED = "Do the proxy and gold see the same good in the same responses?"


def _how(trust: Trust) -> str:
    """How to read the map, with κ where it is known."""
    text = (
        "Each square counts responses; x: their score by gold, y: by the proxy of their seed, each in sd of the "
        "start's scores from their mean. On the line both say the same; above it the proxy sees more good than gold. "
        "Cross: the mean; where it has left the line upwards, training has pleased the proxy more than gold."
    )
    if trust.kappa is None:
        return text
    kappa = interval(trust.kappa.value, trust.kappa.low, trust.kappa.high)
    return (
        f"{text} The map cannot show errors that both make: how far they err alike is κ, {kappa} here; the larger it "
        "is, the less it says that a response lies on the line."
    )


def _panels(comparison: Comparison) -> list[dict[str, Any]]:
    """The start's responses and those of all others, in the same bins; nothing without scores by both."""
    import numpy as np

    if not {"gold", "proxy"} <= set(comparison.scales):
        return []
    others = [name for name in comparison.contestants if name != comparison.start]
    named = {"the start": [comparison.start], "all other contestants": others}
    found = {title: both for title, names in named.items() if (both := _scores(comparison, names)).size}
    if not found:
        return []
    whole = np.concatenate(list(found.values()))
    edges = np.linspace(whole.min(), whole.max(), BINS + 1)
    return [{"title": f"{title}: {len(both):,} responses", **_binned(both, edges)} for title, both in found.items()]


def _scores(comparison: Comparison, names: list[str]) -> Array:
    """(N, 2): gold and proxy of the same responses, on the start's scales."""
    import numpy as np

    scaled = [(comparison.cubes[role], comparison.scales[role]) for role in ("gold", "proxy")]
    gold, proxy = (own for own, _ in scaled)
    known = set(proxy.prompts)
    prompts = tuple(prompt for prompt in gold.prompts if prompt in known)
    found = [np.empty((0, 2))]
    for name in (name for name in names if name in gold.by_contestant and name in proxy.by_contestant):
        seeds = tuple(r for r in gold.by_contestant[name].replicates if r in proxy.by_contestant[name].replicates)
        both = [(own.of(name, seeds, prompts) - scale.mean) / scale.sd for own, scale in scaled]
        found.append(np.stack([one.ravel() for one in both], axis=1))
    return np.concatenate(found)


def _binned(both: Array, edges: Array) -> dict[str, Any]:
    """The squares that hold responses, with their ends, and the mean of all."""
    import numpy as np

    counts = np.histogram2d(both[:, 0], both[:, 1], bins=[edges, edges])[0].astype(int)
    ends = [round(float(edge), 3) for edge in edges]
    squares = [
        {"gold": ends[i], "gold_to": ends[i + 1], "proxy": ends[j], "proxy_to": ends[j + 1]}
        | {"responses": int(counts[i, j]), "share": round(float(counts[i, j] / len(both)), 5)}
        for i, j in np.argwhere(counts)
    ]
    gold, proxy = (float(mean) for mean in both.mean(axis=0))
    return {"squares": squares, "mean": [{"gold": gold, "proxy": proxy}], "ends": [ends[0], ends[-1]]}


def _map(id: str, panels: list[dict[str, Any]]) -> dict[str, Any]:
    import altair as alt

    most = max(square["share"] for panel in panels for square in panel["squares"])
    shade = alt.Color(
        "share:Q", title="share",
        scale=alt.Scale(type="sqrt", range=list(SHADES), domain=[0, most]),
        legend=alt.Legend(tickCount=4, labelExpr="format(100 * datum.value, '.2~f') + ' %'"),
    )  # fmt: skip
    drawn = []
    for panel in panels:
        span = alt.Scale(domain=panel["ends"], nice=False, zero=False)
        x = alt.X("gold:Q", title="gold (sd of the start)", scale=span)
        y = alt.Y("proxy:Q", title="proxy (sd of the start)", scale=span)
        told = tips(*(alt.Tooltip(f"{one}:Q", format="+.2f") for one in ("gold", "proxy")), "responses:Q")
        squares = alt.Chart(inline(panel["squares"])).mark_rect(aria=False).encode(
            x, y, alt.X2("gold_to:Q"), alt.Y2("proxy_to:Q"), shade, tooltip=told
        )  # fmt: skip
        ends = alt.Chart(inline([{"gold": end, "proxy": end} for end in panel["ends"]]))
        line = ends.mark_line(color="#1b1b1b", strokeDash=[4, 4], strokeWidth=1).encode(x, y)
        at = alt.Chart(inline(panel["mean"]))
        crosses = [
            at.mark_point(shape="cross", size=size, filled=True, color=colour, opacity=1).encode(x, y, tooltip=told[:2])
            for size, colour in ((260, "#ffffff"), (140, "#D55E00"))
        ]
        drawn.append(alt.layer(squares, line, *crosses).properties(width=250, height=250, title=panel["title"]))
    return {id: alt.concat(*drawn, columns=2)}

"""Figures of the section on tuning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.report.figures import COLOURS, WIDTH, dash_scale, inline, shape_scale, tips

if TYPE_CHECKING:
    from harness.report.tuning import Study


def charts(studies: list[Study], best: str, by_knob: str) -> dict[str, Any]:
    """Both figures, by these ids."""
    return {best: best_of_n(studies), by_knob: score_by_knob(studies)}


def best_of_n(studies: list[Study]) -> Any:
    """Expected best of n random trials over the start, a line per contestant and study."""
    import altair as alt

    from harness.stats.sensitivity import expected_best

    rows = []
    for study in studies:
        start, name = study.row["start"], study.row["contestant"]
        if start is None or not study.random:
            continue
        found = expected_best([start if trial["score"] is None else trial["score"] for trial in study.random])
        for n, (value, low, high) in enumerate(zip(found.values, found.low, found.high, strict=True), start=1):
            band = {} if math.isnan(low) else {"low": float(low) - start, "high": float(high) - start}
            rows.append({"contestant": name, "study": study.row["study"], "n": n, "best": float(value) - start, **band})
    if not rows:
        return "No study has random trials yet."
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    colour = alt.Color("contestant:N", scale=_colours(names), title=None)
    x = alt.X("n:Q", title="random trials", axis=alt.Axis(tickMinStep=1))
    base = alt.Chart(inline(rows))
    told = tips("contestant:N", "study:O", "n:Q", alt.Tooltip("best:Q", format="+.3f"))
    y = alt.Y("best:Q", title="expected best score over the start")
    dash = alt.StrokeDash("contestant:N", scale=dash_scale(names), title=None)
    line = base.mark_line(point=True).encode(x, y, colour, dash, alt.Detail("study:O"), tooltip=told)
    if not any("low" in row for row in rows):
        return line.properties(width=WIDTH, height=260)
    band = base.mark_area(opacity=0.15).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), colour, alt.Detail("study:O"))
    return alt.layer(band, line).properties(width=WIDTH, height=260)


def score_by_knob(studies: list[Study]) -> Any:
    """Score against each knob, a panel per knob; knobs of one name share it."""
    import altair as alt

    rows: list[dict[str, Any]] = []
    logs: dict[str, bool] = {}
    for study in studies:
        for name, space in study.space.items():
            logs[name] = logs.get(name, True) and bool(space.get("log"))
            for trial in study.trials:
                value = trial["knobs"][name]
                if trial["score"] is not None and not isinstance(value, str | bool):
                    row = {"contestant": study.row["contestant"], "trial": trial["trial"], "phase": trial["phase"]}
                    rows.append({**row, "knob": name, "value": value, "score": trial["score"]})
    if not rows:
        return "No trial has finished yet."
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    colour = alt.Color("contestant:N", scale=_colours(names), title=None)
    shape = alt.Shape("contestant:N", scale=shape_scale(names), title=None)
    panels = []
    for knob in dict.fromkeys(row["knob"] for row in rows):
        own = inline([row for row in rows if row["knob"] == knob])
        x = alt.X("value:Q", title=knob, scale=alt.Scale(type="log" if logs[knob] else "linear", zero=False))
        y = alt.Y("score:Q", title=None, scale=alt.Scale(zero=False))
        told = tips("contestant:N", "trial:Q", "phase:N", "value:Q", "score:Q")
        chart = alt.Chart(own).mark_point(size=40, opacity=0.7, filled=True).encode(x, y, colour, shape, tooltip=told)
        panels.append(chart.properties(width=230, height=150))
    return alt.concat(*panels, columns=2)


def _colours(names: list[str]) -> Any:
    import altair as alt

    return alt.Scale(domain=names, range=[COLOURS[i % len(COLOURS)] for i in range(len(names))])

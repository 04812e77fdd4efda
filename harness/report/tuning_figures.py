"""Figures of the section on tuning."""

from __future__ import annotations

import json
import math
from statistics import fmean
from typing import TYPE_CHECKING, Any

from harness.report.figures import COLOURS, START_COLOUR, WIDTH, dash_scale, inline, shape_scale, tips
from harness.report.sheet import count, named, number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.report.tuning import Study
    from harness.stats.sensitivity import Weight

SEQUENTIAL = ("#9ecae1", "#08306b")
"""From the worst to the best score: one hue, so that it reads on grey paper and by colour-blind readers."""
NO_SCORE = "#8a8a8a"
ENDS = {"finished": [1, 0], "above a limit": [8, 2, 2, 2], "failed": [5, 4], "stopped early": [2, 3]}
"""How a trial ends, and the dash of its line."""
SCORE = "score"
"""The last axis of a panel of trials."""


def charts(studies: list[Study], weights: list[dict[str, Weight]], part: str) -> dict[str, Any]:
    """The figures of the section, by id; what each study's knobs weigh comes along."""
    found = {
        "expected-best": best_of_n(studies),
        "score-by-knob": score_by_knob(studies),
        "trials-by-knobs": trials_by_knobs(studies),
        "importance": importance_bars(studies, weights),
    }
    return {f"{name}{part}": chart for name, chart in found.items()}


def best_of_n(studies: list[Study]) -> Any:
    """Expected best of n random trials over the start, by n and by what n trials cost; a line per study."""
    import altair as alt

    rows = [row for study in studies if study.row["start"] is not None and study.random for row in _bests(study)]
    if not rows:
        return "No study has random trials yet."
    by_number = alt.X("n:Q", title="random trials", axis=alt.Axis(tickMinStep=1))
    by_cost = alt.X("seconds:Q", title="device-seconds of so many trials (log scale)", scale=alt.Scale(type="log"))
    costs = [row for row in rows if row["seconds"]]
    panels = [_expected(rows, by_number)] + ([_expected(costs, by_cost)] if costs else [])
    return alt.vconcat(*panels)


def _bests(study: Study) -> list[dict[str, Any]]:
    """A row for each number of trials; they cost the mean of all random ones each, failed ones too."""
    from harness.stats.sensitivity import expected_best

    start, each = study.row["start"], fmean(trial["device_seconds"] for trial in study.random)
    found = expected_best([start if trial["score"] is None else trial["score"] for trial in study.random])
    rows = []
    for n, (value, low, high) in enumerate(zip(found.values, found.low, found.high, strict=True), start=1):
        band = {} if math.isnan(low) else {"low": float(low) - start, "high": float(high) - start}
        row = {"contestant": study.row["contestant"], "study": study.row["study"], "n": n, "seconds": n * each}
        rows.append({**row, "best": float(value) - start, **band})
    return rows


def _expected(rows: list[dict[str, Any]], x: Any) -> Any:
    import altair as alt

    names = list(dict.fromkeys(row["contestant"] for row in rows))
    colour = alt.Color("contestant:N", scale=_colours(names), title=None)
    base = alt.Chart(inline(rows))
    numbers = [alt.Tooltip("seconds:Q", format=",.0f"), alt.Tooltip("best:Q", format="+.3f")]
    told = tips("contestant:N", "study:O", "n:Q", *numbers)
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


def trials_by_knobs(studies: list[Study]) -> Any:
    """Parallel axes: a panel per study, a line per trial over its knobs and its score."""
    import altair as alt

    drawn = [(study, lines) for study in studies if (lines := _lines(study))]
    if not drawn:
        return "No trial has finished yet."
    ends = [end for end in ENDS if any(line["ended"] == end for _, lines in drawn for line in lines)]
    most = max(len(study.space) for study, _ in drawn) + 1
    columns = 2 if most <= 4 and len(drawn) > 1 else 1
    width = 280 if columns == 2 else WIDTH
    panels = [_panel(study, lines, ends, width, _title(study, studies)) for study, lines in drawn]
    return alt.concat(*panels, columns=columns).resolve_scale(color="independent")


def _panel(study: Study, lines: list[dict[str, Any]], ends: list[str], width: int, title: str) -> Any:
    """One study. Where it has no trial with a score, or none without, the layer for them is left out."""
    import altair as alt

    axes = [*study.space, SCORE]
    x = alt.X("axis:N", title=None, sort=axes, scale=alt.Scale(domain=axes), axis=_names(axes))
    y = alt.Y("at:Q", title=None, axis=None, scale=alt.Scale(domain=[-0.14, 1.14], nice=False))
    key = alt.Legend(symbolStrokeColor=START_COLOUR, symbolSize=900) if len(ends) > 1 else None
    dash = alt.StrokeDash(
        "ended:N", title=None, scale=alt.Scale(domain=ends, range=[ENDS[end] for end in ends]), legend=key
    )
    shade = alt.Color("score:Q", scale=alt.Scale(range=list(SEQUENTIAL), domain=_span(_scores(study))), legend=None)
    told = tips("trial:Q", "phase:N", "ended:N", "knobs:N", alt.Tooltip("score:Q", format=".3f"))
    known, others = ([line for line in lines if (line["score"] is None) == gone] for gone in (False, True))
    layers = [
        alt.Chart(inline(rows)).mark_line(strokeWidth=wide, color=NO_SCORE).encode(
            *([x, y, dash, alt.Detail("trial:N")] + ([] if rows is others else [shade])), tooltip=told
        )
        for rows, wide in ((others, 1.5), (known, 1.5), ([line for line in known if line["chosen"]], 4))
        if rows
    ]  # fmt: skip
    stars = [line for line in lines if line["chosen"] and line["axis"] == SCORE]
    if stars:
        layers.append(alt.Chart(inline(stars)).mark_text(text="★", fontSize=16, dx=9, align="left").encode(x, y))
    ticks = _ticks(study)
    poles = [{"axis": axis, "at": 0.0, "top": 1.0} for axis in axes]
    pole = alt.Chart(inline(poles)).mark_rule(color=START_COLOUR).encode(x, y, alt.Y2("top:Q"))
    labels = [
        alt.Chart(inline(rows)).mark_text(fontSize=11, **look, **halo).encode(x, y, alt.Text("label:N"))
        for place, look in LABELS.items()
        if (rows := [tick for tick in ticks if tick["place"] == place])
        for halo in ({"stroke": "white", "strokeWidth": 4}, {})
    ]
    return alt.layer(pole, *layers, *labels).properties(width=width, height=170, title=title)


LABELS: dict[str, dict[str, Any]] = {
    "below": {"dy": 10},
    "above": {"dy": -10},
    "beside": {"dx": -4, "align": "right"},
}
"""Where the numbers of an axis stand."""


def _names(axes: list[str]) -> Any:
    """An axis whose long names take several lines; of many, every second stands lower, so that they fit a phone."""
    import altair as alt

    lower = f"indexof({json.dumps(axes)}, datum.label) % 2 ? '__' : ''" if len(axes) > 4 else "''"
    split = f"split(({lower}) + datum.label, '_')"
    return alt.Axis(labelAngle=0, labelExpr=split, ticks=False, domain=False, labelPadding=2)


def _lines(study: Study) -> list[dict[str, Any]]:
    """A row per trial and axis, `at` from 0 to 1; a trial without a score ends at its last knob."""
    spans = {name: _places(study, name) for name in study.space}
    low, high = _span(_scores(study))
    rows = []
    for trial in study.trials:
        if trial["status"] == "open":
            continue
        score, knobs = trial["score"], trial["knobs"]
        told = ", ".join(f"{name} {_label(knobs[name])}" for name in study.space)
        own = {"trial": trial["trial"], "phase": trial["phase"], "ended": _end(trial), "knobs": told, "score": score}
        own["chosen"] = trial["chosen"]
        rows += [{**own, "axis": name, "at": spans[name](knobs[name])} for name in study.space]
        rows += [] if score is None else [{**own, "axis": SCORE, "at": (score - low) / (high - low)}]
    return rows


def _end(trial: Mapping[str, Any]) -> str:
    if trial["status"] == "done":
        return "finished" if trial["feasible"] else "above a limit"
    return "failed" if trial["status"] == "failed" else "stopped early"


def _scores(study: Study) -> list[float]:
    return [trial["score"] for trial in study.trials if trial["score"] is not None]


def _span(values: list[float]) -> tuple[float, float]:
    """Their ends, apart even where all are equal."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _values(study: Study, name: str) -> list[Any]:
    """A knob's ends, or all that it may be; and what trials have beyond that, as the recipe's own knobs may."""
    range_, had = study.space[name], [trial["knobs"][name] for trial in study.trials]
    if "choice" in range_:
        return list(dict.fromkeys([*range_["choice"], *had]))
    return [min(range_["low"], *had), max(range_["high"], *had)]


def _places(study: Study, name: str) -> Callable[[Any], float]:
    """A knob's value as a place on its axis, from 0 to 1."""
    values, range_ = _values(study, name), study.space[name]
    if "choice" in range_:
        return lambda value: values.index(value) / max(len(values) - 1, 1)
    scale: Callable[[Any], float] = math.log if range_.get("log") else float
    low, high = _span([scale(value) for value in values])
    return lambda value: (scale(value) - low) / (high - low)


def _ticks(study: Study) -> list[dict[str, Any]]:
    """What is printed at each axis: the ends of a range and of the scores, and each choice."""
    rows: list[dict[str, Any]] = []
    for name in study.space:
        place, values = _places(study, name), _values(study, name)
        rows += [{"axis": name, "at": place(value), "label": _label(value)} for value in values]
    rows += [
        {"axis": SCORE, "at": at, "label": number(value, 3)}
        for at, value in zip((0.0, 1.0), _span(_scores(study)), strict=True)
        if _scores(study)
    ]
    return [{**row, "place": {0.0: "below", 1.0: "above"}.get(row["at"], "beside")} for row in rows]


def _label(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _title(study: Study, studies: list[Study]) -> str:
    """Whose study it is, and which where there are several."""
    several = len({one.row["study"] for one in studies}) > 1
    return f"{study.row['contestant']}, study {study.row['study']}" if several else str(study.row["contestant"])


def importance_bars(studies: list[Study], weights: list[dict[str, Weight]]) -> Any:
    """How much each knob decides, a panel per study that can tell."""
    import altair as alt

    if not any(weights):
        return f"No study can tell: {_unweighed(studies)}."
    names = list(dict.fromkeys(study.row["contestant"] for study in studies))
    share, scale = "share decided, approximate", alt.Scale(domain=[0.0, 1.0])
    x = alt.X("value:Q", title=share, scale=scale)
    panels = []
    for study, found in zip(studies, weights, strict=True):
        if not found:
            continue
        rows = [{"knob": name, **vars(one)} for name, one in found.items()]
        base = alt.Chart(inline(rows))
        y = alt.Y("knob:N", title=None, sort=list(found))
        told = tips("knob:N", *(alt.Tooltip(f"{end}:Q", format=".2f") for end in ("value", "low", "high")))
        colour = COLOURS[names.index(study.row["contestant"]) % len(COLOURS)]
        bars = base.mark_bar(color=colour, opacity=0.75, height={"band": 0.6}).encode(x, y, tooltip=told)
        ranges = base.mark_rule(color="#1b1b1b", strokeWidth=1.5).encode(
            alt.X("low:Q", title=share, scale=scale), alt.X2("high:Q"), y
        )
        title = f"{_title(study, studies)} ({count(len(study.random), 'random trial')})"
        panels.append(alt.layer(bars, ranges).properties(width=190, height=alt.Step(24), title=title))
    return alt.concat(*panels, columns=2)


def _unweighed(studies: list[Study]) -> str:
    """Why studies cannot tell, each reason once with those whose it is."""
    found: dict[str, dict[str, None]] = {}
    for study in studies:
        found.setdefault(study.unweighed, {})[_title(study, studies)] = None
    return "; ".join(f"{why} ({named(list(names))})" for why, names in found.items())


def _colours(names: list[str]) -> Any:
    import altair as alt

    return alt.Scale(domain=names, range=[COLOURS[i % len(COLOURS)] for i in range(len(names))])

"""What each contestant was given: prompts, responses, labels and tokens, compared within a view of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import harness.registry as registry
from harness.records import FINAL
from harness.report.sheet import Row, Sheet, Shown, listed, make_frame, number, rows
from harness.report.sheets import ID_MEANINGS, IDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import pandas as pd

    from harness.records import Tables

WORDS = {
    "prompts": "training prompts seen, repeats counted",
    "responses": "responses seen",
    "labels": "labels of annotators or of the judge seen; a reward model's own are its, not the contestant's",
    "scored": "responses scored by a reward model or a rule in training",
    "generated_tokens": "tokens generated in training",
    "trained_tokens": "tokens that the loss read",
    "forward_tokens": "tokens of the policy's forward passes over its rows",
    "rows_left_out": "rows that were too long for the budget, or spell out a control token",
}
CHANGES = {
    "rows_converted": "rows of its split that were made from another view of the data",
    "rows_bad": "rows of its file that could not be used and were dropped, as the recipe says",
    "rows_ties": "rows of its split with as many votes for as against",
    "rows_incomparable": "responses of its split whose prompt has no two different scores to judge them by",
    "rows_repeated": "rows of its split that were there before, or were brought together with others",
}
"""Shown where there were any."""
COMPARED = ("prompts", "responses", "labels", "scored", "generated_tokens", "trained_tokens")
APART = 0.01
"""Contestants whose prompts, responses, labels or tokens differ by no larger share were given as much."""
ALL = {**WORDS, **CHANGES}
_COLUMNS = {**IDS, "view": "string", "is_start": "boolean", **dict.fromkeys(ALL, "Float64")}
_MEANINGS = {
    **ID_MEANINGS,
    "view": "the form of the data",
    "is_start": "true: what all others begin from",
    **{name: f"{text}; mean over runs" for name, text in ALL.items()},
}


def given_sheet(tables: Tables) -> Sheet:
    """A row per contestant: means over its finished runs."""
    runs = given_to_runs(tables.measurements, ALL)
    means = runs.groupby(["setting", "contestant", "metric"], observed=True, sort=False).mean()
    met = set(runs.index.get_level_values("metric"))
    shown = [
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("view", lambda row: row["view"], kind="word"),
        *(Shown(name.replace("_", " "), _whole(name)) for name in [*WORDS, *(name for name in CHANGES if name in met)]),
    ]
    caption = "What each contestant was given, mean over its finished runs."
    return Sheet("given", caption, make_frame(_rows(tables, means), _COLUMNS), _MEANINGS, shown)


def given_to_runs(measurements: pd.DataFrame, metrics: Collection[str]) -> pd.Series[float]:
    """What each finished run was given, by `setting, contestant, metric, replicate`; its rounds are added up."""
    own = measurements[measurements["kind"].isin(["train", "collect"]) & (measurements["step"] == FINAL)]
    own = own[own["metric"].isin(list(metrics))]
    by = ["setting", "contestant", "metric", "replicate"]
    return own.groupby(by, observed=True, sort=False)["value"].sum()


def apart(values: Collection[float]) -> bool:
    """Whether some contestants were given more than others."""
    return len(values) > 1 and max(values) - min(values) > APART * max(values)


def _whole(name: str) -> Callable[[Row], str]:
    return lambda row: number(row[name], 0)


def _rows(tables: Tables, means: pd.Series[float]) -> list[dict[str, Any]]:
    known = means.to_dict()
    cells = tables.cells.drop_duplicates(["setting", "contestant"])
    found = []
    for cell in rows(cells):
        own = {name: cell[name] for name in ("setting", "contestant", "is_start")}
        values = {name: known.get((cell["setting"], cell["contestant"], name)) for name in ALL}
        if any(value is not None for value in values.values()):
            found.append({**own, "view": _view(str(cell["algorithm"])), **values})
    return found


def _view(algorithm: str) -> str:
    """The view that an algorithm trains on, where this code still has it."""
    known = algorithm in registry.names("algorithms")
    return str(registry.load("algorithms", algorithm).needs.data) if known else ""


def given_sentence(sheet: Sheet) -> str:
    """Whether contestants of one view were given the same; the start, which all have had, is apart."""
    frame = sheet.frame
    if not len(frame):
        return "No run has finished yet."
    told = []
    several = frame["setting"].nunique() > 1
    for (setting, view), group in frame[~frame["is_start"]].groupby(["setting", "view"], sort=False):
        names = [name.replace("_", " ") for name in COMPARED if apart(group[name].dropna().to_list())]
        if names:
            told.append(f"on {view}{f' ({setting})' if several else ''} {listed(names)}")
    if told:
        return f"Contestants on the same view were not given the same: {'; '.join(told)} differ by more than 1 %."
    return "Contestants on the same view were given the same, to 1 %; across views, labels and tokens differ by nature."

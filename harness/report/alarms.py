"""What should not be so in an honest comparison: checks over all records, before anybody reads a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.records import FINAL
from harness.report.page import Section
from harness.report.sheet import Sheet, Shown, count, listed, make_frame, number

if TYPE_CHECKING:
    import pandas as pd

    from harness.records import Tables

CELL = ["setting", "contestant", "replicate"]
SEED = ["setting", "replicate"]
MOST = {"truncated": 0.1, "empty": 0.05}
"""Metrics of which a larger mean share is an alarm."""
BEFORE = "before"
"""The role of values that are the start's own, whoever is measured."""
FINE = 20
"""A metric with at least so many different values in the start's runs is too fine to be equal by chance."""


@dataclass(frozen=True)
class Alarm:
    """Something to look into before the verdicts are believed.

    Attributes:
        check: which check found it.
        setting: where; empty where it concerns the whole report.
        text: what was found, in one sentence.
    """

    check: str
    setting: str
    text: str


def alarms(tables: Tables) -> list[Alarm]:
    """Everything that the checks find, in their order."""
    return [Alarm(check, setting, text) for check, find in CHECKS.items() for setting, text in find(tables)]


def alarms_section(tables: Tables) -> Section:
    """What was found; first on the page after the answer."""
    found = alarms(tables)
    sentence = f"No alarm: {len(CHECKS)} checks found nothing."
    if found:
        kinds = list(dict.fromkeys(alarm.check for alarm in found))
        sentence = f"{count(len(found), 'alarm')} by {listed(kinds)}: look before you believe the numbers."
    names = ("check", "setting", "text")
    frame = make_frame([vars(alarm) for alarm in found], dict.fromkeys(names, "string"))
    meanings = {
        "check": f"the check that found it, of: {', '.join(CHECKS)}",
        "setting": "where; empty: everywhere",
        "text": "what was found",
    }
    shown = [
        Shown("check", lambda row: row["check"], kind="word"),
        Shown("found", lambda row: row["text"], kind="prose"),
        Shown("setting", lambda row: row["setting"] or "", kind="prose"),
    ]
    sheets = [Sheet("alarms", "Alarms.", frame, meanings, shown if found else [])]
    return Section("alarms", "Alarms", sentence, sheets=sheets)


Found = Iterator[tuple[str, str]]


def _unchanged(tables: Tables) -> Found:
    """Policies that ended with the weights they started from."""
    cells = tables.cells[tables.cells["weights"] != ""]
    starts = cells.loc[cells["is_start"], [*SEED, "policy", "weights"]]
    both = cells[~cells["is_start"]].merge(starts, on=SEED, suffixes=("", "_of_start"))
    same = both[(both["weights"] == both["weights_of_start"]) & (both["policy"] != both["policy_of_start"])]
    yield from _named(same, "ended with exactly the start's weights: training changed nothing")


def _no_effect(tables: Tables) -> Found:
    """Trained policies whose distribution is exactly the start's, for example since an adapter was not applied."""
    final = tables.scores[(tables.scores["metric"] == "kl") & (tables.scores["step"] == FINAL)]
    starts = tables.cells.loc[tables.cells["is_start"], [*SEED, "policy"]]
    trained = tables.cells.merge(starts, on=SEED, suffixes=("", "_of_start"))
    trained = trained[trained["policy"] != trained["policy_of_start"]]
    largest = final.groupby(CELL, observed=True)["value"].max().reset_index()
    zero = trained.merge(largest[largest["value"] == 0], on=CELL)
    yield from _named(zero, "answers every prompt exactly as the start does (KL 0): was its adapter applied?")


def _same_weights(tables: Tables) -> Found:
    """Different policies with the same weights: a seed or a knob that has no effect."""
    cells = tables.cells[tables.cells["weights"] != ""].drop_duplicates(["setting", "policy"])
    for (setting, _), group in cells.groupby(["setting", "weights"], sort=False):
        starts = group["is_start"].any()
        if len(group) > 1 and not starts:
            names = [f"{row.contestant} of seed {row.replicate}" for row in group.itertuples()]
            yield str(setting), f"{listed(names)} have exactly the same weights: a seed or a knob had no effect."


def _no_spread(tables: Tables) -> Found:
    """Contestants with equal mean rewards in all seeds."""
    rewards = _final_rewards(tables)
    runs = rewards.groupby([*CELL, "role"], observed=True)["value"].mean()
    spread = runs.groupby(["setting", "contestant", "role"], observed=True).agg(["nunique", "size"])
    flat = spread[(spread["nunique"] == 1) & (spread["size"] > 1)].reset_index()
    for (setting, contestant), rows in flat.groupby(["setting", "contestant"], sort=False, observed=True):
        roles, seeds = listed(sorted(set(rows["role"]))), int(rows["size"].max())
        yield str(setting), f"{contestant} has the same mean reward ({roles}) in all {seeds} seeds: σ = 0."


def _same_rows(tables: Tables) -> Found:
    """Contestants whose rewards are equal sample by sample in a seed: a copy, or a cache that answered for another."""
    prints = _fingerprints(_final_rewards(tables))
    policies = tables.cells.set_index(CELL)["policy"]
    for (setting, replicate, _), group in prints.groupby(["setting", "replicate", "print"], observed=True, sort=False):
        names = list(dict.fromkeys(group["contestant"]))
        if len({policies.get((setting, name, replicate)) for name in names}) > 1:
            roles = listed(sorted(set(group["role"])))
            text = f"{listed(names)} have the same reward ({roles}) for every sample of seed {replicate}"
            yield str(setting), f"{text}: one is a copy of another, or a cache answered for it."


def _like_the_start(tables: Tables) -> Found:
    """Fine metrics whose mean equals the start's to all digits although the rows differ or the policy does."""
    scores = tables.scores
    final = scores[(scores["step"] == FINAL) & (scores["metric"] != "kl") & (scores["role"] != BEFORE)]
    by = [*SEED, "metric", "role"]
    runs = final.groupby([*CELL, "metric", "role"], observed=True)["value"].agg(["mean", "nunique"]).reset_index()
    runs = runs.merge(tables.cells[[*CELL, "policy", "is_start"]], on=CELL)
    base = runs.loc[runs["is_start"] & (runs["nunique"] >= FINE), [*by, "mean", "policy"]]
    both = runs.merge(base, on=by, suffixes=("", "_of_start"))
    same = both[(both["mean"] == both["mean_of_start"]) & (both["policy"] != both["policy_of_start"])]
    named = same["metric"].astype(str) + ("/" + same["role"].astype(str)).where(same["role"] != "", "")
    what = named.groupby([same[name] for name in CELL], observed=True, sort=False).agg(
        lambda names: listed(list(names))
    )
    cells = what.rename("names").reset_index()
    for (setting, contestant, names), rows in cells.groupby(["setting", "contestant", "names"], sort=False):
        seeds = listed([str(seed) for seed in rows["replicate"]])
        yield str(setting), f"{contestant} (seed {seeds}) equals the start to all digits in {names}."


def _and(names: pd.Series[str]) -> str:
    return listed(list(names))


def _too_many(tables: Tables) -> Found:
    """Contestants with more cut-off or empty responses than can be overlooked."""
    final = tables.scores[(tables.scores["step"] == FINAL) & tables.scores["metric"].isin(list(MOST))]
    means = final.groupby(["setting", "contestant", "metric"], observed=True)["value"].mean().reset_index()
    for row in means[means["value"] > means["metric"].astype(str).map(MOST).astype(float)].itertuples():
        text = f"{number(100 * float(str(row.value)), 0)} % of {row.contestant}'s responses are {row.metric}"
        yield str(row.setting), f"{text} (limit: {MOST[str(row.metric)]:.0%}): its rewards are of something else."


def _far(tables: Tables) -> Found:
    """Runs that passed the KL limit of their own recipe."""
    own = tables.measurements[tables.measurements["metric"] == "kl_alarm_step"]
    for (setting, contestant), rows in own.groupby(["setting", "contestant"], sort=False):
        first = int(rows["value"].min())
        runs = count(len(rows), "run")
        yield str(setting), f"{contestant} passed its KL limit in {runs}, first at step {first}."


def _dirty(tables: Tables) -> Found:
    """Records made by code that no commit holds, or by several versions."""
    made_by = tables.made_by
    dirty = int(made_by["dirty"].sum())
    if dirty:
        yield "", f"{dirty} of {count(len(made_by), 'stage')} were made by code with uncommitted changes."
    for what, name in {"packages": "sets of package versions", "device": "kinds of device"}.items():
        kinds = made_by.loc[made_by[what] != "", what].nunique()
        if kinds > 1:
            yield "", f"The stages were made with {kinds} different {name}: floats need not agree between them."


CHECKS: dict[str, Callable[[Tables], Found]] = {
    "unchanged weights": _unchanged,
    "policy without effect": _no_effect,
    "equal weights": _same_weights,
    "no spread over seeds": _no_spread,
    "identical rows": _same_rows,
    "equal to the start": _like_the_start,
    "cut-off or empty responses": _too_many,
    "KL limit": _far,
    "code and machines": _dirty,
}


def _named(cells: pd.DataFrame, what: str) -> Found:
    """One alarm per contestant, with its seeds."""
    for (setting, contestant), rows in cells.groupby(["setting", "contestant"], sort=False):
        seeds = listed([str(seed) for seed in rows["replicate"]])
        yield str(setting), f"{contestant} (seed {seeds}) {what}."


def _final_rewards(tables: Tables) -> pd.DataFrame:
    scores = tables.scores
    return scores[(scores["step"] == FINAL) & (scores["metric"] == "reward")]


def _fingerprints(scores: pd.DataFrame) -> pd.DataFrame:
    """One number per run and role, equal only where all values of all samples are."""
    import pandas as pd

    hashed = pd.util.hash_pandas_object(scores[["prompt_id", "k", "value"]], index=False)
    prints = hashed.groupby([scores[name] for name in [*CELL, "role"]], observed=True).sum()
    return prints.rename("print").reset_index()

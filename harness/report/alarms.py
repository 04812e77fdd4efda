"""What should not be so in an honest comparison: checks over all records, before anybody reads a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.records import FINAL
from harness.report.page import Section
from harness.report.sheet import Sheet, Shown, count, listed, make_frame, number
from harness.report.tuning import edges, studies_of, unequal

if TYPE_CHECKING:
    import pandas as pd

    from harness.records import Tables
    from harness.report.trust import Trust

CELL = ["setting", "contestant", "replicate"]
SEED = ["setting", "replicate"]
MOST = {"truncated": 0.1, "empty": 0.05}
"""Metrics of which a larger mean share is an alarm."""
FINE = 20
"""A metric with at least so many different values in the start's runs is too fine to be equal by chance."""
BEFORE = "before"
"""The role of what is measured on the start itself, and so equal for all."""
SHARED = "shared prompts"
MANY = 12
"""More alarms than this are folded on the page."""


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


def alarms(tables: Tables, trusts: Mapping[tuple[str, str], Trust]) -> list[Alarm]:
    """Everything that the checks find, in their order.

    Args:
        tables: what the records say.
        trusts: what the audits have shown, by (model, dataset).
    """
    found = [Alarm(check, setting, text) for check, find in CHECKS.items() for setting, text in find(tables)]
    return found + [Alarm(SHARED, setting, text) for setting, text in _shared_prompts(tables, trusts)]


def alarms_section(found: list[Alarm]) -> Section:
    """What was found; first on the page after the answer."""
    kinds = (*CHECKS, SHARED)
    sentence = f"No alarm: {len(kinds)} checks found nothing."
    if found:
        by = list(dict.fromkeys(alarm.check for alarm in found))
        sentence = f"{count(len(found), 'alarm')} by {listed(by)}: look before you believe the numbers."
    names = ("check", "setting", "text")
    frame = make_frame([vars(alarm) for alarm in found], dict.fromkeys(names, "string"))
    meanings = {
        "check": f"the check that found it, of: {', '.join(kinds)}",
        "setting": "where; empty: everywhere",
        "text": "what was found",
    }
    shown = [
        Shown("check", lambda row: row["check"], kind="word"),
        Shown("found", lambda row: row["text"], kind="prose"),
        Shown("setting", lambda row: row["setting"] or "", kind="prose"),
    ]
    sheets = [Sheet("alarms", "Alarms.", frame, meanings, shown if found else [], folded=len(found) > MANY)]
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


def _wrong_cache(tables: Tables) -> Found:
    """Policies of different seeds or settings with equal rewards or benchmarks: a cache that took one for another.

    Those of one seed are `identical rows`.
    """
    prints = [_fingerprints(_final_rewards(tables)), _fingerprints(_fine(tables.benchmarks))]
    policies = tables.cells.set_index(CELL)["policy"]
    for found, what in zip(prints, ("reward", "benchmark"), strict=True):
        for _, group in found.groupby(["role", "print"], observed=True, sort=False):
            keys = list(zip(*(group[name] for name in CELL), strict=True))
            own = {policies[key]: key for key in keys if key in policies.index}
            if len(own) > 1 and (
                what == "benchmark" or len({(setting, seed) for setting, _, seed in own.values()}) > 1
            ):
                names = [f"{name} of seed {seed} ({setting})" for setting, name, seed in own.values()]
                role = group["role"].iloc[0]
                yield (
                    "",
                    f"{listed(names)} have equal values of {what} {role} everywhere: a cache took one for another.",
                )


def _fine(scores: pd.DataFrame) -> pd.DataFrame:
    """Those metrics that are too fine to be equal by chance."""
    values = scores.groupby(["role", "metric"], observed=True)["value"].nunique()
    fine = values[values >= FINE].index
    return scores[scores.set_index(["role", "metric"]).index.isin(fine)]


def _edge(tables: Tables) -> Found:
    """Chosen knobs at an end of their range: the optimum may lie beyond it."""
    for setting in tables.studies["setting"].unique():
        for study in studies_of(tables, str(setting)):
            if found := edges(study):
                text = f"{study.row['contestant']} was given knobs at the edge of their range ({found})"
                yield str(setting), f"{text}: a wider one may hold better."


def _unequal(tables: Tables) -> Found:
    """Tuned contestants with different numbers of finished trials."""
    for setting in tables.studies["setting"].unique():
        if told := unequal(studies_of(tables, str(setting))):
            yield str(setting), f"Not all were tuned with the same number of trials: {told}."


def _shared_prompts(tables: Tables, trusts: Mapping[tuple[str, str], Trust]) -> Found:
    """Sets of prompts that must be apart, and are not."""
    for setting, rows in tables.cells.groupby("setting", sort=False):
        trust = trusts.get((str(rows["model"].iloc[0]), str(rows["dataset"].iloc[0])))
        for check in trust.prompts if trust else ():
            if check.passed is False:
                yield str(setting), f"Not so: {check.what} ({check.detail})."


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
    for (setting, contestant), rows in same.groupby(CELL[:2], observed=True, sort=False):
        names = dict.fromkeys(f"{m}/{r}" if r else str(m) for m, r in zip(rows["metric"], rows["role"], strict=True))
        seeds = listed([str(seed) for seed in sorted(set(rows["replicate"]))])
        yield str(setting), f"{contestant} of seed {seeds} equals the start to all digits in {listed(list(names))}."


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
    "cache hit across models": _wrong_cache,
    "equal to the start": _like_the_start,
    "cut-off or empty responses": _too_many,
    "KL limit": _far,
    "optimum at the edge": _edge,
    "unequal budgets": _unequal,
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

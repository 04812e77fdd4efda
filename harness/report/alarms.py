"""What should not be so in an honest comparison: checks over all records, before anybody reads a number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.records.scores import blocks_of
from harness.report.page import Section
from harness.report.sheet import Sheet, Shown, count, listed, make_frame, number
from harness.report.tuning import edges, studies_of, unequal

if TYPE_CHECKING:
    import pandas as pd

    from harness.records import Tables
    from harness.records.scores import Block
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
    return [Alarm(check, *one) for check, found in _all(tables, trusts).items() for one in found if one != LOOKED]


def idle(tables: Tables, trusts: Mapping[tuple[str, str], Trust]) -> list[str]:
    """The checks that have nothing to look at, of which no alarm says nothing; arguments as of `alarms`."""
    return [check for check, found in _all(tables, trusts).items() if next(found, None) is None]


def alarms_section(found: list[Alarm], without: list[str]) -> Section:
    """What was found; first on the page after the answer.

    Args:
        found: all alarms.
        without: the checks that are `idle`.
    """
    kinds = (*CHECKS, SHARED)
    sentence = _none(len(kinds), len(without))
    if found:
        by = list(dict.fromkeys(alarm.check for alarm in found))
        sentence = f"{count(len(found), 'alarm')} ({listed(by)}): look before you believe the numbers."
    points = [f"Nothing to look at for: {listed(without)}."] if without else []
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
    return Section("alarms", "Alarms", sentence, points=points, sheets=sheets)


def _none(checks: int, without: int) -> str:
    """That there is no alarm, and how much that says."""
    if without == checks:
        return f"No alarm, and no all-clear: none of {checks} checks had anything to look at."
    if without:
        return f"No alarm: {checks - without} of {checks} checks had something to look at, and found nothing."
    return f"No alarm: {checks} checks found nothing."


Found = Iterator[tuple[str, str]]
"""The setting and the text of each alarm, with `LOOKED` among them where there was anything to look at."""
Cell = tuple[str, str, int]
LOOKED = ("", "")
"""What a check yields where it has something to look at, once or more; it is no alarm."""


def _all(tables: Tables, trusts: Mapping[tuple[str, str], Trust]) -> dict[str, Found]:
    """What each check yields, by its name."""
    found = {check: find(tables) for check, find in CHECKS.items()}
    return {**found, SHARED: _shared_prompts(tables, trusts)}


def _unchanged(tables: Tables) -> Found:
    """Policies that ended with the weights they started from."""
    cells = tables.cells[tables.cells["weights"] != ""]
    starts = cells.loc[cells["is_start"], [*SEED, "policy", "weights"]]
    both = cells[~cells["is_start"]].merge(starts, on=SEED, suffixes=("", "_of_start"))
    both = both[both["policy"] != both["policy_of_start"]]
    if len(both):
        yield LOOKED
    same = both[both["weights"] == both["weights_of_start"]]
    yield from _named(same, "ended with exactly the start's weights: training changed nothing")


def _no_effect(tables: Tables) -> Found:
    """Trained policies whose distribution is exactly the start's, for example since an adapter was not applied."""
    import numpy as np

    starts = tables.cells.loc[tables.cells["is_start"], [*SEED, "policy"]]
    trained = tables.cells.merge(starts, on=SEED, suffixes=("", "_of_start"))
    trained = trained[trained["policy"] != trained["policy_of_start"]]
    moves = {_cell(block): block.values.max() > 0 for block in tables.blocks.of(metric="kl")}
    keys = list(zip(*(trained[name] for name in CELL), strict=True))
    if any(key in moves for key in keys):
        yield LOOKED
    still = [not moves.get(key, True) for key in keys]
    yield from _named(
        trained[np.array(still, dtype=bool)],
        "answers every prompt exactly as the start does (KL 0): was its adapter applied?",
    )


def _same_weights(tables: Tables) -> Found:
    """Different policies with the same weights: a seed or a knob that has no effect."""
    cells = tables.cells[tables.cells["weights"] != ""].drop_duplicates(["setting", "policy"])
    if cells[~cells["is_start"]]["setting"].duplicated().any():  # two policies beside the start
        yield LOOKED
    for (setting, _), group in cells.groupby(["setting", "weights"], sort=False):
        starts = group["is_start"].any()
        if len(group) > 1 and not starts:
            names = [f"{row.contestant} of seed {row.replicate}" for row in group.itertuples()]
            yield str(setting), f"{listed(names)} have exactly the same weights: a seed or a knob had no effect."


def _no_spread(tables: Tables) -> Found:
    """Contestants with equal mean rewards in all seeds."""
    means: dict[tuple[str, str], dict[str, list[float]]] = {}
    for block in tables.blocks.of(metric="reward"):
        means.setdefault((block.setting, block.contestant), {}).setdefault(block.role, []).append(block.mean)
    for (setting, contestant), by_role in means.items():
        several = {role: own for role, own in by_role.items() if len(own) > 1}
        if several:
            yield LOOKED
        flat = [role for role, own in several.items() if len(set(own)) == 1]
        if flat:
            seeds = max(len(by_role[role]) for role in flat)
            yield (
                setting,
                f"{contestant} has the same mean reward ({listed(sorted(flat))}) in all {seeds} seeds: σ = 0.",
            )


def _same_rows(tables: Tables) -> Found:
    """Contestants whose rewards are equal sample by sample in a seed: a copy, or a cache that answered for another."""
    policies, rewards = _policies(tables), tables.blocks.of(metric="reward")
    if _differ(rewards, lambda one: (one.setting, one.replicate, one.role), lambda one: policies.get(_cell(one))):
        yield LOOKED
    found: dict[tuple[str, int, tuple[str, ...]], list[str]] = {}
    for role, own in _twins(rewards):
        by_seed: dict[tuple[str, int], list[Block]] = {}
        for block in own:
            by_seed.setdefault((block.setting, block.replicate), []).append(block)
        for (setting, seed), same in by_seed.items():
            if len({policies.get(_cell(block)) for block in same}) > 1:
                names = tuple(dict.fromkeys(block.contestant for block in same))
                found.setdefault((setting, seed, names), []).append(role)
    for (setting, seed, names), roles in found.items():
        text = f"{listed(list(names))} have the same reward ({listed(sorted(roles))}) for every sample of seed {seed}"
        yield setting, f"{text}: one is a copy of another, or a cache answered for it."


def _wrong_cache(tables: Tables) -> Found:
    """Policies of different seeds or settings with equal rewards or benchmarks: a cache that took one for another.

    Those of one seed are `identical rows`.
    """
    policies, benched = _policies(tables), blocks_of(tables.benchmarks)
    for what, blocks in (("reward", tables.blocks.of(metric="reward")), ("benchmark", benched.blocks)):
        within = what == "benchmark"  # of one seed too
        if _differ(blocks, _kind, lambda one: policies.get(_cell(one))) and (within or _differ(blocks, _kind, _seed)):
            yield LOOKED
        for role, own in _twins(blocks):
            by_policy = {policies[_cell(block)]: block for block in own if _cell(block) in policies}
            if len(by_policy) > 1 and (within or len(set(map(_seed, by_policy.values()))) > 1):
                names = [f"{one.contestant} of seed {one.replicate} ({one.setting})" for one in by_policy.values()]
                text = f"{listed(names)} have equal values of {what} {role} everywhere"
                yield "", f"{text}: a cache took one for another."


def _differ(blocks: Iterable[Block], alike: Callable[[Block], object], what: Callable[[Block], object]) -> bool:
    """Whether two blocks that are alike in one thing differ in another, and are too fine to be equal by chance."""
    first: dict[object, object] = {}
    return any(first.setdefault(alike(one), what(one)) != what(one) for one in filter(_is_fine, blocks))


def _is_fine(block: Block) -> bool:
    """Whether its values are too many to be equal by chance."""
    return len(set(block.values.tolist())) >= FINE


def _edge(tables: Tables) -> Found:
    """Chosen knobs at an end of their range: the optimum may lie beyond it."""
    for setting in tables.studies["setting"].unique():
        for study in studies_of(tables, str(setting)):
            if study.chosen:
                yield LOOKED
            if found := edges(study):
                text = f"{study.row['contestant']} was given knobs at the edge of their range ({found})"
                yield str(setting), f"{text}: a wider one may hold better."


def _unequal(tables: Tables) -> Found:
    """Tuned contestants with different numbers of finished trials."""
    for setting in tables.studies["setting"].unique():
        yield LOOKED
        if told := unequal(studies_of(tables, str(setting))):
            yield str(setting), f"Not all were tuned with the same number of trials: {told}."


def _shared_prompts(tables: Tables, trusts: Mapping[tuple[str, str], Trust]) -> Found:
    """Sets of prompts that must be apart, and are not."""
    for setting, rows in tables.cells.groupby("setting", sort=False):
        trust = trusts.get((str(rows["model"].iloc[0]), str(rows["dataset"].iloc[0])))
        for check in trust.prompts if trust else ():
            if check.passed is not None:
                yield LOOKED
            if check.passed is False:
                yield str(setting), f"Not so: {check.what} ({check.detail})."


def _like_the_start(tables: Tables) -> Found:
    """Fine metrics whose mean equals the start's to all digits although the policy differs."""
    found: dict[tuple[str, str], tuple[dict[str, None], dict[int, None]]] = {}
    for block, base in _beside_the_start(tables):
        yield LOOKED
        if block.mean == base.mean:
            names, seeds = found.setdefault((block.setting, block.contestant), ({}, {}))
            names["/".join(filter(None, (block.metric, block.role)))], seeds[block.replicate] = None, None
    for (setting, contestant), (names, seeds) in found.items():
        told = listed([str(seed) for seed in sorted(seeds)])
        yield setting, f"{contestant} of seed {told} equals the start to all digits in {listed(list(names))}."


def _beside_the_start(tables: Tables) -> Iterator[tuple[Block, Block]]:
    """Each block of another policy with the start's of its seed, where that is fine."""
    policies = _policies(tables)
    starts = {(str(row.setting), int(str(row.replicate))): str(row.policy) for row in _starts(tables).itertuples()}
    by_kind: dict[tuple[str, int, str, str], list[Block]] = {}
    for block in tables.blocks.of():
        if block.metric != "kl" and block.role != BEFORE:
            by_kind.setdefault((block.setting, block.replicate, block.metric, block.role), []).append(block)
    for (setting, seed, _, _), own in by_kind.items():
        start = starts.get((setting, seed))
        base = next((block for block in own if policies.get(_cell(block)) == start), None)
        if base is not None and _is_fine(base):
            yield from ((block, base) for block in own if policies.get(_cell(block)) != start)


def _too_many(tables: Tables) -> Found:
    """Contestants with more cut-off or empty responses than can be overlooked."""
    import numpy as np

    for metric, most in MOST.items():
        values: dict[tuple[str, str], list[Any]] = {}
        for block in tables.blocks.of(metric=metric):
            yield LOOKED
            values.setdefault((block.setting, block.contestant), []).append(block.values)
        for (setting, contestant), own in values.items():
            share = float(np.concatenate(own).mean())
            if share > most:
                seen = f"{number(100 * share, 0)} % of {contestant}'s responses are {metric}"
                limit = f"(limit: {number(100 * most, 0)} %)"
                yield setting, f"{seen} {limit}: its mean reward counts texts that are no whole answers."


def _far(tables: Tables) -> Found:
    """Runs that passed the KL limit of their own recipe."""
    names, metric = ["setting", "contestant"], tables.measurements["metric"]
    without = tables.cells[tables.cells["knobs"].map(lambda knobs: json.loads(knobs).get("kl_limit") == 0)]
    watched = tables.measurements[metric.isin(["kl_max", "kl_alarm_step"])]
    if set(watched[names].itertuples(index=False)) - set(without[names].itertuples(index=False)):
        yield LOOKED
    own = tables.measurements[metric == "kl_alarm_step"]
    for (setting, contestant), rows in own.groupby(["setting", "contestant"], sort=False):
        first = int(rows["value"].min())
        runs = count(len(rows), "run")
        yield str(setting), f"{contestant} passed its KL limit in {runs}, first at step {first}."


def _dirty(tables: Tables) -> Found:
    """Records made by code that no commit holds, by several sets of packages or on several kinds of device.

    Commits are not compared: most change nothing that a stage does, and the head of the page names them.
    """
    made_by = tables.made_by
    if len(made_by):
        yield LOOKED
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


def _starts(tables: Tables) -> pd.DataFrame:
    return tables.cells[tables.cells["is_start"]]


def _cell(block: Block) -> Cell:
    return block.setting, block.contestant, block.replicate


def _kind(block: Block) -> tuple[str, str]:
    return block.metric, block.role


def _seed(block: Block) -> tuple[str, int]:
    return block.setting, block.replicate


def _policies(tables: Tables) -> dict[Cell, str]:
    """The policy of each cell."""
    return dict(zip(zip(*(tables.cells[name] for name in CELL), strict=True), tables.cells["policy"], strict=True))


def _twins(blocks: Iterable[Block]) -> Iterator[tuple[str, list[Block]]]:
    """Blocks of one metric and role whose values are all equal, prompt by prompt and sample by sample.

    Those with few different values are left out: good policies may all be free of one kind of fault.
    """
    found: dict[tuple[str, str, bytes], list[Block]] = {}
    for block in filter(_is_fine, blocks):
        found.setdefault((block.metric, block.role, block.fingerprint()), []).append(block)
    yield from ((role, own) for (_, role, _), own in found.items() if len(own) > 1)

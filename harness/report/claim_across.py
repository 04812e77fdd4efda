"""Claims on more than one setting: two starts against each other, and methods whose lead depends on the task."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from harness.report.claim_scores import Scored, contestants, counted, mean_of, shared

if TYPE_CHECKING:
    from harness.claims import Hypothesis
    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.report.cubes import Array
    from harness.stats.runs import Runs

FEWEST_METHODS = 2
"""Contestants, beside the start, whose leads can be compared."""


def between_starts(claim: Hypothesis, tables: Tables, settings: list[Comparison]) -> list[Scored] | str:
    """Contestants of settings that differ in their start alone, gold on the scale of the second side's start."""
    parts = ["model", "dataset", "start"]
    about = tables.cells.drop_duplicates("setting").set_index("setting")[parts]
    by_place = {tuple(about.loc[one.name]): one for one in settings}
    found = []
    for (model, dataset, start), one in by_place.items():
        two = by_place.get((model, dataset, claim.starts[1]))
        if start == claim.starts[0] and two is not None:
            names = [contestants(side, tables, where) for side, where in ((claim.a, one), (claim.b, two))]
            found += [_between(a, one, b, two) for a in names[0] for b in names[1]]
    if found:
        return found
    sides = (
        f"{' or '.join(names)} from {start}" for names, start in zip((claim.a, claim.b), claim.starts, strict=True)
    )
    return f"this study does not have {' and '.join(sides)} on the same model and data"


def _between(a: str, one: Comparison, b: str, two: Comparison) -> Scored:
    where, label = f"{one.name} and {two.name}", f"{a} from {one.start} − {b} from {two.start}"
    missing = [name for name, own in ((a, one), (b, two)) if not _has_gold(name, own)]
    if missing:
        return Scored(where, label, why=f"{' and '.join(missing)} has no gold")
    prompts = [prompt for prompt in one.cubes["gold"].prompts if prompt in set(two.cubes["gold"].prompts)]
    scale = two.scales["gold"]
    sides = []
    for name, own in ((a, one), (b, two)):
        runs = _at(own.runs[name], own, prompts)
        raw = runs.scores * own.scales["gold"].sd + own.scales["gold"].mean
        sides.append(replace(runs, scores=(raw - scale.mean) / scale.sd))
    first, second = (shared([side], sides if one.paired else [side]) for side in sides)
    return counted(Scored(where, label, mean_of(first), mean_of(second)), sides, [*first, *second])


def leads(settings: list[Comparison]) -> list[Scored] | str:
    """For each two settings the contestant whose lead over the mean of all differs most surely between them.

    A lead is in sd of the setting's own start. The comparison that is shown was picked for its p, so that it stands for
    as many as there are contestants.
    """
    if len(settings) < 2:
        return "this study has one setting; how methods and tasks interact takes two"
    return [_interaction(one, two) for one, two in combinations(settings, 2)]


def _interaction(one: Comparison, two: Comparison) -> Scored:
    from harness.stats.contrast import Contrast, contrast

    where = f"{one.name} and {two.name}"
    names = [
        name
        for name in one.contestants
        if name != one.start and name != two.start and _has_gold(name, one) and _has_gold(name, two)
    ]
    if len(names) < FEWEST_METHODS:
        return Scored(where, "leads", why=f"they share {len(names)} contestants with gold; it takes {FEWEST_METHODS}")
    places = _prompts(one, two)
    sides = [[_at(own.runs[name], own, kept) for name in names] for own, kept in zip((one, two), places, strict=True)]
    every = [*sides[0], *sides[1]]
    first, second = (shared(side, every) for side in sides)
    found = []
    for name, in_one, in_two in zip(names, first, second, strict=True):
        a, b = in_one.scores - mean_of(first), in_two.scores - mean_of(second)
        result = contrast(a, b, paired=True)
        found.append((result.p if isinstance(result, Contrast) else 1.0, name, a, b))
    _, name, a, b = min(found, key=lambda row: row[0])
    label = f"lead of {name} over the mean of {len(names)}, one setting − the other"
    return counted(Scored(where, label, a, b, within=True, of=len(names)), every, [*first, *second])


def _prompts(one: Comparison, two: Comparison) -> tuple[list[str], list[str]]:
    """Prompts of each setting, as many of both: the same where they share any, else in their order.

    Prompts that are not shared are independent, so that it does not matter which is held against which.
    """
    first, second = (list(own.cubes["gold"].prompts) for own in (one, two))
    same = [prompt for prompt in first if prompt in set(second)]
    if same:
        return same, same
    count = min(len(first), len(second))
    return first[:count], second[:count]


def _has_gold(name: str, setting: Comparison) -> bool:
    return name in setting.runs and len(setting.runs[name].scores) > 0


def _at(runs: Runs, setting: Comparison, prompts: list[str]) -> Runs:
    """Scores of these prompts alone."""
    place = {prompt: column for column, prompt in enumerate(setting.cubes["gold"].prompts)}
    scores: Array = runs.scores[:, [place[prompt] for prompt in prompts]]
    return replace(runs, scores=scores)

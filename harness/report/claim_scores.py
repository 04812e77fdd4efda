"""The scores that a hypothesis compares: which contestants, which metric, as arrays over runs and prompts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import harness.registry as registry
from harness.report.cubes import cubes

if TYPE_CHECKING:
    import pandas as pd

    from harness.claims import Hypothesis
    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.report.cubes import Array
    from harness.stats.runs import Runs

START = "start"
LEVELS = ("sample", "prompt", "pair")
CORPUS = "corpus"
TRAINED = {"seconds": "device_seconds", "memory": "peak_memory_bytes"}
CURVE = "curve:"
FEWEST = 3
"""Values of a knob that a trend needs."""


@dataclass(frozen=True)
class Scored:
    """One comparison of a claim.

    Attributes:
        setting: where.
        label: what is compared, in words.
        a: (S, P) scores; None where there are none.
        b: the same of what it is compared with.
        why: there are no scores.
        within: `a` is a difference within runs, so that the design's pairing does not matter.
        by_run: one number for each run, on no prompts.
        failed: runs that failed and stand in with the start's scores.
    """

    setting: str
    label: str
    a: Array | None = None
    b: Array | None = None
    why: str = ""
    within: bool = False
    by_run: bool = False
    failed: bool = False


def comparisons_of(claim: Hypothesis, tables: Tables, settings: list[Comparison]) -> list[Scored] | str:
    """All comparisons of a claim in all settings, or why there can be none in this study."""
    found = [
        one
        for setting in settings
        for one in (_trend(claim, tables, setting) if claim.along else _sides(claim, tables, setting))
    ]
    if found:
        return found
    sides = " and ".join(" or ".join(names) for names in (claim.a, claim.b) if names)
    wanted = f"three values of {claim.along}" if claim.along else sides
    return f"this study does not have {wanted}" + (f"; see {claim.runs}" if claim.runs else "")


def _sides(claim: Hypothesis, tables: Tables, setting: Comparison) -> list[Scored]:
    """Each of a against each of b, or against the number."""
    first = _contestants(claim.a, tables, setting)
    if claim.against is not None:
        return [_against(claim, one, tables, setting) for one in first]
    second = _contestants(claim.b, tables, setting)
    return [_pair(claim, one, two, tables, setting) for one in first for two in second if one != two]


def _contestants(names: tuple[str, ...], tables: Tables, setting: Comparison) -> list[str]:
    """By label, else all of that algorithm."""
    cells = tables.cells[tables.cells["setting"] == setting.name].drop_duplicates("contestant")
    algorithms = dict(zip(cells["contestant"], cells["algorithm"], strict=True))
    found: list[str] = []
    for name in names:
        own = [setting.start] if name == START else [name] if name in algorithms else []
        found += own or [label for label, algorithm in algorithms.items() if algorithm == name]
    return list(dict.fromkeys(name for name in found if name))


def _pair(claim: Hypothesis, a: str, b: str, tables: Tables, setting: Comparison) -> Scored:
    from harness.stats.runs import common

    label, by_run = f"{a} − {b}", _by_run(claim.metric)
    runs = _runs(claim.metric, [a, b], tables, setting)
    missing = [name for name in (a, b) if name not in runs]
    if missing:
        return Scored(setting.name, label, why=f"{', '.join(missing)} has no {claim.metric}")
    one, two = common(runs[a], runs[b]) if setting.paired else (runs[a], runs[b])
    failed = bool(one.imputed or two.imputed)
    return Scored(setting.name, label, one.scores, two.scores, by_run=by_run, failed=failed)


def _against(claim: Hypothesis, a: str, tables: Tables, setting: Comparison) -> Scored:
    import numpy as np

    label = f"{a} − {claim.against:g}"
    runs = _runs(claim.metric, [a], tables, setting)
    if a not in runs:
        return Scored(setting.name, label, why=f"{a} has no {claim.metric}")
    scores = runs[a].scores
    number = np.full_like(scores, claim.against)
    return Scored(setting.name, label, scores, number, within=True, by_run=_by_run(claim.metric))


def _trend(claim: Hypothesis, tables: Tables, setting: Comparison) -> list[Scored]:
    """The fitted change over a knob's values, one for each set of the other knobs."""
    return [_fitted(claim, ladder, tables, setting) for ladder in _ladders(claim.along, tables, setting)]


def _ladders(along: str, tables: Tables, setting: Comparison) -> list[list[tuple[float, str]]]:
    """Contestants that differ in this knob alone, by its rising value, where there are enough of them."""
    algorithm, knob = along.split(".")
    cells = tables.cells[(tables.cells["setting"] == setting.name) & (tables.cells["algorithm"] == algorithm)]
    found: dict[str, list[tuple[float, str]]] = {}
    for _, row in cells.drop_duplicates("contestant").iterrows():
        knobs: dict[str, Any] = {**_usual(algorithm), **json.loads(row["knobs"])}
        value = knobs.pop(knob, None)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.setdefault(json.dumps(knobs, sort_keys=True), []).append((float(value), str(row["contestant"])))
    return [sorted(own) for own in found.values() if len(own) >= FEWEST]


def _usual(algorithm: str) -> dict[str, Any]:
    """The defaults of an algorithm's knobs."""
    from harness.knobs import knobs

    return {name: one.default for name, one in knobs(registry.load("algorithms", algorithm)).items()}


def _fitted(claim: Hypothesis, ladder: list[tuple[float, str]], tables: Tables, setting: Comparison) -> Scored:
    """Per run and prompt the least-squares change from the first to the last value, values equally spaced."""
    import numpy as np

    names = [name for _, name in ladder]
    label = f"{claim.along} from {ladder[0][0]:g} to {ladder[-1][0]:g}"
    runs = _runs(claim.metric, names, tables, setting)
    missing = [name for name in names if name not in runs]
    if missing:
        return Scored(setting.name, label, why=f"{', '.join(missing)} has no {claim.metric}")
    shared = [seed for seed in runs[names[0]].replicates if all(seed in runs[name].replicates for name in names)]
    place = np.arange(len(names)) - (len(names) - 1) / 2
    weights = place * (len(names) - 1) / (place**2).sum()
    change = np.tensordot(weights, np.stack([runs[name].at(shared) for name in names]), 1)
    failed = any(runs[name].imputed for name in names)
    nothing = np.zeros_like(change)
    return Scored(setting.name, label, change, nothing, within=True, by_run=_by_run(claim.metric), failed=failed)


def _by_run(metric: str) -> bool:
    return metric in TRAINED or metric.startswith(CURVE)


def _runs(metric: str, names: list[str], tables: Tables, setting: Comparison) -> dict[str, Runs]:
    """Scores of these contestants over the same prompts; those that have none are left out."""
    if metric == "gold":
        return {name: setting.runs[name] for name in names if name in setting.runs and len(setting.runs[name].scores)}
    if metric in TRAINED:
        return _trained(metric, names, tables, setting.name)
    if metric.startswith(CURVE):
        return _curves(metric.removeprefix(CURVE), names, tables, setting.name)
    return _measured(metric, names, tables, setting)


def _measured(metric: str, names: list[str], tables: Tables, setting: Comparison) -> dict[str, Runs]:
    import pandas as pd

    from harness.stats.runs import Runs

    name, _, role = metric.partition("/")
    own = {
        level: [block for block in tables.blocks.of(setting.name, name, role, level) if block.contestant in names]
        for level in (*LEVELS, CORPUS)
    }
    for level in LEVELS:
        found = cubes(own[level], tables.blocks.prompts)
        if found.by_contestant:
            return {who: Runs(cube.prompts, cube.replicates) for who, cube in found.by_contestant.items()}
    whole = [(block.contestant, block.replicate, block.mean) for block in own[CORPUS]]
    return _of_runs(pd.DataFrame(whole, columns=["contestant", "replicate", "number"]))


def _trained(metric: str, names: list[str], tables: Tables, setting: str) -> dict[str, Runs]:
    """Natural logarithms, so that a difference is one of ratios."""
    import numpy as np

    spent = tables.spent[(tables.spent["setting"] == setting) & tables.spent["contestant"].isin(names)]
    own = spent[(spent["part"] == "own") & (spent[TRAINED[metric]] > 0)]
    return _of_runs(own.assign(number=np.log(own[TRAINED[metric]])))


def _curves(metric: str, names: list[str], tables: Tables, setting: str) -> dict[str, Runs]:
    """Mean of the last third of a run's steps minus that of the first."""
    curves = tables.curves
    own = curves[(curves["setting"] == setting) & curves["contestant"].isin(names) & (curves["metric"] == metric)]
    found = []
    for (contestant, replicate), rows in own.groupby(["contestant", "replicate"], observed=True):
        ordered = rows.sort_values("step")["value"]
        third = len(ordered) // 3
        if third:
            number = float(ordered.iloc[-third:].mean() - ordered.iloc[:third].mean())
            found.append({"contestant": contestant, "replicate": replicate, "number": number})
    import pandas as pd

    return _of_runs(pd.DataFrame(found, columns=["contestant", "replicate", "number"]))


def _of_runs(rows: pd.DataFrame) -> dict[str, Runs]:
    """One number for each run, written twice: two prompts that agree, so that the test is a t test over runs."""
    import numpy as np

    from harness.stats.runs import Runs

    found = {}
    for name, own in rows.groupby("contestant", observed=True):
        ordered = own.sort_values("replicate")
        column = ordered["number"].to_numpy(float)
        found[str(name)] = Runs(np.stack([column, column], 1), tuple(int(seed) for seed in ordered["replicate"]))
    return found

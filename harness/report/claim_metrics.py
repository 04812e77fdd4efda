"""A claim's metric as runs: one row for each run of a contestant, over prompts or with one number alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import harness.registry as registry
from harness.claims import COLLAPSE
from harness.report.cubes import cubes

if TYPE_CHECKING:
    import pandas as pd

    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.report.cubes import Array
    from harness.stats.runs import Runs

LEVELS = ("sample", "prompt", "pair", "judgment")
CORPUS = "corpus"
SECONDS, MEMORY = "seconds", "memory"
TRAINED = {SECONDS: ("worked_seconds", "beyond the base"), MEMORY: ("peak_device_memory_bytes", "own")}
"""By metric, what is read of which part of the cost: time adds up over all that a policy rests on, memory does not."""
CURVE, SPREAD, SWEEP, WIDENING, MARGIN, GROWTH = "curve:", "spread:", "sweep:", "widening", "margin", "growth"
FEWEST = 3
"""Values of a knob, or graded policies, that a trend needs, and seeds that a correlation needs."""
LACKING = {
    MEMORY: "memory is known of a GPU alone: on a CPU a training shares its process with what was there before it",
    GROWTH: f"growth needs {FEWEST} graded policies of each run",
}
"""Why a contestant may have no such metric, where that is known."""


def ladders(along: str, tables: Tables, setting: Comparison) -> list[list[tuple[float, str]]]:
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


def measured_by(*metrics: str) -> list[str]:
    """The metrics of the metrics folder that these of claims are made of."""
    made = {MARGIN: ("chosen_logp", "rejected_logp"), COLLAPSE: ("degenerate",)}
    names = [name for metric in metrics for name in made.get(metric, (metric.partition("/")[0],))]
    known = registry.names("metrics")
    return [name for name in names if name in known]


def by_run(metric: str) -> bool:
    """Whether a metric has one number for each run, on no prompts."""
    if metric in (*TRAINED, WIDENING, COLLAPSE) or metric.startswith((CURVE, SPREAD, SWEEP)):
        return True
    return any(registry.load("metrics", name).level == CORPUS for name in measured_by(metric))


def runs_of(metric: str, names: list[str], tables: Tables, setting: Comparison) -> dict[str, Runs]:
    """Scores of these contestants over the same prompts; those that have none are left out."""
    if metric == "gold":
        return {name: setting.runs[name] for name in names if name in setting.runs and len(setting.runs[name].scores)}
    if metric in TRAINED:
        return _trained(metric, names, tables, setting.name)
    if metric == WIDENING:
        from harness.report.claim_links import widening

        return _of_runs(widening(names, setting)) if {"gold", "proxy"} <= setting.scales.keys() else {}
    if metric.startswith(SPREAD):
        return {
            name: _spread(runs) for name, runs in runs_of(metric.removeprefix(SPREAD), names, tables, setting).items()
        }
    if metric.startswith(SWEEP):
        return _sweeps(metric.removeprefix(SWEEP), names, tables, setting)
    if metric.startswith(CURVE):
        return _curves(metric.removeprefix(CURVE), names, tables, setting.name)
    if metric == MARGIN:
        return _margins(names, tables, setting)
    if metric == GROWTH:
        return {name: runs for name in names if (runs := _growth(name, setting)) is not None}
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


def _margins(names: list[str], tables: Tables, setting: Comparison) -> dict[str, Runs]:
    """How much further apart a policy holds chosen and rejected of each held-out pair than the start does, in nats."""
    from harness.stats.runs import Runs, common

    sides = [_measured(metric, names, tables, setting) for metric in ("chosen_logp", "rejected_logp")]
    both = {name: common(*(own[name] for own in sides)) for name in names if all(name in own for own in sides)}
    return {name: Runs(one.scores - two.scores, one.replicates) for name, (one, two) in both.items()}


def _growth(name: str, setting: Comparison) -> Runs | None:
    """The fitted change of gold from the first graded policy of a run to the last, in sd of the start."""
    import numpy as np

    from harness.stats.runs import Runs

    if "gold" not in setting.scales:
        return None
    graded = [*(setting.stages[step]["gold"] for step in sorted(setting.stages)), setting.cubes["gold"]]
    graded = [found for found in graded if name in found.by_contestant]
    if len(graded) < FEWEST:
        return None
    seeds = sorted(set.intersection(*(set(found.by_contestant[name].replicates) for found in graded)))
    prompts = tuple(sorted(set.intersection(*(set(found.prompts) for found in graded))))
    means = np.stack([found.of(name, tuple(seeds), prompts).mean(axis=2) for found in graded])
    return Runs(np.tensordot(steps(len(graded)), means, 1) / setting.scales["gold"].sd, tuple(seeds))


def steps(count: int) -> Array:
    """Weights that make of so many equally spaced values their least-squares change from the first to the last."""
    import numpy as np

    place = np.arange(count) - (count - 1) / 2
    found: Array = place * (count - 1) / (place**2).sum()
    return found


def _trained(metric: str, names: list[str], tables: Tables, setting: str) -> dict[str, Runs]:
    """Natural logarithms, so that a difference is one of ratios."""
    import numpy as np

    column, part = TRAINED[metric]
    spent = tables.spent[(tables.spent["setting"] == setting) & tables.spent["contestant"].isin(names)]
    own = spent[(spent["part"] == part) & (spent[column] > 0)]
    return _of_runs(own.assign(number=np.log(own[column])))


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


def _spread(runs: Runs) -> Runs:
    """|mean − median of all means| of each finished run: a t test on these is Brown and Forsythe's (1974)."""
    import numpy as np

    from harness.stats.runs import Runs

    means = runs.finished.scores.mean(axis=1)
    apart = np.abs(means - np.median(means))
    return Runs(np.stack([apart, apart], 1), runs.finished.replicates)


def _sweeps(knob: str, algorithms: list[str], tables: Tables, setting: Comparison) -> dict[str, Runs]:
    """Per replicate the log of the standard deviation of mean gold over a knob's values, by algorithm.

    A replicate of which every run failed has none, since the start stands in for all of them.
    """
    import numpy as np
    import pandas as pd

    found = []
    imputed: dict[str, tuple[int, ...]] = {}
    for algorithm in algorithms:
        for ladder in ladders(f"{algorithm}.{knob}", tables, setting)[:1]:  # other knobs as they first come
            runs = runs_of("gold", [name for _, name in ladder], tables, setting)
            if len(runs) < len(ladder):
                continue
            shared = sorted(set.intersection(*(set(own.replicates) for own in runs.values())))
            means = np.stack([own.at(shared).mean(axis=1) for own in runs.values()])
            spreads = dict(zip(shared, means.std(axis=0, ddof=1), strict=True))
            imputed[algorithm] = tuple(
                seed for seed in shared if spreads[seed] and any(seed in own.imputed for own in runs.values())
            )
            found += [
                {"contestant": algorithm, "replicate": seed, "number": float(np.log(spread))}
                for seed, spread in spreads.items()
                if spread
            ]
    own = _of_runs(pd.DataFrame(found, columns=["contestant", "replicate", "number"]))
    return {name: replace(runs, imputed=imputed[name]) for name, runs in own.items()}


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

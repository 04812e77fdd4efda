"""The scores that a hypothesis compares: which contestants, which metric, as arrays over runs and prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.claim_metrics import FEWEST, SWEEP, by_run, ladders, runs_of

if TYPE_CHECKING:
    from harness.claims import Hypothesis
    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.report.cubes import Array

START = "start"
EVERY = "every"


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
        failed: runs that failed stand in with the start's scores.
        absent: runs that failed and are left out.
    """

    setting: str
    label: str
    a: Array | None = None
    b: Array | None = None
    why: str = ""
    within: bool = False
    by_run: bool = False
    failed: bool = False
    absent: int = 0


def comparisons_of(claim: Hypothesis, tables: Tables, settings: list[Comparison]) -> list[Scored] | str:
    """All comparisons of a claim in all settings, or why there can be none in this study."""
    found = [one for setting in settings for one in _in_setting(claim, tables, setting)]
    if found:
        return found
    sides = " and ".join(" or ".join(names) for names in (claim.a, claim.b) if names)
    wanted = f"three values of {claim.along}" if claim.along else sides
    return f"this study does not have {wanted}" + (f"; see {claim.runs}" if claim.runs else "")


def _in_setting(claim: Hypothesis, tables: Tables, setting: Comparison) -> list[Scored]:
    if claim.along:
        return _trend(claim, tables, setting)
    return _link(claim, tables, setting) if claim.correlates else _sides(claim, tables, setting)


def _link(claim: Hypothesis, tables: Tables, setting: Comparison) -> list[Scored]:
    """The correlation of two metrics, one number for each replicate, against a number."""
    import numpy as np

    from harness.report.claim_links import FEWEST_CONTESTANTS, agreements, within_contestants

    names = _contestants(claim.a, tables, setting)
    if not names:
        return []
    if by_run(claim.metric):
        (x, y), what = _both(claim, names, tables, setting), "over runs of each contestant"
        found = within_contestants(x, y) if x.shape[1] >= FEWEST else np.empty(0)
        many = len(x)
    else:
        found, prompts = agreements(claim.metric, claim.correlates, names, tables, setting)
        what, many = f"within {prompts} prompts" if prompts else "over contestants", len(names)
    label = f"correlation of {claim.metric} and {claim.correlates} {what} − {claim.against:g}"
    if not len(found):
        least = f"{FEWEST_CONTESTANTS} contestants or {FEWEST} runs of each with both"
        return [Scored(setting.name, label, why=f"it needs {least}; {many} could have had them")]
    column, absent = np.stack([found, found], 1), _absent(claim, names, setting)
    against = np.full_like(column, claim.against)
    return [Scored(setting.name, label, column, against, within=True, by_run=True, absent=absent)]


def _both(claim: Hypothesis, names: list[str], tables: Tables, setting: Comparison) -> tuple[Array, Array]:
    """Both metrics of the contestants that have them in the same replicates, one number for each run: (C, S)."""
    import numpy as np

    one, two = (runs_of(metric, names, tables, setting) for metric in (claim.metric, claim.correlates))
    names = [name for name in names if name in one and name in two]
    shared = {name: set(one[name].replicates) & set(two[name].finished.replicates) for name in names}
    if not shared:
        return np.empty((0, 0)), np.empty((0, 0))
    seeds = sorted(set.intersection(*shared.values()))
    return tuple(np.stack([own[name].at(seeds).mean(axis=1) for name in shared]) for own in (one, two))  # type: ignore[return-value]


def _sides(claim: Hypothesis, tables: Tables, setting: Comparison) -> list[Scored]:
    """Each of a against each of b, or against the number."""
    if claim.metric.startswith(SWEEP):
        return _sweep_sides(claim, tables, setting)
    first = _contestants(claim.a, tables, setting)
    if claim.against is not None:
        return [_against(claim, one, tables, setting) for one in first]
    second = _contestants(claim.b, tables, setting)
    return [_pair(claim, one, two, tables, setting) for one in first for two in second if one != two]


def _contestants(names: tuple[str, ...], tables: Tables, setting: Comparison) -> list[str]:
    """By label, else all of that algorithm."""
    cells = tables.cells[tables.cells["setting"] == setting.name].drop_duplicates("contestant")
    algorithms = dict(zip(cells["contestant"], cells["algorithm"], strict=True))
    found: list[str] = list(algorithms) if EVERY in names else []
    for name in names:
        own = [setting.start] if name == START else [name] if name in algorithms else []
        found += own or [label for label, algorithm in algorithms.items() if algorithm == name]
    return list(dict.fromkeys(name for name in found if name))


def _sweep_sides(claim: Hypothesis, tables: Tables, setting: Comparison) -> list[Scored]:
    """Algorithms, of which each has enough values of the knob."""
    knob = claim.metric.removeprefix(SWEEP)
    able = {name for name in (*claim.a, *claim.b) if ladders(f"{name}.{knob}", tables, setting)}
    pairs = [(one, two) for one in claim.a for two in claim.b if one != two and {one, two} <= able]
    return [_pair(claim, one, two, tables, setting) for one, two in pairs]


def _pair(claim: Hypothesis, a: str, b: str, tables: Tables, setting: Comparison) -> Scored:
    from harness.stats.runs import common

    label = f"{a} − {b}"
    runs = runs_of(claim.metric, [a, b], tables, setting)
    missing = [name for name in (a, b) if name not in runs]
    if missing:
        return Scored(setting.name, label, why=_lacking(claim, missing))
    one, two = common(runs[a], runs[b]) if setting.paired else (runs[a], runs[b])
    failed, absent = bool(one.imputed or two.imputed), _absent(claim, [a, b], setting)
    return Scored(
        setting.name, label, one.scores, two.scores, by_run=by_run(claim.metric), failed=failed, absent=absent
    )


def _lacking(claim: Hypothesis, names: list[str]) -> str:
    return f"{', '.join(names)} has no {claim.metric}" + (f"; see {claim.runs}" if claim.runs else "")


def _absent(claim: Hypothesis, names: list[str], setting: Comparison) -> int:
    """Failed runs of contestants that have no part in a comparison; by gold each has a stand-in."""
    return 0 if claim.metric == "gold" else sum(row.failed for row in setting.standings if row.name in names)


def _against(claim: Hypothesis, a: str, tables: Tables, setting: Comparison) -> Scored:
    import numpy as np

    label = f"{a} − {claim.against:g}"
    runs = runs_of(claim.metric, [a], tables, setting)
    if a not in runs:
        return Scored(setting.name, label, why=_lacking(claim, [a]))
    scores = runs[a].scores
    number = np.full_like(scores, claim.against)
    return Scored(
        setting.name,
        label,
        scores,
        number,
        within=True,
        by_run=by_run(claim.metric),
        absent=_absent(claim, [a], setting),
    )


def _trend(claim: Hypothesis, tables: Tables, setting: Comparison) -> list[Scored]:
    """The fitted change over a knob's values, one for each set of the other knobs."""
    return [_fitted(claim, ladder, tables, setting) for ladder in ladders(claim.along, tables, setting)]


def _fitted(claim: Hypothesis, ladder: list[tuple[float, str]], tables: Tables, setting: Comparison) -> Scored:
    """Per run and prompt the least-squares change from the first to the last value, values equally spaced."""
    import numpy as np

    names = [name for _, name in ladder]
    label = f"{claim.along} from {ladder[0][0]:g} to {ladder[-1][0]:g}"
    runs = runs_of(claim.metric, names, tables, setting)
    missing = [name for name in names if name not in runs]
    if missing:
        return Scored(setting.name, label, why=_lacking(claim, missing))
    shared = [seed for seed in runs[names[0]].replicates if all(seed in runs[name].replicates for name in names)]
    place = np.arange(len(names)) - (len(names) - 1) / 2
    weights = place * (len(names) - 1) / (place**2).sum()
    change = np.tensordot(weights, np.stack([runs[name].at(shared) for name in names]), 1)
    failed = any(runs[name].imputed for name in names)
    nothing = np.zeros_like(change)
    return Scored(setting.name, label, change, nothing, within=True, by_run=by_run(claim.metric), failed=failed)

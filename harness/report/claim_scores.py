"""The scores that a hypothesis compares: which contestants, which metric, as arrays over runs and prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.claims import COLLAPSE, GROUPS
from harness.report.claim_metrics import FEWEST, LACKING, SWEEP, by_run, ladders, runs_of, steps
from harness.report.sheet import listed

if TYPE_CHECKING:
    from harness.claims import Hypothesis
    from harness.records import Tables
    from harness.report.claim_rates import Rates
    from harness.report.compare import Comparison
    from harness.report.cubes import Array
    from harness.stats.runs import Runs

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
        stand_ins: runs that failed and stand in with the start's scores.
        absent: runs that failed and are left out.
        unmatched: finished runs that are left out, since another side has no run of their seed.
        rates: instead of scores, how many runs collapsed.
        of: comparisons of which this is the one with the smallest p; its p is multiplied by them.
        premise: what is known of the claim's premise here; empty where it has none.
        beside: the claim is not about this comparison, for its premise fails here, and it has no scores.
    """

    setting: str
    label: str
    a: Array | None = None
    b: Array | None = None
    why: str = ""
    within: bool = False
    by_run: bool = False
    stand_ins: int = 0
    absent: int = 0
    unmatched: int = 0
    rates: Rates | None = None
    of: int = 1
    premise: str = ""
    beside: bool = False


def comparisons_of(claim: Hypothesis, tables: Tables, settings: list[Comparison]) -> list[Scored] | str:
    """All comparisons of a claim in all settings, or why there can be none in this study."""
    if claim.across or claim.starts:
        from harness.report.claim_across import between_starts, leads

        across = leads(settings) if claim.across else between_starts(claim, tables, settings)
        return across if isinstance(across, list) else across + (f"; see {claim.runs}" if claim.runs else "")
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

    names = contestants(claim.a, tables, setting)
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
    mine, theirs = (np.stack([own[name].at(seeds).mean(axis=1) for name in shared]) for own in (one, two))
    return mine, theirs


def _sides(claim: Hypothesis, tables: Tables, setting: Comparison) -> list[Scored]:
    """Each of a against each of b, their groups, or each of a against the number."""
    if claim.metric.startswith(SWEEP):
        return _sweep_sides(claim, tables, setting)
    first = contestants(claim.a, tables, setting)
    if claim.against is not None:
        return [_against(claim, one, tables, setting) for one in first]
    second = contestants(claim.b, tables, setting)
    if claim.contrast == GROUPS:
        return [_versus(claim, first, second, tables, setting)] if first and second else []
    return [_versus(claim, [one], [two], tables, setting) for one in first for two in second if one != two]


def contestants(names: tuple[str, ...], tables: Tables, setting: Comparison) -> list[str]:
    """By label, else all of that algorithm."""
    algorithms = tables.algorithms.get(setting.name, {})
    found: list[str] = list(algorithms) if EVERY in names else []
    for name in names:
        own = [setting.start] if name == START else [name] if name in algorithms else []
        found += own or [label for label, algorithm in algorithms.items() if algorithm == name]
    return list(dict.fromkeys(name for name in found if name))


def _sweep_sides(claim: Hypothesis, tables: Tables, setting: Comparison) -> list[Scored]:
    """Algorithms, of which each has enough values of the knob."""
    knob = claim.metric.removeprefix(SWEEP)
    first, second = (
        [name for name in names if ladders(f"{name}.{knob}", tables, setting)] for names in (claim.a, claim.b)
    )
    if claim.contrast == GROUPS:
        return [_versus(claim, first, second, tables, setting)] if first and second else []
    return [_versus(claim, [one], [two], tables, setting) for one in first for two in second if one != two]


def _versus(claim: Hypothesis, a: list[str], b: list[str], tables: Tables, setting: Comparison) -> Scored:
    """The mean of some contestants against that of others: two, or two groups, of which none may lack scores."""
    label = f"{_named(a)} − {_named(b)}"
    if claim.metric == COLLAPSE:
        return _collapse(label, a, b, tables, setting)
    runs = runs_of(claim.metric, [*a, *b], tables, setting)
    missing = [name for name in (*a, *b) if name not in runs]
    if missing:
        return Scored(setting.name, label, why=_lacking(claim, missing))
    sides = [[runs[name] for name in names] for names in (a, b)]
    one, two = (shared(side, [*sides[0], *sides[1]] if setting.paired else side) for side in sides)
    absent = _absent(claim, [*a, *b], setting)
    scored = Scored(setting.name, label, mean_of(one), mean_of(two), by_run=by_run(claim.metric), absent=absent)
    return counted(scored, [*sides[0], *sides[1]], [*one, *two])


def _collapse(label: str, a: list[str], b: list[str], tables: Tables, setting: Comparison) -> Scored:
    """Rates over the seeds of each side."""
    from harness.report.claim_rates import Rates, collapses

    (one, one_left), (two, two_left) = (collapses(names, tables, setting) for names in (a, b))
    if not one or not two:
        return Scored(setting.name, label, why="one of the sides has no seed in which each of its runs has ended")
    rates = Rates((one, two), groups=len(a) + len(b) > 2)
    return Scored(setting.name, label, by_run=True, rates=rates, unmatched=one_left + two_left)


def _named(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"mean of {', '.join(names)}"


def shared(some: list[Runs], among: list[Runs]) -> list[Runs]:
    """Runs of the replicates that all of `among` have."""
    from harness.stats.runs import Runs

    seeds = sorted(set.intersection(*(set(one.replicates) for one in among)))
    return [Runs(one.at(seeds), tuple(seeds), tuple(seed for seed in one.imputed if seed in seeds)) for one in some]


def mean_of(some: list[Runs]) -> Array:
    """(S, P): the mean over contestants, run by run and prompt by prompt."""
    import numpy as np

    found: Array = np.mean([one.scores for one in some], axis=0)
    return found


def counted(scored: Scored, given: list[Runs], used: list[Runs]) -> Scored:
    """Noting, of what is compared, the runs that stand in, and those without a partner of their seed."""
    unmatched = sum(len(one.replicates) for one in given) - sum(len(one.replicates) for one in used)
    return replace(scored, stand_ins=sum(len(one.imputed) for one in used), unmatched=unmatched)


def _lacking(claim: Hypothesis, names: list[str]) -> str:
    if claim.metric in LACKING:
        return LACKING[claim.metric]
    told = f"{listed(names)} {'has' if len(names) == 1 else 'have'} no {claim.metric}"
    return told + (f"; see {claim.runs}" if claim.runs else "")


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
        stand_ins=len(runs[a].imputed),
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
    used = shared([runs[name] for name in names], [runs[name] for name in names])
    change = np.tensordot(steps(len(names)), np.stack([one.scores for one in used]), 1)
    nothing, absent = np.zeros_like(change), _absent(claim, names, setting)
    scored = Scored(setting.name, label, change, nothing, within=True, by_run=by_run(claim.metric), absent=absent)
    return counted(scored, [runs[name] for name in names], used)

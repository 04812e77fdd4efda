"""Which algorithm to pick under a person's constraints: who can run, who is best by the statistics, and how sure.

Contestants are left out by what they need and by what they cost here; the rest is ranked by the gold reward. Those that
no other is significantly better than are a tie, which is broken by cost and then by stability, and said to be. No
single winner comes from means alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import harness.registry as registry
from harness.report.grade import letter, verdict_facts
from harness.report.sheet import count, interval, listed, mebibytes, named, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.records import Tables
    from harness.report.compare import Comparison, Fact, Pair, Standing

GIVES = {
    "pairs": ("pairs", "binary", "demonstrations", "prompts"),
    "rankings": ("rankings", "pairs", "binary", "demonstrations", "prompts"),
    "binary": ("binary", "prompts"),
    "judgments": ("judgments", "prompts"),
    "judge": ("prompts",),
    "demonstrations": ("demonstrations", "prompts"),
    "prompts": ("prompts",),
    "reward": ("prompts",),
}
"""What a person's data can be made into: the chosen of pairs serve as demonstrations, each side as a labelled response.
`judge` is somebody or something that judges new responses, `reward` a reward model or an exact rule that is there."""
TRAINS_A_REWARD = ("pairs", "rankings")
BY_COST = "cost: tokens for every answer, then device-seconds"
BY_SPREAD = "stability: failed runs, then the spread over seeds"
"""What a tie is broken by, in words."""
UNTRAINED = "memory is measured while a policy is trained, and nothing was"
LOW_VARIANCE = "low-variance"
UNSEEN = "unseen-prompts"
NEEDS = (LOW_VARIANCE, UNSEEN)


@dataclass(frozen=True)
class Wishes:
    """A person's constraints; what is not said constrains nothing.

    Attributes:
        data: what there is to train on, of `GIVES`; empty: anything.
        memory_gb: of the device, in GB of 10⁹ bytes.
        device_hours: for one policy with all that it rests on.
        models: most models in memory at once.
        scale: how many times as large the person's model is as the one measured; memory and time are multiplied.
        needs: of `NEEDS`.
    """

    data: tuple[str, ...] = ()
    memory_gb: float | None = None
    device_hours: float | None = None
    models: int | None = None
    scale: float = 1.0
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A contestant as the guide sees it.

    Attributes:
        name: the contestant.
        view: the view of the data that it trains on.
        reward: it needs a reward model.
        judge: it needs a judge of new responses.
        models: in memory at once.
        gold: its gain over the start, None where it has none.
        beats: contestants that it is significantly better than, on the gold reward.
        clear: of those, the ones that it beats by more than the margin.
        agrees: its gain has one sign on every reward that no training has seen.
        answers: responses generated for each one that is given: 8 for a best of 8.
        device_seconds: of one policy with all that it rests on.
        peak_memory_bytes: largest peak while training a policy.
        seed_sd: of its gain over seeds.
        failed: share of its runs that failed.
        doubts: facts of its setting that do not hold; each lowers its grade by one letter.
    """

    name: str
    view: str
    reward: bool
    judge: bool
    models: int
    gold: tuple[float, float | None, float | None] | None
    beats: tuple[str, ...]
    clear: tuple[str, ...]
    agrees: bool
    answers: float
    device_seconds: float | None
    peak_memory_bytes: float | None
    seed_sd: float | None
    failed: float
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Said:
    """A sentence of advice, and the contestants whose rows it rests on."""

    text: str
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Advice:
    """What to do.

    Attributes:
        pick: the contestant to take; empty where no candidate has been measured.
        grade: of `GRADES`.
        tied: candidates that no other is significantly better than, best first.
        left_out: reason by contestant.
        said: the advice in words.
        facts: what the verdicts say of the pick: the part of its grade that the wishes decide.
    """

    pick: str
    grade: str
    tied: tuple[str, ...]
    left_out: dict[str, str]
    said: list[Said] = field(default_factory=list)
    facts: tuple[Fact, ...] = ()


def candidates(comparison: Comparison, tables: Tables) -> list[Candidate]:
    """The contestants of a setting, best gold gain first; the start is one: not to train on is a choice too."""
    answers = {one.name: one.answers for one in comparison.prices}
    cells = tables.cells[tables.cells["setting"] == comparison.name].drop_duplicates("contestant")
    knobs = dict(zip(cells["contestant"], cells["knobs"], strict=True))
    known = registry.names("algorithms")
    return [
        _candidate(comparison, row, knobs[row.name], answers.get(row.name, 1.0))
        for row in comparison.standings
        if row.algorithm in known
    ]


def _candidate(comparison: Comparison, row: Standing, knobs: str, answers: float) -> Candidate:
    import json
    from statistics import stdev

    algorithm = registry.load("algorithms", row.algorithm)(**json.loads(knobs))
    needs, gold = algorithm.requires(), row.estimates.get("gold")
    gains, is_start = list(row.gain_by_seed.values()), row.name == comparison.start
    won = dict(_won(row.name, comparison.pairs))
    untrained = [row.estimates[role].value for role in ("gold", "oracle", "selection") if role in row.estimates]
    return Candidate(
        name=row.name,
        view=needs.data,
        reward=needs.reward,
        judge=needs.judge,
        models=algorithm.footprint().models,
        gold=(gold.value, gold.low, gold.high) if gold else None,
        beats=tuple(won),
        clear=tuple(name for name, pair in won.items() if _clear(pair.low, pair.high, comparison.margin)),
        agrees=all(value > 0 for value in untrained) or all(value < 0 for value in untrained) or is_start,
        answers=answers,
        device_seconds=row.seconds.get("shared"),
        peak_memory_bytes=row.peak_memory_bytes,
        seed_sd=0.0 if is_start else stdev(gains) if len(gains) > 1 else None,
        failed=row.failed / (row.failed + row.done) if row.failed + row.done else 0.0,
        doubts=tuple(fact.doubt for fact in comparison.facts if not fact.holds),
    )


def _won(name: str, pairs: list[Pair]) -> Iterator[tuple[str, Pair]]:
    """Whom a contestant is significantly better than, over all pairs."""
    for pair in pairs:
        if pair.family == "all" and (pair.a, pair.verdict) == (name, "better"):
            yield pair.b, pair
        if pair.family == "all" and (pair.b, pair.verdict) == (name, "worse"):
            yield pair.a, pair


def _clear(low: float | None, high: float | None, margin: float) -> bool:
    """Whether a difference's interval lies beyond the margin, on either side."""
    return low is not None and high is not None and (low > margin or high < -margin)


def advise(found: list[Candidate], wishes: Wishes, settings: int = 1) -> Advice:
    """Leave out, rank, break ties.

    Args:
        found: the candidates of one setting.
        wishes: what the person has and needs.
        settings: how many settings the same candidate is the pick of.
    """
    left_out = {one.name: why for one in found if (why := _unfit(one, wishes))}
    fit = [one for one in found if one.name not in left_out and one.gold is not None]
    if not fit:
        return Advice("", "D", (), left_out, [_nobody(left_out), *_left_out(left_out)])
    tied = [one for one in fit if not any(one.name in other.beats for other in fit)]
    pick = min(tied, key=lambda one: _cheapest_first(one, LOW_VARIANCE in wishes.needs))
    facts = verdict_facts(_ranked(tied), _ranked(fit), pick, settings, unseen=UNSEEN in wishes.needs)
    said = [_choice(pick, tied, fit, wishes), _strength(pick), *_cost(pick, wishes), *_cautions(pick, wishes)]
    said += _left_out(left_out)
    names = tuple(one.name for one in _ranked(tied))
    return Advice(pick.name, letter(facts, len(pick.doubts)), names, left_out, said, facts)


def _ranked(found: list[Candidate]) -> list[Candidate]:
    """Best gold gain first."""
    return sorted(found, key=lambda one: -(one.gold[0] if one.gold else 0.0))


def advise_all(comparisons: list[Comparison], tables: Tables, wishes: Wishes) -> dict[str, Advice]:
    """Advice by setting; a pick of several settings may have a better grade than that of one."""
    found = {one.name: candidates(one, tables) for one in comparisons}
    picks = [advise(own, wishes).pick for own in found.values()]
    return {name: advise(own, wishes, picks.count(advise(own, wishes).pick)) for name, own in found.items()}


def _unfit(one: Candidate, wishes: Wishes) -> str:
    """Why a candidate cannot be taken, or nothing."""
    views = {view for kind in wishes.data for view in GIVES[kind]}
    if wishes.data and one.view not in views:
        return f"trains on {one.view}"
    if wishes.data and one.reward and not {*TRAINS_A_REWARD, "reward"} & set(wishes.data):
        return "needs a reward model, and there is none and nothing to train one on"
    if wishes.data and one.judge and "judge" not in wishes.data:
        return "needs a judge of new responses"
    if wishes.models is not None and one.models > wishes.models:
        return f"holds {one.models} models at once"
    memory = one.peak_memory_bytes
    if wishes.memory_gb is not None and memory is not None and memory * wishes.scale > wishes.memory_gb * 1e9:
        return f"took more than {wishes.memory_gb:g} GB{_stretched(wishes)}"
    seconds = one.device_seconds
    if wishes.device_hours is not None and seconds is not None and seconds * wishes.scale > wishes.device_hours * 3600:
        return f"took more than {wishes.device_hours:g} device-hours{_stretched(wishes)}"
    return ""


def _cheapest_first(one: Candidate, steady: bool) -> tuple[float, ...]:
    """Cost before stability, or the other way round where that is asked for; what is not known comes last.

    What every answer costs is paid for ever, and comes before what training cost once.
    """
    cost = one.device_seconds if one.device_seconds is not None else float("inf")
    spread = one.seed_sd if one.seed_sd is not None else float("inf")
    return (one.failed, spread, one.answers, cost) if steady else (one.answers, cost, one.failed, spread)


def _choice(pick: Candidate, tied: list[Candidate], fit: list[Candidate], wishes: Wishes) -> Said:
    if len(fit) == 1:
        return Said(f"{pick.name} is the only candidate left that has been measured.", (pick.name,))
    if set(pick.beats) >= {one.name for one in fit} - {pick.name}:
        return Said(f"{pick.name} is significantly better than every other candidate.", (pick.name,))
    if len(tied) == 1:
        return Said(f"{pick.name} scores best, and of every other candidate one is significantly better.", (pick.name,))
    by = BY_SPREAD if LOW_VARIANCE in wishes.needs else BY_COST
    names = [one.name for one in _ranked(tied)]
    rest = f"{names[0]} scores best, and the data cannot tell {named(names[1:])} from it"
    return Said(f"{rest}; of these {pick.name} comes first by {by}.", tuple(names))


def _strength(pick: Candidate) -> Said:
    if pick.gold is None:
        return Said(f"{pick.name} has not been measured here.")
    if pick.gold == (0.0, None, None):
        return Said(f"{pick.name} is the start itself: nothing to train.", (pick.name,))
    gain = interval(*pick.gold, sign=True)
    return Said(f"Its gold reward is {gain} sd of the start above the start's.", (pick.name,))


def _cost(pick: Candidate, wishes: Wishes) -> list[Said]:
    texts = [count(pick.models, "model") + " in memory at once"]
    if pick.answers != 1:
        texts.append(f"{number(pick.answers, 1)} times the tokens for every answer")
    if pick.device_seconds is not None:
        texts.append(f"{_hours(pick.device_seconds * wishes.scale)} with all that it rests on")
    if pick.peak_memory_bytes is not None:
        texts.append(f"a peak of {mebibytes(pick.peak_memory_bytes * wishes.scale)}")
    return [Said(f"It costs {', '.join(texts)}{_stretched(wishes)}.", (pick.name,))]


def _cautions(pick: Candidate, wishes: Wishes) -> list[Said]:
    found = [Said(f"{doubt}, so that the grade is one lower.") for doubt in pick.doubts]
    if wishes.memory_gb is not None and pick.peak_memory_bytes is None:
        found.append(Said(f"Whether {pick.name} fits into memory is not known: {UNTRAINED}.", (pick.name,)))
    if not pick.agrees:
        found.append(Said("Other rewards that no training has seen do not agree with gold on it.", (pick.name,)))
    if UNSEEN in wishes.needs:
        found.append(Said("Nothing was measured on other kinds of prompts than those of the training data."))
    return found


def _left_out(left_out: dict[str, str]) -> list[Said]:
    return [
        Said(f"Left out: {listed([name for name in left_out if left_out[name] == why])}: {why}.",
             tuple(name for name in left_out if left_out[name] == why))
        for why in dict.fromkeys(left_out.values())
    ]  # fmt: skip


def _nobody(left_out: dict[str, str]) -> Said:
    if left_out:
        return Said("No contestant that has been measured fits: relax a constraint.")
    return Said("No contestant has been measured yet.")


def _stretched(wishes: Wishes) -> str:
    return f" (extrapolated: {number(wishes.scale, 1)} times what was measured)" if wishes.scale != 1 else ""


def _hours(seconds: float) -> str:
    return f"{number(seconds, 0)} device-seconds" if seconds < 3600 else f"{number(seconds / 3600, 1)} device-hours"

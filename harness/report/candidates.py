"""Contestants as the decision guide sees them: what each needs, what it cost, and whom it is ahead of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import harness.registry as registry
from harness.report.compare import UNTRAINED

if TYPE_CHECKING:
    from harness.records import Tables
    from harness.report.compare import Comparison, Pair, Standing


@dataclass(frozen=True)
class Lead:
    """How sure it is that one contestant is better than another below it.

    Attributes:
        p: of no difference on the gold reward, times the number of looks, not adjusted for a family.
        clear: whether the whole interval of the difference lies beyond the margin.
        difference: how far above it is, in sd of the start; `low` and `high` are the ends of its 95 % interval.
        opposed: another reward that no training has seen has the two the other way round.
        equivalent: the difference is shown to be smaller than the margin.
        more_seeds: of each, to find a difference of the margin with power .8, among all pairs of the study; None where
            seeds cannot help; `more_prompts` alike.
    """

    p: float
    clear: bool
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0
    opposed: bool = False
    equivalent: bool = False
    more_seeds: int | None = None
    more_prompts: int | None = None


@dataclass(frozen=True)
class Candidate:
    """A contestant as the guide sees it.

    Attributes:
        name: the contestant.
        view: the view of the data that it trains on.
        reward: it needs a reward model.
        judge: it needs somebody or something that judges new responses.
        models: in memory at once.
        start: what it begins from, or is where nothing is trained: base, sft, sft_chosen; empty where it cannot run.
        start_view: the view of the data that its start trains on, or itself does where it is the start; empty for the
            base.
        gold: its gain over the start, None where it has none.
        ahead: the contestants below it in gold, each with how sure that is.
        one_sign: its gain has one sign on every reward that no training has seen; the start has no gain.
        answers: tokens generated for each one returned: about 8 for a best of 8.
        device_seconds: of one policy with all that it rests on beyond the base model, which all share and which nobody
            who has a model trains; the search for its knobs included.
        tuning_seconds: of them, those of the search.
        peak_memory_bytes: the most that training a policy, with all that it rests on beyond the base, needs: a GPU's
            peak, on a CPU what is beyond the loaded process, by estimate where that is more.
        seed_sd: of its own mean gold reward over seeds, so that the start has one too, whose gain is always 0.
        collapsed: share of its runs that failed or collapsed.
        tried: runs that ended, in success or failure.
        seed_seconds: device-seconds of one more seed: its policy with all that it rests on beyond the base model, and
            its evaluation.
        near_best: approximate chance that it is within the margin of the best of all contestants.
        unseen: the prompts that it was measured on are of other kinds than those of training.
        doubts: facts of its setting that do not hold; each lowers its grade by one letter.
        margin: of its setting, the difference that matters.
        is_start: it is what all are compared with, whose gain is 0 by definition.
    """

    name: str
    view: str
    reward: bool
    judge: bool
    models: int
    start: str
    start_view: str
    gold: tuple[float, float | None, float | None] | None
    one_sign: bool
    answers: float
    device_seconds: float | None
    peak_memory_bytes: float | None
    seed_sd: float | None
    collapsed: float
    ahead: dict[str, Lead] = field(default_factory=dict)
    tuning_seconds: float = 0.0
    near_best: float | None = None
    unseen: bool = False
    doubts: tuple[str, ...] = ()
    tried: int = 0
    seed_seconds: float | None = None
    margin: float = 0.1
    is_start: bool = False

    @property
    def price(self) -> float | None:
        """Device-seconds that a tie is broken by; the start is there, so that taking it costs nothing."""
        return 0.0 if self.is_start else self.device_seconds


def candidates(comparison: Comparison, tables: Tables) -> list[Candidate]:
    """The contestants of a setting, best gold gain first; the start is one: not to train on is a choice too."""
    cells = tables.cells[tables.cells["setting"] == comparison.name].drop_duplicates("contestant")
    by_name = {str(row["contestant"]): row for row in cells.to_dict("records")}
    known = registry.names("algorithms")
    return [
        _candidate(comparison, row, str(by_name[row.name]["knobs"]), str(by_name[row.name]["begins_from"]))
        for row in comparison.standings
        if row.algorithm in known
    ]


def _candidate(comparison: Comparison, row: Standing, knobs: str, start: str) -> Candidate:
    import json
    from statistics import stdev

    algorithm = registry.load("algorithms", row.algorithm)(**json.loads(knobs))
    needs, rewards = algorithm.requires(), list(comparison.gold_by_seed.get(row.name, {}).values())
    price = next((one for one in comparison.prices if one.name == row.name), None)
    tuning, seconds = price.tuning_seconds if price else 0.0, _beyond_the_base(row)
    is_start, chances = row.name == comparison.start, comparison.ranks.near_best if comparison.ranks else {}
    untrained = [row.estimates[role].value for role in ("gold", *UNTRAINED) if role in row.estimates]
    one_sign = all(value > 0 for value in untrained) or all(value < 0 for value in untrained)
    return Candidate(
        name=row.name,
        view=needs.data,
        reward=needs.reward,
        judge=needs.judge or needs.annotators,
        models=algorithm.footprint().models,
        start=row.algorithm if is_start else start,
        start_view=_start_view(row.algorithm if is_start else start),
        gold=_gold(row, is_start=is_start),
        one_sign=one_sign or is_start,
        answers=price.answers if price else 1.0,
        device_seconds=None if seconds is None else seconds + tuning,
        peak_memory_bytes=row.peak_memory_bytes,
        seed_sd=stdev(rewards) if len(rewards) > 1 else None,
        collapsed=(row.failed + row.collapsed) / max(row.failed + row.done, 1),
        tried=row.failed + row.done,
        seed_seconds=None if seconds is None else seconds + row.seconds.get("evaluation", 0.0),
        margin=comparison.margin,
        ahead=dict(_ahead(row.name, comparison)),
        tuning_seconds=tuning,
        near_best=chances.get(row.name),
        unseen=comparison.split == "ood",
        doubts=tuple(fact.doubt for fact in comparison.facts if not fact.holds),
        is_start=is_start,
    )


def _beyond_the_base(row: Standing) -> float | None:
    shared, base = row.seconds.get("shared"), row.seconds.get("base")
    return None if shared is None or base is None else shared - base


def _start_view(start: str) -> str:
    """The view of the data that a start trains on; none for the base."""
    return "" if start in ("", "base") else str(registry.load("algorithms", start)().requires().data)


def _gold(row: Standing, *, is_start: bool) -> tuple[float, float | None, float | None] | None:
    gold = row.estimates.get("gold")
    if gold is None:
        return None
    return (0.0, 0.0, 0.0) if is_start else (gold.value, gold.low, gold.high)


def _ahead(name: str, comparison: Comparison) -> list[tuple[str, Lead]]:
    """The contestants whose mean is below, over all pairs that have an interval."""
    own = [pair for pair in comparison.pairs if pair.family == "all" and pair.p is not None and pair.difference]
    above = [(pair, *((pair.a, pair.b) if (pair.difference or 0.0) > 0 else (pair.b, pair.a))) for pair in own]
    return [(lower, _lead(pair, comparison)) for pair, higher, lower in above if higher == name]


def _lead(pair: Pair, comparison: Comparison) -> Lead:
    low, high = pair.low or 0.0, pair.high or 0.0
    p = min(comparison.looks * (1.0 if pair.p is None else pair.p), 1.0)
    ends = (low, high) if (pair.difference or 0.0) > 0 else (-high, -low)
    return Lead(
        p,
        ends[0] > comparison.margin,
        abs(pair.difference or 0.0),
        *ends,
        opposed=bool(pair.opposed),
        equivalent=pair.verdict == "equivalent",
        more_seeds=pair.more_seeds,
        more_prompts=pair.more_prompts,
    )

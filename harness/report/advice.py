"""Which algorithm to pick under a person's constraints: who can run, who is best by the statistics, and how sure.

Contestants are left out by what they need and by what they cost here; the rest is ranked by the gold reward, with
p-values that are adjusted over the pairs of the rest alone. That is fair, since what leaves a contestant out is never a
score. Those that no other is significantly better than are a tie, which is broken by cost and then by stability, and
said to be. No single winner comes from means alone. `templates/guide.js` has the same rules; tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.report.grade import letter, verdict_facts

if TYPE_CHECKING:
    from harness.records import Tables
    from harness.report.candidates import Candidate
    from harness.report.compare import Comparison, Fact

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
LOW_VARIANCE = "low-variance"
UNSEEN = "unseen-prompts"
NEEDS = (LOW_VARIANCE, UNSEEN)
ALPHA = 0.05
"""Family-wise, as of the report's verdicts."""


@dataclass(frozen=True)
class Criterion:
    """What a tie is broken by: the less of a candidate's field, the better.

    Attributes:
        field: of `Candidate`.
        words: what it is.
        alike: a share of the least; whoever is above it by no more counts as alike.
    """

    field: str
    words: str
    alike: float


COST_ALIKE = 0.1
"""Times and tokens vary by this much from one machine and day to the next."""
SPREAD_ALIKE = 1.0
"""A handful of seeds tells a standard deviation to no better than a factor of two."""
COST = (
    Criterion("answers", "tokens generated per token returned", COST_ALIKE),
    Criterion("device_seconds", "device-seconds", COST_ALIKE),
)
STABILITY = (
    Criterion("collapsed", "failed or collapsed runs", COST_ALIKE),
    Criterion("seed_sd", "the spread over seeds", SPREAD_ALIKE),
)
LAST = "the lower end of the interval of its gain"
TIES = (
    "A tie is broken by cost (tokens generated per token returned, which are paid with every answer, then "
    "device-seconds), then by stability (failed or collapsed runs, then the spread over seeds), then by the higher "
    "lower end of the gain's interval; where the same result with every seed is asked for, stability comes first. "
    "Costs within 10 % of the least are alike, and spreads up to twice the least."
)


@dataclass(frozen=True)
class Wishes:
    """A person's constraints; what is not said constrains nothing.

    Attributes:
        data: what there is to train on, of `GIVES`; empty: anything.
        memory_gb: of the device, in GB of 10⁹ bytes.
        device_hours: for one policy with all that it rests on, the search for its knobs included.
        models: most models in memory at once.
        scale: how many times as large the person's model is as the one measured; memory and time are multiplied.
        needs: of `NEEDS`.
        start: what training is to begin from, of the recipe's starts; empty: anything.
    """

    data: tuple[str, ...] = ()
    memory_gb: float | None = None
    device_hours: float | None = None
    models: int | None = None
    scale: float = 1.0
    needs: tuple[str, ...] = ()
    start: str = ""

    @property
    def views(self) -> set[str]:
        """The views of data that the person's can be made into."""
        return {view for kind in self.data for view in GIVES[kind]}

    @property
    def stretched(self) -> str:
        """What to say beside memory and time that were not measured at the person's size."""
        return f" (extrapolated: {self.scale:.1f} times what was measured)" if self.scale != 1 else ""


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
        given: the grade that the verdicts alone give.
        doubts: what lowers it, a letter each.
        decided: what broke the tie, in order; empty where there was none.
    """

    pick: str
    grade: str
    tied: tuple[str, ...]
    left_out: dict[str, str]
    said: list[Said] = field(default_factory=list)
    facts: tuple[Fact, ...] = ()
    given: str = "D"
    doubts: tuple[str, ...] = ()
    decided: tuple[str, ...] = ()


def advise(found: list[Candidate], wishes: Wishes, settings: int = 1) -> Advice:
    """Leave out, rank, break ties.

    Args:
        found: the candidates of one setting.
        wishes: what the person has and needs.
        settings: how many settings the same candidate is the pick of.
    """
    from harness.report.advice_words import left_out_words, nobody_words, words

    left_out = {one.name: why for one in found if (why := _unfit(one, wishes))}
    kept = [one for one in found if one.name not in left_out]
    fit = [one for one in kept if one.gold is not None]
    if not fit:
        return Advice("", "D", (), left_out, [*nobody_words(left_out), *left_out_words(left_out)])
    won = significantly_better(kept)
    tied = ranked([one for one in fit if not any(one.name in won[other.name] for other in fit)])
    pick, decided = first_of(tied, steady=LOW_VARIANCE in wishes.needs)
    facts = verdict_facts(tied, ranked(fit), pick, won[pick.name], settings, seen=_seen(pick, wishes))
    given = letter(facts, 0)
    said = words(pick, tied, fit, won[pick.name], decided, wishes) + left_out_words(left_out)
    names = tuple(one.name for one in tied)
    grade = letter(facts, len(pick.doubts))
    return Advice(pick.name, grade, names, left_out, said, facts, given, pick.doubts, decided)


def advise_all(comparisons: list[Comparison], tables: Tables, wishes: Wishes) -> dict[str, Advice]:
    """Advice by setting; a pick of several settings may have a better grade than that of one."""
    from harness.report.candidates import candidates

    found = {one.name: candidates(one, tables) for one in comparisons}
    picks = [advise(own, wishes).pick for own in found.values()]
    return {name: advise(own, wishes, picks.count(advise(own, wishes).pick)) for name, own in found.items()}


def significantly_better(found: list[Candidate]) -> dict[str, tuple[str, ...]]:
    """Whom each candidate is significantly better than, Holm over the pairs of these alone."""
    from harness.stats.verdicts import holm

    names = {one.name for one in found}
    leads = [(one.name, other, lead.p) for one in found for other, lead in one.ahead.items() if other in names]
    rest = len(found) * (len(found) - 1) // 2 - len(leads)
    adjusted = holm([p for _, _, p in leads] + [1.0] * rest)
    sure = [(a, b) for (a, b, _), p in zip(leads, adjusted[: len(leads)], strict=True) if p <= ALPHA]
    return {name: tuple(b for a, b in sure if a == name) for name in names}


def ranked(found: list[Candidate]) -> list[Candidate]:
    """Best gold gain first."""
    return sorted(found, key=lambda one: -(one.gold[0] if one.gold else 0.0))


def first_of(tied: list[Candidate], *, steady: bool) -> tuple[Candidate, tuple[str, ...]]:
    """Who comes first of a tie, and what decided that, in order; what is not known comes last."""
    left, decided = tied, []
    for one in (*STABILITY, *COST) if steady else (*COST, *STABILITY):
        values = {each.name: _known(getattr(each, one.field)) for each in left}
        least = min(values.values())
        kept = [each for each in left if values[each.name] <= least * (1 + one.alike)]
        decided += [one.words] if len(kept) < len(left) else []
        left = kept
    best = max(left, key=lower_end)
    decided += [LAST] if any(lower_end(one) < lower_end(best) for one in left) else []
    return best, tuple(decided)


def lower_end(one: Candidate) -> float:
    """Of the interval of a candidate's gain; without an interval there is nothing that it is sure to be above."""
    return one.gold[1] if one.gold and one.gold[1] is not None else float("-inf")


def _known(value: float | None) -> float:
    return float("inf") if value is None else value


def _seen(one: Candidate, wishes: Wishes) -> bool:
    """Whether prompts like those to expect were measured."""
    return UNSEEN not in wishes.needs or one.unseen


def _unfit(one: Candidate, wishes: Wishes) -> str:
    """Why a candidate cannot be taken, or nothing."""
    if wishes.start and one.start not in ("", wishes.start):
        return f"begins from {one.start}"
    if wishes.data and one.view not in wishes.views:
        return f"trains on {one.view}"
    if wishes.data and one.reward and not {*TRAINS_A_REWARD, "reward"} & set(wishes.data):
        return "needs a reward model, and there is none and nothing to train one on"
    if wishes.data and one.judge and "judge" not in wishes.data:
        return "needs a judge of new responses"
    if wishes.models is not None and one.models > wishes.models:
        return f"holds {one.models} models at once"
    return _too_costly(one, wishes)


def _too_costly(one: Candidate, wishes: Wishes) -> str:
    memory, seconds = one.peak_memory_bytes, one.device_seconds
    if wishes.memory_gb is not None and memory is not None and memory * wishes.scale > wishes.memory_gb * 1e9:
        return f"took more than {wishes.memory_gb:g} GB{wishes.stretched}"
    if wishes.device_hours is not None and seconds is not None and seconds * wishes.scale > wishes.device_hours * 3600:
        return f"took more than {wishes.device_hours:g} device-hours{wishes.stretched}"
    return ""

"""Which algorithm to pick under a person's constraints: who can run, who is best by the statistics, and how sure.

Contestants are left out by what they need and by what they cost here; the rest is ranked by the gold reward, with
p-values that are adjusted over the pairs of the rest alone. That is fair, since what leaves a contestant out is never a
score. Those that no other is significantly better than are a tie, which is broken by cost and then by stability, and
said to be; whoever is shown to be bad has no part in that. The start is always there to be taken, and needs nothing.
No single winner comes from means alone. `templates/guide.js` has the same rules; tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.report.compare import ALPHA
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
    Criterion("price", "device-seconds beyond the base model", COST_ALIKE),
)
STABILITY = (
    Criterion("collapsed", "failed or collapsed runs", COST_ALIKE),
    Criterion("seed_sd", "the spread over seeds", SPREAD_ALIKE),
)
LAST = "the lower end of the interval of its gain"
ALONE = "being the only one of them that is left"
MOST_COLLAPSED = 0.5
"""Whoever fails or collapses in more than this share of its runs is shown to be bad."""
TIES = (
    "A tie is broken by cost (tokens generated per token returned, which are paid with every answer, then "
    "device-seconds beyond the base model, which all share; none for the start, which is there), then by stability "
    "(failed or collapsed runs, then the spread over seeds), then by the higher lower end of the gain's interval; "
    "where the same result with every seed is asked for, stability comes first. Costs within 10 % of the least are "
    "alike, and spreads up to twice the least. "
    "Whoever failed or collapsed in most of its runs, or whose own 95 % interval lies below the start, takes no part, "
    "nor does whom another one leads by more than the margin, by the whole of that pair's own 95 % interval: nothing "
    "that is shown to be bad is taken for its price. Nor does who has too few runs to be compared."
)


@dataclass(frozen=True)
class Wishes:
    """A person's constraints; what is not said constrains nothing.

    Attributes:
        data: what there is to train on, of `GIVES`; empty: anything.
        memory_gb: of the device, in GB of 10⁹ bytes.
        device_hours: for one policy with all that it rests on beyond the base model, the search for its knobs included.
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
        """What to say beside memory and time that are not of the person's size."""
        return f" (extrapolated: {self.scale:.1f} times that of the model here)" if self.scale != 1 else ""


@dataclass(frozen=True)
class Said:
    """A sentence of advice, and the contestants whose rows it rests on.

    Attributes:
        text: the sentence.
        rows: the contestants.
        table: of `main`, `candidates` and `stability`, where their rows say it; `pairs` for the row of the two.
    """

    text: str
    rows: tuple[str, ...] = ()
    table: str = "main"


@dataclass(frozen=True)
class Choice:
    """How a pick came about.

    Attributes:
        pick: the candidate to take.
        fit: all candidates that can be compared, best first.
        thin: the others: with too few finished runs for that, or none.
        whole: nobody that was measured is left out, so that the best of the candidates is the best of all.
        tied: those that no other is significantly better than, best first.
        bad: those of a tie that are shown to be bad; none where all are.
        behind: others of it whom one that is not bad leads by more than the margin, by that pair's own interval.
        decided: what broke the tie, in order; empty where nothing did.
        p: by pair, the first one above in the mean: adjusted over the pairs of the candidates.
        pairs: how many pairs that are, those without a score included.
    """

    pick: Candidate
    fit: list[Candidate]
    thin: list[Candidate]
    whole: bool
    tied: list[Candidate]
    bad: list[Candidate]
    behind: list[Candidate]
    decided: tuple[str, ...]
    p: dict[tuple[str, str], float]
    pairs: int

    @property
    def sound(self) -> list[Candidate]:
        """Those that can win a tie."""
        return [one for one in self.tied if one not in self.bad and one not in self.behind]

    @property
    def won(self) -> tuple[str, ...]:
        """Whom the pick is significantly better than."""
        return tuple(b for (a, b), p in self.p.items() if a == self.pick.name and p <= ALPHA)

    @property
    def agrees(self) -> bool:
        """Whether every reward that no training has seen has its gain and these leads the same way round."""
        return self.pick.one_sign and not any(self.pick.ahead[name].opposed for name in self.won)


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
        why: the sentences of the advice that say why it is this one.
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
    why: tuple[str, ...] = ()

    @property
    def wins(self) -> bool:
        """Whether nothing but another model or dataset is wanting for an A."""
        return self.given in "AB" and self.facts[1].holds


def advise(found: list[Candidate], wishes: Wishes, settings: int = 1) -> Advice:
    """Leave out, rank, break ties.

    Args:
        found: the candidates of one setting.
        wishes: what the person has and needs.
        settings: for how many pairs of model and dataset the same candidate wins, this one included.
    """
    from harness.report.advice_words import left_out_words, nobody_words, why_words, words

    left_out = {one.name: why for one in found if (why := _unfit(one, wishes))}
    kept = [one for one in found if one.name not in left_out]
    if all(one.gold is None for one in kept):
        nobody = nobody_words(measured=any(one.gold is not None for one in found))
        return Advice("", "D", (), left_out, [*nobody, *left_out_words(left_out)])
    whole = all(one.gold is None for one in found if one.name in left_out)
    choice = _choose(kept, steady=LOW_VARIANCE in wishes.needs, whole=whole)
    pick, tied = choice.pick, choice.tied
    facts = verdict_facts(choice, settings, seen=_seen(pick, wishes))
    said = words(choice, wishes) + left_out_words(left_out)
    names, reasons = tuple(one.name for one in tied), tuple(one.text for one in why_words(choice))
    given, grade = letter(facts, 0), letter(facts, len(pick.doubts))
    return Advice(pick.name, grade, names, left_out, said, facts, given, pick.doubts, choice.decided, reasons)


def _choose(kept: list[Candidate], *, steady: bool, whole: bool) -> Choice:
    """Who comes first of those that no other is significantly better than."""
    p, measured = adjusted(kept), ranked([one for one in kept if one.gold is not None])
    sure = [one for one in measured if one.is_start or lower_end(one) > float("-inf")]
    fit = measured if all(one.is_start for one in sure) else sure
    thin = [one for one in kept if one not in fit and one.start]
    ranks = {one.name for one in fit}
    beaten = {b for (a, b), value in p.items() if value <= ALPHA and a in ranks}
    tied = [one for one in fit if one.name not in beaten]
    good = [one for one in tied if not _shown_bad(one)] or tied
    sound = [one for one in good if not any(_far_ahead(other, one) for other in good)]
    pick, decided = first_of(sound, steady=steady)
    if len(sound) == 1 < len(tied):
        decided = (ALONE,)
    bad, behind = ([one for one in tied if one not in good], [one for one in good if one not in sound])
    return Choice(pick, fit, thin, whole, tied, bad, behind, decided, p, len(kept) * (len(kept) - 1) // 2)


def advise_all(comparisons: list[Comparison], tables: Tables, wishes: Wishes) -> dict[str, Advice]:
    """Advice by setting; who wins for several models or datasets may have a better grade than who wins for one."""
    from harness.report.candidates import candidates

    found = {one.name: candidates(one, tables) for one in comparisons}
    alone = {name: advise(own, wishes) for name, own in found.items()}
    return {name: advise(own, wishes, _won(name, alone)) for name, own in found.items()}


def _won(setting: str, alone: dict[str, Advice]) -> int:
    """For how many pairs of model and dataset the pick of a setting wins, that of the setting included."""
    pick = alone[setting].pick
    return len({subject(name) for name, own in alone.items() if own.pick == pick and own.wins} | {subject(setting)})


def subject(setting: str) -> str:
    """A setting without its start: its model and dataset."""
    return setting.rpartition(" · ")[0]


def adjusted(found: list[Candidate]) -> dict[tuple[str, str], float]:
    """The p-value of each pair, the first one above in the mean; Holm over the pairs of these candidates alone."""
    from harness.stats.verdicts import holm

    names = {one.name for one in found}
    leads = [(one.name, other, lead.p) for one in found for other, lead in one.ahead.items() if other in names]
    rest = len(found) * (len(found) - 1) // 2 - len(leads)
    values = holm([p for _, _, p in leads] + [1.0] * rest)
    return {(a, b): float(p) for (a, b, _), p in zip(leads, values[: len(leads)], strict=True)}


def significantly_better(found: list[Candidate]) -> dict[str, tuple[str, ...]]:
    """Whom each candidate is significantly better than, over the pairs of these alone."""
    p = adjusted(found)
    return {one.name: tuple(b for (a, b), value in p.items() if a == one.name and value <= ALPHA) for one in found}


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


def below_start(one: Candidate) -> bool:
    """Whether the whole interval of its gain, not adjusted for a family, lies below the start."""
    return bool(one.gold and one.gold[2] is not None and one.gold[2] < 0)


def _shown_bad(one: Candidate) -> bool:
    """Whether a candidate must not win a tie by its price."""
    return below_start(one) or one.collapsed > MOST_COLLAPSED


def _far_ahead(one: Candidate, other: Candidate) -> bool:
    return other.name in one.ahead and one.ahead[other.name].clear


def _seen(one: Candidate, wishes: Wishes) -> bool:
    """Whether prompts like those to expect were measured."""
    return UNSEEN not in wishes.needs or one.unseen


def _unfit(one: Candidate, wishes: Wishes) -> str:
    """Why a candidate cannot be taken, or nothing; the start may be there already, so that it needs nothing."""
    if wishes.start and one.start not in ("", wishes.start):
        return f"begins from {one.start}"
    if one.is_start:
        return ""
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
        return f"needs more than {wishes.memory_gb:g} GB of memory{wishes.stretched}"
    if wishes.device_hours is not None and seconds is not None and seconds * wishes.scale > wishes.device_hours * 3600:
        return f"took more than {wishes.device_hours:g} device-hours{wishes.stretched}"
    return ""

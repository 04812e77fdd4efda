"""The grade of a recommendation: a letter that follows from facts which anybody can check.

The verdicts give the letter; each fact of the setting that does not hold lowers it by one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.records import setting_of
from harness.report.alarms import SHARED, Alarm, alarms
from harness.report.compare import Fact
from harness.report.sheet import Sheet, Shown, count, listed, make_frame, named
from harness.report.trust import Trust, doubted
from harness.report.tuning import studies_of, unequal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.plan import Plan
    from harness.records import Tables
    from harness.report.advice import Advice, Choice
    from harness.report.candidates import Candidate
    from harness.report.compare import Comparison

GRADES = {
    "A": "significantly better than every other candidate by more than the margin, alike on every reward, and so for "
    "two models or datasets, or more",
    "B": "significantly better than every other candidate, alike on every reward, in this one setting",
    "C": "a tie that cost or stability broke, or nobody to be better than, or rewards that disagree, or other prompts "
    "than were measured",
    "D": "too little was measured or too much is in doubt: a guess, not a finding",
}
LOWER = (
    "A grade is one letter lower for each of these that does not hold: gold passes the trust gate and is shown to be "
    "apart from training; at least 5 seeds of each contestant; every planned run has an outcome; equal tuning budgets; "
    "no other alarm."
)
LEAST_SEEDS = 5
FAR, ONCE = "It is not ahead by the margin", "It is one model and dataset"
DOUBTS = {
    "tied": "It is one of a tie",
    "nobody": "There is no other candidate to be better than",
    "short": "It is not shown to be better than every other",
    "disagree": "Other rewards disagree",
    "unseen": "Other prompts are expected",
}
"""Doubts that make a C of any grade."""
FINER = (FAR, ONCE)
"""Doubts that make an A a B, and nothing worse."""
COUNTED = (SHARED, "unequal budgets")
"""Alarms that another fact counts already."""


def letter(facts: tuple[Fact, ...], doubts: int) -> str:
    """The grade, from `verdict_facts` and the number of the setting's facts that do not hold."""
    wins, clear, agree, settings, seen = (fact.holds for fact in facts)
    best = "C" if not (wins and agree and seen) else "A" if clear and settings else "B"
    return "ABCD"[min(3, "ABCD".index(best) + doubts)]


def in_words(advice: Advice) -> str:
    """The grade with what the verdicts gave, and then what lowered it."""
    if not advice.pick or not advice.doubts:
        return f"grade {advice.grade}: {_given(advice)}"
    lower = listed([doubt.lower() for doubt in advice.doubts])
    guess = ", which makes it a guess, not a finding" if advice.grade == "D" else ""
    return (
        f"grade {advice.grade}: the verdicts give {advice.given}, {_given(advice)}; lowered by a letter for each of: "
        f"{lower}{guess}"
    )


def _given(advice: Advice) -> str:
    """What the grade of the verdicts means; of a C, which of its reasons it is."""
    why = [fact.doubt.lower() for fact in advice.facts if not fact.holds and fact.doubt not in FINER]
    return f"since {listed(why)}" if advice.given == "C" and why else GRADES[advice.given or advice.grade]


def verdict_facts(choice: Choice, settings: int, *, seen: bool) -> tuple[Fact, ...]:
    """What the verdicts say of a pick.

    Args:
        choice: the pick, and how it came about.
        settings: for how many pairs of model and dataset it wins like this, this one included.
        seen: whether prompts like those to expect were measured.
    """
    pick, tied = choice.pick, choice.tied
    others = [one.name for one in (*choice.fit, *choice.thin) if one.gold is not None and one is not pick]
    equals = [name for name in others if name not in choice.won]
    close = [name for name in others if not (name in pick.ahead and pick.ahead[name].clear)]
    wins = f"better than all {len(others)} others" if others else "there is no other"
    if len(tied) > 1:
        wins = f"it cannot be told from the best: the tie is {named([one.name for one in tied])}"
    elif equals:
        wins = f"not shown against {named(equals)}"
    doubt = DOUBTS["tied" if len(tied) > 1 else "short" if others else "nobody"]
    far = f"not shown against {named(close)}" if close else "shown against all"
    return (
        Fact("it is significantly better than every other candidate (Holm over all their pairs)",
             not equals and bool(others), wins, doubt),
        Fact("… by more than the margin", not close and bool(others), far, FAR),
        Fact("its gain and its significant leads have one sign on every reward that no training has seen",
             choice.agrees, "one sign" if choice.agrees else "the signs differ", DOUBTS["disagree"]),
        Fact("so for two pairs of model and dataset, or more", settings > 1,
             count(settings, "pair of model and dataset", "pairs of model and dataset"), ONCE),
        Fact("the prompts to expect are like those that were measured", seen,
             _prompts(pick, seen=seen), DOUBTS["unseen"]),
    )  # fmt: skip


def _prompts(pick: Candidate, *, seen: bool) -> str:
    if not seen:
        return "others are expected"
    return "prompts unlike those of training were measured" if pick.unseen else "taken to be so"


def weighed(
    compared: list[Comparison],
    plan: Plan,
    tables: Tables,
    found: Mapping[tuple[str, str], Trust],
    raised: list[Alarm] | None = None,
) -> list[Comparison]:
    """Every comparison, with what is held against its verdicts and the facts of its grade.

    Args:
        compared: all comparisons of a plan.
        plan: what was to be run.
        tables: what the records say.
        found: what the audits have shown.
        raised: all alarms, where they are known already.
    """
    where = {setting_of(cell): (cell.model, cell.dataset) for cell in plan.cells}
    raised = alarms(tables, found) if raised is None else raised
    return [
        replace(one, facts=facts(one, tables, found.get(where[one.name]), raised))
        for one in doubted(compared, plan, found)
    ]


def facts(one: Comparison, tables: Tables, trust: Trust | None, raised: list[Alarm]) -> tuple[Fact, ...]:
    """The facts of a setting on which the grade of any pick rests, each true or not."""
    return (_trusted(trust), _seeds(one, tables), _finished(one, tables), _budgets(one, tables), _quiet(one, raised))


def _trusted(trust: Trust | None) -> Fact:
    """Whether gold may judge; what has not been measured is not shown."""
    against = [*trust.missing, *trust.caveats] if trust else []
    if trust is None or not trust.checks:
        against = ["it was not audited"]
    seen = "; ".join(against) or "passes every probe, and every guarantee was shown"
    condition = "gold passes the trust gate, and is shown to be apart from training"
    return Fact(condition, not against, seen, "Gold is in doubt")


def _seeds(one: Comparison, tables: Tables) -> Fact:
    """Of those that can run here."""
    cells = tables.cells[(tables.cells["setting"] == one.name) & (tables.cells["status"] != "cut")]
    able = set(cells["contestant"])
    fewest = min((row.done + row.failed for row in one.standings if row.name in able), default=0)
    seen = f"{count(fewest, 'seed')} of the contestant with the fewest"
    return Fact(f"at least {LEAST_SEEDS} seeds of each contestant", fewest >= LEAST_SEEDS, seen, "Seeds are few")


def _finished(one: Comparison, tables: Tables) -> Fact:
    status = tables.cells.loc[tables.cells["setting"] == one.name, "status"]
    open_runs = int(status.isin(["waiting", "blocked"]).sum())
    seen = f"{open_runs} of {count(len(status), 'run')} have none" if open_runs else f"{count(len(status), 'run')}"
    return Fact("every planned run has an outcome, a failure counted as one", not open_runs, seen, "Runs are missing")


def _budgets(one: Comparison, tables: Tables) -> Fact:
    studies = studies_of(tables, one.name)
    told = unequal(studies)
    equal = f"{count(len(studies[0].trials), 'trial')} each" if studies else "nothing was tuned"
    return Fact("equal tuning budgets", not told, told or equal, "Tuning budgets were not equal")


def _quiet(one: Comparison, raised: list[Alarm]) -> Fact:
    own = [alarm for alarm in raised if alarm.setting in ("", one.name) and alarm.check not in COUNTED]
    kinds = list(dict.fromkeys(alarm.check for alarm in own))
    seen = f"{count(len(own), 'alarm')}: {listed(kinds)}" if own else "none"
    return Fact("no other alarm", not own, seen, "An alarm is open")


def grade_sheet(found: Mapping[str, tuple[Advice, Comparison]], part: str = "") -> Sheet:
    """What the grade of each setting's recommendation rests on, fact by fact."""
    rows = [
        {"setting": setting, "pick": advice.pick, "grade": advice.grade, "rests_on": kind, "fact": fact.condition,
         "holds": fact.holds, "seen": fact.seen}
        for setting, (advice, comparison) in found.items()
        for kind, facts in (("verdicts", advice.facts), ("study", comparison.facts if advice.pick else ()))
        for fact in facts
    ]  # fmt: skip
    columns = {**dict.fromkeys(("setting", "pick", "grade", "rests_on", "fact"), "string"), "holds": "boolean"}
    meanings = {
        "setting": "model · dataset · start",
        "pick": "whom the answer recommends without constraints",
        "grade": "; ".join(f"{name}: {meaning}" for name, meaning in GRADES.items()),
        "rests_on": "verdicts: these give the letter; study: each of these that does not hold lowers it by one",
        "fact": "what must hold for the best grade",
        "holds": "whether it does",
        "seen": "what was seen",
    }
    shown = [
        Shown("", lambda row: "✓" if row["holds"] else "✗", kind="word"),
        Shown("what the grade rests on", lambda row: row["fact"], kind="prose"),
        Shown("what was seen", lambda row: row["seen"], kind="prose"),
    ]
    frame = make_frame(rows, {**columns, "seen": "string"})
    return Sheet("grade", "What the grade rests on.", frame, meanings, shown if rows else [], part=part)

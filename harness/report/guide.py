"""The decision guide of the page: advice without constraints, the candidates, and controls to say constraints with."""

from __future__ import annotations

from dataclasses import asdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from harness.report.advice import (
    ALONE,
    COST,
    GIVES,
    LAST,
    LOW_VARIANCE,
    STABILITY,
    TIES,
    UNSEEN,
    Advice,
    Said,
    significantly_better,
    subject,
)
from harness.report.advice_words import (
    DISAGREE,
    OTHER_PROMPTS,
    WORDS,
    bad_words,
    chance_words,
    standing_words,
    start_words,
)
from harness.report.articles import articles_sheet
from harness.report.candidates import Candidate, candidates
from harness.report.compare import ALPHA
from harness.report.grade import DOUBTS, GRADES, LOWER, in_words
from harness.report.page import Guide, Linked, Section
from harness.report.sheet import Sheet, Shown, interval, make_frame, mebibytes, number
from harness.report.sheets import ID_MEANINGS, IDS

if TYPE_CHECKING:
    from harness.records import Tables
    from harness.report.claims import Judged
    from harness.report.compare import Comparison

_COLUMNS = {
    **IDS,
    **{"view": "string", "needs": "string", "models": "Int64", "gold": "Float64", "gold_low": "Float64"},
    **{
        "gold_high": "Float64",
        "beats": "Int64",
        "answers": "Float64",
        "device_seconds": "Float64",
        "peak_memory_bytes": "Float64",
    },
    **{"seed_sd": "Float64", "collapsed": "Float64", "near_best": "Float64", "start": "string"},
    "tuning_device_seconds": "Float64",
}
_MEANINGS = {
    **ID_MEANINGS,
    "view": "the form of the data that it trains on",
    "needs": "what else it needs: a reward model, a judge or annotators of new responses",
    "models": "models in memory at once while it trains, in full fine-tuning; the reference is computed beforehand",
    "gold": "gold gain over the start, in start-sd",
    "gold_low": "lower end of its 95 % interval",
    "gold_high": "upper end of it",
    "beats": "contestants that it is significantly better than (Holm over all pairs)",
    "answers": "tokens generated for each token of a response that is returned: about 8 for a best of 8",
    "device_seconds": "device-seconds of one policy with all that it rests on beyond the base model, which all share, "
    "mean over seeds, and of the search for its knobs",
    "peak_memory_bytes": "the most memory that training a policy needs, with all that it rests on: a GPU's peak, on a "
    "CPU what is beyond the loaded process, as harness plan estimates it where less was measured",
    "seed_sd": "standard deviation of its own mean gold reward over seeds, in start-sd; the start has one too",
    "collapsed": "share of its tried runs that failed or collapsed (as in the table of stability)",
    "near_best": "approximate chance that it is at most the margin below the best of all contestants",
    "start": "what it begins from, or is where nothing is trained",
    "tuning_device_seconds": "of its device-seconds, those of the search for its knobs",
}


def guide_section(
    comparison: Comparison,
    advice: Advice,
    comparisons: list[Comparison],
    tables: Tables,
    judged: list[Judged],
    part: str,
) -> Section:
    """Whom to take without constraints, and controls for those who have some."""
    needs = candidates_sheet([comparison], tables, part)
    rows = _anchors(comparison, needs)
    return Section(
        "guide",
        "Which one for you?",
        sentence(advice),
        linked=[Linked(said.text, _links(said, rows)) for said in advice.said],
        guide=Guide(f"guide{part}", _script_values(comparison, comparisons, tables, rows)),
        sheets=[articles_sheet(judged, part), needs],
        paragraphs=[*(f"Grade {grade}: {meaning}." for grade, meaning in GRADES.items()), LOWER, TIES],
    )


def _anchors(comparison: Comparison, needs: Sheet) -> dict[str, dict[str, str]]:
    """By table: the ids of the contestants' rows; of the pairs', by both names."""
    names = [row.name for row in comparison.standings]
    pairs = {_both((pair.a, pair.b)): place for place, pair in enumerate(comparison.pairs) if pair.family == "all"}
    in_order = {"main": names, "stability": names, "candidates": needs.frame["contestant"].tolist()}
    found = {
        table: {name: f"table-{table}{needs.part}-{place}" for place, name in enumerate(own)}
        for table, own in in_order.items()
    }
    return {**found, "pairs": {both: f"table-pairs{needs.part}-{place}" for both, place in pairs.items()}}


def _both(names: tuple[str, ...]) -> str:
    return " and ".join(sorted(names))


def _links(said: Said, rows: dict[str, dict[str, str]]) -> tuple[tuple[str, str], ...]:
    names = (_both(said.rows),) if said.table == "pairs" else said.rows
    return tuple((name, rows[said.table][name]) for name in names)


def sentence(advice: Advice) -> str:
    """The pick and its grade, without constraints."""
    if not advice.pick:
        return "No advice: nothing has been measured yet."
    return f"Without constraints: {advice.pick} ({in_words(advice)})."


def candidates_sheet(comparisons: list[Comparison], tables: Tables, part: str = "") -> Sheet:
    """A row per candidate: what it needs and what it costs."""
    found = [row for one in comparisons for row in _rows(one.name, candidates(one, tables))]
    shown = [
        Shown("contestant", itemgetter("contestant"), kind="word"),
        Shown("trains on", itemgetter("view"), kind="word"),
        Shown("needs", lambda row: row["needs"] or "", kind="word"),
        Shown("models at once", lambda row: str(row["models"])),
        Shown("gold gain [95 %]", lambda row: interval(row["gold"], row["gold_low"], row["gold_high"], sign=True)),
        Shown("better than", lambda row: str(row["beats"])),
        Shown("tokens generated per token returned", lambda row: f"× {number(row['answers'], 1)}"),
        Shown("device-s beyond the base", lambda row: number(row["device_seconds"], 0)),
        Shown("memory needed, about", lambda row: mebibytes(row["peak_memory_bytes"])),
        Shown("sd of its reward over seeds", lambda row: number(row["seed_sd"])),
        Shown("failed or collapsed", lambda row: number(row["collapsed"])),
        Shown("begins from", lambda row: row["start"], kind="word"),
    ]
    caption = "What each contestant needs and costs."
    return Sheet("candidates", caption, make_frame(found, _COLUMNS), _MEANINGS, shown, folded=True, part=part)


def _rows(setting: str, found: list[Candidate]) -> list[dict[str, Any]]:
    won = significantly_better(found)
    return [{"setting": setting, "beats": len(won[one.name]), **_row(one)} for one in found]


def _row(one: Candidate) -> dict[str, Any]:
    gold = dict(zip(("gold", "gold_low", "gold_high"), one.gold, strict=True)) if one.gold else {}
    needs = ", ".join(word for word, needed in (("reward model", one.reward), ("judge", one.judge)) if needed)
    same = ("view", "models", "answers", "device_seconds", "peak_memory_bytes", "seed_sd", "collapsed")
    return {
        "contestant": one.name,
        "needs": needs,
        **gold,
        **{name: getattr(one, name) for name in (*same, "near_best", "start")},
        "tuning_device_seconds": one.tuning_seconds,
    }


def _scripted(one: Candidate) -> dict[str, Any]:
    return {**asdict(one), "price": one.price, "bad": bad_words(one)}


def _script_values(
    comparison: Comparison, comparisons: list[Comparison], tables: Tables, rows: dict[str, dict[str, str]]
) -> dict[str, Any]:
    """What the page's controls work on."""
    found = candidates(comparison, tables)
    others = [candidates(one, tables) for one in comparisons if subject(one.name) != subject(comparison.name)]
    return {
        "candidates": [_scripted(one) for one in found],
        "others": [[_scripted(one) for one in other] for other in others],
        "rows": rows,
        "gives": {kind: list(views) for kind, views in GIVES.items()},
        "needs": {"steady": LOW_VARIANCE, "unseen": UNSEEN},
        "alpha": ALPHA,
        "ties": {"cost": [*map(asdict, COST)], "stability": [*map(asdict, STABILITY)], "last": LAST, "alone": ALONE},
        "starts": sorted({one.start for one in found if one.start}),
        "said": {
            one.name: {"standing": standing_words(one), "chance": chance_words(one), "start": start_words(one)}
            for one in found
        },
        "words": {**WORDS, "grades": GRADES, "doubts": DOUBTS, "disagree": DISAGREE, "other_prompts": OTHER_PROMPTS},
    }

"""The decision guide of the page: advice without constraints, the candidates, and controls to say constraints with."""

from __future__ import annotations

from dataclasses import asdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from harness.report.advice import (
    BY_COST,
    BY_SPREAD,
    GIVES,
    LOW_VARIANCE,
    UNSEEN,
    UNTRAINED,
    Advice,
    Candidate,
    candidates,
)
from harness.report.grade import GRADES, LOWER
from harness.report.page import Guide, Linked, Section
from harness.report.sheet import Sheet, Shown, interval, make_frame, mebibytes, number
from harness.report.sheets import ID_MEANINGS, IDS

if TYPE_CHECKING:
    from harness.records import Tables
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
    **{"seed_sd": "Float64", "failed": "Float64"},
}
_MEANINGS = {
    **ID_MEANINGS,
    "view": "the form of the data that it trains on",
    "needs": "what else it needs: a reward model, a judge of new responses",
    "models": "models in memory at once while it trains, in full fine-tuning; the reference is computed beforehand",
    "gold": "gold gain over the start, in start-sd",
    "gold_low": "lower end of its 95 % interval",
    "gold_high": "upper end of it",
    "beats": "contestants that it is significantly better than (Holm over all pairs)",
    "answers": "tokens generated for each token of a response that is given: 8 for a best of 8",
    "device_seconds": "device-seconds of one policy with all that it rests on, mean over seeds",
    "peak_memory_bytes": "largest peak of memory while training a policy",
    "seed_sd": "standard deviation of its gain over seeds, in start-sd",
    "failed": "share of its tried runs that failed",
}


def guide_section(
    comparison: Comparison, advice: Advice, comparisons: list[Comparison], tables: Tables, part: str
) -> Section:
    """Whom to take without constraints, and controls for those who have some."""
    rows = {row.name: f"table-main{part}-{place}" for place, row in enumerate(comparison.standings)}
    return Section(
        "guide",
        "Which one for you?",
        sentence(advice),
        linked=[Linked(said.text, tuple((name, rows[name]) for name in said.rows)) for said in advice.said],
        guide=Guide(f"guide{part}", _script_values(comparison, comparisons, tables, rows)),
        sheets=[candidates_sheet([comparison], tables, part)],
        paragraphs=[f"Grade {grade}: {meaning}." for grade, meaning in GRADES.items()] + [LOWER],
    )


def sentence(advice: Advice) -> str:
    """The pick and its grade, without constraints."""
    if not advice.pick:
        return "No advice: nothing has been measured yet."
    return f"Without constraints: {advice.pick} (grade {advice.grade})."


def candidates_sheet(comparisons: list[Comparison], tables: Tables, part: str = "") -> Sheet:
    """A row per candidate: what it needs and what it costs."""
    found = [
        {"setting": comparison.name, **_row(one)}
        for comparison in comparisons
        for one in candidates(comparison, tables)
    ]
    shown = [
        Shown("contestant", itemgetter("contestant"), kind="word"),
        Shown("trains on", itemgetter("view"), kind="word"),
        Shown("needs", lambda row: row["needs"] or "", kind="word"),
        Shown("models at once", lambda row: str(row["models"])),
        Shown("gold gain [95 %]", lambda row: interval(row["gold"], row["gold_low"], row["gold_high"], sign=True)),
        Shown("better than", lambda row: str(row["beats"])),
        Shown("tokens per answer", lambda row: f"× {number(row['answers'], 1)}"),
        Shown("device-s in all", lambda row: number(row["device_seconds"], 0)),
        Shown("peak memory", lambda row: mebibytes(row["peak_memory_bytes"])),
        Shown("sd over seeds", lambda row: number(row["seed_sd"])),
        Shown("failed", lambda row: number(row["failed"])),
    ]
    caption = "What each contestant needs and costs."
    return Sheet("candidates", caption, make_frame(found, _COLUMNS), _MEANINGS, shown, folded=True, part=part)


def _row(one: Candidate) -> dict[str, Any]:
    gold = dict(zip(("gold", "gold_low", "gold_high"), one.gold, strict=True)) if one.gold else {}
    needs = ", ".join(word for word, needed in (("reward model", one.reward), ("judge", one.judge)) if needed)
    same = ("view", "models", "answers", "device_seconds", "peak_memory_bytes", "seed_sd", "failed")
    return {
        "contestant": one.name,
        "needs": needs,
        "beats": len(one.beats),
        **gold,
        **{name: getattr(one, name) for name in same},
    }


def _script_values(
    comparison: Comparison, comparisons: list[Comparison], tables: Tables, rows: dict[str, str]
) -> dict[str, Any]:
    """What the page's controls work on."""
    others = [candidates(other, tables) for other in comparisons if other.name != comparison.name]
    return {
        "candidates": [asdict(one) for one in candidates(comparison, tables)],
        "others": [[asdict(one) for one in other] for other in others],
        "rows": rows,
        "gives": {kind: list(views) for kind, views in GIVES.items()},
        "needs": {"steady": LOW_VARIANCE, "unseen": UNSEEN},
        "words": {"grades": GRADES, "cost": BY_COST, "spread": BY_SPREAD, "untrained": UNTRAINED},
    }

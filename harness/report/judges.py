"""What judges say of each contestant against the start, and whether the judges can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.judges._work import INCONSISTENT, SHOWN_FIRST, WIN
from harness.records import FINAL
from harness.records.votes import PEOPLE, votes_file
from harness.report.compare import estimate
from harness.report.cubes import cubes
from harness.report.page import Section
from harness.report.sheet import Row, Sheet, Shown, count, interval, listed, make_frame, number, rows
from harness.report.sheets import ID_MEANINGS, IDS

if TYPE_CHECKING:
    import pandas as pd

    from harness.plan import Plan
    from harness.records import Tables
    from harness.records.scores import Block
    from harness.report.compare import Comparison
    from harness.store import Store

MOST_INCONSISTENT = 0.4
"""A judge that says something else on more of the prompts when the order is turned is flagged; a coin does on half."""
GRADE = "grade-"
"""A stage that no judge reads: where it fails the responses are there, and may have been judged."""
_FRAME = {
    **IDS,
    **{"judge": "string", "win": "Float64", "win_low": "Float64", "win_high": "Float64"},
    **{"inconsistent": "Float64", "shown_first": "Float64", "prompts": "Int64", "runs": "Int64", "planned": "Int64"},
    **{"flagged": "boolean", "gap": "string"},
}
_MEANINGS = {
    **ID_MEANINGS,
    "judge": "its label in the recipe",
    "win": "mean over seeds and prompts of 1 (better than the start), 0 (worse), 1/2 (tie, or the orders disagree); "
    "failed runs count 1/2",
    **{"win_low": "lower end of the 95 % interval of win", "win_high": "upper end of it"},
    "inconsistent": "share of prompts on which the two orders disagree, or an answer held no verdict",
    "shown_first": "mean share of answers with a winner that name the response shown first; 0.5 without a bias",
    **{"prompts": "prompts judged", "runs": "finished runs judged", "planned": "runs planned"},
    "flagged": f"true: inconsistent on more than {MOST_INCONSISTENT} of the prompts",
    "gap": "why judgments are absent",
}


def judges_sheet(comparisons: list[Comparison], plan: Plan, store: Store, tables: Tables, part: str = "") -> Sheet:
    """One row per judge and contestant."""
    labels = _labels(plan, store)
    found = [
        row for one in comparisons for label in labels for row in _judged(one, label, tables, _gaps(one, label, tables))
    ]
    shown = [
        Shown("judge", lambda row: row["judge"], kind="word"),
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("win rate against the start [95 %]", lambda row: interval(row["win"], row["win_low"], row["win_high"])),
        Shown("orders disagree", lambda row: number(row["inconsistent"])),
        Shown("names the first shown", lambda row: number(row["shown_first"])),
        Shown("prompts", lambda row: str(row["prompts"])),
        Shown("seeds judged / planned", lambda row: f"{row['runs']} / {row['planned']}"),
        Shown("flags and gaps", _remarks, kind="prose"),
    ]
    caption = "The first sample of each prompt against the start's, asked in both orders; a tie is one half."
    return Sheet("judges", caption, make_frame(found, _FRAME), _MEANINGS, shown, part=part)


def judges_sections(one: Comparison, plan: Plan, store: Store, tables: Tables, part: str) -> list[Section]:
    """The section of one setting; none where the recipe has no judge."""
    if not _labels(plan, store):
        return []
    sheet = judges_sheet([one], plan, store, tables, part)
    flagged = sorted({str(row["judge"]) for row in rows(sheet.frame) if row["flagged"]})
    judged = int((sheet.frame["runs"] > 0).sum())
    sentence = f"{count(judged, 'contestant')} judged against the start in both orders."
    if not judged:
        sentence = "No judgments yet."
    elif flagged:
        sentence = f"Do not rely on {listed(flagged)}: what it says depends on which response stands first."
    return [Section("judges", "Judges", sentence, sheets=[sheet])]


def _labels(plan: Plan, store: Store) -> list[str]:
    """The recipe's judges, and people where they have voted."""
    people = [PEOPLE] if votes_file(store, plan).exists() else []
    return [*(part.label for part in plan.recipe.judges), *people]


def _remarks(row: Row) -> str:
    bias = "swap-inconsistent: no better than a coin or biased to a position" if row["flagged"] else ""
    return "; ".join(text for text in (bias, row["gap"] or "") if text)


def _gaps(one: Comparison, label: str, tables: Tables) -> dict[str, str]:
    """By contestant, why its judgments are not there."""
    gaps = tables.no_judgments
    gaps = gaps[(gaps["setting"] == one.name) & (gaps["judge"] == label)]
    return {str(name): said_gaps(own) for name, own in gaps.groupby("contestant", sort=False)}


def said_gaps(gaps: pd.DataFrame) -> str:
    """Rows of `no_judgments` in words, those of one reason together."""
    reasons = [
        "not run yet" if row["status"] == "waiting" else f"{row['status']} ({row['cause']}): {row['error']}"
        for row in rows(gaps)
    ]
    return "; ".join(f"{count(reasons.count(text), 'run')} {text}" for text in dict.fromkeys(reasons))


def _judged(one: Comparison, label: str, tables: Tables, gaps: dict[str, str]) -> list[dict[str, Any]]:
    from harness.stats.contrast import summary
    from harness.stats.runs import Runs, with_failures

    own = tables.blocks.of(one.name, role=label)
    wins = cubes(tables.blocks.of(one.name, WIN, label, "prompt"), tables.blocks.prompts)
    failed = tables.gaps[(tables.gaps["setting"] == one.name) & (tables.gaps["step"] == FINAL)]
    failed = failed[(failed["status"] == "failed") & ~failed["stage"].astype(str).str.startswith(GRADE)]
    found = []
    for name in one.contestants:
        if name == one.start:
            continue
        row: dict[str, Any] = {"setting": one.name, "contestant": name, "judge": label, "planned": one.planned}
        cube = wins.by_contestant.get(name)
        if cube is not None:
            seeds = {int(seed) for seed in failed[failed["contestant"] == name]["replicate"]}
            lost = sorted(seeds - set(cube.replicates))
            runs = Runs(cube.prompts, cube.replicates)
            result = estimate(summary(with_failures(runs, lost, runs, 0.5).scores), within=(0.0, 1.0))
            row |= {"win": result.value, "win_low": result.low, "win_high": result.high}
            row |= _trust([block for block in own if block.contestant == name])
        found.append({"runs": len(cube.replicates) if cube else 0, "prompts": len(wins.prompts), **row,
                      "gap": gaps.get(name, "")})  # fmt: skip
    return found


def _trust(blocks: list[Block]) -> dict[str, Any]:
    """How often the orders disagree and the response shown first is named, over all runs and prompts."""
    import numpy as np

    values = {
        metric: [block.values for block in blocks if block.metric == metric] for metric in (INCONSISTENT, SHOWN_FIRST)
    }
    means = {metric: float(np.concatenate(own).mean()) for metric, own in values.items() if own}
    if INCONSISTENT not in means:  # people are asked in one order, which a hash draws
        return {}
    inconsistent = means[INCONSISTENT]
    first = {"shown_first": means[SHOWN_FIRST]} if SHOWN_FIRST in means else {}
    return {"inconsistent": inconsistent, **first, "flagged": inconsistent > MOST_INCONSISTENT}

"""Benchmarks, and what alignment costs on them: each policy's lm-eval tasks against its start's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from harness.records.files import BASE
from harness.report.compare import Estimate, estimate
from harness.report.outputs import share
from harness.report.page import Section
from harness.report.sheet import Row, Sheet, Shown, chance, count, interval, listed, make_frame, named, rows
from harness.report.sheets import ID_MEANINGS, IDS
from harness.report.tasks import lost_policies, task_runs, task_scores

if TYPE_CHECKING:
    import pandas as pd

    from harness.plan import Plan
    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.report.cubes import Cube, Cubes
    from harness.stats.verdicts import Verdict

_FRAME = {
    **IDS,
    **{"task": "string", "metric": "string", "seeds": "Int64", "documents": "Int64"},
    **dict.fromkeys(("value", "value_low", "value_high"), "Float64"),
    **dict.fromkeys(("difference", "difference_low", "difference_high", "margin"), "Float64"),
    **{"p_holm": "Float64", "p_equivalent_holm": "Float64", "verdict": "string", "gap": "string"},
}
_MEANINGS = {
    **ID_MEANINGS,
    "task": "lm-eval task",
    "metric": "lm-eval metric, and its filter after a comma",
    "seeds": "finished runs",
    "documents": "documents that every run has a value of",
    "value": "mean over runs and documents",
    "value_low": "lower end of its 95 % interval over runs and documents (a share's, where each is right or wrong)",
    "value_high": "upper end of it",
    "difference": "value minus the start's, paired by document and, where seeds are paired, by seed; failed runs count "
    "as the start",
    "difference_low": "lower end of its 95 % interval",
    "difference_high": "upper end of it",
    "margin": "differences smaller than this do not matter, as the recipe says",
    "p_holm": "two-sided p of no difference, Holm over the contestants of a task and metric, and times the looks",
    "p_equivalent_holm": "p of two one-sided tests of a difference of at least the margin, Holm over the same",
    "verdict": "higher, lower or equivalent; cannot separate where neither is shown",
    "gap": "why numbers are absent",
}
NOT_ASKED = "not asked: tasks are asked by the plain prompt, by which it is not used"
_WORDS = {"better": "higher", "worse": "lower"}


def benchmarks_sheet(plan: Plan, comparisons: list[Comparison], tables: Tables) -> Sheet:
    """One row per contestant, task and metric."""
    margins = {task: one.margin for one in plan.recipe.benchmarks for task in one.tasks}
    usual = min((one.margin for one in plan.recipe.benchmarks), default=0.0)  # of the members of a group
    found = [row for one in comparisons for row in _of_setting(one, tables, margins, usual)]
    return Sheet("benchmarks", "lm-eval tasks and the difference to the start (alignment tax where it is negative).",
                 make_frame(found, _FRAME), _MEANINGS, _shown())  # fmt: skip


def benchmarks_section(sheet: Sheet) -> list[Section]:
    """The section, where the recipe has benchmarks."""
    if sheet.frame.empty:
        return []
    return [Section("benchmarks", "Benchmarks and alignment tax", _sentence(sheet), sheets=[sheet])]


def tax(sheet: Sheet, setting: str, pick: str) -> list[str]:
    """What the answer must say of benchmarks: who lost on one, and that a recommended contestant was asked none."""
    found = rows(sheet.frame[sheet.frame["setting"] == setting])
    lost = [f"{row['contestant']} on {row['task']} ({_loss(row)})" for row in found if row["verdict"] == "lower"]
    told = [f"Significantly lower than the start on a benchmark: {named(lost)}."] if lost else []
    asked = {row["contestant"] for row in found if row["value"] is not None}
    if asked and pick and pick not in asked:
        why = dict.fromkeys(row["gap"] for row in found if row["contestant"] == pick and row["gap"])
        reason = f" ({'; '.join(why)})" if why else ""
        told.append(f"What {pick}, which is recommended, loses on the benchmarks is not known{reason}.")
    return told


def _loss(row: Row) -> str:
    return interval(row["difference"], row["difference_low"], row["difference_high"], 3, sign=True)


def _shown() -> list[Shown]:
    return [
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("task", lambda row: row["task"] or "", kind="word"),
        Shown("metric", lambda row: row["metric"] or "", kind="word"),
        Shown("value [95 %]", lambda row: interval(row["value"], row["value_low"], row["value_high"], 3)),
        Shown(
            "minus the start's [95 %]",
            _loss,
        ),
        Shown("p (Holm)", lambda row: chance(row["p_holm"])),
        Shown("p of the test of equivalence (Holm)", lambda row: chance(row["p_equivalent_holm"])),
        Shown("verdict", lambda row: row["verdict"] or "", kind="word"),
        Shown("gaps", lambda row: row["gap"] or "", kind="prose", optional=True),
    ]


def _of_setting(one: Comparison, tables: Tables, margins: dict[str, float], usual: float) -> list[dict[str, Any]]:
    missing = tables.no_benchmarks[tables.no_benchmarks["setting"] == one.name]
    made, failed = [], lost_policies(one.name, tables)
    for (task, metric), found in task_scores(one.name, tables).items():
        made += _of_task(one, found, {"task": task, "metric": metric}, margins.get(task, usual), failed)
    others = [name for name in one.contestants if name not in one.plain] if made else []
    made += [{"setting": one.name, "contestant": name, "gap": NOT_ASKED} for name in others]
    known = {(row["contestant"], row.get("task")) for row in made}
    texts = missing["status"] + ": " + missing["error"]
    gaps = texts.groupby([missing["contestant"], missing["task"]], sort=False).unique()
    for key, errors in gaps.items():
        contestant, task = cast("tuple[str, str]", key)
        text = listed([str(error) for error in errors])
        for row in made:
            if (row["contestant"], row.get("task")) == (contestant, task):
                row["gap"] = "; ".join(part for part in (row.get("gap"), text) if part)
        if (contestant, task) not in known:
            made.append({"setting": one.name, "contestant": contestant, "task": task, "gap": text})
    return made


def _of_task(
    one: Comparison, found: Cubes, named: dict[str, str], margin: float, failed: dict[str, list[int]]
) -> list[dict[str, Any]]:
    against = {verdict.a: verdict for verdict in _judged(one, found, margin, failed)}
    made = []
    for name in (name for name in dict.fromkeys((BASE, *one.contestants)) if name in found.by_contestant):
        cube = found.by_contestant[name]
        own = _value(cube)
        row: dict[str, Any] = {"setting": one.name, "contestant": name, **named, "seeds": len(cube.replicates)}
        row |= {"documents": len(found.prompts), "value": float(cube.values.mean())}
        row |= {"value_low": own.low, "value_high": own.high}
        made.append(row | (_against(against[name], margin) if name in against else {}))
    return made


def _value(cube: Cube) -> Estimate:
    """A mean over runs and documents; with a share's interval where every document is right or wrong."""
    import numpy as np

    from harness.stats.contrast import summary

    return share(cube) if np.isin(cube.values, (0, 1)).all() else estimate(summary(cube.prompts))


def _judged(one: Comparison, found: Cubes, margin: float, failed: dict[str, list[int]]) -> list[Verdict]:
    """Each contestant against the start; none where the start has no values."""
    from harness.stats.verdicts import against_start

    runs = task_runs(one, found, failed)
    if not runs:
        return []
    return list(against_start(runs, one.start, margin, paired=one.paired, looks=one.looks))


def _against(verdict: Verdict, margin: float) -> dict[str, Any]:
    from harness.stats.contrast import Undecidable

    result = verdict.result
    if isinstance(result, Undecidable):
        return {"difference": result.difference, "margin": margin, "gap": result.reason}
    return {
        **{"difference": result.difference, "difference_low": result.low, "difference_high": result.high},
        **{"margin": margin, "p_holm": verdict.p_holm, "p_equivalent_holm": verdict.p_equivalent_holm},
        "verdict": _WORDS.get(verdict.word, verdict.word),
    }


def _sentence(sheet: Sheet) -> str:
    """Who lost on what, and for whom it is shown that nothing was lost."""
    found = rows(sheet.frame)
    lost = [f"{row['contestant']} on {row['task']}" for row in found if row["verdict"] == "lower"]
    same = sum(row["verdict"] == "equivalent" for row in found)
    judged: pd.Series[bool] = sheet.frame["verdict"].notna()
    if not judged.any():
        return "No policy can be compared with its start on a benchmark yet."
    worst = f"Lower than the start: {listed(lost)}." if lost else "None is shown to be lower than its start."
    are = "is" if same == 1 else "are"
    shown = f"{count(same, 'difference')} of {int(judged.sum())} {are} shown to lie within {_margins(found)}."
    return " ".join([worst, *_below(found), shown])


def _margins(found: list[dict[str, Any]]) -> str:
    """The margin of the differences on which there is a verdict, or each of them where tasks differ in it."""
    margins = [f"±{margin:g}" for margin in sorted({row["margin"] for row in found if row["verdict"]})]
    return f"the margin of {margins[0]}" if len(margins) == 1 else f"the margin of the task ({' or '.join(margins)})"


def _below(found: list[dict[str, Any]]) -> list[str]:
    """What Holm's adjustment leaves open, although its own interval lies below the start."""
    below = [row for row in found if row["verdict"] == "cannot separate" and row["difference_high"] < 0]
    if not below:
        return []
    row = min(below, key=lambda row: row["difference"])
    return [
        f"By its unadjusted interval alone, {count(len(below), 'difference')} below the start, the lowest "
        f"{row['contestant']} on {row['task']} "
        f"({_loss(row)}); what Holm's adjustment leaves open may be a tax all the same."
    ]

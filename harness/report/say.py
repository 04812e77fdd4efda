"""The sentence that opens each section."""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness.registry as registry
from harness.records import FINAL
from harness.report.sheet import Sheet, count, listed, named, number

if TYPE_CHECKING:
    import pandas as pd

    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.report.page import Samples


def contestants(one: Comparison) -> str:
    """How many contestants there are, and what the verdicts against the start are."""
    others = [row for row in one.standings if row.name != one.start]
    counts = {
        verdict: sum(row.verdict == verdict for row in others)
        for verdict in ("better", "worse", "equivalent", "cannot separate")
    }
    words = {"cannot separate": "not separated from it"}
    parts = [f"{n} {words.get(verdict, verdict)}" for verdict, n in counts.items() if n]
    unknown = sum(not row.verdict for row in others)
    parts += [f"{unknown} without a verdict"] if unknown else []
    return f"{count(len(others), 'contestant')} against the start ({one.start}): {', '.join(parts) or 'none'}."


def pairs(one: Comparison) -> str:
    """How many of all pairs differ."""
    found = [pair for pair in one.pairs if pair.family == "all" and pair.verdict]
    if not found:
        return "No pair can be compared yet."
    differ = sum(pair.verdict in ("better", "worse") for pair in found)
    equal = sum(pair.verdict == "equivalent" for pair in found)
    unclear = len(found) - differ - equal
    alike = "1 is" if equal == 1 else f"{equal} are"
    apart = "1 differs" if differ == 1 else f"{differ} differ"
    return f"Of {count(len(found), 'pair')}: {apart}, {alike} equivalent, {unclear} cannot be separated."


def reward_kl(one: Comparison) -> str:
    """Who is on the front by means, the start at distance 0 being on it anyway."""
    known = [row for row in one.standings if {"kl", "gold"} <= set(row.estimates)]
    if not any(row.name != one.start for row in known):
        return "No contestant has both a gold gain and a KL to the start yet."
    on = [row for row in one.kl_front if row.name != one.start]
    if not on:
        return f"By means, no contestant has more gold than the start ({one.start}), which is at distance 0."
    told = [
        f"{row.name} ({number(row.estimates['gold'].value, sign=True)} at {number(row.estimates['kl'].value)} nats)"
        for row in on
    ]
    front_told = (
        f"By means, the front of gold gain against distance (no other has more gold at less KL) is {named(told)}; "
        "means alone name no winner."
    )
    bound = [row.name for row in known if row.name not in one.plain]
    unknown = [row.name for row in one.standings if "gold" in row.estimates and "kl" not in row.estimates]
    more = [f"The distance of {named(bound)} is the most that it can be."] if bound else []
    more += [f"Without a known distance: {named(unknown)}."] if unknown else []
    return " ".join([front_told, *more])


def training(one: Comparison) -> str:
    """How much was logged, and whose loss ended higher than it began."""
    if one.curves.empty:
        return "No run has logged training curves."
    runs = one.curves[["contestant", "replicate"]].drop_duplicates()
    many = f"{count(len(runs), 'run')} logged {count(int(one.curves['metric'].nunique()), 'quantity', 'quantities')}"
    losses = one.curves[one.curves["metric"] == "loss"]
    if losses.empty:
        return f"{many}."
    rose = [str(name) for name, own in losses.groupby("contestant", observed=True, sort=False) if _rises(own)]
    told = f"higher than it began for {named(rose)}" if rose else "no higher than it began for any contestant"
    return f"{many}; the loss ended {told}, which means little where it is not minimised on fixed data."


def _rises(losses: pd.DataFrame) -> bool:
    """Whether the mean of the last fifth of the steps is above that of the first."""
    fifth = int(losses["step"].max()) / 5
    first, last = (losses[losses["step"] <= fifth], losses[losses["step"] > 4 * fifth])
    return bool(last["value"].mean() > first["value"].mean())


def preference(sheet: Sheet) -> str:
    """Who ranks the labelled pairs as they are labelled most and least often."""
    frame = sheet.frame
    if frame.empty or len(frame.columns) < 2:
        return "No policy has been measured on labelled pairs."
    if "preference_accuracy" not in frame:
        return f"{count(len(frame), 'contestant')} on the same labelled pairs, by {listed(list(frame.columns[1:]))}."
    known = frame.dropna(subset=["preference_accuracy"]).sort_values("preference_accuracy", kind="stable")
    low, high = (
        f"{row['contestant']} ({number(row['preference_accuracy'])})" for _, row in known.iloc[[0, -1]].iterrows()
    )
    return (
        f"By means, of {count(len(known), 'contestant')} on the same labelled pairs, {high} ranks most as labelled, "
        f"{low} fewest."
    )


def samples(groups: list[Samples]) -> str:
    """What is shown."""
    if not groups:
        return "No run has samples to show."
    chosen = sum(len(group.prompts) for group in groups[1:])
    more = f", then {chosen} that were chosen for what is odd about them" if chosen else ""
    return f"{count(len(groups[0].prompts), 'prompt')} drawn by hash{more}; judge by the drawn ones."


def gaps(tables: Tables) -> str:
    """How many runs have no scores, by status and cause."""
    final = tables.gaps[tables.gaps["step"] == FINAL]
    if final.empty:
        early = len(tables.gaps)
        return (
            f"{count(early, 'graded step')} of a finished run is missing." if early else "Every planned run is there."
        )
    parts = []
    for status, rows in final.groupby("status", sort=False):
        causes = listed(sorted(set(rows["cause"])))
        parts.append(f"{len(rows)} {status}" + ("" if causes == status else f" ({causes})"))
    return f"{count(len(final), 'run')} of {len(tables.cells)} without scores: {'; '.join(parts)}."


def unmeasured(one: Comparison, tables: Tables, benched: Sheet) -> list[str]:
    """What runs that are there lack: metrics and benchmarks, and for whom; scores of single responses."""
    means = one.run_means[one.run_means["step"] == FINAL]
    graded = set(means["contestant"].astype(str))
    if not graded:
        return []
    asked = means[means["metric"].isin(registry.names("metrics"))]  # others are a metric's by-products
    by_gap: dict[tuple[str, ...], list[str]] = {}
    for metric, own in asked.groupby("metric", observed=True):
        known = set(own["contestant"].astype(str))
        by_gap.setdefault(tuple(name for name in one.contestants if name in graded - known), []).append(str(metric))
    found = [f"Not measured for {named(list(who))}: {listed(what)}." for who, what in by_gap.items() if who]
    nobody = sorted({*registry.names("metrics")} - {metric for own in by_gap.values() for metric in own})
    found += [f"Not measured for any contestant: {listed(nobody)}."] if nobody else []
    rows = benched.frame[benched.frame["setting"] == one.name]
    answered = set(rows.loc[rows["value"].notna(), "contestant"])
    silent = [name for name in one.contestants if name in graded - answered] if answered else []
    found += [f"Without any benchmark: {named(silent)}."] if silent else []
    return found + unscored(one, tables)


def unscored(one: Comparison, tables: Tables) -> list[str]:
    """Responses that a reward model could not read, and prompts that are left out for want of a score."""
    long = tables.measurements[tables.measurements["setting"] == one.name]
    found = []
    for metric, rows in long[long["metric"].str.startswith("unreadable/")].groupby("metric", sort=True):
        role, many = str(metric).removeprefix("unreadable/"), count(int(rows["value"].sum()), "response")
        found.append(f"Longer than {role}'s reward model can read, so that it gave no score (none was cut): {many}.")
    if one.left_out:
        prompts = count(one.left_out, "test prompt")
        found.append(f"Left out for all, since some run has no gold score there: {prompts}.")
    return found


def unasked(found: list[tuple[str, str]]) -> str:
    """What runs with scores lack beside them, as (what, status); empty where they lack nothing."""
    parts = [f"{count(found.count(one), 'run')} without {one[0]} ({one[1]})" for one in dict.fromkeys(found)]
    return f"Of runs with scores: {'; '.join(parts)}." if parts else ""


def cost(tables: Tables) -> str:
    """The total, and what sharing saved."""
    costs = tables.costs
    if costs.empty:
        return "Nothing has run yet."
    once = float(costs["device_seconds"].sum())
    alone = float((costs["device_seconds"] * costs["used_by"].clip(lower=1)).sum())
    saved = f" Without sharing stages it would have been {number(alone, 0)}." if alone > once else ""
    stages = count(int(costs["stage"].nunique()), "stage")
    return f"{number(once, 0)} device-seconds in all, each of {stages} counted once.{saved}{_waited(costs)}"


WAITED = 1.25
"""A stage that took so many times as long as its CPU worked for it has waited: for other work, most often."""


def _waited(costs: pd.DataFrame) -> str:
    """How many stages on a CPU took longer than they worked, so that their device-seconds are too many."""
    on_cpu = costs[(costs["status"] == "done") & ~costs["on_gpu"] & (costs["cpu_seconds"] > 0)]
    slow = on_cpu[on_cpu["seconds"] > WAITED * on_cpu["cpu_seconds"]]
    if slow.empty:
        return ""
    took, worked = number(float(slow["seconds"].sum()), 0), number(float(slow["cpu_seconds"].sum()), 0)
    return (
        f" {count(len(slow), 'stage')} of {len(on_cpu)} on a CPU took more than {WAITED:g} times as long as it worked "
        f"for them ({took} s for {worked} s of work): the machine was busy, and their device-seconds are too many. "
        "Claims and what contestants cost go by the work."
    )

"""The report's tables, built from comparisons and records."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from harness.report.compare import UNTRAINED
from harness.report.sheet import GAP, Row, Sheet, Shown, chance, interval, make_frame, mebibytes, number
from harness.report.tasks import MAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.report.compare import Comparison, Estimate, Pair

DOUBT, TURNED = "†", "⇄"
MARKS = {"better": "▲", "worse": "▼", "equivalent": "=", "cannot separate": "?"}
IDS = {"setting": "string", "contestant": "string"}
ID_MEANINGS = {
    "setting": "model · dataset · start; contestants are compared within one",
    "contestant": "the algorithm, with the knobs in which it differs from its namesakes",
}
_ESTIMATES = {
    "gold": "gold reward minus the start's, in sd of the start's responses (a failed run counts "
    "as the start's of its seed, where one of its contestant's runs finished)",
    "gold_finished": "the same over finished runs alone",
    "oracle": "oracle reward minus the start's, in sd of the start's responses",
    "selection": "selection reward minus the start's, in sd of the start's responses",
    "proxy": "proxy reward minus the start's, in sd of the start's responses",
    "soft_win": "mean chance that gold prefers a response to the start's (all sample pairs of a prompt and seed)",
    "hard_win": "share of sample pairs in which gold scores it above the start's; ties count one half",
    "lc_gold": "gold gain at equal length, in start-sd (a regression on the length difference)",
    "lc_soft_win": "soft win rate at equal length",
    "length": "response tokens",
    "kl": "KL(policy ‖ start) per response in nats, from full logits on the policy's own responses",
    "distinct": "expectation-adjusted distinct n-grams of the samples of a prompt, mean over n = 1 to 5",
    "benchmarks": f"mean over lm-eval tasks of the score minus the start's: {', '.join(MAIN[:-1])} or {MAIN[-1]}, the "
    "first that a task has; a task without any is not in it; failed runs count as the start, and who lacks a task has "
    "no mean",
}
_BESIDE = {
    **{"length_ratio": "mean response tokens over the start's", "degenerate": "share of responses that are degenerate"},
    "soft_win_chosen_gold": "mean chance that gold prefers a response to the data's chosen one",
    "seed_sd": "standard deviation of the gold gain over its finished seeds, in start-sd",
    "collapsed": "share of its tried runs that failed or collapsed (as in the table of stability)",
}
"""What stands here too of the tables of outputs and of stability: their columns, and nothing computed anew."""
_MAIN = {
    **IDS,
    **{"algorithm": "string", "knobs": "string", "planned": "Int64", "done": "Int64", "failed": "Int64"},
    **{"unfinished": "Int64", "top_set": "boolean", "letters": "string", "verdict": "string", "p_holm": "Float64"},
    **{f"{name}{end}": "Float64" for name in _ESTIMATES for end in ("", "_low", "_high")},
    **{"more_seeds": "Int64", "more_prompts": "Int64"},
    **dict.fromkeys(_BESIDE, "Float64"),
    **{"own_device_seconds": "Float64", "shared_device_seconds": "Float64", "evaluation_device_seconds": "Float64"},
    "tuning_device_seconds": "Float64",
    **{"peak_memory_bytes": "Float64", "gap": "string"},
}
_MAIN_MEANINGS = {
    **ID_MEANINGS,
    **{"algorithm": "name of the algorithm's file", "knobs": "the knobs that the recipe sets, as JSON"},
    **{"planned": "runs (seeds) planned", "done": "runs finished and graded", "failed": "runs that failed"},
    **{"unfinished": "runs that have not run yet, or wait for something that failed"},
    **{"top_set": "true: nothing in its setting is significantly better (Holm over all pairs)"},
    "letters": "two contestants of a setting share one where their pair does not differ significantly on gold (Holm "
    "over all pairs); that does not show that they are equal",
    **{"verdict": "against the start, on gold: better, worse, equivalent (within the margin), cannot separate"},
    **{"p_holm": "p-value against the start, adjusted by Holm over the contestants of the setting"},
    **_ESTIMATES,
    **{f"{name}_low": f"lower end of the 95 % interval of {name}" for name in _ESTIMATES},
    **{f"{name}_high": f"upper end of the 95 % interval of {name}" for name in _ESTIMATES},
    **{"more_seeds": "further seeds that would separate a difference of the margin with power .8, prompts fixed"},
    **{"more_prompts": "further prompts that would, seeds fixed"},
    **_BESIDE,
    "own_device_seconds": "device-seconds of training one policy, mean over seeds; on a CPU those in which it worked",
    **{"shared_device_seconds": "the same with all stages that it rests on (pretraining, start, reference ...)"},
    **{"evaluation_device_seconds": "device-seconds of its samples, grades, judges and benchmarks, mean over seeds"},
    "tuning_device_seconds": "device-seconds of the searches for its knobs; absent where there was none",
    "peak_memory_bytes": "the most memory that training a policy and what it rests on beyond the base needs: a GPU's "
    "peak, on a CPU what is beyond the loaded process, as harness plan estimates it where less was measured",
    **{"gap": "why a number is absent"},
}


def main_sheet(comparisons: list[Comparison], outputs: Sheet, stability: Sheet, part: str = "") -> Sheet:
    """One row per contestant: what it gained, how sure that is, and what it cost.

    Args:
        comparisons: settings.
        outputs: what their responses are like; see `outputs.outputs_sheet`.
        stability: how their gains vary; see `stability.stability_sheet`.
        part: as of `Sheet`.
    """
    found, beside = [], _beside(outputs, stability)
    doubted = {comparison.name for comparison in comparisons if comparison.caveats}
    for comparison in comparisons:
        tuned = {price.name: price.tuning_seconds for price in comparison.prices if price.tuning_seconds}
        for row in comparison.standings:
            values: dict[str, Any] = {"setting": comparison.name, "contestant": row.name}
            for field in ("algorithm", "knobs", "planned", "done", "failed", "unfinished", "verdict", "p_holm", "gap"):
                values[field] = getattr(row, field)
            for field in ("more_seeds", "more_prompts", "peak_memory_bytes"):
                values[field] = getattr(row, field)
            values |= {"top_set": row.in_top_set, "letters": comparison.letters.get(row.name)}
            values |= {f"{kind}_device_seconds": s for kind, s in row.seconds.items()}
            values |= beside.get((comparison.name, row.name), {})
            values["tuning_device_seconds"] = tuned.get(row.name)
            for metric, estimate in row.estimates.items():
                values |= _ends(metric, estimate)
            found.append(values)
    shown = [
        Shown("contestant", lambda row: f"{row['contestant']}{' ●' if row['top_set'] else ''}", kind="word"),
        Shown("seeds done / planned", _seeds),
        Shown("gold gain, start-sd [95 %]", lambda row: _estimate(row, "gold", sign=True)),
        Shown("against the start", lambda row: _verdict(row, doubted), kind="word"),
        Shown("letters", lambda row: row["letters"] or GAP, kind="word"),
        Shown("gold gain at equal length", lambda row: _estimate(row, "lc_gold", sign=True)),
        Shown("oracle gain, start-sd [95 %]", lambda row: _estimate(row, "oracle", sign=True), optional=True),
        Shown("soft win rate [95 %]", lambda row: _estimate(row, "soft_win")),
        Shown("soft win against chosen", lambda row: number(row["soft_win_chosen_gold"]), optional=True),
        Shown("response tokens (× the start's)", _tokens),
        Shown("degenerate, %", lambda row: _percent(row["degenerate"]), optional=True),
        Shown("KL to start, nats", lambda row: number(row["kl"])),
        Shown("distinct n-grams", lambda row: number(row["distinct"]), optional=True),
        Shown("benchmarks − start [95 %]", lambda row: _estimate(row, "benchmarks", 3, sign=True), optional=True),
        Shown("sd over seeds", lambda row: number(row["seed_sd"]), optional=True),
        Shown("failed or collapsed, %", lambda row: _percent(row["collapsed"], 0), optional=True),
        Shown("device-s own / with shared", _seconds),
        Shown("device-s of tuning", lambda row: number(row["tuning_device_seconds"], 0), optional=True),
        Shown("memory needed, about", lambda row: mebibytes(row["peak_memory_bytes"])),
        Shown("gaps", lambda row: row["gap"] or "", kind="prose", optional=True),
    ]
    caption = (
        "Contestants by gold gain, the top set (●) first; within it the order is no finding. Two that share a letter "
        "are not significantly different (Holm over all pairs), which does not make them equal. A gain in the top set "
        "may be smaller than one below it: a noisy gain is hard to be significantly better than."
    )
    caption += " † marks verdicts that are one grade lower, since gold is in doubt." * bool(doubted)
    return Sheet("main", caption, make_frame(found, _MAIN), _MAIN_MEANINGS, shown, part=part, group=_standing)


def _beside(outputs: Sheet, stability: Sheet) -> dict[tuple[str, str], dict[str, Any]]:
    """What the tables of outputs and of stability have of each contestant of a setting, for this one."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in (*outputs.rows, *stability.rows):
        own = {name: row[name] for name in _BESIDE if name in row}
        found.setdefault((row["setting"], row["contestant"]), {}).update(own)
    return found


def _standing(row: Row) -> str:
    """The group of a contestant in the main table."""
    if row["gold"] is None:
        return "Without a gain"
    told = "Top set: nothing is significantly better than these", "Something is significantly better than these"
    return told[0] if row["top_set"] else told[1]


def _ends(name: str, estimate: Estimate) -> dict[str, float | None]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _estimate(row: Row, name: str, digits: int = 2, sign: bool = False) -> str:
    return interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits, sign)


def _seeds(row: Row) -> str:
    return f"{row['done']} / {row['planned']}" + (f" ({row['failed']} failed)" if row["failed"] else "")


def _verdict(row: Row, doubted: set[str]) -> str:
    """The verdict and its p-value; marked where gold is in doubt."""
    if not row["verdict"]:
        return GAP
    p = "" if row["p_holm"] is None else f" (p {chance(row['p_holm'])})"
    mark = DOUBT * (row["setting"] in doubted)
    return f"{MARKS.get(row['verdict'], '')} {row['verdict']}{mark}{p}".strip()


def _tokens(row: Row) -> str:
    ratio = "" if row["length_ratio"] is None else f" (× {number(row['length_ratio'])})"
    return number(row["length"], 1) + ratio


def _percent(share: float | None, digits: int = 1) -> str:
    return GAP if share is None else number(100 * share, digits)


def _seconds(row: Row) -> str:
    return f"{number(row['own_device_seconds'], 1)} / {number(row['shared_device_seconds'], 1)}"


_OF_GOLD = {
    **{"family": "string", "a": "string", "b": "string"},
    **dict.fromkeys(("difference", "low", "high", "simultaneous_low", "simultaneous_high", "p", "p_holm"), "Float64"),
    **{"verdict": "string", "seeds": "Int64", "prompts": "Int64", "more_seeds": "Int64", "more_prompts": "Int64"},
    **dict.fromkeys(("above", "above_low", "above_high", "detectable"), "Float64"),
    "note": "string",
}
_PAIR = {
    "setting": "string",
    **_OF_GOLD,
    **dict.fromkeys((f"{role}{end}" for role in UNTRAINED for end in ("", "_low", "_high")), "Float64"),
}
_PAIR_MEANINGS = {
    "setting": ID_MEANINGS["setting"],
    "family": "start: each contestant against the start (primary); all: all pairs (secondary); Holm within each",
    **{"a": "a contestant", "b": "what it is compared with", "difference": "gold of a minus gold of b, in start-sd"},
    **{"low": "lower end of its 95 % interval (not adjusted for the family)", "high": "upper end of it"},
    "simultaneous_low": "lower end of its interval that covers together with all others of the family, at 95 % "
    "(Bonferroni: a little wider than Holm's test needs, so that it may just reach 0 beside a significant difference)",
    "simultaneous_high": "upper end of it",
    **{"p": "p-value of no difference", "p_holm": "the same adjusted by Holm within the family"},
    **{"verdict": "a against b: better, worse, equivalent, cannot separate"},
    **{"seeds": "seeds in the comparison", "prompts": "prompts in the comparison"},
    **{"more_seeds": _MAIN_MEANINGS["more_seeds"], "more_prompts": _MAIN_MEANINGS["more_prompts"]},
    "above": "share of the seeds in which a run of a scores above b's (unpaired: of all pairs of runs), ties one half",
    "above_low": "lower end of its 95 % interval (exact, Sterne), where seeds are paired; with few it is wide",
    "above_high": "upper end of it",
    "detectable": "the smallest true difference that this comparison finds with power .8 in its family, in start-sd",
    **{role: f"the same difference by the {role} reward, where gold separates the two" for role in UNTRAINED},
    **{f"{role}_low": f"lower end of its 95 % interval, by the {role} reward" for role in UNTRAINED},
    **{f"{role}_high": f"upper end of it, by the {role} reward" for role in UNTRAINED},
    "note": "why a number is absent, or what cannot help",
}


def pairs_sheet(comparisons: list[Comparison], part: str = "") -> Sheet:
    """Every comparison of both families, with its numbers."""
    found = [
        {"setting": comparison.name, **{name: getattr(pair, name) for name in _OF_GOLD}, **_others(pair)}
        for comparison in comparisons
        for pair in comparison.pairs
    ]
    shown = [
        Shown("family", lambda row: row["family"], kind="word"),
        Shown("a", lambda row: row["a"], kind="word"),
        Shown("b", lambda row: row["b"], kind="word"),
        Shown("a − b, start-sd [95 %]", lambda row: interval(row["difference"], row["low"], row["high"], sign=True)),
        Shown("p", lambda row: chance(row["p"])),
        Shown("p (Holm)", lambda row: chance(row["p_holm"])),
        Shown("seeds with a above [95 %]", lambda row: interval(row["above"], row["above_low"], row["above_high"])),
        Shown("verdict on a", lambda row: row["verdict"] or GAP, kind="word"),
        *(Shown(f"by {role} [95 %]", _by(role), optional=True) for role in UNTRAINED),
        Shown("notes, and what would separate the margin", itemgetter("note"), kind="prose"),
    ]
    caption = "All comparisons on the gold reward, in both families."
    return Sheet("pairs", caption, make_frame(found, _PAIR), _PAIR_MEANINGS, shown, folded=True, part=part)


def _others(pair: Pair) -> dict[str, float | None]:
    return {name: value for role, one in pair.others.items() for name, value in _ends(role, one).items()}


def _by(role: str) -> Callable[[Row], str]:
    """A difference by another reward, marked where its sign is not gold's."""
    return lambda row: (
        ""
        if row[role] is None
        else _estimate(row, role, sign=True) + f" {TURNED}" * (row[role] * row["difference"] < 0)
    )


def matrix_sheet(comparison: Comparison, part: str) -> Sheet:
    """Who beats whom: the row's gold minus the column's, with the verdict's mark."""
    names = [row.name for row in comparison.standings]
    texts: dict[tuple[str, str], str] = {}
    gaps: dict[tuple[str, str], float] = {}
    for pair in comparison.pairs:
        if pair.family == "all" and pair.difference is not None:
            mark, doubt = MARKS.get(pair.verdict, ""), TURNED * bool(pair.turned)
            other = {"▲": "▼", "▼": "▲"}.get(mark, mark)
            texts[pair.a, pair.b] = f"{number(pair.difference, sign=True)} {mark}{doubt}"
            gaps |= {(pair.a, pair.b): pair.difference, (pair.b, pair.a): -pair.difference}
            texts[pair.b, pair.a] = f"{number(-pair.difference, sign=True)} {other}{doubt}"
    found = [{"row": a, **{b: texts.get((a, b), "" if a == b else GAP) for b in names}} for a in names]
    frame = make_frame(found, dict.fromkeys(["row", *names], "string"))
    shown = [
        Shown("row − column", lambda row: row["row"], kind="word"),
        *(Shown(name, itemgetter(name), shade=_shade(name, gaps)) for name in names),
    ]
    caption = (
        "Gold of the row minus gold of the column, in start-sd. ▲ better, ▼ worse, = equivalent, ? cannot separate; "
        "the tint (blue above, orange below) only repeats the number. All pairs are one family (Holm), the "
        "start's too; verdicts on the start as a family of its own are in the table of contestants."
    )
    if any(pair.turned for pair in comparison.pairs if pair.family == "all"):
        caption += f" {TURNED} the oracle or the selection reward has the other sign: see the pairs."
    return Sheet("matrix", caption, frame, {}, shown, view_of="pairs", part=part)


def _shade(column: str, gaps: dict[tuple[str, str], float]) -> Callable[[Row], float | None]:
    """The tint of a column of the matrix: the difference as a share of the largest."""
    largest = max((abs(gap) for gap in gaps.values()), default=0.0) or 1.0
    return lambda row: gaps[row["row"], column] / largest if (row["row"], column) in gaps else None

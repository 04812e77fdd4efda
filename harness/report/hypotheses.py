"""The section of hypotheses: what the articles and the recipe claim, each with this study's verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.claims import NOT_WORSE, SETTLED, SUPERIOR
from harness.report.claim_metrics import TRAINED
from harness.report.claim_tests import CONTRADICTED, EQUIVALENT, LARGE, MIXED, NOT_RUN, SUPPORTED, UNDECIDED
from harness.report.page import Section
from harness.report.sheet import Sheet, Shown, chance, count, interval, listed, make_frame

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.report.claims import Found, Judged

PROVED, BY_CONSTRUCTION = SETTLED["proof"], SETTLED["by_construction"]
WORDS = (PROVED, BY_CONSTRUCTION, LARGE, SUPPORTED, CONTRADICTED, EQUIVALENT, MIXED, UNDECIDED, NOT_RUN)
_COLUMNS = {
    **dict.fromkeys(("id", "claim", "source", "tier", "note", "verdict", "why", "setting", "comparison"), "string"),
    **dict.fromkeys(("metric", "contrast", "test", "direction"), "string"),
    **{"delta": "Float64", "own_verdict": "string"},
    **dict.fromkeys(("estimate", "low", "high", "p_holm", "q_bh"), "Float64"),
    **dict.fromkeys(("seeds", "prompts", "failed", "stand_ins", "unmatched", "more_seeds", "more_prompts"), "Int64"),
}
_MEANINGS = {
    "id": "its letter is the article; p-values are adjusted over an article's tested claims, or a recipe's own",
    "claim": "in words",
    "source": "who says so",
    "tier": "T0 by-product of any comparison, T1 main comparison, T2 recipe of its own, own: of this recipe",
    "note": "what speaks against the claim elsewhere",
    "verdict": "of the claim, over all its comparisons",
    "why": "why the verdict is not of one comparison, or why there is none",
    "setting": "model · dataset · start",
    "comparison": "what minus what, or the change along a knob",
    "metric": "what is compared; gold in sd of the start, seconds and memory as natural log ratios",
    "contrast": "pairs: each with each; groups: the mean of some with that of others",
    "test": "superior: it differs as claimed; not_worse: by less than delta the other way; equal: by less than delta",
    "direction": "on which side of 0 the claim says that the estimate lies",
    "delta": "the difference that matters, in the metric's unit",
    "own_verdict": "of this comparison alone",
    "estimate": "in the metric's unit",
    "low": "lower end of its 95 % interval, adjusted only where the comparison was picked from several settings' leads",
    "high": "upper end",
    "p_holm": "of no difference (two-sided), or of delta where the test is another one; Holm over the family",
    "q_bh": "the same by Benjamini and Hochberg over all claims of tier T2; .1 or less is found, a tenth of it falsely",
    "seeds": "runs of the first side",
    "prompts": "prompts or pairs; absent where each run has one number",
    "failed": "runs that failed and are left out",
    "stand_ins": "runs that failed and stand in with the start's gold",
    "unmatched": "finished runs that are left out, since what they are compared with has no run of their seed",
    "more_seeds": "that would find delta with power .8, prompts unchanged; absent where seeds cannot help",
    "more_prompts": "the same, seeds unchanged",
}


_LEFT_OUT = {
    "failed": ("failed run", "left out"),
    "stand_ins": ("failed run", "in with the start's scores"),
    "unmatched": ("run", "left out, of a seed that the other side lacks"),
}
"""By column: what is told beside a verdict."""


def hypotheses_section(plan: Plan, judged: list[Judged]) -> Section:
    """Verdicts, one row for each comparison of a claim."""
    ordered = sorted(judged, key=lambda one: one.word == NOT_RUN)
    sheet = hypotheses_sheet(ordered)
    title = "Hypotheses of the articles" + (" and of this recipe" if plan.recipe.hypotheses else "")
    return Section("hypotheses", title, sentence(judged), sheets=[sheet])


def sentence(judged: list[Judged]) -> str:
    """How many claims there are of each verdict, and which are contradicted."""
    counts = {word: [one.claim.id for one in judged if one.word == word] for word in WORDS}
    told = [f"{len(ids)} {word}" for word, ids in counts.items() if ids]
    against = f" Contradicted: {listed(counts[CONTRADICTED])}." if counts[CONTRADICTED] else ""
    return f"{count(len(judged), 'claim')}: {listed(told)}.{against}"


def hypotheses_sheet(judged: list[Judged]) -> Sheet:
    """The verdicts as a table."""
    found = [row for one in judged for row in _rows(one)]
    shown = [
        Shown("claim", lambda row: f"{row['id']}: {row['claim']}", kind="prose"),
        Shown("source", lambda row: row["source"] or "this recipe", kind="prose"),
        Shown("verdict", lambda row: row["verdict"], kind="word"),
        Shown("comparison", lambda row: row["comparison"] or "—", kind="word"),
        Shown("metric", lambda row: _metric(row["metric"]), kind="word"),
        Shown("estimate [95 %]", lambda row: interval(row["estimate"], row["low"], row["high"], 3, sign=True)),
        Shown("p, Holm", lambda row: chance(row["p_holm"])),
        Shown("q, BH (T2)", lambda row: chance(row["q_bh"])),
        Shown("why", _why, kind="prose"),
    ]
    caption = (
        "Claims and verdicts; the estimate is of the comparison, the verdict of the claim. Articles: 000 RLHF, DPO, "
        "CPO, KTO, ORPO and SimPO; 001 RLHF and REINFORCE; 002 CUT; 003 the three stages of RLHF."
    )
    return Sheet("hypotheses", caption, make_frame(found, _COLUMNS), _MEANINGS, shown, folded=True)


def _metric(name: str | None) -> str:
    return f"{name} (log ratio)" if name in TRAINED else name or "—"


def _why(row: Any) -> str:
    parts = [row["why"]]
    if row["own_verdict"] not in (None, row["verdict"]):
        parts.append(f"this one: {row['own_verdict']}")
    parts += [f"{count(row[key], what)} {fate}" for key, (what, fate) in _LEFT_OUT.items() if row[key]]
    if row["own_verdict"] == UNDECIDED:
        parts.append(_more(row["more_seeds"], row["more_prompts"], row["delta"]))
    if row["own_verdict"] in (SUPPORTED, CONTRADICTED) and row["test"] == SUPERIOR and _within(row):
        parts.append(f"real but smaller than {row['delta']:g}")
    if row["own_verdict"] == SUPPORTED and row["test"] != SUPERIOR:
        parts.append(f"{_shown_by(row)} at {row['delta']:g}")
    if row["own_verdict"] == EQUIVALENT:
        parts.append(f"within ±{row['delta']:g}")
    return "; ".join(part for part in (*parts, row["note"]) if part)


def _shown_by(row: Any) -> str:
    """What a test of the margin has shown."""
    if row["test"] != NOT_WORSE:
        return "equal"
    return "not above 0 by more than the margin," if row["direction"] == "below" else "not worse"


def _within(row: Any) -> bool:
    return bool(max(-row["low"], row["high"]) < row["delta"])


def _more(seeds: int | None, prompts: int | None, delta: float) -> str:
    if seeds == 0:
        return f"a difference of {delta:g} would probably have been found"
    wanted = [f"+{count(seeds, 'seed')}"] if seeds else []
    wanted += [f"+{count(prompts, 'prompt')}"] if prompts else []
    return f"{' or '.join(wanted)} would decide at {delta:g}" if wanted else "neither seeds nor prompts alone decide it"


def _rows(one: Judged) -> list[dict[str, Any]]:
    claim = one.claim
    same = {
        **{"id": claim.id, "claim": claim.claim, "source": claim.source or None, "tier": claim.tier or None},
        **{"note": claim.note or None, "verdict": one.word, "why": one.why or None, "metric": claim.metric or None},
        **({key: getattr(claim, key) for key in ("contrast", "test", "direction", "delta")} if claim.metric else {}),
    }
    return [{**same, **_comparison(found)} for found in one.found] or [same]


def _comparison(found: Found) -> dict[str, Any]:
    row: dict[str, Any] = {"setting": found.scored.setting, "comparison": found.scored.label, "own_verdict": found.word}
    result = found.result
    if result is None:
        return row
    return row | {
        **{"estimate": result.difference, "low": result.low, "high": result.high, "p_holm": found.p, "q_bh": found.q},
        **{"seeds": result.n_runs[0], "prompts": None if found.scored.by_run else result.n_prompts},
        **{"failed": found.scored.absent or None, "stand_ins": found.scored.stand_ins or None},
        "unmatched": found.scored.unmatched or None,
        **{"more_seeds": found.more_seeds, "more_prompts": found.more_prompts},
    }

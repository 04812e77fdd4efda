"""The section of hypotheses: what the articles and the recipe claim, each with this study's verdict."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.claims import EITHER, SETTLED
from harness.report.claim_metrics import TRAINED
from harness.report.claim_tests import CONTRADICTED, EQUIVALENT, LARGE, MIXED, NOT_RUN, SUPPORTED, UNDECIDED
from harness.report.claim_words import TESTS, compared, measured, remarks, supposes
from harness.report.claims import OWN
from harness.report.listing import Entry, Listing
from harness.report.page import Section
from harness.report.sheet import GAP, Row, Sheet, Shown, chance, count, interval, listed, make_frame, number

if TYPE_CHECKING:
    from harness.claims import Hypothesis
    from harness.plan import Plan
    from harness.report.claims import Found, Judged

PROVED, BY_CONSTRUCTION = SETTLED["proof"], SETTLED["by_construction"]
ARTICLES = {
    "A": "000: RLHF, DPO, CPO, KTO, ORPO and SimPO",
    "B": "001: RLHF and REINFORCE",
    "C": "002: CUT",
    "D": "003: the three stages of RLHF",
}
"""By the letter of its claims: an article, and what it is about."""
_NO_SOURCE = "this recipe"
TIERS = {
    "T0": "T0: by-product of any comparison",
    "T1": "T1: main comparison",
    "T2": "T2: recipe of its own",
    OWN: "own: of this recipe",
}
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
    "note": "what speaks against the claim elsewhere, and what is known of its premise",
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


def hypotheses_section(plan: Plan, judged: list[Judged]) -> Section:
    """Verdicts: one line for each claim, which opens to its comparisons; those that no run tests come last."""
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
    """The verdicts as a table, one row for each comparison of a claim; the page shows it as a listing of claims."""
    by_claim = [_rows(one) for one in judged]
    found = [row for own in by_claim for row in own]
    shown = [
        Shown("claim", lambda row: f"{row['id']}: {row['claim']}", kind="prose"),
        Shown("source", lambda row: row["source"] or _NO_SOURCE, kind="prose"),
        Shown("verdict", lambda row: row["verdict"], kind="word"),
        Shown("comparison", lambda row: row["comparison"] or "—", kind="word"),
        Shown("metric", lambda row: _metric(row["metric"]), kind="word"),
        Shown("estimate [95 %]", _estimate),
        Shown("p, Holm", lambda row: chance(row["p_holm"])),
        Shown("q, BH (T2)", lambda row: chance(row["q_bh"])),
        Shown("why", _why, kind="prose"),
    ]
    about = "; ".join(text.replace(":", "") for text in ARTICLES.values())
    caption = f"Claims and verdicts; the estimate is of the comparison, the verdict of the claim. Articles: {about}."
    sheet = Sheet("hypotheses", caption, make_frame(found, _COLUMNS), _MEANINGS, shown, folded=True)
    places = iter(sheet.rows)
    return replace(
        sheet,
        listing=_listing([(one, list(islice(places, len(own)))) for one, own in zip(judged, by_claim, strict=True)]),
    )


def _listing(found: list[tuple[Judged, list[Row]]]) -> Listing:
    """A line for each claim, of those that ran and of those that did not.

    Args:
        found: each claim with its rows of the table.
    """
    ran, others = (
        tuple(_entry(one, own) for one, own in found if (one.word == NOT_RUN) == not_run) for not_run in (False, True)
    )
    filters = {
        "verdict": {word: word for word in WORDS},
        "article": {**ARTICLES, OWN: _NO_SOURCE},
        "tier": TIERS,
    }
    heads = ("claim", "in words", "source", "verdict", "estimate [95 %]")
    return Listing(
        "claims", heads, ran, others, f"{NOT_RUN}: no run tests them, or what they suppose is not so", filters
    )


def _entry(one: Judged, own: list[Row]) -> Entry:
    claim = one.claim
    results = [{**row, "reason": each.scored.why} for row, each in zip(own, one.found, strict=False)]
    estimate = count(len(results), "comparison") if len(results) > 1 else _estimate(own[0])
    tags = {"verdict": one.word, "article": OWN if claim.tier == OWN else claim.family, "tier": claim.tier}
    columns = _columns(results)
    return Entry(
        (claim.id, claim.claim, claim.source or _NO_SOURCE, one.word, estimate),
        tags,
        tuple((term, text) for term, text in _facts(one).items() if text),
        tuple((column.title, column.kind) for column in columns),
        tuple(tuple(column.text(row) for column in columns) for row in results),
    )


def _facts(one: Judged) -> dict[str, str]:
    """What was claimed, by whom, and how it was tested; what does not apply is empty."""
    claim = one.claim
    about = "" if claim.tier == OWN else f" ({ARTICLES[claim.family]})"
    side = "on either side of 0" if claim.direction == EITHER else f"{claim.direction} 0"
    tested = {
        **{"compared": compared(claim), "metric": measured(claim), "test": TESTS[claim.test]},
        **{"direction": f"the claim says {side}", "delta": f"{claim.delta:g}, the difference that matters"},
    }
    premise = [supposes(claim), *dict.fromkeys(each.scored.premise for each in one.found)]
    return {
        **{"claim": claim.claim, "source": f"{claim.source or _NO_SOURCE}{about}", "tier": TIERS[claim.tier]},
        **(tested if claim.metric else {}),
        **{"premise": "; ".join(filter(None, premise)), "verdict": ": ".join(filter(None, [one.word, one.why]))},
        **{"note": claim.note, "asked by": claim.runs},
    }


def _columns(results: list[dict[str, Any]]) -> list[Shown]:
    """Of the comparisons of one claim; a column in which no row has anything is left out."""
    several = len({row["setting"] for row in results}) > 1
    columns = [
        *[Shown("setting", lambda row: row["setting"], kind="word")] * several,
        Shown("comparison", lambda row: row["comparison"], kind="word"),
        Shown("verdict", lambda row: row["own_verdict"], kind="word"),
        Shown("estimate [95 %]", _estimate),
        Shown("p, Holm", lambda row: chance(row["p_holm"])),
        Shown("q, BH (T2)", lambda row: chance(row["q_bh"])),
        Shown("runs (seeds)", lambda row: number(row["seeds"], 0)),
        Shown("prompts", lambda row: number(row["prompts"], 0)),
        Shown("what else", lambda row: "; ".join(filter(None, [row["reason"], *remarks(row)])) or GAP, kind="prose"),
    ]
    return [column for column in columns if any(column.text(row) != GAP for row in results)]


def _estimate(row: Row) -> str:
    return interval(row["estimate"], row["low"], row["high"], 3, sign=True)


def _metric(name: str | None) -> str:
    return f"{name} (log ratio)" if name in TRAINED else name or "—"


def _why(row: Any) -> str:
    parts = [row["why"]]
    if row["own_verdict"] not in (None, row["verdict"]):
        parts.append(f"this one: {row['own_verdict']}")
    return "; ".join(part for part in (*parts, *remarks(row), row["note"]) if part)


def _rows(one: Judged) -> list[dict[str, Any]]:
    claim = one.claim
    same = {
        **{"id": claim.id, "claim": claim.claim, "source": claim.source or None, "tier": claim.tier or None},
        **{"verdict": one.word, "why": one.why or None, "metric": claim.metric or None},
        **({key: getattr(claim, key) for key in ("contrast", "test", "direction", "delta")} if claim.metric else {}),
    }
    return [{**same, **_comparison(found), "note": _note(claim, found.scored.premise)} for found in one.found] or [
        {**same, "note": _note(claim)}
    ]


def _note(claim: Hypothesis, premise: str = "") -> str | None:
    return "; ".join(filter(None, [claim.note, premise])) or None


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

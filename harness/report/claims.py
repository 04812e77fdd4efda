"""Verdicts on hypotheses: each claim's comparisons by the report's estimator, Holm over the claims of an article."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.claims import EQUAL, Hypothesis, hypothesis
from harness.errors import HarnessError
from harness.report.claim_metrics import measured_by
from harness.report.claim_premises import supposing
from harness.report.claim_scores import Scored
from harness.report.claim_tests import EQUIVALENT, LARGE, MIXED, NOT_RUN, SUPPORTED, UNDECIDED, Weighed

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.records import Tables
    from harness.report.claim_rates import Rates
    from harness.report.compare import Comparison
    from harness.stats.contrast import Contrast, Undecidable

FILE = Path(__file__).parent / "hypotheses.toml"
ALPHA = 0.05
EXPLORATORY, FALSE_SHARE = "T2", 0.1
"""The tier whose claims are shown with Benjamini and Hochberg's adjustment too, and the share that it allows."""
OWN = "own"
"""Tier, and family, of a recipe's own claims."""


@dataclass(frozen=True)
class Found:
    """One comparison of a claim.

    Attributes:
        scored: what was compared.
        word: its own verdict.
        result: the contrast; None where there is none.
        p: of no difference, or of what else the claim's test doubts, adjusted over the family.
        q: the same by Benjamini and Hochberg over all comparisons of exploratory claims; None for others.
        more_seeds: that would show a difference of delta with power .8; None where seeds cannot help or none are asked.
        more_prompts: the same, seeds unchanged.
    """

    scored: Scored
    word: str
    result: Contrast | Rates | None = None
    p: float = 1.0
    q: float | None = None
    more_seeds: int | None = None
    more_prompts: int | None = None


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict, why, and the comparisons that it rests on."""

    claim: Hypothesis
    word: str
    why: str
    found: tuple[Found, ...] = ()


@cache
def built_in() -> tuple[Hypothesis, ...]:
    """The claims of the source articles.

    Raises:
        HarnessError: the file is wrong.
    """
    wrong: list[str] = []
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))["hypothesis"]
    found = [hypothesis(given, lambda key, text: wrong.append(f"{key}: {text}")) for given in tables]
    if wrong:
        raise HarnessError(f"{FILE}: " + "; ".join(wrong))
    return tuple(one for one in found if one is not None)


def judge(plan: Plan, tables: Tables, comparisons: list[Comparison]) -> list[Judged]:
    """Judge the articles' claims and the recipe's own.

    A family is what can be tested with the contestants of the plan: a comparison without scores, or without what its
    claim supposes, stays in it as p = 1.

    Args:
        plan: for the recipe's own claims, and whether seeds are paired.
        tables: what the records say.
        comparisons: one for each setting.

    Returns:
        A verdict for each claim, the articles' first.
    """
    claims = (*built_in(), *(replace(one, tier=OWN) for one in plan.recipe.hypotheses))
    scored = ["" if one.settled else _unmeasured(one, plan) or supposing(one, tables, comparisons) for one in claims]
    tested = [
        Weighed(claim, one, _result(one, paired=plan.recipe.evaluation.paired))
        for claim, own in zip(claims, scored, strict=True)
        if not isinstance(own, str)
        for one in own
    ]
    looks = len(plan.recipe.looks) or 1
    families: dict[str, list[Weighed]] = {}
    for one in tested:
        families.setdefault(one.claim.family if one.claim.tier != OWN else OWN, []).append(one)
    known = {id(one): found for own in families.values() for one, found in zip(own, _family(own, looks), strict=True)}
    exploratory = [one for one in tested if one.claim.tier == EXPLORATORY]
    for one, q in zip(exploratory, false_discovery([looks * one.p for one in exploratory]), strict=True):
        known[id(one)] = replace(known[id(one)], q=q)
    return [
        _judged(claim, own if isinstance(own, str) else [known[id(one)] for one in tested if one.claim is claim])
        for claim, own in zip(claims, scored, strict=True)
    ]


def _unmeasured(claim: Hypothesis, plan: Plan) -> str:
    """Why the recipe's metrics leave a claim without scores; it is then no part of its family."""
    asked = plan.recipe.evaluation.metrics
    missing = [name for name in measured_by(claim.metric, claim.correlates) if asked and name not in asked]
    told = f"this study does not measure {', '.join(missing)}" + (f"; see {claim.runs}" if claim.runs else "")
    return told if missing else ""


def false_discovery(p: list[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values: at most a share `FALSE_SHARE` of those at or below it is false."""
    from statsmodels.stats.multitest import multipletests

    return [float(q) for q in multipletests([min(one, 1.0) for one in p], method="fdr_bh")[1]] if p else []


def _result(scored: Scored, *, paired: bool) -> Contrast | Rates | Undecidable:
    from harness.stats.contrast import Undecidable, contrast

    if scored.rates is not None:
        return scored.rates
    if scored.a is None or scored.b is None:
        return Undecidable(scored.why, None, (0, 0), 0)
    return contrast(scored.a, scored.b, paired=paired or scored.within, alpha=ALPHA / scored.of)


def _family(tested: list[Weighed], looks: int) -> list[Found]:
    from harness.stats.verdicts import holm

    p, same = holm([one.p for one in tested]), holm([one.p_same for one in tested])
    each = ALPHA / max(len(tested), 1) / looks
    return [
        _found(one, min(looks * float(a), 1.0), min(looks * float(b), 1.0), each)
        for one, a, b in zip(tested, p, same, strict=True)
    ]


def _found(tested: Weighed, p: float, same: float, each: float) -> Found:
    from harness.stats.contrast import Undecidable

    scored, result = tested.scored, tested.result
    if isinstance(result, Undecidable):
        return Found(replace(scored, why=result.reason), NOT_RUN)
    if p <= ALPHA:
        return Found(scored, tested.word, result, p)
    if same <= ALPHA:
        return Found(scored, EQUIVALENT, result, p)
    return Found(scored, UNDECIDED, result, p, None, *_more(tested, each))


def _more(tested: Weighed, each: float) -> tuple[int | None, int | None]:
    """Seeds or prompts that would decide at delta: whether a difference of it is there, or one of nothing is not.

    Equality rejects on both sides: each at .9, so that both are at .8.
    """
    from harness.report.claim_rates import Rates
    from harness.stats.contrast import Contrast
    from harness.stats.power import POWER, more_prompts, more_seeds

    scored, result, delta = tested.scored, tested.result, tested.claim.delta
    if isinstance(result, Rates):
        return result.more_seeds(delta, each), None
    assert isinstance(result, Contrast)
    equal = tested.claim.test == EQUAL
    now = (result.noise, delta, result.n_runs, result.n_prompts, 2 * each if equal else each / scored.of)
    power = (1 + POWER) / 2 if equal else POWER
    return more_seeds(*now, power), None if scored.by_run else more_prompts(*now, power)


def _judged(claim: Hypothesis, found: str | list[Found]) -> Judged:
    if claim.settled:
        return Judged(claim, *claim.settled)
    if isinstance(found, str):
        return Judged(claim, NOT_RUN, found)
    words = [one.word for one in found if not one.scored.beside]
    ran = {word for word in words if word != NOT_RUN}
    if not ran:
        return Judged(claim, NOT_RUN, "; ".join(dict.fromkeys(one.scored.why for one in found)), tuple(found))
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    told = [f"of {len(words)} comparisons: {counts}"] if len(words) > 1 else []
    why = "; ".join([*told, *dict.fromkeys(one.scored.why for one in found if one.scored.beside)])
    if len(ran) == 1 and NOT_RUN not in words:
        return Judged(claim, words[0], why, tuple(found))
    decided = {SUPPORTED if word == LARGE else word for word in ran} - {UNDECIDED}
    if decided == {SUPPORTED} and not {UNDECIDED, NOT_RUN} & set(words):
        return Judged(claim, SUPPORTED, why, tuple(found))
    return Judged(claim, MIXED if len(decided) > 1 else UNDECIDED, why, tuple(found))

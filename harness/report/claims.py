"""Verdicts on hypotheses: each claim's comparisons by the report's estimator, Holm over the claims of an article."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.claims import Hypothesis, hypothesis
from harness.errors import HarnessError
from harness.report.claim_scores import Scored, comparisons_of

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.stats.contrast import Contrast

FILE = Path(__file__).parent / "hypotheses.toml"
SUPPORTED, CONTRADICTED, EQUIVALENT = "SUPPORTED", "CONTRADICTED", "EQUIVALENT"
UNDECIDED, MIXED, NOT_RUN = "UNDECIDED", "MIXED", "NOT RUN"
ALPHA = 0.05
OWN = "own"
"""Tier, and family, of a recipe's own claims."""


@dataclass(frozen=True)
class Found:
    """One comparison of a claim.

    Attributes:
        scored: what was compared.
        word: its own verdict.
        result: the contrast; None where there is none.
        p: of no difference, adjusted over the family.
        more_seeds: that would show a difference of delta with power .8; None where seeds cannot help or none are asked.
        more_prompts: the same, seeds unchanged.
    """

    scored: Scored
    word: str
    result: Contrast | None = None
    p: float = 1.0
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

    A family is what can be tested with the contestants of the plan: a comparison without scores stays in it as p = 1.

    Args:
        plan: for the recipe's own claims, and whether seeds are paired.
        tables: what the records say.
        comparisons: one for each setting.

    Returns:
        A verdict for each claim, the articles' first.
    """
    claims = (*built_in(), *(replace(one, tier=OWN) for one in plan.recipe.hypotheses))
    scored = [comparisons_of(one, tables, comparisons) if not one.not_run else one.not_run for one in claims]
    families: dict[str, list[tuple[Hypothesis, list[Scored]]]] = {}
    for claim, own in zip(claims, scored, strict=True):
        if not isinstance(own, str):
            families.setdefault(claim.family if claim.tier != OWN else OWN, []).append((claim, own))
    looks = len(plan.recipe.looks) or 1
    known = {
        (claim.id, claim.tier): found
        for members in families.values()
        for claim, found in _family(members, paired=plan.recipe.evaluation.paired, looks=looks)
    }
    return [
        _judged(claim, own if isinstance(own, str) else known[claim.id, claim.tier])
        for claim, own in zip(claims, scored, strict=True)
    ]


def _family(
    members: list[tuple[Hypothesis, list[Scored]]], *, paired: bool, looks: int
) -> list[tuple[Hypothesis, list[Found]]]:
    from harness.stats.contrast import Contrast, Undecidable, contrast
    from harness.stats.verdicts import holm

    flat = [(claim, one) for claim, own in members for one in own]
    results = [
        contrast(one.a, one.b, paired=paired or one.within)
        if one.a is not None and one.b is not None
        else Undecidable(one.why, None, (0, 0), 0)
        for _, one in flat
    ]
    p = holm([one.p if isinstance(one, Contrast) else 1.0 for one in results])
    same = holm(
        [
            one.p_equivalent(claim.delta) if isinstance(one, Contrast) and not scored.failed else 1.0
            for (claim, scored), one in zip(flat, results, strict=True)
        ]
    )
    each = ALPHA / max(len(flat), 1) / looks
    found = [
        _found(claim, scored, result, min(looks * float(a), 1.0), min(looks * float(b), 1.0), each)
        for (claim, scored), result, a, b in zip(flat, results, p, same, strict=True)
    ]
    rest = iter(found)
    return [(claim, [next(rest) for _ in own]) for claim, own in members]


def _found(claim: Hypothesis, scored: Scored, result: object, p: float, same: float, each: float) -> Found:
    from harness.stats.contrast import Contrast, Undecidable
    from harness.stats.power import more_prompts, more_seeds

    if isinstance(result, Undecidable):
        return Found(replace(scored, why=result.reason), NOT_RUN)
    assert isinstance(result, Contrast)
    if p <= ALPHA:
        return Found(scored, SUPPORTED if result.difference * claim.sign > 0 else CONTRADICTED, result, p)
    if same <= ALPHA:
        return Found(scored, EQUIVALENT, result, p)
    now = (result.noise, claim.delta, result.n_runs, result.n_prompts, each)
    prompts = None if scored.by_run else more_prompts(*now)
    return Found(scored, UNDECIDED, result, p, more_seeds(*now), prompts)


def _judged(claim: Hypothesis, found: str | list[Found]) -> Judged:
    if isinstance(found, str):
        return Judged(claim, NOT_RUN, found)
    words = [one.word for one in found]
    ran = {word for word in words if word != NOT_RUN}
    if not ran:
        return Judged(claim, NOT_RUN, "; ".join(dict.fromkeys(one.scored.why for one in found)), tuple(found))
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    why = f"of {len(words)} comparisons: {counts}" if len(words) > 1 else ""
    if len(ran) == 1 and NOT_RUN not in words:
        return Judged(claim, words[0], why, tuple(found))
    decided = ran - {UNDECIDED}
    word = MIXED if len(decided) > 1 else UNDECIDED
    return Judged(claim, word, why, tuple(found))

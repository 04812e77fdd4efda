"""One comparison of a claim and what it says: by the claim's own test, before a family's p-values are adjusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.claims import EITHER, EQUAL, NOT_WORSE, SUPERIOR, Hypothesis

if TYPE_CHECKING:
    from harness.report.claim_rates import Rates
    from harness.report.claim_scores import Scored
    from harness.stats.contrast import Contrast, Undecidable

SUPPORTED, LARGE, CONTRADICTED = "SUPPORTED", "SUPPORTED, LARGE", "CONTRADICTED"
EQUIVALENT, UNDECIDED, MIXED, NOT_RUN = "EQUIVALENT", "UNDECIDED", "MIXED", "NOT RUN"


@dataclass(frozen=True)
class Weighed:
    """One comparison of a claim and its result."""

    claim: Hypothesis
    scored: Scored
    result: Contrast | Rates | Undecidable

    @property
    def p(self) -> float:
        """Of what the claim's test doubts, times the comparisons of which this one was picked.

        A stand-in is equal to the start by definition, and so no evidence that two are alike.
        """
        from harness.stats.contrast import Contrast, Undecidable

        result, delta = self.result, self.claim.delta
        if isinstance(result, Undecidable):
            return 1.0
        if self.claim.test == SUPERIOR:
            return min(1.0, self.scored.of * result.p)
        if not isinstance(result, Contrast) or self.scored.stand_ins:
            return 1.0
        if self.claim.test == NOT_WORSE:
            return result.p_at(-self.claim.sign * delta)
        if abs(result.difference) <= delta:
            return result.p_equivalent(delta)
        return result.p_at(delta if result.difference > 0 else -delta)

    @property
    def p_same(self) -> float:
        """Of a difference of delta or more, where a claim of superiority may be found empty."""
        from harness.stats.contrast import Contrast

        usable = self.claim.test == SUPERIOR and not self.scored.stand_ins and self.scored.of == 1
        return self.result.p_equivalent(self.claim.delta) if usable and isinstance(self.result, Contrast) else 1.0

    @property
    def word(self) -> str:
        """The verdict where p is small enough; large where the whole interval lies beyond delta."""
        from harness.stats.contrast import Undecidable

        assert not isinstance(self.result, Undecidable)
        claim, delta, along = self.claim, self.claim.delta, self.result.difference * self.claim.sign
        if claim.direction == EITHER:
            return SUPPORTED
        holds = {SUPERIOR: along > 0, NOT_WORSE: along > -delta, EQUAL: abs(along) <= delta}[claim.test]
        beyond = min(self.result.low * claim.sign, self.result.high * claim.sign) > delta
        supported = LARGE if claim.test == SUPERIOR and beyond else SUPPORTED
        return supported if holds else CONTRADICTED

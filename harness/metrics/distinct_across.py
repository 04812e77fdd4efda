"""How different responses to different prompts are, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value
from harness.metrics._diversity import distinct

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class DistinctAcross(Metric):
    """Expectation-adjusted distinct n-grams of the first samples of all prompts together, mean over n = 1 to 5.

    One number per run. See `_diversity.distinct`.
    """

    unit: ClassVar[str] = "ratio"
    better: ClassVar[str] = ""
    level: ClassVar[str] = "corpus"
    absent: ClassVar[str] = "one prompt"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value in all."""
        return bench.across(lambda found: distinct([bench.content(r) for r in found], len(bench.tokenizer)))

"""How different the samples of a prompt are, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value
from harness.metrics._diversity import distinct

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Distinct(Metric):
    """Expectation-adjusted distinct n-grams of the K samples of a prompt, mean over n = 1 to 5.

    See `_diversity.distinct`. Absent with one sample per prompt.
    """

    unit: ClassVar[str] = "ratio"
    better: ClassVar[str] = ""
    level: ClassVar[str] = "prompt"
    absent: ClassVar[str] = "one sample per prompt"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per prompt."""
        return bench.each_prompt(lambda found: distinct([bench.content(r) for r in found], len(bench.tokenizer)))

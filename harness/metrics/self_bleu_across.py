"""How alike responses to different prompts are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value
from harness.metrics._diversity import self_bleu

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class SelfBleuAcross(Metric):
    """Mean BLEU-4 of each prompt's first sample against those of other prompts; 100: all are equal.

    One number per run. Prompts are taken sixteen at a time in the order of the samples, so that its cost grows with
    the prompts and not with their square, and so that its height does not depend on how many prompts there are. See
    `_diversity.self_bleu`.
    """

    unit: ClassVar[str] = "BLEU, 0 to 100"
    better: ClassVar[str] = ""
    level: ClassVar[str] = "corpus"
    absent: ClassVar[str] = "one prompt, or responses written without spaces between words"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value in all."""
        return bench.across(lambda found: self_bleu([r.text for r in found], group=16))

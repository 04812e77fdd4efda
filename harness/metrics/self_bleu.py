"""How alike the samples of a prompt are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value
from harness.metrics._diversity import self_bleu

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class SelfBleu(Metric):
    """Mean over the K samples of a prompt of a sample's BLEU-4 against the K − 1 others; 100: all are equal.

    See `_diversity.self_bleu`. Absent with one sample per prompt.
    """

    unit: ClassVar[str] = "BLEU, 0 to 100"
    better: ClassVar[str] = ""
    level: ClassVar[str] = "prompt"
    absent: ClassVar[str] = "one sample per prompt, or responses written without spaces between words"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per prompt."""
        return bench.each_prompt(lambda found: self_bleu([r.text for r in found]))

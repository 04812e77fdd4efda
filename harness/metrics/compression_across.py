"""How much responses to different prompts repeat each other and themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value
from harness.metrics._diversity import compression

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class CompressionAcross(Metric):
    """Bytes of the first samples of all prompts over their bytes when compressed by zlib; higher: more is repeated.

    One number per run. It grows with length, so read it beside `length`. See `_diversity.compression`.
    """

    unit: ClassVar[str] = "ratio"
    better: ClassVar[str] = ""
    level: ClassVar[str] = "corpus"
    absent: ClassVar[str] = "one prompt"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value in all."""
        return bench.across(lambda found: compression([r.text for r in found]))

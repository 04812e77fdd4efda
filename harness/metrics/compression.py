"""How much the samples of a prompt repeat each other and themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value
from harness.metrics._diversity import compression

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Compression(Metric):
    """Bytes of the K samples of a prompt over their bytes when compressed by zlib; higher: more is repeated.

    It grows with length, so read it beside `length`. See `_diversity.compression`. Absent with one sample per prompt.
    """

    unit: ClassVar[str] = "ratio"
    better: ClassVar[str] = ""
    level: ClassVar[str] = "prompt"
    absent: ClassVar[str] = "one sample per prompt"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per prompt."""
        return bench.each_prompt(lambda found: compression([r.text for r in found]))

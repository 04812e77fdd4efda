"""Responses that the length limit cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Truncated(Metric):
    """1 where the response did not end by itself within the limit, else 0."""

    unit: ClassVar[str] = "share"
    better: ClassVar[str] = "lower"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        return bench.each(lambda r: r.end == "length")

"""Responses without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Empty(Metric):
    """1 where the response's text is empty or white space, else 0."""

    unit: ClassVar[str] = "share"
    better: ClassVar[str] = "lower"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        return bench.each(lambda r: not r.text.strip())

"""How long responses are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Length(Metric):
    """Response tokens, the end token counted."""

    unit: ClassVar[str] = "tokens"
    better: ClassVar[str] = ""

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        return bench.each(lambda r: len(r.token_ids))

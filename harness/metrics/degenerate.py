"""Responses that are broken in some way."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value
from harness.metrics._words import words
from harness.metrics.copied import copies
from harness.metrics.refusal import refuses
from harness.metrics.repetition import repeated

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench, Response


class Degenerate(Metric):
    """1 where a response is empty, truncated, copied, a refusal, or has a `repetition` above ½, else 0."""

    unit: ClassVar[str] = "share"
    better: ClassVar[str] = "lower"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        return bench.each(lambda r: _broken(bench, r))


def _broken(bench: GradeBench, r: Response) -> bool:
    return (
        not r.text.strip()
        or r.end == "length"
        or repeated(words(r.text)) > 0.5
        or copies(r.text, r.prompt[-1]["content"])
        or refuses(bench.dataset.refuses(r.prompt, r.text), r.text)
    )

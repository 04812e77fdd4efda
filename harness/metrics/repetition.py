"""How much a response repeats itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value
from harness.metrics._words import words

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Repetition(Metric):
    """1 − distinct / all of the response's 4-grams of words; 0 where it has fewer than four words.

    In a text written without spaces, such as a Chinese one, each character counts as a word.
    """

    unit: ClassVar[str] = "share"
    better: ClassVar[str] = "lower"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        return bench.each(lambda r: repeated(words(r.text)))


def repeated(found: list[str], n: int = 4) -> float:
    """1 − distinct / all n-grams of words; 0 where there are none."""
    grams = [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0

"""How long the longest thing is that a response says twice."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value
from harness.near import unspaced

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class RepeatedSpan(Metric):
    """Words of the longest run of words that stands in a response at two places, which may overlap.

    A response written without spaces, such as a Chinese one, has no value: its words are not known.
    """

    unit: ClassVar[str] = "words"
    better: ClassVar[str] = "lower"
    absent: ClassVar[str] = "the responses are written without spaces, so that their words are not known"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response with words."""
        return bench.each(lambda r: None if unspaced(r.text) else longest_repeat(r.text.split()))


def longest_repeat(words: list[str]) -> int:
    """Length of the longest run that stands twice: of the common beginnings of neighbours among the sorted suffixes."""
    suffixes = sorted(words[i:] for i in range(len(words)))
    return max((_common(one, other) for one, other in itertools.pairwise(suffixes)), default=0)


def _common(one: list[str], other: list[str]) -> int:
    same = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        same += 1
    return same

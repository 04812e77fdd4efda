"""What a larger threshold does to CUT's marks: fewer of them right ones, or more errors missed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench

THRESHOLDS = (1.0, 1.1, 1.2, 1.5)
"""λ: a token is marked where its ratio p(y_t | x, j) / p(y_t | x) is above it."""


class BlameThreshold(Metric):
    """On held-out judged responses with planted errors: how precision and recall of the marks change with λ.

    The least-squares change from the lowest to the highest of four values, taken as equally spaced. `precision` is the
    share of marked tokens that stand in an error, `recall` the share of errors' tokens that are marked, of all
    responses together. Precision is absent where some λ marks nothing.
    """

    unit: ClassVar[str] = "share"
    better: ClassVar[str] = ""
    level: ClassVar[str] = "corpus"
    usual: ClassVar[bool] = False
    absent: ClassVar[str] = "no judged responses with known errors, word by word, are held out"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per role."""
        tokens = [(gain, wrong) for one in bench.blamed for gain, wrong in zip(one.gains, one.wrong, strict=True)]
        marked = [[wrong for gain, wrong in tokens if gain > math.log(threshold)] for threshold in THRESHOLDS]
        errors = sum(wrong for _, wrong in tokens)
        found = [Value("", -1, _change([sum(own) / errors for own in marked]), "recall")] if errors else []
        if all(marked):
            found.append(Value("", -1, _change([sum(own) / len(own) for own in marked]), "precision"))
        return found


def _change(shares: list[float]) -> float:
    """Fitted, from the first to the last."""
    places = [place - (len(shares) - 1) / 2 for place in range(len(shares))]
    slope = sum(place * share for place, share in zip(places, shares, strict=True)) / sum(p * p for p in places)
    return slope * (len(shares) - 1)

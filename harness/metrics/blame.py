"""Whether a judgment makes the wrong words of a response likelier, and not the right ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import Blamed, GradeBench


class Blame(Metric):
    """On held-out judged responses with planted errors: does p(y_t | x, j) / p(y_t | x) find the erroneous tokens?

    The area under the ROC curve within each response: the share of pairs of a wrong and a right token of which the
    wrong one has the larger ratio, ties ½. 0.5 is chance. The ratio is what CUT marks tokens by.
    """

    unit: ClassVar[str] = "area"
    better: ClassVar[str] = "higher"
    level: ClassVar[str] = "judgment"
    usual: ClassVar[bool] = False
    absent: ClassVar[str] = "no judged responses with known errors, word by word, are held out"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per judged response."""
        return [Value(one.prompt_id, -1, _area(one)) for one in bench.blamed]


def _area(one: Blamed) -> float:
    """Of one response; the end token is right, and a span is never empty, so that there are both kinds."""
    sides: dict[bool, list[float]] = {True: [], False: []}
    for gain, wrong in zip(one.gains, one.wrong, strict=True):
        sides[wrong].append(gain)
    won = sum((bad > good) + (bad == good) / 2 for bad in sides[True] for good in sides[False])
    return won / (len(sides[True]) * len(sides[False]))

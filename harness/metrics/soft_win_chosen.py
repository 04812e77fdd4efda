"""How probable it is that a response is preferred to the dataset's own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class SoftWinChosen(Metric):
    """σ(r(y) − r(y_chosen)), the chance that gold's Bradley-Terry model prefers a response to the prompt's chosen one.

    The mean over the chosen ones where a prompt has several. Half: as good as the data. The reward model's logits are
    taken as calibrated. Absent for prompts without a chosen response.
    """

    unit: ClassVar[str] = "share"
    better: ClassVar[str] = "higher"
    absent: ClassVar[str] = "no chosen responses to these prompts, or no such reward"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response to a prompt that has a chosen one."""
        return bench.against_chosen(lambda own, other: _sigmoid(own - other), roles=("gold",))


def _sigmoid(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))  # never overflows

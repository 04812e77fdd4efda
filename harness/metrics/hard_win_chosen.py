"""How often a response scores above the dataset's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class HardWinChosen(Metric):
    """1 where a response scores above the prompt's chosen one, ½ where equal, else 0; by gold and by the rule.

    The mean over the chosen ones where a prompt has several. Absent for prompts without a chosen response.
    """

    unit: ClassVar[str] = "share"
    better: ClassVar[str] = "higher"
    absent: ClassVar[str] = "no chosen responses to these prompts, or no such reward"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per role and response to a prompt that has a chosen one."""
        return bench.against_chosen(lambda own, other: 0.5 if own == other else float(own > other))

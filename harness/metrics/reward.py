"""Scores of the reward models, by role, and of the dataset's exact rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Reward(Metric):
    """The raw score of each response: `gold`, `selection`, `proxy`, `oracle`, `oracle.<dimension>`.

    Raw scores of different reward models have no common unit; the tables put them in standard deviations of the
    start's scores. A response that is longer than a model can read has no score from it.
    """

    unit: ClassVar[str] = "raw score"
    better: ClassVar[str] = "higher"
    absent: ClassVar[str] = "no model or rule for the role"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response and role."""
        return [
            Value(r.prompt_id, r.k, float(score), role)
            for role, scores in bench.rewards.items()
            for r, score in zip(bench.responses, scores, strict=True)
            if score is not None
        ]

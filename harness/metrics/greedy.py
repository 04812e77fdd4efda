"""What the policy scores with its likeliest words."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Greedy(Metric):
    """Scores of the one greedy response (temperature 0) to each prompt, by gold and by the dataset's rule.

    The same scale as `reward`, so the two can be held against each other: `reward` is of responses at the recipe's
    temperature. Absent where the recipe samples no greedy response or the system has none (best-of-n).
    """

    unit: ClassVar[str] = "raw score"
    better: ClassVar[str] = "higher"
    level: ClassVar[str] = "prompt"
    greedy: ClassVar[bool] = True
    absent: ClassVar[str] = "evaluation.greedy is false, or the system has no greedy response (best-of-n)"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per prompt and role."""
        return [
            Value(r.prompt_id, -1, score, role)
            for role, scores in bench.rewards_of("greedy").items()
            for r, score in zip(bench.greedy, scores, strict=True)
            if score is not None
        ]

"""How long the likeliest response is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class GreedyLength(Metric):
    """Tokens of the one greedy response (temperature 0) to each prompt, the end token counted."""

    unit: ClassVar[str] = "tokens"
    better: ClassVar[str] = ""
    level: ClassVar[str] = "prompt"
    greedy: ClassVar[bool] = True
    absent: ClassVar[str] = "evaluation.greedy is false, or the system has no greedy response (best-of-n)"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per prompt."""
        return [Value(r.prompt_id, -1, float(len(r.token_ids))) for r in bench.greedy]

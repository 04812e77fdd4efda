"""How the policy's probability of preferred responses has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class ChosenLogp(Metric):
    """On held-out pairs: log π − log start of the chosen response, summed over its tokens."""

    unit: ClassVar[str] = "nats"
    better: ClassVar[str] = "higher"
    level: ClassVar[str] = "pair"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per held-out pair."""
        policy, start = bench.pair_logp["policy/chosen"], bench.pair_logp["start/chosen"]
        rows = zip(bench.pairs, policy, start, strict=True)
        return [Value(row["prompt_id"], -1, own - other) for row, own, other in rows]

"""How far the policy is from its start, per token."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class KlPerToken(Metric):
    """`kl` divided by the response's tokens."""

    unit: ClassVar[str] = "nats/token"
    better: ClassVar[str] = ""
    absent: ClassVar[str] = (
        "what was sampled is not the policy's distribution: it is a system's, or evaluation.temperature is not 1"
    )

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        if bench.divergence is None:
            return []
        kl, _ = bench.divergence
        pairs = zip(bench.responses, kl, strict=True)
        return [Value(r.prompt_id, r.k, value / max(1, len(r.token_ids))) for r, value in pairs]

"""How spread the policy's next-token distributions are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Entropy(Metric):
    """Mean over a response's tokens of H(π(·|s_t)) = −Σ_v π(v|s_t) log π(v|s_t).

    Of samples at temperature 1 alone: at another one the s_t are not those that π comes to.
    """

    unit: ClassVar[str] = "nats/token"
    better: ClassVar[str] = ""
    absent: ClassVar[str] = (
        "what was sampled is not the policy's distribution: it is a system's, or evaluation.temperature is not 1"
    )

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        if bench.divergence is None:
            return []
        _, entropy = bench.divergence
        pairs = zip(bench.responses, entropy, strict=True)
        return [Value(r.prompt_id, r.k, value / max(1, len(r.token_ids))) for r, value in pairs]

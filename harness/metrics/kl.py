"""How far the policy is from its start, per response."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Kl(Metric):
    """KL(π ‖ start) of whole responses, in nats: Σ_t Σ_v π(v|s_t) log[π(v|s_t) / start(v|s_t)].

    The outer sum goes over the tokens of the policy's own sample, the inner over the whole vocabulary. At temperature 1
    it is unbiased for responses of at most the length limit, and never negative. Every contestant is measured so, those
    that train without a reference too. The start's own is exactly 0.

    Source: Amini et al. 2025, arXiv 2504.10637 (the Rao-Blackwellised estimator); checked against all responses of
    two tokens in tests/test_scoring.py.
    """

    unit: ClassVar[str] = "nats/response"
    better: ClassVar[str] = ""

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        if bench.divergence is None:
            return []
        kl, _ = bench.divergence
        return [Value(r.prompt_id, r.k, value) for r, value in zip(bench.responses, kl, strict=True)]

"""How far the policy is from its start, per response."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Kl(Metric):
    """KL(π ‖ start) of whole responses: Σ_t KL(π(·|s_t) ‖ start(·|s_t)) along the policy's own sample, from full logits.

    Rao-Blackwellised (arXiv 2504.10637): unbiased for untruncated samples at temperature 1, and never negative. It is
    measured for every contestant, those that train without a reference too.
    """

    unit: ClassVar[str] = "nats/response"
    better: ClassVar[str] = ""

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        kl, _ = bench.divergence
        return [Value(r.prompt_id, r.k, value) for r, value in zip(bench.responses, kl, strict=True)]

"""How far the policy is from its start, per response."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Kl(Metric):
    """KL(π ‖ start) of whole responses, in nats: Σ_t Σ_v π(v|s_t) log[π(v|s_t) / start(v|s_t)].

    The outer sum goes over the tokens of the policy's own sample, the inner over the whole vocabulary. It is unbiased
    for responses of at most the length limit, and never negative. At another temperature than 1 samples are not from π:
    they have no value. Every contestant is measured so, those that train without a reference too. The start's own is
    exactly 0.

    Of best-of-n it is **a bound and no measurement**: log n − (n − 1)/n for every response, which KL(best of n ‖ start)
    is at most, whatever the proxy, and is where responses are many and no two are worth the same. It is given where the
    n responses are the cell's own start's, at temperature 1. Other systems have a distribution that is not the
    policy's and is not known: they have no value.

    Source: Amini et al. 2025, arXiv 2504.10637 (the Rao-Blackwellised estimator); checked against all responses of
    two tokens in tests/test_scoring.py. The bound: Gao et al. 2023, arXiv 2210.10760, section 3; its proof: Beirami et
    al. 2024, arXiv 2401.01879; checked against all choices of n from a few responses in tests/test_systems.py.
    """

    unit: ClassVar[str] = "nats/response"
    better: ClassVar[str] = ""
    absent: ClassVar[str] = (
        "what was sampled is not the policy's distribution: it is a system's, or evaluation.temperature is not 1"
    )

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        if bench.procedure["name"] == "best_of_n":
            return _bound(bench)
        if bench.divergence is None:
            return []
        kl, _ = bench.divergence
        return [Value(r.prompt_id, r.k, value) for r, value in zip(bench.responses, kl, strict=True)]


def _bound(bench: GradeBench) -> list[Value]:
    """What best-of-n can move away from the start at most, where it is the start's best of n."""
    own = bench.stage.inputs["policy"] == bench.stage.inputs["start"] and bench.stage.step is None
    if not own or bench.temperature != 1:
        return []
    n = int(bench.procedure["n"])
    return bench.each(lambda _: math.log(n) - (n - 1) / n)

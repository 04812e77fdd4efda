"""How probable dispreferred responses are to the policy, before training and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class RejectedLogp(Metric):
    """On held-out pairs: log π − log start of the rejected response, summed over its tokens.

    With role `before` it is log start, with `after` log π: the two that the change is made of.
    """

    version: ClassVar[int] = 2
    unit: ClassVar[str] = "nats"
    better: ClassVar[str] = ""
    level: ClassVar[str] = "pair"
    absent: ClassVar[str] = "no labelled pairs are held out"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per held-out pair and role."""
        return bench.logp_change("rejected")

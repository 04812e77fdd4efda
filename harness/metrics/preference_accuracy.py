"""Whether the policy itself has learnt the preferences."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class PreferenceAccuracy(Metric):
    """On held-out pairs: 1 where (log π − log start)(y_w) > (log π − log start)(y_l), ½ where equal, else 0.

    One reference, the cell's start, for all contestants: what trainers log as rewards/accuracies means something else
    in each. Labels carry the annotator's noise, so 1 is not to be reached. The start itself has ½ by construction.
    """

    unit: ClassVar[str] = "share"
    better: ClassVar[str] = "higher"
    level: ClassVar[str] = "pair"
    absent: ClassVar[str] = "no labelled pairs are held out"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per held-out pair."""
        logp = bench.pair_logp
        found = []
        for i, row in enumerate(bench.pairs):
            gain = {side: logp[f"policy/{side}"][i] - logp[f"start/{side}"][i] for side in ("chosen", "rejected")}
            margin = gain["chosen"] - gain["rejected"]
            found.append(Value(row["prompt_id"], -1, 0.5 if margin == 0 else float(margin > 0)))
        return found

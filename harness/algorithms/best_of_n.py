"""Best of n samples of the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.algorithms import Algorithm, Footprint, Needs, Paper
from harness.knobs import Between, Choice, knob


@dataclass(frozen=True)
class BestOfN(Algorithm):
    """Of n responses of the start, the one with the highest proxy reward; nothing is trained.

    It is the control for over-optimisation: it presses on the proxy with a known force, since its KL from the start is
    at most log n − (n − 1)/n nats. It differs from the paper in the estimator: n responses are drawn for each answer,
    and the report's curve over n uses the paper's unbiased one, over a larger pool. Its price is paid at each answer: n
    responses are generated and scored. The proxy judges a response that was cut off like any other, while on-policy
    methods lose `missing_end_penalty` for one: where the length limit binds, the two press on different rewards.
    """

    paper: ClassVar[Paper] = Paper(
        "Stiennon et al.", "Learning to summarize from human feedback", "2009.01325", "best of N"
    )
    needs: ClassVar[Needs] = Needs(data="prompts", reward=True)
    trains: ClassVar[bool] = False

    n: int = knob(8, valid=Between(low=2), search=Choice((2, 4, 8, 16, 32)), doc="responses to choose from")

    def footprint(self) -> Footprint:
        """The policy, and the reward model that chooses, whenever it answers."""
        return Footprint(0, reward=True)

    def procedure(self) -> dict[str, Any]:
        """Draw n, keep the best."""
        return {"name": "best_of_n", "n": self.n}

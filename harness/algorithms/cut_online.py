"""CUT in rounds on the policy's own responses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from harness.algorithms import Algorithm, Needs, Paper, Round
from harness.knobs import Between, Choice, Uniform, above, knob


@dataclass(frozen=True)
class CutOnline(Algorithm):
    """Rounds of respond, be judged, and `cut` on the policy's own responses and their judgments.

    Each round draws one response to each of as many fresh training prompts as the budget has for it, asks the judge,
    and trains from the policy so far. Praised rows are cut down to a quarter of the blamed ones, as the authors do. It
    differs from the paper in the judge, which there is a person or GPT-4, and in sharing out one budget of optimiser
    steps among its rounds.
    """

    paper: ClassVar[Paper] = Paper(
        "Xu et al.", "Reasons to reject? Aligning language models with judgments", "2312.14591", "section 5.2"
    )
    needs: ClassVar[Needs] = Needs(data="prompts", judge=True)

    learning_rate: float = knob(3e-4, valid=above(0), search=Uniform(1e-5, 1e-3, log=True), doc="peak in each round")
    threshold: float = knob(
        1.1, valid=Between(low=1), search=Choice((1.1, 1.2, 1.5)), doc="lambda, ratio that marks a token"
    )
    alpha: float = knob(1.0, valid=Between(low=0), search=Choice((0.25, 0.5, 0.75, 1.0)), doc="weight of unlikelihood")
    gamma: float = knob(
        1.0, valid=Between(low=0), search=Choice((0.25, 0.5, 1.0, 2.0)), doc="power of p(y|x,j) in its weight"
    )
    praised_per_blamed: float = knob(0.25, valid=Between(low=0), doc="most praised rows for a blamed one; 0 keeps all")
    count: int = knob(3, valid=Between(low=1), doc="rounds")

    def rounds(self) -> tuple[Round, ...]:
        """The same round again and again."""
        knobs: dict[str, Any] = asdict(self)
        count = int(knobs.pop("count"))
        return tuple(Round("judgments", "judge", 1, "cut", knobs) for _ in range(count))

"""Respond, be judged, respond again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.algorithms import Algorithm, Needs, Paper


@dataclass(frozen=True)
class FeedbackPrompting(Algorithm):
    """The start answers, the judge says what is wrong, and the start answers again with both in its prompt.

    Nothing is trained; where the judge finds no fault the first answer stands. The judge is asked at each answer, so
    the system has information that no other contestant has when it is used; its price are the judge's words and a
    second response. It differs from the paper in having one round of feedback and a judge that is not the model.
    """

    paper: ClassVar[Paper] = Paper(
        "Madaan et al.", "Self-Refine: iterative refinement with self-feedback", "2303.17651", "Self-Refine"
    )
    needs: ClassVar[Needs] = Needs(data="prompts", judge=True)
    trains: ClassVar[bool] = False

    def procedure(self) -> dict[str, Any]:
        """Two tries."""
        return {"name": "respond_judge_respond"}

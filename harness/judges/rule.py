"""The dataset's own exact rule as a judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.judges import Asking, Judge, Question
from harness.knobs import knob

if TYPE_CHECKING:
    from harness.data import Dataset


@dataclass(frozen=True)
class Rule(Judge):
    """Names the response with the higher rule reward of the dataset; it never contradicts itself."""

    reads_template: ClassVar[bool] = False

    dimension: str = knob("total", doc="dimension of the dataset's rule reward")

    def ask(
        self, questions: list[Question], dataset: Dataset, asking: Asking, note: Callable[[Question, str], None]
    ) -> None:
        """Compare the rule's scores."""
        for question in questions:
            first, second = (
                dataset.score(question.prompt, response)[self.dimension]
                for response in (question.first, question.second)
            )
            note(question, "[[A]]" if first > second else "[[B]]" if second > first else "[[C]]")

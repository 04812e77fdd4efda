"""The `[[hypothesis]]` tables of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.claims import Hypothesis, hypothesis

if TYPE_CHECKING:
    from harness.recipe_reader import Reader


def read_hypotheses(reader: Reader) -> tuple[Hypothesis, ...]:
    """All hypotheses; whatever is wrong with them is noted with the reader's problems."""
    found: list[Hypothesis] = []
    for place, given in enumerate(reader.tables("hypothesis")):

        def problem(key: str, text: str, place: int = place) -> None:
            reader.problems.add(reader.located.where("hypothesis", place, key), text)

        one = hypothesis(given, problem)
        if one is not None and one.id in {other.id for other in found}:
            problem("id", f"hypothesis '{one.id}' is there twice; each needs an id of its own")
        elif one is not None:
            found.append(one)
    return tuple(found)

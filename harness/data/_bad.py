"""Rows that cannot be used, told so that a person can mend them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

GROUPS = 10
"""Kinds of bad rows that a message names, and places of each; it counts the rest."""


class Bad(NamedTuple):
    """A bad row: its file, its place (`line 3`), and what is wrong with it."""

    file: str
    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {self.problem}"


def told(bad: Sequence[Bad]) -> list[str]:
    """Lines in which rows of a file with the same problem stand together."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for one in bad:
        kind, _, number = one.place.partition(" ")
        groups.setdefault((one.file, kind, one.problem), []).append(number)
    shown = list(groups.items())[:GROUPS]
    lines = [f"{file}, {_places(kind, numbers)}: {problem}" for (file, kind, problem), numbers in shown]
    rest = len(bad) - sum(len(numbers) for _, numbers in shown)
    return [*lines, *([f"... and {rest} more"] if rest else [])]


def unusable(name: str, view: str, bad: Sequence[Bad]) -> str:
    """What is said of a source that has no row of a view."""
    if not bad:
        return f"{name} has no rows"
    hint = f"where columns have other names, say so: columns.{view} = {{prompt = 'question'}}"
    return "\n".join([f"none of the {len(bad)} rows of {name} can be read as {view}:", *told(bad), hint])


def _places(kind: str, numbers: list[str]) -> str:
    """`line 3`, `lines 3 and 5`, `lines 1, 2, 3 and 197 more`."""
    if len(numbers) == 1:
        return f"{kind} {numbers[0]}"
    if len(numbers) > GROUPS:
        return f"{kind}s {', '.join(numbers[:3])} and {len(numbers) - 3} more"
    return f"{kind}s {', '.join(numbers[:-1])} and {numbers[-1]}"

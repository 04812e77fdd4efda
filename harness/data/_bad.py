"""Rows that cannot be used, told so that a person can mend them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

GROUPS = 10
"""Kinds of bad rows that a message names, and places of each; it counts the rest."""

NO_COLUMN = "no column"
"""What is said of a record that lacks one."""
_DETAIL = re.compile(r" \(.*\)")


class Bad(NamedTuple):
    """A bad row: its file, its place (`line 3`), and what is wrong with it."""

    file: str
    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {self.problem}"


def told(bad: Sequence[Bad]) -> list[str]:
    """Lines in which rows of a file with the same problem stand together; what is in brackets is that of the first."""
    groups: dict[tuple[str, str, str], tuple[str, list[str]]] = {}
    for one in bad:
        kind, _, number = one.place.partition(" ")
        same = (one.file, kind, _DETAIL.sub("", one.problem))
        groups.setdefault(same, (one.problem, []))[1].append(number)
    shown = list(groups.items())[:GROUPS]
    lines = [f"{file}, {_places(kind, numbers)}: {problem}" for (file, kind, _), (problem, numbers) in shown]
    rest = len(bad) - sum(len(numbers) for _, (_, numbers) in shown)
    return [*lines, *([f"... and {rest} more"] if rest else [])]


def unusable(name: str, view: str, bad: Sequence[Bad]) -> str:
    """What is said of a source that has no row of a view."""
    if not bad:
        return f"{name} has no rows"
    hint = f"where columns have other names, say so: columns.{view} = {{prompt = 'question'}}"
    lines = [f"none of the {len(bad)} rows of {name} can be read as {view}:", *told(bad)]
    return "\n".join([*lines, hint] if any(NO_COLUMN in one.problem for one in bad) else lines)


def _places(kind: str, numbers: list[str]) -> str:
    """`line 3`, `lines 3 and 5`, `lines 1, 2, 3 and 197 more`."""
    if len(numbers) == 1:
        return f"{kind} {numbers[0]}"
    if len(numbers) > GROUPS:
        return f"{kind}s {', '.join(numbers[:3])} and {len(numbers) - 3} more"
    return f"{kind}s {', '.join(numbers[:-1])} and {numbers[-1]}"

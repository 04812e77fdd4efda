"""A record of a file, and what makes one wrong whatever the file is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Record(NamedTuple):
    """One record of a file: its place (`line 3`, `row 3`), and its values or what is wrong with it."""

    place: str
    values: dict[str, Any] | None
    problem: str = ""


def as_record(place: str, values: object, twice: str) -> Record:
    """A record of what was read; `twice` is a name that it had twice."""
    if twice:
        return Record(place, None, f"has '{twice}' twice; each name must be there once")
    if isinstance(values, dict):
        return Record(place, values)
    return Record(place, None, f"is a {type(values).__name__}; it must be an object with named fields")


def named_twice(names: Iterable[str]) -> str:
    """The first name that is there a second time; empty where none is."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
